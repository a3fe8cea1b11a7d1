package clustermap

import (
	"errors"
	"fmt"
	"slices"
)

// ErrInvalid is wrapped by every error about a broken invariant.
var ErrInvalid = errors.New("invalid cluster map")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate checks every invariant of the map and its partitions. The empty
// map (no cluster yet) is valid. The form of addresses is not looked at: that
// is the registration's business, and kumohash plans with names.
func (m *Map) Validate() error {
	if m.ClusterID == 0 {
		if m.Version != 0 || len(m.Servers) != 0 || len(m.Partitions) != 0 {
			return invalid("contents without a cluster")
		}
		return nil
	}
	if err := checkShape(len(m.Partitions), m.Replication); err != nil {
		return err
	}
	if err := m.Copying.check(); err != nil {
		return invalid("%v", err)
	}
	for i := range m.Servers {
		if err := checkServer(&m.Servers[i]); err != nil {
			return err
		}
		if i > 0 && m.Servers[i-1].ID >= m.Servers[i].ID {
			return invalid("servers %s and %s are out of order", m.Servers[i-1].ID, m.Servers[i].ID)
		}
	}
	if m.Recovered > m.Version {
		return invalid("version %d is older than that of its recovery, %d", m.Version, m.Recovered)
	}
	if err := checkList("banned", m.Banned); err != nil {
		return err
	}
	for i := range m.Partitions {
		if err := m.checkPartition(i); err != nil {
			return err
		}
	}
	return nil
}

// checkShape checks what is fixed when a cluster is created.
func checkShape(partitions, replication int) error {
	if partitions < 1 || partitions > MaxPartitions || partitions&(partitions-1) != 0 {
		return invalid("%d partitions: must be a power of two from 1 to %d", partitions, MaxPartitions)
	}
	if replication < 1 || replication > MaxReplication {
		return invalid("replication %d: must be 1 to %d", replication, MaxReplication)
	}
	return nil
}

func checkServer(s *Server) error {
	switch {
	case s.ID == 0:
		return invalid("a server without ID at %q", s.Addr)
	case s.Addr == "":
		return invalid("server %s has no address", s.ID)
	case s.State > Fault:
		return invalid("server %s has unknown state %d", s.ID, s.State)
	}
	return nil
}

// checkPartition checks the invariants of partition i within m.
func (m *Map) checkPartition(i int) error {
	p := &m.Partitions[i]
	if err := m.checkRoles(p); err != nil {
		return fmt.Errorf("partition %d: %w", i, err)
	}
	return nil
}

func (m *Map) checkRoles(p *Partition) error {
	if p.Epoch < 1 || p.Epoch >= MaxEpoch {
		return invalid("epoch %d is out of range", p.Epoch)
	}
	for _, l := range [...]struct {
		name     string
		ids      []ServerID
		attached bool
	}{
		{"replicas", p.Replicas, true},
		{"joining", p.Joining, true},
		{"assigned", p.Assigned, true},
		// Servers that were detached since may still resume a partition.
		{"last known", p.LastKnown, false},
		{"awaited", p.Awaited, false},
	} {
		if err := checkList(l.name, l.ids); err != nil {
			return err
		}
		for _, id := range l.ids {
			if l.attached && m.Server(id) == nil {
				return invalid("%s: server %s is not in the map", l.name, id)
			}
		}
	}
	for _, id := range p.Joining {
		if slices.Contains(p.Replicas, id) {
			return invalid("server %s is both replica and joining", id)
		}
	}
	if len(p.Awaited) > 0 && len(p.Replicas)+len(p.Joining) > 0 {
		return invalid("servers are awaited, but others have roles")
	}
	if !p.Active {
		if !Subset(p.Replicas, p.LastKnown) {
			return invalid("not active, but the replicas are not a subset of the last known")
		}
		return nil
	}
	switch {
	case len(p.Replicas) == 0:
		return invalid("active without a primary")
	case !SameSet(p.Replicas, p.LastKnown):
		return invalid("active, but the last known are not the replicas")
	case p.LastPrimary != p.Replicas[0]:
		return invalid("active, but the last primary %s is not the primary %s", p.LastPrimary, p.Replicas[0])
	case p.LastPrimaryIncarnation != m.Server(p.Replicas[0]).Incarnation:
		return invalid("active, but the primary %s has another incarnation than the activation", p.Replicas[0])
	}
	return nil
}

// checkList refuses zero IDs and duplicates. Lists are short, except Banned,
// which is rare.
func checkList(name string, ids []ServerID) error {
	for i, id := range ids {
		if id == 0 {
			return invalid("%s: a zero server ID", name)
		}
		if slices.Contains(ids[:i], id) {
			return invalid("%s: server %s twice", name, id)
		}
	}
	return nil
}
