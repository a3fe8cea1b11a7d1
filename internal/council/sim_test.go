package council

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// sim drives a council against servers that keep the protocol's rules in the
// small: a partition's store is the number of the last operation that it holds.
// It checks that nothing acknowledged is lost (P2) and every step's invariants.
type sim struct {
	t     testing.TB
	r     *rand.Rand
	now   int64
	cfg   Config
	c     *Council
	m     *clustermap.Map
	boxes []*box
	acked []int // by partition: the last operation acknowledged
	cut   map[[2]ID]bool
	late  []event
	asked map[string]bool // accusations ever sent: partition, epoch, accused
	// leaderless until then
	downTo  int64
	ticket  uint64
	answers map[uint64]Reply
	trace   bool
	term    int
	// recoveries is how often all managers were lost.
	recoveries int
}

type event struct {
	at int64
	f  func()
}

// box is one server.
type box struct {
	id       ID
	up       bool
	paused   int64 // until
	inc, run uint64
	linked   bool // to the manager, in this run
	m        *clustermap.Map
	store    []int
	undone   []bool // join unfinished
	// uncertain: the machine lost power once, and what was not flushed.
	uncertain bool
	dead      []ID // the latest notice, which is acted on at once
	deadAt    int64
	silent    map[ID]int64 // since when a peer does not answer
	filled    map[int]map[ID]int64
}

func newSim(t testing.TB, seed uint64, servers, partitions int) *sim {
	s := &sim{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: 1000, cut: map[[2]ID]bool{}, asked: map[string]bool{}, answers: map[uint64]Reply{}}
	s.cfg = Config{ClusterID: 7, Partitions: partitions}
	s.c = New(s.cfg)
	s.m = &clustermap.Map{}
	s.acked = make([]int, partitions)
	for i := range servers {
		s.add(ID(i + 1))
	}
	s.c.Lead(s.now, s.m)
	return s
}

func (s *sim) add(id ID) *box {
	b := &box{id: id, store: make([]int, s.cfg.Partitions), undone: make([]bool, s.cfg.Partitions)}
	s.boxes = append(s.boxes, b)
	s.boot(b)
	return b
}

func (s *sim) boot(b *box) {
	b.up, b.paused, b.linked = true, 0, false
	b.inc++
	b.run = s.r.Uint64()
	b.dead, b.silent, b.filled = nil, map[ID]int64{}, map[int]map[ID]int64{}
}

func (s *sim) crash(b *box) {
	if !b.up {
		return
	}
	b.up, b.linked = false, false
	inc := b.inc
	// Mostly the manager sees the connection break and the port refuse.
	if s.r.IntN(4) > 0 {
		s.after(int64(s.r.IntN(50)), func() {
			if !b.up && b.inc == inc {
				s.c.Broken(s.now, b.id)
			}
		})
	}
}

// powerLoss is a crash that takes the store's last operations with it. They were
// acknowledged: only the other replicas have them now (R9).
func (s *sim) powerLoss(b *box) {
	if !b.up {
		return
	}
	s.crash(b)
	b.uncertain = true
	for i := range b.store {
		b.store[i] = max(0, b.store[i]-s.r.IntN(3))
	}
	s.forgive(s.m)
}

// forgive what P2 does not promise: a configuration of one store that lost power.
func (s *sim) forgive(m *clustermap.Map) {
	for i := range m.Partitions {
		if k := m.Partitions[i].LastKnown; len(k) == 1 {
			if b := s.box(k[0]); b.uncertain && s.acked[i] > b.store[i] {
				s.acked[i] = b.store[i]
			}
		}
	}
}

func (s *sim) after(d int64, f func()) { s.late = append(s.late, event{s.now + d, f}) }

func (s *sim) box(id ID) *box {
	for _, b := range s.boxes {
		if b.id == id {
			return b
		}
	}
	return nil
}

func (s *sim) runs(b *box) bool { return b != nil && b.up && b.paused <= s.now }

// reach: a and b talk (manager is 0).
func (s *sim) reach(a, b ID) bool { return !s.cut[[2]ID{min(a, b), max(a, b)}] }

// role: b takes part by the map it holds.
func (b *box) role() bool {
	if b.m == nil {
		return false
	}
	srv := b.m.Server(b.id)
	return srv != nil && srv.Incarnation == b.inc
}

// step is ten milliseconds.
func (s *sim) step() {
	s.now += 10
	for i := 0; i < len(s.late); {
		if s.late[i].at > s.now {
			i++
			continue
		}
		f := s.late[i].f
		s.late = slices.Delete(s.late, i, i+1)
		f()
	}
	for _, b := range s.boxes {
		if s.runs(b) {
			s.live(b)
		}
	}
	if s.now >= s.downTo {
		if !s.c.Leading() {
			s.c.Lead(s.now, s.m)
			s.term++
			for _, b := range s.boxes {
				b.linked = false
			}
		}
		s.manage()
	}
}

func (s *sim) manage() {
	s.checkRest()
	out := s.c.Next(s.now)
	for _, r := range out.Replies {
		s.answers[r.Ticket] = r
		if s.trace {
			s.t.Logf("%d reply %v %s", s.now, r.Response.Lines, r.Err)
		}
	}
	for _, b := range s.boxes {
		to := b.id
		ids, ok := out.Dead[to]
		if !ok {
			continue
		}
		s.after(int64(s.r.IntN(50)), func() {
			if s.runs(b) && s.reach(0, to) {
				b.dead, b.deadAt = ids, s.now
			}
		})
	}
	if out.Delta == nil {
		return
	}
	d := out.Delta
	d.Updated = s.now
	term := s.term
	s.after(int64(s.r.IntN(40)), func() {
		if term != s.term {
			return // another leads already: what was not committed before never is
		}
		n, err := s.m.Apply(d)
		if err != nil {
			s.t.Fatalf("at %d the map refuses the council's step: %v", s.now, err)
		}
		s.check(s.m, n)
		s.m = n
		s.forgive(n)
		if s.c.Leading() {
			s.c.Applied(s.now, n)
		}
		for _, b := range s.boxes {
			s.after(int64(s.r.IntN(60)), func() { s.push(b, n) })
		}
	})
}

func (s *sim) push(b *box, n *clustermap.Map) {
	if !b.up || !b.linked || !s.reach(0, b.id) {
		return
	}
	if s.runs(b) && (b.m == nil || b.m.Version < n.Version) {
		b.m = n
	}
}

// check is what every step must keep beyond Apply's own rules.
func (s *sim) check(old, n *clustermap.Map) {
	if err := n.Validate(); err != nil {
		s.t.Fatalf("at %d: %v", s.now, err)
	}
	for i := range n.Partitions {
		p := &n.Partitions[i]
		if len(p.Replicas) == 0 && len(p.LastKnown) == 0 {
			s.t.Fatalf("at %d partition %d is nobody's", s.now, i)
		}
		if len(old.Partitions) == 0 {
			continue
		}
		o := &old.Partitions[i]
		if len(p.Replicas) == 0 && len(p.Awaited) == 0 && n.Recovered == old.Recovered {
			// Roles are left to nobody only where those of all were ended by a restart.
			for _, id := range o.Replicas {
				if was, is := old.Server(id), n.Server(id); was != nil && is != nil && is.Incarnation == was.Incarnation {
					s.t.Fatalf("at %d partition %d lost its replicas %v for nobody", s.now, i, o.Replicas)
				}
			}
		}
		if o.Epoch == p.Epoch && o.Active == p.Active {
			continue
		}
		if s.trace {
			s.t.Logf("%d v%d p%d e%d %v joining %v active %v known %v (was e%d %v)", s.now, n.Version, i, p.Epoch, p.Replicas, p.Joining, p.Active, p.LastKnown, o.Epoch, o.Replicas)
		}
		if !p.Active {
			continue
		}
		for _, id := range o.Replicas {
			if !slices.Contains(p.Replicas, id) && !s.asked[fmt.Sprint(i, o.Epoch, id)] {
				s.t.Fatalf("at %d partition %d: %s was removed and Active kept, but the primary did not ask in epoch %d (R3, R4)", s.now, i, id, o.Epoch)
			}
		}
	}
}

// command gives a command and returns its ticket.
func (s *sim) command(name string, args ...string) uint64 {
	s.ticket++
	s.c.Command(s.now, s.ticket, control.CommandRequest{Command: name, Args: args})
	return s.ticket
}

// loseManagers has a blank manager begin, and recovers from the maps of those
// servers that have come by some moment. The others come later.
func (s *sim) loseManagers() {
	s.term++
	s.recoveries++
	s.m, s.downTo = &clustermap.Map{}, 0
	s.c = New(s.cfg)
	s.c.Lead(s.now, s.m)
	// Some that knew the newest go with the managers, some that were away come
	// back. Once: where none who answers knows of the last recovery, the new one
	// is its sibling, and those who followed that are refused.
	swap := s.recoveries == 1
	for _, b := range s.boxes {
		b.linked = false
		switch {
		case swap && b.up && s.r.IntN(3) > 0:
			s.crash(b)
			s.after(3000+int64(s.r.IntN(6000)), func() {
				if !b.up {
					s.boot(b)
				}
			})
		case swap && !b.up:
			s.boot(b)
		}
	}
	ticket := uint64(0)
	for end := s.now + 30_000; s.m.ClusterID == 0; s.step() {
		if s.now > end {
			s.t.Fatalf("at %d: not recovered in 30 s: %+v", s.now, s.answers[ticket])
		}
		list, _, err := s.c.Strangers(s.now)
		if err != nil || len(list) == 0 || s.now%100 != 0 || s.r.IntN(8) > 0 {
			continue
		}
		var found []Found
		for _, r := range list {
			found = append(found, Found{r, s.box(r.ID).m})
		}
		s.ticket++
		ticket = s.ticket
		s.c.Recover(s.now, ticket, found)
	}
	if s.trace {
		s.t.Logf("%d recovered: %v", s.now, s.answers[ticket].Response.Lines)
	}
}

// run until ok holds, at most d milliseconds.
func (s *sim) until(d int64, ok func() bool) bool {
	for end := s.now + d; s.now < end; {
		if s.step(); ok() {
			return true
		}
	}
	return false
}

// settled: every partition is served by exactly the servers that planning wants.
func (s *sim) settled() bool {
	if s.m.ClusterID == 0 {
		return false
	}
	for i := range s.m.Partitions {
		p := &s.m.Partitions[i]
		if !p.Active || len(p.Joining) > 0 || !clustermap.SameSet(p.Replicas, p.Assigned) || p.Replicas[0] != p.Assigned[0] {
			return false
		}
	}
	copies, surplus := s.c.Moving()
	return copies+surplus == 0
}
