package console

import (
	"fmt"
	"net"

	"github.com/kumofs/kumofs/internal/control"
)

// Safety is how much may yet fail.
type Safety struct {
	// Copies[n] is how many partitions have n copies on servers that live.
	Copies []int `json:"copies"`
	// unserved partitions: those that the managers know of, or, until they have found out, those
	// of which no copy is heard.
	unserved int
	// Survives is how many more crashes of servers every key survives; -1: some
	// keys are not served now.
	Survives int `json:"survives"`
	// Voters of the managers, those that are heard, and how many more may fail.
	Voters         int `json:"voters"`
	VotersHeard    int `json:"voters_heard"`
	VotersMayFail  int `json:"voters_may_fail"`
	ActiveServers  int `json:"active_servers"`
	ServersHeard   int `json:"servers_heard"`
	FaultServers   int `json:"fault_servers"`
	StoredReplicas int `json:"stored_replicas"` // of all partitions together
}

// Levels of a Problem.
const (
	levelError   = "error"
	levelWarning = "warning"
	levelNote    = "note"
)

// Problem is what is wrong, and what to do.
type Problem struct {
	Level string `json:"level"` // error, warning, note
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// Health is how the cluster is, in words.
type Health struct {
	Level    string    `json:"level"` // ok, or the worst of the problems' but for note
	Headline string    `json:"headline"`
	Detail   string    `json:"detail"`
	Problems []Problem `json:"problems"`
}

func safetyOf(s State) Safety {
	out := Safety{Copies: make([]int, s.Status.Replication+1)}
	lives := map[string]bool{}
	for _, n := range s.Status.Attached {
		if n.State != "active" {
			out.FaultServers++
			continue
		}
		out.ActiveServers++
		if n.Reachable {
			out.ServersHeard++
			lives[n.ID] = true
		}
	}
	live := make(map[uint64]bool, len(s.Map.Servers))
	for i := range s.Map.Servers {
		id := s.Map.Servers[i].ID
		live[uint64(id)] = lives[id.String()]
	}
	for i := range s.Map.Partitions {
		n := 0
		for _, id := range s.Map.Partitions[i].Replicas {
			if live[uint64(id)] {
				n++
			}
		}
		out.StoredReplicas += len(s.Map.Partitions[i].Replicas)
		for n >= len(out.Copies) { // while copies are moved there are more
			out.Copies = append(out.Copies, 0)
		}
		out.Copies[n]++
	}
	out.unserved = max(s.Status.Unavailable, out.Copies[0])
	out.Survives = -1
	for n, count := range out.Copies {
		if count > 0 {
			out.Survives = n - 1
			break
		}
	}
	if out.unserved > 0 {
		out.Survives = -1
	}
	vote := func(voter, heard bool) {
		if voter {
			out.Voters++
			if heard {
				out.VotersHeard++
			}
		}
	}
	for _, m := range s.Status.Managers {
		vote(m.Voter, m.Reachable)
	}
	for _, w := range s.Status.Witnesses {
		vote(w.Voter, w.Reachable)
	}
	out.VotersMayFail = max(0, out.VotersHeard-(out.Voters/2+1))
	return out
}

// healthOf says what is wrong and what to do, the worst first.
func healthOf(s State, safe Safety, live []Live) Health {
	st := s.Status
	h := Health{Level: "ok", Problems: []Problem{}}
	if len(st.Attached) == 0 {
		h.Level, h.Headline = levelWarning, "No server is attached yet"
		h.Detail = fmt.Sprintf("%s waiting. kumoctl ADDR attach begins the cluster.", count(len(st.NotAttached), "server is", "servers are"))
		return h
	}
	by := map[string][]Problem{}
	say := func(level, do, format string, args ...any) {
		by[level] = append(by[level], Problem{level, fmt.Sprintf(format, args...), do})
	}
	if safe.unserved > 0 {
		say(levelError, "Start the servers that held them: they resume by themselves.",
			"%d of %d partitions have no server: their keys can be neither read nor written.", safe.unserved, st.Partitions)
	}
	for _, t := range st.Troubles {
		say(levelError, t.Do, "%s", t.Text)
	}
	judgeServers(st, say)
	judgeManagers(st, safe, say)
	active := map[string]bool{}
	for _, n := range st.Attached {
		active[n.ID] = n.State == "active"
	}
	for _, l := range live {
		if active[l.ID] { // what is known of others is of a moment ago
			judgeLive(l, say)
		}
	}
	for _, level := range []string{levelError, levelWarning, levelNote} {
		h.Problems = append(h.Problems, by[level]...)
	}
	h.words(st, safe, len(by[levelError]), len(by[levelWarning]))
	return h
}

// words makes the headline.
func (h *Health) words(st *control.Status, safe Safety, errs, warnings int) {
	switch {
	case safe.unserved > 0:
		h.Level, h.Headline = levelError, "Some keys cannot be reached"
	case errs > 0:
		h.Level, h.Headline = levelError, "Every key is served, but something is broken"
	case warnings > 0:
		h.Level, h.Headline = levelWarning, "Every key is served, but look at this"
	default:
		h.Headline = "All is well"
	}
	switch {
	case safe.Survives < 0:
		h.Detail = fmt.Sprintf("%s of %d not served.", count(safe.unserved, "partition", "partitions"), st.Partitions)
	case safe.Survives == 0:
		h.Detail = fmt.Sprintf("%s on one live server only: another crash makes its keys unreachable.",
			count(safe.Copies[1], "partition lives", "partitions live"))
	default:
		h.Detail = fmt.Sprintf("Every key survives %s of servers.", count(safe.Survives, "more crash", "more crashes"))
	}
}

func judgeServers(st *control.Status, say func(level, do, format string, args ...any)) {
	active, hosts := 0, map[string]bool{}
	for _, n := range st.Attached {
		if n.State != "active" {
			say(levelError, "Start it again, then attach; if it is gone for good, detach.", "Server %s is at fault: it has been away, and takes no part.", n.Addr)
			continue
		}
		active++
		if host, _, err := net.SplitHostPort(n.Addr); err == nil {
			hosts[host] = true
		}
		if !n.Reachable {
			say(levelWarning, "Nothing yet: if it stays away, others take its place.", "Server %s is not heard.", n.Addr)
		}
	}
	for _, n := range st.NotAttached {
		switch n.State {
		case "refused":
			say(levelError, "Start it with the right store, or with an empty one.", "Server %s is refused: %s", n.Addr, n.Note)
		case "new":
			say(levelWarning, "Give attach to take it in.", "Server %s waits to be attached.", n.Addr)
		}
	}
	switch {
	case active < st.Replication:
		say(levelWarning, fmt.Sprintf("Attach servers until there are %d.", st.Replication),
			"%s cannot hold %d copies of each pair.", count(active, "active server", "active servers"), st.Replication)
	case active > 1 && len(hosts) == 1:
		say(levelNote, "Run servers on several machines.", "All servers are on one host: if it fails, all copies do.")
	}
	switch {
	case st.Short > 0 && st.Moving == 0 && active >= st.Replication && active < len(st.Attached):
		say(levelWarning, "They are made when the server at fault is attached again, or detached.",
			"%s.", count(st.Short, "partition lacks copies", "partitions lack copies"))
	case st.Short > 0 && st.Moving == 0 && active >= st.Replication:
		say(levelWarning, "Give replace, or attach a server.", "%s, and none are being made.", count(st.Short, "partition lacks copies", "partitions lack copies"))
	case st.Short > 0 && st.Moving > 0:
		say(levelWarning, "Nothing: it goes on by itself.", "%s being made; until then %s.",
			count(st.Moving, "copy is", "copies are"), count(st.Short, "partition has fewer than it should", "partitions have fewer than they should"))
	case st.Moving > 0:
		say(levelNote, "", "%s under way.", count(st.Moving, "move is", "moves are"))
	}
}

func judgeManagers(st *control.Status, safe Safety, say func(level, do, format string, args ...any)) {
	for _, m := range st.Managers {
		if !m.Reachable {
			say(levelWarning, "Start it again.", "Manager %s is not heard.", m.Addr)
		}
	}
	switch {
	case len(st.Managers) == 1:
		say(levelNote, "Run a second kumo-manager, each naming the other with -p.", "There is one manager: while it is down no failed server is replaced.")
	case safe.VotersMayFail == 0:
		say(levelWarning, "Start the managers and voting servers that are silent.",
			"The managers have their bare majority, %d of %d voters: if one more fails they decide nothing.", safe.VotersHeard, safe.Voters)
	}
}

// lowDisk is how much room a server should have beyond a tenth of its store.
const lowDisk = 1 << 30

func judgeLive(l Live, say func(level, do, format string, args ...any)) {
	if l.Error != "" {
		say(levelWarning, "Look at its log, and at the network to it.", "Server %s does not tell what it does: %s", l.Addr, l.Error)
	}
	if l.Store != "" && l.Store != "ok" {
		say(levelError, "Look at its disk and its log.", "The store of server %s: %s", l.Addr, l.Store)
	}
	if l.DiskAvail != nil && l.DiskUsage != nil && *l.DiskAvail < max(lowDisk, *l.DiskUsage/10) {
		say(levelWarning, "Remove old backups and logs there, or attach another server.", "The disk of server %s is nearly full: %s left.", l.Addr, size(*l.DiskAvail))
	}
}

// count is "1 copy" or "3 copies".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func size(n float64) string {
	unit := 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for n >= 1024 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", n, units[unit])
}
