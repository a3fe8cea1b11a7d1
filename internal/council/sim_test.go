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
	if !b.up || !s.reach(0, b.id) {
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
		if len(p.Replicas) == 0 {
			s.t.Fatalf("at %d partition %d has no replica", s.now, i)
		}
		if len(old.Partitions) == 0 {
			continue
		}
		o := &old.Partitions[i]
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

// live is what a running server does in a step.
func (s *sim) live(b *box) {
	if s.reach(0, b.id) && s.now >= s.downTo {
		if !b.linked {
			s.register(b)
		} else if s.now%200 == 0 {
			s.c.Heard(s.now, b.id)
		}
		if s.now%50 == 0 && b.m != nil && b.m.Version < s.m.Version {
			s.push(b, s.m)
		}
	}
	if !b.role() {
		return
	}
	r := control.Report{Incarnation: b.inc}
	accuse := map[ID][]control.PartitionEpoch{}
	for _, o := range s.boxes {
		if o == b || s.runs(o) && s.reach(b.id, o.id) {
			delete(b.silent, o.id)
		} else if b.silent[o.id] == 0 {
			b.silent[o.id] = s.now
		}
	}
	for i := range b.m.Partitions {
		if b.m.Partitions[i].Primary() == b.id {
			s.lead(b, i, &r, accuse)
		}
	}
	for _, o := range s.boxes {
		id, list := o.id, accuse[o.id]
		if len(list) == 0 {
			continue
		}
		r.Accuse = append(r.Accuse, control.Accusation{Accused: []ID{id}, Partitions: list})
	}
	if len(r.Activated)+len(r.InSync)+len(r.Accuse)+len(r.StepDown) > 0 && s.now%30 == 0 {
		d := int64(s.r.IntN(60))
		if s.r.IntN(20) == 0 {
			d = 400
		}
		inc := b.inc
		s.after(d, func() {
			if b.up && b.inc == inc && b.linked && s.reach(0, b.id) {
				for _, a := range r.Accuse {
					for _, pe := range a.Partitions {
						s.asked[fmt.Sprint(int(pe.P), pe.E, a.Accused[0])] = true
					}
				}
				s.c.Report(s.now, b.id, r)
			}
		})
	}
}

func (s *sim) register(b *box) {
	h := control.Hello{Role: control.RoleServer, ID: b.id, Addr: fmt.Sprintf("10.0.0.%d:19800", b.id), StreamAddr: fmt.Sprintf("10.0.0.%d:19900", b.id),
		Incarnation: b.inc, RunID: b.run, Uncertain: b.uncertain}
	if b.m != nil {
		h.ClusterID = b.m.ClusterID
	}
	reg := Registration{Hello: h}
	for i := range b.store {
		if b.store[i] > 0 || b.undone[i] {
			reg.Positions = append(reg.Positions, control.StorePosition{Partition: uint16(i), Version: uint64(b.store[i]), Unfinished: b.undone[i]})
		}
	}
	if v := s.c.Registered(s.now, reg); !v.OK {
		if s.m.ClusterID != 0 {
			s.t.Fatalf("at %d server %d refused: %s", s.now, b.id, v.Refuse.Reason)
		}
		return
	}
	b.linked = true
	if s.m.ClusterID != 0 {
		s.push(b, s.m)
	}
}

// with: o takes part in partition i at b's epoch and answers b.
func (s *sim) with(b *box, id ID, i int) *box {
	o := s.box(id)
	if !s.runs(o) || !s.reach(b.id, id) || !o.role() || o.m.Partitions[i].Epoch != b.m.Partitions[i].Epoch ||
		o.m.Server(id).Incarnation != b.m.Server(id).Incarnation {
		return nil
	}
	return o
}

// lead is a primary's step in partition i.
func (s *sim) lead(b *box, i int, r *control.Report, accuse map[ID][]control.PartitionEpoch) {
	p := &b.m.Partitions[i]
	pe := control.PartitionEpoch{P: uint16(i), E: p.Epoch}
	var peers []*box
	all := true
	for _, id := range p.Replicas[1:] {
		o := s.with(b, id, i)
		if o != nil {
			peers = append(peers, o)
			continue
		}
		all = false
	}
	members := slices.Concat(p.Replicas[1:], p.Joining)
	for _, id := range members {
		counted := slices.Contains(p.Replicas, id)
		if !counted {
			continue
		}
		limit := int64(1000)
		if slices.ContainsFunc(members, func(x ID) bool { return b.silent[x] != 0 && s.now-b.silent[x] > 1000 }) {
			limit = 667
		}
		if s.now-b.deadAt <= 30 && slices.Contains(b.dead, id) || b.silent[id] != 0 && s.now-b.silent[id] > limit {
			accuse[id] = append(accuse[id], pe)
		}
	}
	if !all {
		return
	}
	if !p.Active {
		// R4: the members agree with the primary, and the recording is asked for.
		if b.store[i] < s.acked[i] {
			s.t.Fatalf("at %d partition %d: primary %d of epoch %d holds %d of %d acknowledged: lost (P2)", s.now, i, b.id, p.Epoch, b.store[i], s.acked[i])
		}
		for _, o := range peers {
			o.store[i] = b.store[i]
		}
		r.Activated = append(r.Activated, pe)
		return
	}
	for _, o := range peers {
		o.store[i] = b.store[i] // the rings agree
	}
	// A joiner once counted must store every write until a newer epoch (R6).
	joined := []*box{}
	for _, id := range p.Joining {
		if b.filled[i] == nil {
			b.filled[i] = map[ID]int64{}
		}
		key := b.filled[i]
		o := s.with(b, id, i)
		if o == nil {
			if at := key[id]; at>>40 == int64(p.Epoch) && s.now >= at&(1<<40-1) {
				return
			}
			continue
		}
		if at := key[id]; at>>40 != int64(p.Epoch) {
			key[id] = int64(p.Epoch)<<40 | (s.now + int64(s.r.IntN(300)))
			o.undone[i] = true
		} else if s.now >= at&(1<<40-1) {
			o.undone[i] = false
			o.store[i] = b.store[i]
			joined = append(joined, o)
			r.InSync = append(r.InSync, control.InSync{P: pe.P, E: pe.E, Joiner: id, Incarnation: b.m.Server(id).Incarnation})
		}
	}
	if b.store[i] < s.acked[i] {
		s.t.Fatalf("at %d partition %d: serving primary %d of epoch %d holds %d of %d acknowledged: lost (P2)", s.now, i, b.id, p.Epoch, b.store[i], s.acked[i])
	}
	// A write: stored by all counted, then acknowledged.
	if s.r.IntN(8) == 0 {
		b.store[i]++
		for _, o := range append(peers, joined...) {
			o.store[i] = b.store[i]
		}
		s.acked[i] = b.store[i]
	} else if s.r.IntN(20) == 0 {
		// One that some have not stored, and that is not acknowledged.
		b.store[i]++
		for _, o := range peers {
			if s.r.IntN(2) == 0 {
				o.store[i] = b.store[i]
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
