package council

import (
	"slices"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
)

// leaves has servers say that they want to be rid of roles.
func (s *scene) leaves(how control.Leaving, ids ...ID) {
	for _, id := range ids {
		s.c.Report(s.now, id, control.Report{Incarnation: 1, Leaving: how})
	}
}

// byPrimary has each primary report what r fills in for its partitions.
func (s *scene) byPrimary(fill func(r *control.Report, pe control.PartitionEpoch)) {
	by := map[ID]*control.Report{}
	for i := range s.m.Partitions {
		p := &s.m.Partitions[i]
		if by[p.Primary()] == nil {
			by[p.Primary()] = &control.Report{Incarnation: s.m.Server(p.Primary()).Incarnation, Leaving: s.c.members[p.Primary()].leaving}
		}
		fill(by[p.Primary()], control.PartitionEpoch{P: uint16(i), E: p.Epoch})
	}
	for id, r := range by {
		s.c.Report(s.now, id, *r)
	}
}

// activates reports what primaries do in new epochs.
func (s *scene) activates() {
	s.byPrimary(func(r *control.Report, pe control.PartitionEpoch) { r.Activated = append(r.Activated, pe) })
}

// accuses has all primaries accuse these servers.
func (s *scene) accuses(ids ...ID) {
	s.byPrimary(func(r *control.Report, pe control.PartitionEpoch) {
		r.Accuse = append(r.Accuse, control.Accusation{Accused: ids, Partitions: []control.PartitionEpoch{pe}})
	})
}

func (s *scene) wants(p Partition, active bool, replicas ...ID) {
	s.t.Helper()
	if p.Active != active || !slices.Equal(p.Replicas, replicas) {
		s.t.Fatalf("the partition is %+v, want replicas %v, active %v", p, replicas, active)
	}
}

func TestDrain(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.leaves(control.Drains, 1)
	s.wants(s.next(), false, 2, 1, 3) // it remains a backup
	if out := s.c.Next(s.now); out.Delta != nil {
		t.Fatalf("it is not served, but %+v follows", out.Delta)
	}
	s.activates()
	s.wants(s.next(), true, 2, 1, 3)
	for range 3 { // though planning wants it at 1
		s.pass(500)
		s.leaves(control.Drains, 1)
		s.wants(s.next(), true, 2, 1, 3)
	}
	if n := s.c.Status(s.now).Attached[0]; n.Leaving != "drained" || n.Primaries != 0 {
		t.Fatalf("status says %+v", n)
	}
	s.leaves(control.Stays, 1)
	s.wants(s.next(), false, 1, 2, 3)
}

// TestStop: backups leave by a removal that the primary asks for, so it is served all
// the time; the server joins again at once when it is back.
func TestStop(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.leaves(control.Stops, 1)
	s.wants(s.next(), false, 2, 1, 3)
	out := s.c.Next(s.now)
	if len(out.Released) != 0 {
		t.Fatal("it is told that it may go before it may")
	}
	s.activates()
	s.wants(s.next(), true, 2, 1, 3)
	out = s.c.Next(s.now)
	if !slices.Equal(out.Dead[2], []ID{1}) || out.Delta != nil || len(out.Released) != 0 {
		t.Fatalf("the primary is to be told of 1 alone, not %+v", out)
	}
	s.accuses(1)
	s.wants(s.next(), true, 2, 3)
	if out = s.c.Next(s.now); out.Released[1] != control.Stops || out.Delta != nil {
		t.Fatalf("it may go now, but: %+v", out)
	}
	if out = s.c.Next(s.now); len(out.Released) != 0 {
		t.Fatal("it is told each time")
	}
	s.pass(500)
	if out = s.c.Next(s.now); out.Released[1] != control.Stops {
		t.Fatal("it is not told again")
	}
	s.registers(1, 2)
	p := s.next() // its incarnation
	if len(p.Joining) == 0 {
		p = s.next()
	}
	if !slices.Equal(p.Joining, []ID{1}) {
		t.Fatalf("it does not join again at once: %+v", p)
	}
}

// TestStopOfAll: where nobody can take over, nothing is taken over, and nobody waits.
func TestStopOfAll(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.leaves(control.Stops, 1, 2, 3)
	out := s.c.Next(s.now)
	if out.Delta != nil || len(out.Dead) != 0 {
		t.Fatalf("%+v", out)
	}
	for id := ID(1); id <= 3; id++ {
		if out.Released[id] != control.Stops {
			t.Errorf("%v is not told that it may go", id)
		}
	}
	s.wants(s.m.Partitions[0], true, 1, 2, 3)
}

// TestStopBesideDead: the one that is left keeps the partition, though it accuses all others.
func TestStopBesideDead(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.pass(2100, 2)
	s.leaves(control.Stops, 3)
	out := s.c.Next(s.now)
	if out.Delta == nil { // 2 is marked fault
		t.Fatal("2 is away")
	}
	n, err := s.m.Apply(out.Delta)
	if err != nil {
		t.Fatal(err)
	}
	s.m = n
	s.c.Applied(s.now, n)
	s.leaves(control.Stops, 3)
	s.accuses(2, 3)
	s.wants(s.next(), true, 1)
	if out := s.c.Next(s.now); out.Released[3] != control.Stops {
		t.Fatalf("it may go now, but: %+v", out)
	}
}

// TestHeirs: a failover goes to one that stays, if there is one.
func TestHeirs(t *testing.T) {
	for _, leaving := range [][]ID{{2}, {3}, {2, 3}} {
		s := newScene(t, active(1, 2, 3))
		s.leaves(control.Drains, leaving...)
		s.c.Broken(s.now, 1)
		p := s.next()
		if lead := p.Primary(); lead == 1 || len(leaving) == 1 && lead == leaving[0] {
			t.Errorf("%v leave, and %v leads", leaving, lead)
		}
	}
}

// TestStopOfJoiner: its join ends at once.
func TestStopOfJoiner(t *testing.T) {
	s := newScene(t, moving([]ID{1, 2, 4}, 4))
	s.leaves(control.Drains, 4) // a backup may become one
	s.wants(s.next(), true, 1, 2, 3)
	if p := s.m.Partitions[0]; !slices.Equal(p.Joining, []ID{4}) {
		t.Fatalf("%+v", p)
	}
	s.leaves(control.Stops, 4)
	if p := s.next(); len(p.Joining) != 0 || !p.Active {
		t.Fatalf("%+v", p)
	}
	if out := s.c.Next(s.now); out.Released[4] != control.Stops || out.Delta != nil {
		t.Fatalf("it may go now, but: %+v", out)
	}
}

// TestDrainedHeir: one that leads nothing on purpose leads where nobody else can.
func TestDrainedHeir(t *testing.T) {
	s := newScene(t, active(1, 2))
	s.leaves(control.Drains, 2)
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, StepDown: all(5)})
	if p := s.next(); p.Primary() != 2 {
		t.Fatalf("%+v", p)
	}
	s = newScene(t, active(1, 2))
	s.leaves(control.Drains, 2)
	s.leaves(control.Stops, 1)
	if p := s.next(); p.Primary() != 2 {
		t.Fatalf("a server that stops hands over to a drained one, but: %+v", p)
	}
}

// TestDrainedIsAtRest: while a server is drained, nothing is to be moved for that, and plans go on.
func TestDrainedIsAtRest(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.leaves(control.Drains, 1)
	s.next()
	s.activates()
	s.wants(s.next(), true, 2, 1, 3)
	if copies, surplus := s.c.Moving(); copies+surplus != 0 {
		t.Errorf("%d copies and %d partitions are to be moved", copies, surplus)
	}
	p := active(2, 1, 3, 4) // one copy too many
	s = newScene(t, p)
	s.leaves(control.Drains, 1)
	s.wants(s.next(), false, 2, 1, 3)
}

// TestLeavingIsKnownAtOnce: a new leader, or one to whom a server comes again, gives it nothing back.
func TestLeavingIsKnownAtOnce(t *testing.T) {
	p := active(2, 3)
	s := newScene(t, p)
	s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: 1, Addr: addr(1), StreamAddr: addr(1),
		Incarnation: 1, RunID: 1, ClusterID: 7, Leaving: control.Stops}})
	if p := s.next(); len(p.Joining) != 0 {
		t.Fatalf("%+v", p)
	}
}

// TestVerifyBesideStop: full-replace takes no copy out while another one goes.
func TestVerifyBesideStop(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Command(s.now, 1, control.CommandRequest{Command: "full-replace"})
	s.leaves(control.Stops, 3)
	for range 5 {
		s.c.Next(s.now)
		if p := s.next(); len(p.Replicas) < 3 {
			t.Fatalf("%+v", p)
		}
	}
}
