package council

import (
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// five is a cluster of five servers of which the first is fault.
func five(t *testing.T) *sim {
	s := blank(t, 64, 5, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	s.c.Broken(s.now, 1)
	s.keepAlive(3000, 2, 3, 4, 5)
	s.serve()
	if s.m.Server(1).State != clustermap.Fault {
		t.Fatal("not fault")
	}
	s.command("replace")
	s.serve()
	return s
}

// --accept-loss of one server gives up what is lost with that server, not what
// other servers hold that were not heard since an election yet (P5).
func TestAcceptLossLeavesOtherServersPartitionsAlone(t *testing.T) {
	s := five(t)
	before := s.m
	s.c.Lead(s.now, s.m)
	s.join(3, nil)
	s.c.Command(s.now, 77, control.CommandRequest{Command: "detach", AcceptLoss: s.m.ClusterID.String()})
	s.turns()
	for _, id := range []ID{2, 4, 5} {
		s.join(id, nil)
	}
	s.turns()
	if r := s.answer(77); r.Err != "" || s.m.Server(1) != nil || len(s.m.Banned) > 0 {
		t.Fatalf("%+v, banned %v", r, s.m.Banned)
	}
	for i := range s.m.Partitions {
		if a, b := &before.Partitions[i], &s.m.Partitions[i]; !slices.Equal(clustermap.Without(a.Replicas, 1), b.Replicas) || !slices.Equal(clustermap.Without(a.LastKnown, 1), b.LastKnown) {
			t.Fatalf("partition %d was %+v and is %+v", i, *a, *b)
		}
	}
}

// detach --accept-loss gives up no store whose server is there: it waits for those
// that may come after an election, and looks at those that are refused (P5).
func TestDetachGivesUpNobodyWhoIsThere(t *testing.T) {
	p := active(1)
	p.Assigned = []ID{1}
	fault := func() *scene {
		s := newScene(t, p)
		s.c.Broken(s.now, 1)
		s.pass(2100, 1)
		s.next()
		if s.m.Server(1).State != clustermap.Fault {
			t.Fatalf("%+v", s.m.Server(1))
		}
		return s
	}
	detach := func(s *scene) []Reply {
		s.c.Command(s.now, 5, control.CommandRequest{Command: "detach", AcceptLoss: s.m.ClusterID.String()})
		out := s.c.Next(s.now)
		if out.Delta != nil {
			t.Errorf("given up: banned %v", out.Delta.Ban)
		}
		return out.Replies
	}
	s := fault()
	s.c.Lead(s.now, s.m)
	for id := ID(2); id <= 4; id++ {
		s.registers(id, 1)
	}
	if r := detach(s); len(r) > 0 {
		t.Fatalf("answered before it could be heard: %+v", r)
	}
	s.registers(1, 1)
	s.next()
	if s.m.Server(1) == nil || s.m.Server(1).State != clustermap.Active || len(s.m.Banned) > 0 {
		t.Errorf("%+v, banned %v", s.m.Server(1), s.m.Banned)
	}
	s = fault()
	s.pass(10_000, 1)
	s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: 1, Addr: addr(1), StreamAddr: addr(1),
		Incarnation: 2, RunID: 2, ClusterID: 7, KnownMap: s.m.Version + 1}})
	if r := detach(s); len(r) != 1 || !strings.Contains(r[0].Err, "can be reached") {
		t.Errorf("%+v", r)
	}
}

// A partition whose last members are the detached server and one that is not
// fault is not given up: the other one may have what was acknowledged last.
func TestAcceptLossNeedsAllMembersGivenUp(t *testing.T) {
	s := newScene(t, active(1, 2))
	s.c.Broken(s.now, 1)
	s.pass(2100, 1)
	s.next()
	s.next()
	if s.m.Server(1).State != clustermap.Fault || s.m.Partitions[0].Active || len(s.m.Partitions[0].LastKnown) != 2 {
		t.Fatalf("%+v", s.m.Partitions[0])
	}
	s.c.Broken(s.now, 2)
	s.c.Command(s.now, 5, control.CommandRequest{Command: "detach", AcceptLoss: s.m.ClusterID.String()})
	out := s.c.Next(s.now)
	if len(out.Replies) != 1 || !strings.Contains(out.Replies[0].Err, addr(2)+" may hold") || s.m.Server(1) == nil {
		t.Fatalf("%+v", out.Replies)
	}
}

// What is at hand is looked at when the command runs: a server that has just
// restarted without a certain store is no remaining replica.
func TestDetachLooksAtWhoIsThereNow(t *testing.T) {
	s := newScene(t, active(1, 2))
	s.c.Broken(s.now, 1)
	s.pass(2100, 1)
	s.next()
	s.next()
	s.registers(2, 2) // restarted: its role is over
	if got := s.c.lastOf(s.now, []ID{1}); len(got) != 8 {
		t.Errorf("of %v server 1 holds the last copy", got)
	}
}

// A blank manager does not begin a cluster beside one whose servers it hears.
func TestBlankManagerBesideAClustersServers(t *testing.T) {
	s := blank(t, 16, 1, nil)
	s.join(2, func(r *Registration) { r.ClusterID = 9 })
	k := s.command("attach")
	s.now += 1500
	s.c.Heard(s.now, 1)
	s.turns()
	if r := s.answer(k); !strings.Contains(r.Err, "recover") || !strings.Contains(r.Err, addr(2)) || s.m.ClusterID != 0 {
		t.Fatalf("%+v", r)
	}
	s.c.cfg.AutoReplace = true
	for range 20 {
		s.now += 500
		s.c.Heard(s.now, 1)
		s.join(2, func(r *Registration) { r.ClusterID = 9 })
		s.turns()
	}
	if s.m.ClusterID != 0 {
		t.Fatal("auto-replace began a cluster")
	}
	s.now += refusalShown + 1 // that server was ended
	s.c.Heard(s.now, 1)
	k = s.command("attach")
	s.now += 1500
	s.c.Heard(s.now, 1)
	s.turns()
	if r := s.answer(k); r.Err != "" || s.m.ClusterID == 0 {
		t.Fatalf("%+v", r)
	}
}

// A manager whose state is an old copy decides nothing, although in the end its
// version would pass what the servers hold.
func TestOldStateDecidesNothing(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Lead(s.now, s.m)
	newer := func() Verdict {
		return s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: 1, Addr: addr(1), StreamAddr: addr(1),
			Incarnation: 1, RunID: 1, ClusterID: 7, KnownMap: s.m.Version + 1}})
	}
	if v := newer(); v.OK {
		t.Fatal("taken")
	}
	s.c.Command(s.now, 5, control.CommandRequest{Command: "replace"})
	if out := s.c.Next(s.now); len(out.Replies) != 1 || !strings.Contains(out.Replies[0].Err, "old copy") {
		t.Errorf("%+v", out.Replies)
	}
	for range 40 {
		s.now += 500
		if out := s.c.Next(s.now); out.Delta != nil || len(out.Dead) > 0 {
			t.Fatalf("%+v", out)
		}
		if v := newer(); v.OK {
			t.Fatal("taken")
		}
	}
	if st := s.c.Status(s.now); len(st.Troubles) == 0 || !strings.Contains(st.Troubles[0].Text, "old copy") {
		t.Errorf("%+v", st.Troubles)
	}
}

// Where the power went right after a join, the joiner's store may not know that
// it was finished: it holds nothing more, and the other need not wait for it.
func TestUncertainStoresWithOneUnfinished(t *testing.T) {
	s := newScene(t, active(1, 2))
	s.c.Broken(s.now, 1)
	s.c.Broken(s.now, 2)
	s.next()
	back := func(id ID, unfinished bool) {
		s.c.Registered(s.now, Registration{Positions: []control.StorePosition{{Partition: 0, Version: 10, Unfinished: unfinished}}, Hello: control.Hello{
			Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 2, RunID: 2, ClusterID: 7, Uncertain: true}})
	}
	back(1, false)
	back(2, true)
	for range 8 {
		s.pass(500)
		if p := s.next(); slices.Equal(p.Replicas, []ID{1}) {
			return
		}
	}
	t.Errorf("not resumed: %+v", s.m.Partitions[0])
}

// A partition without a further epoch does not hold up all others.
func TestUsedUpEpochHoldsNobodyUp(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.m.Partitions[3].Epoch = clustermap.MaxEpoch - 1
	s.m.Partitions[3].Replicas, s.m.Partitions[3].LastKnown = []ID{2, 3}, []ID{2, 3}
	s.m.Partitions[3].LastPrimary = 2
	s.m.Partitions[4].Epoch = clustermap.MaxEpoch - 1
	s.m.Partitions[4].Replicas, s.m.Partitions[4].LastKnown = []ID{3}, []ID{3}
	s.m.Partitions[4].LastPrimary = 3
	s.m.Partitions[4].Joining, s.m.Partitions[4].Assigned = []ID{4}, []ID{3, 4}
	s.registers(2, 2)
	s.registers(4, 2) // it was the joiner of a partition that cannot change
	s.c.Broken(s.now, 1)
	for range 3 {
		s.next()
	}
	if p := s.m.Partitions[0]; p.Epoch == 5 || slices.Contains(p.Replicas, 1) {
		t.Errorf("server 1 is dead: %+v", p)
	}
}

// Right after an election nothing is planned for whom nobody has heard.
func TestNoHandOverToTheUnheard(t *testing.T) {
	p := active(2, 1, 3) // 1 is to lead
	p.LastKnown = []ID{2, 1, 3}
	s := newScene(t, p)
	s.c.Lead(s.now, s.m)
	s.registers(2, 1)
	s.registers(3, 1)
	if p := s.next(); p.Epoch != 5 {
		t.Fatalf("%+v", p)
	}
	s.registers(1, 1)
	if p := s.next(); p.Replicas[0] != 1 {
		t.Errorf("%+v", p)
	}
}

// Of several stores that could resume one is chosen whose incarnation is recorded
// in the same step; the place of one that is not is never taken by a store that
// lost its tail (R9).
func TestUncertainStoreDoesNotStandIn(t *testing.T) {
	s := newScene(t, down([]ID{4}, 4))
	for i := range 3 {
		s.m.Partitions[i] = down([]ID{2, 3, 4}, 4) // whoever takes the first is not to take the next
	}
	s.m.Partitions[3] = down([]ID{1, 2, 3, 4}, 2)
	s.m.Partitions[7] = down([]ID{3, 4}, 3) // 3 must wait here for 4
	s.c.Lead(s.now, s.m)
	s.now += 2000
	s.returns(1, 1, 10, true)
	s.returns(2, 2, 11, false)
	s.next()
	s.pass(1900, 3, 4)
	s.returns(3, 2, 11, false)
	s.next()
	for range 5 {
		s.pass(100, 4)
		s.next()
		if q := s.m.Partitions[3]; slices.Contains(q.Replicas, 1) {
			t.Fatalf("the store that lost its tail leads: %+v", q)
		}
	}
	if q := s.m.Partitions[3]; q.Primary() != 2 || q.Epoch == 5 {
		t.Errorf("%+v", q)
	}
}

// A store whose copy of one partition was never finished, back after a loss of
// power, is taken back with all the others that it has; that one waits for an
// operator, who can have it given up.
func TestUnfinishedCopyHoldsNothingElseUp(t *testing.T) {
	s := newScene(t, active(1))
	s.c.Broken(s.now, 1)
	s.next()
	var pos []control.StorePosition
	for i := range uint16(8) {
		pos = append(pos, control.StorePosition{Partition: i, Version: 10, Unfinished: i == 0})
	}
	s.c.Registered(s.now, Registration{Positions: pos, Hello: control.Hello{Role: control.RoleServer, ID: 1, Addr: addr(1), StreamAddr: addr(1),
		Incarnation: 2, RunID: 2, ClusterID: 7, Uncertain: true}})
	for range 8 {
		s.pass(500)
		s.next()
	}
	if s.m.Server(1).Incarnation != 2 || !slices.Equal(s.m.Partitions[5].Replicas, []ID{1}) || s.m.Partitions[5].Epoch == 5 {
		t.Fatalf("%+v, %+v", *s.m.Server(1), s.m.Partitions[5])
	}
	if q := s.m.Partitions[0]; len(q.Replicas) != 0 {
		t.Fatalf("%+v", q)
	}
	if st := s.c.Status(s.now); len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Text, "not finished") {
		t.Errorf("%+v", st.Troubles)
	}
	s.c.Command(s.now, 5, control.CommandRequest{Command: "recover", AcceptLoss: s.m.ClusterID.String(), Args: []string{"0"}})
	for range 3 {
		s.next()
	}
	if q := s.m.Partitions[0]; len(q.Replicas) != 1 {
		t.Errorf("%+v", q)
	}
}

// A store that was in the middle of a join when it registered, and has finished it
// since, holds what was acknowledged: it goes before one that lost its tail.
func TestFinishedSinceItRegistered(t *testing.T) {
	p := active(1)
	p.Joining, p.Assigned = []ID{2}, []ID{1, 2}
	s := newScene(t, p)
	var pos []control.StorePosition
	for i := range uint16(8) {
		pos = append(pos, control.StorePosition{Partition: i, Unfinished: true})
	}
	s.registers(2, 1, pos...)
	var in []control.InSync
	for i := range uint16(8) {
		in = append(in, control.InSync{P: i, E: 5, Joiner: 2, Incarnation: 1})
	}
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: in})
	if q := s.next(); !slices.Equal(q.LastKnown, []ID{1, 2}) {
		t.Fatalf("%+v", q)
	}
	s.c.Report(s.now, 2, control.Report{Incarnation: 1, StepDown: all(6)})
	if q := s.next(); !slices.Equal(q.Replicas, []ID{1}) || q.Active {
		t.Fatalf("%+v", q)
	}
	s.c.Broken(s.now, 1)
	s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: 1, Addr: addr(1), StreamAddr: addr(1),
		Incarnation: 2, RunID: 2, ClusterID: 7, Uncertain: true}})
	for range 8 {
		s.pass(500)
		if q := s.next(); q.Epoch > 7 && q.Primary() == 1 {
			t.Fatalf("the store that lost its tail leads: %+v", q)
		}
	}
	if q := s.m.Partitions[0]; q.Primary() != 2 {
		t.Errorf("%+v", q)
	}
}

// Whom a command gives up must be away, also when it came back this very moment.
func TestAcceptLossOfOneThatIsBack(t *testing.T) {
	s := newScene(t, active(1))
	s.c.Broken(s.now, 1)
	s.pass(2100, 1)
	s.next()
	if s.m.Server(1).State != clustermap.Fault {
		t.Fatal("not fault")
	}
	s.registers(1, 2)
	q := &command{ticket: 5, at: s.now - 6000, req: control.CommandRequest{Command: "detach", AcceptLoss: s.m.ClusterID.String()}}
	if d, wait, err := s.c.detach(s.now, q, true); d != nil || wait || err == nil || !strings.Contains(err.Error(), "can be reached") {
		t.Errorf("%v %v %v", d, wait, err)
	}
}

// One server of other managers does not stop a manager that the others follow.
func TestStrayServerStopsNobody(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Lead(s.now, s.m)
	for id := ID(1); id <= 3; id++ {
		s.registers(id, 1)
	}
	s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: 4, Addr: addr(4), StreamAddr: addr(4),
		Incarnation: 1, RunID: 1, ClusterID: 7, KnownMap: 1 << 30}})
	s.c.Broken(s.now, 1)
	if q := s.next(); q.Epoch == 5 || slices.Contains(q.Replicas, 1) {
		t.Errorf("%+v", q)
	}
	if st := s.c.Status(s.now); len(st.Troubles) != 0 {
		t.Errorf("%+v", st.Troubles)
	}
}

// returns has a server register with the same position in every partition.
func (s *scene) returns(id ID, inc, version uint64, uncertain bool) {
	var pos []control.StorePosition
	for i := range uint16(8) {
		pos = append(pos, control.StorePosition{Partition: i, Version: version})
	}
	s.c.Registered(s.now, Registration{Positions: pos, Hello: control.Hello{Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id),
		Incarnation: inc, RunID: inc, ClusterID: 7, Uncertain: uncertain}})
}

// down is a partition without a primary that was recorded.
func down(known []ID, replicas ...ID) Partition {
	p := active(replicas[0])
	p.Active, p.Replicas, p.LastKnown, p.LastPrimary = false, replicas, known, known[0]
	return p
}

// Nobody stands in for those who may not resume: one that lost its tail too, and was
// only silent, would lead when it is heard again (R9).
func TestAbsentUncertainStoreDoesNotStandIn(t *testing.T) {
	s := newScene(t, down([]ID{2, 1, 3}, 3))
	s.c.Lead(s.now, s.m)
	s.returns(3, 2, 20, true)
	s.next()
	s.pass(2000, 1, 2)
	s.next()
	s.returns(2, 1, 11, true)
	if p := s.next(); slices.Contains(p.Replicas, 2) {
		t.Fatalf("it leads alone: %+v", p)
	}
	s.returns(1, 1, 10, true)
	s.next()
	if p := s.next(); !slices.Equal(p.Replicas, []ID{3}) {
		t.Errorf("all are back, and 3 is the most advanced: %+v", p)
	}
}

// Who was a replica while the partition was recorded active has all of it again,
// whatever it lost before and said when it registered.
func TestMendedStoreIsCertain(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.returns(1, 1, 10, true) // long ago
	s.next()
	s.hang(1)
	s.next()
	s.pass(hangsGrace)
	if p := s.next(); slices.Contains(p.Replicas, 1) || p.Active {
		t.Fatalf("%+v", p)
	}
	s.c.Report(s.now, 1, control.Report{Incarnation: 1})
	s.returns(1, 1, 10, true) // its link broke, no more
	s.returns(2, 2, 15, true)
	s.c.Broken(s.now, 3)
	for range 8 {
		s.next()
		s.pass(500, 3)
	}
	if p := s.m.Partitions[0]; p.Primary() != 1 {
		t.Errorf("%+v", p)
	}
}

// A restored backup that registered before there was a cluster is not taken into one,
// which would destroy its pairs (P5).
func TestRestoredBackupThatCameEarly(t *testing.T) {
	s := blank(t, 16, 2, nil)
	s.command("attach")
	s.now += 1500
	for id := ID(1); id <= 2; id++ {
		s.c.Heard(s.now, id)
	}
	d := s.c.Next(s.now).Delta
	if v := s.join(3, func(r *Registration) { r.HasData = true }); d == nil || !v.OK {
		t.Fatalf("%v %+v", d, v)
	}
	n, err := s.m.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	s.m = n
	s.c.Applied(s.now, n)
	s.serve()
	k := s.command("attach")
	s.turns()
	if r := s.answer(k); s.m.Server(3) != nil || len(r.Response.Lines) == 0 || !strings.Contains(r.Response.Lines[0], "restored backup") {
		t.Errorf("%+v", r)
	}
	// It keeps auto-replace from nothing else.
	s.command("enable-auto-replace")
	s.join(4, nil)
	s.keepAlive(6000, 1, 2, 3, 4)
	if s.m.Server(4) == nil || s.m.Server(3) != nil {
		t.Errorf("%+v", s.m.Servers)
	}
	s.serve()
	s.c.Broken(s.now, 4)
	s.keepAlive(10_000, 1, 2, 3)
	if s.m.Server(4) != nil {
		t.Errorf("a fault server was not replaced: %+v", s.m.Servers)
	}
}

// accept-loss waits for who has just come back, fault or not.
func TestAcceptLossWaitsForWhoIsThere(t *testing.T) {
	s := newScene(t, down([]ID{1, 2}, 1))
	s.c.Broken(s.now, 1)
	s.c.Broken(s.now, 2)
	s.pass(6000, 1, 2)
	for range 3 {
		s.next()
		s.pass(1500, 1, 2)
	}
	if s.m.Server(2).State != clustermap.Fault {
		t.Fatal("not fault")
	}
	s.returns(2, 2, 10, true)
	for range 2 { // the first time it may resume by itself yet
		s.c.Command(s.now, 5, control.CommandRequest{Command: "recover", AcceptLoss: s.m.ClusterID.String(), Args: []string{"all"}})
		for range 8 {
			s.next()
			s.pass(500, 1)
		}
	}
	if p := s.m.Partitions[0]; p.Primary() != 2 || !slices.Equal(s.m.Banned, []ID{1}) {
		t.Errorf("%+v, banned %v", p, s.m.Banned)
	}
}

// Partitions that wait for a dead server do not keep others from being moved.
func TestDeadPartitionsDoNotUseUpMoves(t *testing.T) {
	s := newScene(t, active(2, 1, 3)) // 1 is to lead
	for i := 1; i < 8; i++ {
		s.m.Partitions[i] = down([]ID{4}, 4)
	}
	s.c.cfg.MaxMoving = 1
	s.c.Broken(s.now, 4)
	for range 3 {
		s.next()
	}
	if p := s.m.Partitions[0]; p.Replicas[0] != 1 {
		t.Errorf("%+v", p)
	}
}
