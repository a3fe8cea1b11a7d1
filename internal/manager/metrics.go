package manager

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/metrics"
)

// figures are what a manager tells of itself and, if it leads, of the cluster.
type figures struct {
	leads     bool
	leader    bool // one is known
	clock     uint64
	links     map[control.Role]int
	index     uint64
	committed uint64
	silence   time.Duration   // of the leader
	cluster   *control.Status // nil: it does not lead
}

func (m *Manager) figures(ctx context.Context) (*figures, error) {
	s := &figures{leader: m.leading.Load() || m.leaderAddr() != "", index: m.node.LastIndex(), committed: m.node.CommitIndex(),
		silence: m.node.Silence(), links: map[control.Role]int{}}
	err := m.ask(ctx, func() {
		s.leads, s.clock = m.council.Leading(), m.node.Map().Version
		for k := range m.links {
			s.links[k.s.Hello.Role]++
		}
		if s.leads {
			st := m.status()
			s.cluster = &st
		}
	})
	return s, err
}

// Metrics describes the metrics of a manager.
func Metrics() []metrics.Desc { return metrics.Descs(metricList) }

// onlyLeading is added to what a manager knows only while it leads.
const onlyLeading = " Only of the manager that leads."

// cluster has a metric of the cluster, which only the one that leads knows.
func cluster(name, help, label string, values func(s *control.Status, put func(string, float64))) metrics.Metric[figures] {
	return metrics.GaugeBy(name, help+onlyLeading, label, func(f *figures, put func(string, float64)) {
		if f.cluster != nil {
			values(f.cluster, put)
		}
	})
}

func cluster1(name, help string, value func(s *control.Status) int) metrics.Metric[figures] {
	return cluster(name, help, "", func(s *control.Status, put func(string, float64)) { put("", float64(value(s))) })
}

var metricList = []metrics.Metric[figures]{
	metrics.GaugeBy("kumo_manager_build_info", "Always 1; the label is the version of kumofs.", "version", func(_ *figures, put func(string, float64)) { put(cli.Version, 1) }),
	metrics.Flag("kumo_manager_leader", "1 if this manager leads.", func(f *figures) bool { return f.leads }),
	metrics.Flag("kumo_manager_leader_known", "1 if it leads, or has heard just now of the one that does.", func(f *figures) bool { return f.leader }),
	metrics.Gauge("kumo_manager_leader_silence_seconds", "Since when the leader was not heard; 0 if this manager leads.", func(f *figures) float64 { return f.silence.Seconds() }),
	metrics.Gauge("kumo_manager_map_version", "Version of the cluster map that it has (clock).", func(f *figures) uint64 { return f.clock }),
	metrics.Gauge("kumo_manager_log_index", "Index of the last entry in its Raft log.", func(f *figures) uint64 { return f.index }),
	metrics.Gauge("kumo_manager_commit_index", "Index of the last entry that it knows to be agreed.", func(f *figures) uint64 { return f.committed }),
	metrics.GaugeBy("kumo_manager_links", "Servers and gateways connected to it.", "role", func(f *figures, put func(string, float64)) {
		for _, role := range []control.Role{control.RoleServer, control.RoleGateway} {
			put(string(role), float64(f.links[role]))
		}
	}),
	cluster("kumo_manager_servers", "Attached servers by state; fault is one that was away for too long.", "state", func(s *control.Status, put func(string, float64)) {
		states := map[string]int{}
		for _, n := range s.Attached {
			states[n.State]++
		}
		put("active", float64(states["active"]))
		put("fault", float64(states["fault"]))
	}),
	cluster1("kumo_manager_servers_unreachable", "Attached servers that are not connected.", func(s *control.Status) (n int) {
		for _, x := range s.Attached {
			if !x.Reachable {
				n++
			}
		}
		return n
	}),
	cluster1("kumo_manager_servers_not_attached", "Servers that are there and take no part until they are attached.", func(s *control.Status) int { return len(s.NotAttached) }),
	cluster1("kumo_manager_partitions", "Partitions of the cluster.", func(s *control.Status) int { return s.Partitions }),
	cluster1("kumo_manager_partitions_unavailable", "Partitions without a live replica: their keys can be neither read nor written.", func(s *control.Status) int { return s.Unavailable }),
	cluster1("kumo_manager_partitions_short", "Partitions with fewer live copies than they should have.", func(s *control.Status) int { return s.Short }),
	cluster1("kumo_manager_copies_to_make", "Copies and moves that are planned and not done.", func(s *control.Status) int { return s.Moving }),
	cluster1("kumo_manager_managers", "Managers of the cluster.", func(s *control.Status) int { return len(s.Managers) }),
	cluster1("kumo_manager_managers_unreachable", "Managers of the cluster that are not heard.", func(s *control.Status) (n int) {
		for _, x := range s.Managers {
			if !x.Reachable {
				n++
			}
		}
		return n
	}),
	cluster1("kumo_manager_witnesses", "Servers that vote where the managers are an even number.", func(s *control.Status) int { return len(s.Witnesses) }),
	cluster1("kumo_manager_troubles", "What does not end by itself: kumoctl doctor names it, and what mends it.", func(s *control.Status) int { return len(s.Troubles) }),
}

// webHealth tells whether this process does its work: its loop turns.
func (m *Manager) webHealth(w http.ResponseWriter, r *http.Request) {
	if err := m.ask(r.Context(), func() {}); err != nil {
		control.WriteHealth(w, err.Error())
		return
	}
	control.WriteHealth(w)
}

// webReady tells whether a command, or a member, that comes now is served: this manager leads, or
// knows who does, and has the map that was agreed upon.
func (m *Manager) webReady(w http.ResponseWriter, r *http.Request) {
	if err := m.ask(r.Context(), func() {}); err != nil {
		control.WriteHealth(w, err.Error())
		return
	}
	if !m.leading.Load() && m.leaderAddr() == "" {
		control.WriteHealth(w, m.noLeader(r).Error())
		return
	}
	if has, agreed := m.node.AppliedIndex(), m.node.CommitIndex(); agreed > has+readyLag {
		control.WriteHealth(w, fmt.Sprintf("it is behind: it has the cluster map as of entry %d of %d that were agreed upon", has, agreed))
		return
	}
	control.WriteHealth(w)
}

// readyLag is how many entries of the log a manager that is ready may have to take still: one
// that does its work takes them at once.
const readyLag = 16
