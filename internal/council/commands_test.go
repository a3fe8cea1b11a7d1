package council

import (
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// blank is a council without a cluster and with n servers registered at now.
func blank(t testing.TB, partitions, n int, change func(*Registration)) *sim {
	s := &sim{t: t, now: 1000, cfg: Config{ClusterID: 7, Partitions: partitions}, m: &clustermap.Map{}, answers: map[uint64]Reply{}}
	s.c = New(s.cfg)
	s.c.Lead(s.now, s.m)
	for i := range n {
		s.join(ID(i+1), change)
	}
	return s
}

func (s *sim) join(id ID, change func(*Registration)) Verdict {
	r := Registration{Hello: control.Hello{Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 1, RunID: 1}}
	if change != nil {
		change(&r)
	}
	return s.c.Registered(s.now, r)
}

// turns lets the council act until it has nothing to do.
func (s *sim) turns() {
	s.t.Helper()
	for range 100 {
		out := s.c.Next(s.now)
		for _, r := range out.Replies {
			s.answers[r.Ticket] = r
		}
		if out.Delta == nil {
			return
		}
		n, err := s.m.Apply(out.Delta)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := n.Validate(); err != nil {
			s.t.Fatal(err)
		}
		s.m = n
		s.c.Applied(s.now, n)
	}
	s.t.Fatal("the council does not come to rest")
}

// serve reports what the primaries would until nothing is left to do.
func (s *sim) serve() {
	s.t.Helper()
	for range 50 {
		s.turns()
		by := map[ID]*control.Report{}
		for i := range s.m.Partitions {
			p := &s.m.Partitions[i]
			r := by[p.Primary()]
			if r == nil {
				r = &control.Report{Incarnation: s.m.Server(p.Primary()).Incarnation}
				by[p.Primary()] = r
			}
			if !p.Active {
				r.Activated = append(r.Activated, control.PartitionEpoch{P: uint16(i), E: p.Epoch})
			}
			for _, j := range p.Joining {
				r.InSync = append(r.InSync, control.InSync{P: uint16(i), E: p.Epoch, Joiner: j, Incarnation: s.m.Server(j).Incarnation})
			}
		}
		before := s.m.Version
		for id, r := range by {
			s.c.Report(s.now, id, *r)
		}
		s.turns()
		if s.m.Version == before {
			return
		}
	}
}

func (s *sim) answer(ticket uint64) Reply {
	s.t.Helper()
	r, ok := s.answers[ticket]
	if !ok {
		s.t.Fatal("the command is not answered")
	}
	return r
}

func (s *sim) keepAlive(d int64, ids ...ID) {
	for end := s.now + d; s.now < end; {
		s.now += 500
		for _, id := range ids {
			s.c.Heard(s.now, id)
		}
		s.turns()
	}
}

func TestFirstAttachWaitsForServers(t *testing.T) {
	s := blank(t, 16, 0, nil)
	k := s.command("attach")
	s.now += 900
	s.join(1, nil)
	s.turns()
	s.now += 900
	s.join(2, nil)
	s.turns()
	if len(s.answers) > 0 {
		t.Fatal("answered while servers still come")
	}
	s.now += 1000
	s.turns()
	if r := s.answer(k); len(r.Response.Nodes) != 2 || len(s.m.Servers) != 2 {
		t.Errorf("%+v", r)
	}
	for i := range s.m.Partitions {
		if p := &s.m.Partitions[i]; len(p.Replicas) != 2 || p.Active || p.Epoch < 1 {
			t.Fatalf("partition %d: %+v", i, p)
		}
	}
	s = blank(t, 16, 0, nil)
	k = s.command("attach")
	s.now += 5000
	s.turns()
	if r := s.answer(k); !r.Response.Nothing {
		t.Errorf("without servers: %+v", r)
	}
}

func TestAttachTakesThePlaceOfADeadServer(t *testing.T) {
	s := blank(t, 64, 3, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	before := s.m.Partitions
	s.c.Broken(s.now, 2)
	s.keepAlive(3000, 1, 3)
	s.join(9, func(r *Registration) { r.Addr = addr(2) })
	k := s.command("attach")
	s.serve()
	if r := s.answer(k); len(r.Response.Nodes) != 1 || r.Err != "" {
		t.Fatalf("%+v", r)
	}
	if len(s.m.Servers) != 3 || s.m.Server(2) != nil {
		t.Fatalf("servers %+v", s.m.Servers)
	}
	for i := range s.m.Partitions {
		want := slices.Clone(before[i].Assigned)
		if n := slices.Index(want, 2); n >= 0 {
			want[n] = 9
		}
		if got := s.m.Partitions[i].Assigned; !clustermap.SameSet(got, want) {
			t.Errorf("partition %d: assigned %v, want %v", i, got, want)
		}
	}
	if copies, surplus := s.c.Moving(); copies+surplus != 0 {
		t.Errorf("%d copies, %d moves left", copies, surplus)
	}
}

func TestRestoredBackupsSeed(t *testing.T) {
	s := blank(t, 16, 3, func(r *Registration) {
		r.HasData = true
		r.Positions = []control.StorePosition{
			{Partition: 0, Version: 9<<clustermap.SeqBits | uint64(r.ID)},
			{Partition: 1, Version: 5<<clustermap.SeqBits | 3, Unfinished: r.ID != 2},
		}
	})
	s.command("attach")
	s.now += 1500
	s.turns()
	p := s.m.Partitions[0]
	if !slices.Equal(p.Replicas, []ID{3}) || p.Epoch != 10 || len(p.Assigned) != 3 {
		t.Errorf("the most advanced seeds, above its epoch: %+v", p)
	}
	if p := s.m.Partitions[1]; !slices.Equal(p.Replicas, []ID{2}) {
		t.Errorf("a finished store seeds: %+v", p)
	}
	if p := s.m.Partitions[2]; len(p.Replicas) != 3 {
		t.Errorf("an empty partition begins whole: %+v", p)
	}
	s.serve()
	if p := s.m.Partitions[0]; len(p.Replicas) != 3 || !p.Active {
		t.Errorf("the others join: %+v", p)
	}
}

func TestDetachOfLastReplicas(t *testing.T) {
	s := blank(t, 16, 1, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	s.join(2, nil)
	s.command("attach-noreplace")
	s.serve()
	s.c.Broken(s.now, 1)
	s.keepAlive(3000, 2)
	k := s.command("detach")
	s.turns()
	if r := s.answer(k); !strings.Contains(r.Err, "--accept-loss "+s.m.ClusterID.String()) {
		t.Fatalf("%+v", r)
	}
	s.ticket++
	s.c.Command(s.now, s.ticket, control.CommandRequest{Command: "detach", AcceptLoss: s.m.ClusterID.String()})
	s.serve()
	if r := s.answer(s.ticket); r.Err != "" {
		t.Fatalf("%+v", r)
	}
	if s.m.Server(1) != nil || !slices.Contains(s.m.Banned, 1) {
		t.Errorf("servers %v, banned %v", s.m.Servers, s.m.Banned)
	}
	for i := range s.m.Partitions {
		if p := &s.m.Partitions[i]; !p.Active || !slices.Equal(p.Replicas, []ID{2}) {
			t.Fatalf("partition %d: %+v", i, p)
		}
	}
	if v := s.join(1, func(r *Registration) { r.Incarnation = 2; r.ClusterID = 7 }); v.OK || !v.Refuse.Fatal {
		t.Errorf("a given-up store returns: %+v", v)
	}
}

// P5: right after an election nobody was heard yet, so nobody counts as what
// remains when a fault server is detached.
func TestDetachAfterElection(t *testing.T) {
	s := blank(t, 16, 3, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	s.c.Broken(s.now, 1)
	s.keepAlive(3000, 2, 3)
	s.serve()
	if s.m.Server(1).State != clustermap.Fault {
		t.Fatal("not fault")
	}
	s.c.Lead(s.now, s.m)
	k := s.command("detach")
	s.turns()
	if len(s.answers) != 1 { // attach's
		t.Fatalf("answered before anybody could be heard: %+v", s.answers)
	}
	s.now += 5000
	s.turns()
	if r := s.answer(k); !strings.Contains(r.Err, "--accept-loss") {
		t.Fatalf("%+v", r)
	}
	s.c.Lead(s.now, s.m)
	k = s.command("detach")
	s.turns()
	s.join(2, nil)
	s.join(3, nil)
	s.turns()
	if r := s.answer(k); r.Err != "" || s.m.Server(1) != nil {
		t.Fatalf("%+v %v", r, s.m.Servers)
	}
}

func TestAutoReplace(t *testing.T) {
	s := blank(t, 16, 4, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	s.command("enable-auto-replace")
	s.turns()
	s.c.Broken(s.now, 2)
	s.keepAlive(5000, 1, 3, 4)
	if s.m.Server(2) == nil {
		t.Fatal("detached before -Rs")
	}
	s.keepAlive(1500, 1, 3, 4)
	if s.m.Server(2) != nil {
		t.Fatal("not detached after -Rs")
	}
	s.join(9, nil)
	s.keepAlive(4500, 1, 3, 4, 9)
	if s.m.Server(9) == nil {
		t.Fatal("a new server was not attached after -Rs")
	}
	s.serve()
	if copies, surplus := s.c.Moving(); copies+surplus != 0 {
		t.Errorf("%d copies, %d moves left", copies, surplus)
	}
}

// --detach-delay: a server that is away for longer than -Rs is kept, and attached soon when it is back.
func TestDetachDelay(t *testing.T) {
	s := blank(t, 16, 4, nil)
	s.c.cfg.DetachDelay = 60_000
	s.command("attach")
	s.now += 1500
	s.serve()
	s.command("enable-auto-replace")
	s.turns()
	s.c.Broken(s.now, 2)
	s.keepAlive(30_000, 1, 3, 4)
	if s.m.Server(2) == nil || s.m.Server(2).State != clustermap.Fault {
		t.Fatalf("detached before --detach-delay, or not at fault: %v", s.m.Server(2))
	}
	s.join(2, nil)
	s.keepAlive(6000, 1, 2, 3, 4)
	if s.m.Server(2).State != clustermap.Active {
		t.Fatal("not attached again after -Rs")
	}
	s.c.Broken(s.now, 2)
	s.keepAlive(65_000, 1, 3, 4)
	if s.m.Server(2) != nil {
		t.Error("not detached after --detach-delay")
	}
}

// -a is recorded also where the step that was to do it was not, and is not where it
// was taken back before anything was attached.
func TestAutoReplaceByFlag(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.autoOn = true
	for range 2 {
		if out := s.c.Next(s.now); out.Delta == nil || out.Delta.AutoReplace == nil {
			t.Fatalf("%+v", out.Delta)
		}
		s.c.Refused(s.now, s.m, "no majority")
	}
	s.next()
	if !s.m.AutoReplace {
		t.Fatal("not recorded")
	}
	s.c.Command(s.now, 1, control.CommandRequest{Command: "disable-auto-replace"})
	for range 3 {
		s.next()
	}
	if s.m.AutoReplace {
		t.Error("switched on again")
	}
	on := *s.m // recorded by an earlier leader
	on.AutoReplace = true
	s.m, s.c.autoOn = &on, true
	s.c.Lead(s.now, s.m)
	for id := ID(1); id <= 4; id++ {
		s.registers(id, 1)
	}
	s.next()
	s.c.Command(s.now, 2, control.CommandRequest{Command: "disable-auto-replace"})
	for range 3 {
		s.next()
	}
	if s.m.AutoReplace {
		t.Error("switched on again")
	}
	b := blank(t, 16, 2, nil)
	b.c.cfg.AutoReplace, b.c.autoOn = true, true
	b.command("disable-auto-replace")
	b.turns()
	b.command("attach")
	b.now += 1500
	b.serve()
	if b.m.ClusterID == 0 || b.m.AutoReplace {
		t.Errorf("cluster %s, auto-replace %v", b.m.ClusterID, b.m.AutoReplace)
	}
}

func TestFullReplaceKeepsTwoCopies(t *testing.T) {
	s := blank(t, 64, 3, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	epochs := s.m.Partitions[0].Epoch
	k := s.command("full-replace")
	s.serve()
	if r := s.answer(k); r.Err != "" || r.Response.Nothing {
		t.Fatalf("%+v", r)
	}
	if copies, surplus := s.c.Moving(); copies+surplus != 0 {
		t.Errorf("%d copies, %d moves left", copies, surplus)
	}
	if e := s.m.Partitions[0].Epoch; e < epochs+6 {
		t.Errorf("epoch %d after %d: backups were not taken out and joined again", e, epochs)
	}
}

// What full-replace still had to compare may be over without a step of the map.
func TestComparisonEndsWithoutAStep(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.verify.todo[0] = []ID{4} // it was a replica when the command was given
	if copies, _ := s.c.Moving(); copies != 1 {
		t.Fatal(copies)
	}
	out := s.c.Next(s.now)
	if copies, _ := s.c.Moving(); copies != 0 || out.Delta != nil {
		t.Errorf("%d copies, %+v", copies, out.Delta)
	}
}

func BenchmarkNext(b *testing.B) {
	s := blank(b, 4096, 6, nil)
	s.command("attach")
	s.now += 1500
	s.serve()
	for b.Loop() {
		if out := s.c.Next(s.now); out.Delta != nil {
			b.Fatal("not at rest")
		}
	}
}
