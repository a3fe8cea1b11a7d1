package council

import (
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// scene is a council over one partition, 8 copies of it, with servers 1 to 4
// attached, active, in incarnation 1 and heard just now.
type scene struct {
	t   *testing.T
	c   *Council
	m   *clustermap.Map
	now int64
}

func newScene(t *testing.T, p Partition) *scene {
	m := &clustermap.Map{ClusterID: 7, Version: 1, Replication: 3}
	for id := ID(1); id <= 4; id++ {
		m.Servers = append(m.Servers, clustermap.Server{ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 1, RunID: 1})
	}
	for range 8 {
		m.Partitions = append(m.Partitions, p)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, c: New(Config{}), m: m, now: 1000}
	s.c.Lead(s.now, m)
	for id := ID(1); id <= 4; id++ {
		s.registers(id, 1)
	}
	return s
}

func addr(id ID) string { return "10.0.0." + string(rune('0'+id)) + ":19800" }

func (s *scene) registers(id ID, inc uint64, positions ...control.StorePosition) Verdict {
	return s.c.Registered(s.now, Registration{Positions: positions, Hello: control.Hello{Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id),
		Incarnation: inc, RunID: inc, ClusterID: 7}})
}

// next applies what the council proposes and returns partition 0 after it.
func (s *scene) next() Partition {
	s.t.Helper()
	out := s.c.Next(s.now)
	if out.Delta == nil {
		return s.m.Partitions[0]
	}
	n, err := s.m.Apply(out.Delta)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = n
	s.c.Applied(s.now, n)
	return n.Partitions[0]
}

// others stay alive while d passes.
func (s *scene) pass(d int64, except ...ID) {
	s.now += d
	for id := ID(1); id <= 4; id++ {
		if !slices.Contains(except, id) {
			s.c.Heard(s.now, id)
		}
	}
}

// hang has servers say that their disks do.
func (s *scene) hang(ids ...ID) {
	for _, id := range ids {
		s.c.Report(s.now, id, control.Report{Incarnation: 1, Hangs: true})
	}
}

func all(epoch uint32) []control.PartitionEpoch {
	var out []control.PartitionEpoch
	for i := range uint16(8) {
		out = append(out, control.PartitionEpoch{P: i, E: epoch})
	}
	return out
}

func active(replicas ...ID) Partition {
	return Partition{Epoch: 5, Replicas: replicas, LastKnown: replicas, LastPrimary: replicas[0], LastPrimaryIncarnation: 1,
		Assigned: []ID{1, 2, 3}, Active: true}
}

// moving is served by 1, 2 and 3, with a joiner, and planned to be on assigned.
func moving(assigned []ID, joiner ID) Partition {
	p := active(1, 2, 3)
	p.Assigned, p.Joining = assigned, []ID{joiner}
	return p
}

// reportsInSync reports a joiner, and whom its primary gives up for it.
func reportsInSync(joiner, instead ID) func(*scene) {
	return func(s *scene) {
		in := make([]control.InSync, len(s.m.Partitions))
		for i := range in {
			in[i] = control.InSync{P: uint16(i), E: 5, Joiner: joiner, Incarnation: 1, Instead: instead}
		}
		s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: in})
	}
}

func TestRules(t *testing.T) {
	same := slices.Equal[[]ID]
	for _, test := range []struct {
		name string
		from Partition
		do   func(*scene)
		want func(p Partition) bool
	}{
		{"R3: a dead primary is replaced, LastKnown stays", active(1, 2, 3), func(s *scene) { s.c.Broken(s.now, 1) },
			func(p Partition) bool {
				return p.Epoch == 6 && !p.Active && len(p.Replicas) == 2 && !slices.Contains(p.Replicas, 1) && same(p.LastKnown, []ID{1, 2, 3})
			}},
		{"R3: the same step drops every dead member", active(1, 2, 3), func(s *scene) { s.c.Broken(s.now, 1); s.c.Broken(s.now, 2) },
			func(p Partition) bool { return same(p.Replicas, []ID{3}) && same(p.LastKnown, []ID{1, 2, 3}) }},
		{"R3: a dead backup is not removed without its primary", active(1, 2, 3), func(s *scene) { s.c.Broken(s.now, 2) },
			func(p Partition) bool { return p.Epoch == 5 }},
		{"R3: it goes at its primary's request, Active kept", active(1, 2, 3), func(s *scene) {
			s.c.Broken(s.now, 2)
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2}, Partitions: all(5)}}})
		}, func(p Partition) bool {
			return p.Active && p.Epoch == 6 && same(p.Replicas, []ID{1, 3}) && same(p.LastKnown, []ID{1, 3})
		}},
		{"R3: not at a backup's request", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 2, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{3}, Partitions: all(5)}}})
		}, func(p Partition) bool { return p.Epoch == 5 }},
		{"R3: not of another epoch", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{3}, Partitions: all(4)}}})
		}, func(p Partition) bool { return p.Epoch == 5 }},
		{"R3: a restarted backup is dropped and joins again", active(1, 2, 3), func(s *scene) { s.registers(3, 2) },
			func(p Partition) bool {
				return !p.Active && same(p.Replicas, []ID{1, 2}) && same(p.Joining, []ID{3}) && same(p.LastKnown, []ID{1, 2, 3})
			}},
		{"R3: a restarted primary is replaced and joins again", active(1, 2, 3), func(s *scene) { s.registers(1, 2) },
			func(p Partition) bool {
				return !p.Active && p.Replicas[0] != 1 && len(p.Replicas) == 2 && same(p.Joining, []ID{1})
			}},
		{"R6: a joiner that is in sync takes the place of the one that its primary gives up, Active kept", moving([]ID{1, 4, 2}, 4), reportsInSync(4, 3),
			func(p Partition) bool {
				return p.Active && p.Epoch == 6 && same(p.Replicas, []ID{1, 4, 2}) && same(p.LastKnown, []ID{1, 4, 2}) && len(p.Joining) == 0
			}},
		{"R6: not of one that planning wants to stay", moving([]ID{1, 4, 2}, 4), reportsInSync(4, 2),
			func(p Partition) bool { return p.Active && same(p.Replicas, []ID{1, 2, 3, 4}) }},
		{"R6: nor of the primary itself", moving([]ID{4, 2, 3}, 4), reportsInSync(4, 1),
			func(p Partition) bool { return p.Active && same(p.Replicas, []ID{1, 2, 3, 4}) }},
		{"R6: not while another replica is away: there would be fewer copies that live", moving([]ID{1, 4, 2}, 4), func(s *scene) {
			s.c.Broken(s.now, 2)
			reportsInSync(4, 3)(s)
		}, func(p Partition) bool {
			return p.Active && slices.Contains(p.Replicas, 3) && slices.Contains(p.Replicas, 4)
		}},
		{"R6: nor in the step that removes another", moving([]ID{1, 4, 2}, 4), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2}, Partitions: all(5)}}})
			reportsInSync(4, 3)(s)
		}, func(p Partition) bool { return p.Active && same(p.Replicas, []ID{1, 3, 4}) }},
		{"R6: nobody is given up", moving([]ID{1, 4, 2}, 4), reportsInSync(4, 0),
			func(p Partition) bool { return p.Active && same(p.Replicas, []ID{1, 2, 3, 4}) }},
		{"R9: a restarted last replica resumes at once", active(1), func(s *scene) { s.registers(1, 2) },
			func(p Partition) bool { return !p.Active && same(p.Replicas, []ID{1}) && p.Epoch == 6 }},
		{"R9: accusing all live ones replaces the accuser", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2, 3}, Partitions: all(5)}}})
		}, func(p Partition) bool {
			return p.Replicas[0] != 1 && len(p.Replicas) == 2 && same(p.Joining, []ID{1}) && !p.Active
		}},
		{"R9: of two the accused goes", active(1, 2), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2}, Partitions: all(5)}}})
		}, func(p Partition) bool { return same(p.Replicas, []ID{1}) && p.Active }},
		{"R9: accusing two dead ones is no such thing", active(1, 2, 3), func(s *scene) {
			s.c.Broken(s.now, 2)
			s.c.Broken(s.now, 3)
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2, 3}, Partitions: all(5)}}})
		}, func(p Partition) bool { return same(p.Replicas, []ID{1}) && p.Active }},
		{"R9: a primary that steps down is replaced", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, StepDown: all(5)})
		}, func(p Partition) bool { return p.Replicas[0] != 1 && len(p.Replicas) == 2 && len(p.Joining) == 0 }},
		{"R9: a backup that quits is dropped", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 3, control.Report{Incarnation: 1, StepDown: all(5)})
		}, func(p Partition) bool {
			return same(p.Replicas, []ID{1, 2}) && len(p.Joining) == 0 && len(p.LastKnown) == 3
		}},
		{"R9: both backups that quit are dropped", active(1, 2, 3), func(s *scene) {
			s.c.Report(s.now, 2, control.Report{Incarnation: 1, StepDown: all(5)})
			s.c.Report(s.now, 3, control.Report{Incarnation: 1, StepDown: all(5)})
		}, func(p Partition) bool { return same(p.Replicas, []ID{1}) && len(p.LastKnown) == 3 }},
		{"R9: nobody goes when all quit", active(1, 2, 3), func(s *scene) {
			for id := ID(1); id <= 3; id++ {
				s.c.Report(s.now, id, control.Report{Incarnation: 1, StepDown: all(5)})
			}
		}, func(p Partition) bool { return p.Epoch == 5 && p.Active }},
		{"R9: nor when all that live quit", active(1, 2, 3), func(s *scene) {
			s.c.Broken(s.now, 3)
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, StepDown: all(5)})
			s.c.Report(s.now, 2, control.Report{Incarnation: 1, StepDown: all(5)})
		}, func(p Partition) bool { return p.Epoch == 5 }},
		{"R9: a joiner that quits ends its join, and waits with the next", func() Partition { p := active(1, 2); p.Joining = []ID{3}; return p }(), func(s *scene) {
			s.c.Report(s.now, 3, control.Report{Incarnation: 1, StepDown: all(5)})
			s.next()
			s.next()
		}, func(p Partition) bool {
			return same(p.Replicas, []ID{1, 2}) && p.Active && p.Epoch == 6 && len(p.Joining) == 0
		}},
		{"R9: a primary whose disk hangs is replaced by one whose disk works", active(1, 2, 3), func(s *scene) {
			s.hang(1, 2)
			s.next()
			s.pass(hangsGrace)
		}, func(p Partition) bool { return p.Replicas[0] == 3 && p.Epoch == 6 && len(p.Joining) == 0 }},
		{"R9: a backup whose disk hangs is dropped", active(1, 2, 3), func(s *scene) {
			s.hang(2)
			s.pass(hangsGrace)
		}, func(p Partition) bool { return same(p.Replicas, []ID{1, 3}) && len(p.Joining) == 0 }},
		{"R9: and comes back when it has not said so for a while", active(1, 2, 3), func(s *scene) {
			s.hang(2)
			s.pass(hangsGrace)
			p := s.next()
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Activated: all(p.Epoch)})
			for range 3 {
				s.next()
				s.pass(1000)
				s.hang(2)
				if p := s.next(); len(p.Joining) > 0 {
					s.t.Fatal("it joins while its disk hangs")
				}
			}
			s.pass(hangsKept)
		}, func(p Partition) bool { return same(p.Joining, []ID{2}) }},
		{"R9: it goes at once when it says that all is well", active(1, 3), func(s *scene) {
			s.hang(2)
			s.next()
			s.c.Report(s.now, 2, control.Report{Incarnation: 1})
		}, func(p Partition) bool { return same(p.Joining, []ID{2}) }},
		{"R9: nobody goes when all disks hang", active(1, 2, 3), func(s *scene) {
			for _, id := range []ID{2, 1, 3} {
				s.hang(id)
				s.next()
				s.pass(hangsGrace / 3)
			}
			s.next()
			s.pass(hangsGrace)
		}, func(p Partition) bool { return p.Epoch == 5 && p.Active }},
		{"R9: a primary that accuses those whose disks hang stays", active(1, 2, 3), func(s *scene) {
			s.hang(2, 3)
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2, 3}, Partitions: all(5)}}})
		}, func(p Partition) bool { return same(p.Replicas, []ID{1}) && p.Active && len(p.Joining) == 0 }},
		{"R9: a joiner whose disk hangs ends its join", func() Partition { p := active(1, 2); p.Joining = []ID{3}; return p }(), func(s *scene) {
			s.hang(3)
			s.pass(hangsGrace)
			s.next()
		}, func(p Partition) bool { return same(p.Replicas, []ID{1, 2}) && p.Active && len(p.Joining) == 0 }},
		{"R9: but never the last one", active(1), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, StepDown: all(5)})
		}, func(p Partition) bool { return same(p.Replicas, []ID{1}) }},
		{"R6: the missing join", active(1, 2), func(s *scene) {},
			func(p Partition) bool { return same(p.Joining, []ID{3}) && p.Active && p.Epoch == 6 }},
		{"R6: not before the record", func() Partition { p := active(1, 2); p.Active = false; return p }(), func(s *scene) {},
			func(p Partition) bool { return len(p.Joining) == 0 }},
		{"R4: the record", func() Partition { p := active(2, 3); p.Active = false; p.LastKnown = []ID{1, 2, 3}; return p }(), func(s *scene) {
			s.c.Report(s.now, 2, control.Report{Incarnation: 1, Activated: all(5)})
		}, func(p Partition) bool {
			return p.Active && p.Epoch == 5 && same(p.LastKnown, []ID{2, 3}) && p.LastPrimary == 2
		}},
		{"R6: a joiner in sync", func() Partition { p := active(1, 2); p.Joining = []ID{3}; return p }(), func(s *scene) {
			var in []control.InSync
			for _, pe := range all(5) {
				in = append(in, control.InSync{P: pe.P, E: 5, Joiner: 3, Incarnation: 1})
			}
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: in})
		}, func(p Partition) bool { return p.Active && same(p.Replicas, []ID{1, 2, 3}) && len(p.Joining) == 0 }},
		{"R6: of another incarnation it is not", func() Partition { p := active(1, 2); p.Joining = []ID{3}; return p }(), func(s *scene) {
			s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: []control.InSync{{P: 0, E: 5, Joiner: 3, Incarnation: 2}}})
		}, func(p Partition) bool { return p.Epoch == 5 }},
		{"R6: a dead joiner is cancelled by a new epoch", func() Partition { p := active(1, 2); p.Joining = []ID{3}; return p }(), func(s *scene) {
			s.c.Broken(s.now, 3)
		}, func(p Partition) bool { return p.Active && p.Epoch == 6 && len(p.Joining) == 0 }},
		{"a surplus backup goes when all are there", active(1, 2, 3, 4), func(s *scene) {},
			func(p Partition) bool { return same(p.Replicas, []ID{1, 2, 3}) && !p.Active && len(p.LastKnown) == 4 }},
		{"the primary moves to the planned one", active(2, 1, 3), func(s *scene) {},
			func(p Partition) bool { return same(p.Replicas, []ID{1, 2, 3}) && !p.Active }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, test.from)
			test.do(s)
			if p := s.next(); !test.want(p) {
				t.Errorf("became %+v", p)
			}
		})
	}
}

func TestFailoverSpreads(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Broken(s.now, 1)
	s.next()
	n := map[ID]int{}
	for i := range s.m.Partitions {
		n[s.m.Partitions[i].Primary()]++
	}
	if n[2] != 4 || n[3] != 4 {
		t.Errorf("primaries %v", n)
	}
}

func TestDeadNoticeIsRepeatedAndEnds(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Broken(s.now, 3)
	if out := s.c.Next(s.now); !slices.Equal(out.Dead[1], []ID{3}) {
		t.Fatalf("notices %v", out.Dead)
	}
	s.pass(100, 3)
	if out := s.c.Next(s.now); len(out.Dead) != 0 {
		t.Errorf("again at once: %v", out.Dead)
	}
	s.pass(300, 3)
	if out := s.c.Next(s.now); !slices.Equal(out.Dead[1], []ID{3}) {
		t.Errorf("not repeated: %v", out.Dead)
	}
	s.c.Heard(s.now, 3)
	if out := s.c.Next(s.now); len(out.Dead) != 1 || len(out.Dead[1]) != 0 {
		t.Errorf("not ended: %v", out.Dead)
	}
}

func TestResumeWaitsForTheMostAdvanced(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	for id := ID(1); id <= 3; id++ {
		s.c.Broken(s.now, id)
	}
	s.next()
	s.pass(500, 1, 2, 3)
	s.registers(1, 2, control.StorePosition{Partition: 0, Version: 10})
	if p := s.next(); p.Epoch != 5 {
		t.Fatalf("resumed before its time: %+v", p)
	}
	s.pass(500, 2, 3)
	s.registers(2, 2, control.StorePosition{Partition: 0, Version: 30, Unfinished: true})
	s.registers(3, 2, control.StorePosition{Partition: 0, Version: 20})
	if p := s.next(); p.Epoch != 5 {
		t.Fatalf("resumed although an unfinished store is not one that is back: %+v", p)
	}
	s.pass(1600)
	p := s.next()
	if !slices.Equal(p.Replicas, []ID{3}) || p.Active || len(p.LastKnown) != 3 || len(p.Joining) != 0 {
		t.Errorf("resumed as %+v", p)
	}
}

func TestUncertainStoresWaitForAll(t *testing.T) {
	s := newScene(t, active(1, 2))
	s.c.Broken(s.now, 1)
	s.c.Broken(s.now, 2)
	s.next()
	back := func(id ID, version uint64) {
		s.c.Registered(s.now, Registration{Positions: []control.StorePosition{{Partition: 0, Version: version}}, Hello: control.Hello{
			Role: control.RoleServer, ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 2, RunID: 2, ClusterID: 7, Uncertain: true}})
	}
	back(1, 10)
	for range 30 {
		s.pass(500, 2)
		if p := s.next(); slices.Contains(p.Replicas, 1) && p.Epoch > 5 {
			t.Fatalf("an uncertain store resumed alone: %+v", p)
		}
	}
	back(2, 11)
	if p := s.next(); !slices.Equal(p.Replicas, []ID{2}) {
		t.Errorf("all are back: %+v", p)
	}
}

func TestFaultIsStickyUntilAttach(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.c.Broken(s.now, 3)
	s.pass(1900, 3)
	s.next()
	if s.m.Server(3).State != clustermap.Active {
		t.Fatal("fault before its time")
	}
	s.pass(100, 3)
	s.next()
	if s.m.Server(3).State != clustermap.Fault {
		t.Fatal("not fault after 2 s")
	}
	s.registers(3, 2)
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{3}, Partitions: all(s.m.Partitions[0].Epoch)}}})
	for range 5 {
		if p := s.next(); slices.Contains(p.Joining, 3) {
			t.Fatalf("a fault server joins: %+v", p)
		}
	}
	if st := s.c.Status(s.now); len(st.NotAttached) != 1 || st.NotAttached[0].State != "fault" || len(st.Attached) != 4 {
		t.Errorf("status %+v", st)
	}
	s.c.Command(s.now, 9, control.CommandRequest{Command: "attach-noreplace"})
	s.next()
	s.next()
	if p := s.next(); s.m.Server(3).State != clustermap.Active || !slices.Contains(p.Joining, 3) {
		t.Errorf("after attach %+v, server %+v", p, s.m.Server(3))
	}
}

func TestRegistrationChecks(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	reg := func(change func(*control.Hello)) Verdict {
		h := control.Hello{Role: control.RoleServer, ID: 2, Addr: addr(2), StreamAddr: addr(2), Incarnation: 1, RunID: 1, ClusterID: 7}
		change(&h)
		return s.c.Registered(s.now, Registration{Hello: h})
	}
	for _, test := range []struct {
		name   string
		change func(*control.Hello)
		fatal  bool
		words  string
	}{
		{"another cluster", func(h *control.Hello) { h.ClusterID = 8 }, true, "0000000000000008"},
		{"an older incarnation", func(h *control.Hello) { h.Incarnation = 0 }, true, "incarnation"},
		{"a copy", func(h *control.Hello) { h.RunID = 2 }, true, "copied"},
		{"a restored backup", func(h *control.Hello) { h.ID, h.ClusterID, h.HasData = 99, 0, true }, false, "destroy"},
	} {
		if v := reg(test.change); v.OK || v.Refuse.Fatal != test.fatal || !strings.Contains(v.Refuse.Reason, test.words) {
			t.Errorf("%s: %+v", test.name, v)
		}
	}
	if v := reg(func(h *control.Hello) {}); !v.OK {
		t.Errorf("the same run again: %+v", v)
	}
	blank := New(Config{})
	blank.Lead(0, &clustermap.Map{})
	if v := blank.Registered(0, Registration{Hello: control.Hello{ID: 1, Incarnation: 1, ClusterID: 7}}); v.OK || v.Refuse.Fatal || !strings.Contains(v.Refuse.Reason, "kumoctl ADDR recover") {
		t.Errorf("a blank manager: %+v", v)
	}
}

// What several primaries say of one server within one trouble is one failed
// rejoin, not one each: it comes back after a second, not after half a minute.
func TestOneTroubleIsOneFailedRejoin(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	accuse := func(part uint16) {
		e := s.m.Partitions[part].Epoch
		s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{3}, Partitions: []control.PartitionEpoch{{P: part, E: e}}}}})
		s.next()
	}
	for part := range uint16(5) {
		accuse(part)
		s.pass(100)
	}
	s.pass(rejoinFirst)
	if p := s.next(); !slices.Contains(p.Joining, 3) {
		t.Fatalf("not joining a second after one trouble: %+v", p)
	}
	// It fails again once it has begun: that waits longer.
	accuse(0)
	s.pass(rejoinFirst)
	if p := s.next(); slices.Contains(p.Joining, 3) {
		t.Fatalf("a join that failed begins again as soon as the first: %+v", p)
	}
	s.pass(rejoinFirst)
	if p := s.next(); !slices.Contains(p.Joining, 3) {
		t.Fatalf("not joining after two seconds: %+v", p)
	}
}

// R9: a fault server that comes back with a last replica leads it in a new epoch,
// and what it said of a joiner in the old one does not count any more (R6).
func TestBackFromFaultInANewEpoch(t *testing.T) {
	p := active(1)
	p.Joining, p.Assigned = []ID{2}, []ID{1, 2}
	for name, back := range map[string]func(s *scene){
		"by itself":    func(s *scene) {},
		"by a command": func(s *scene) { s.c.Command(s.now, 5, control.CommandRequest{Command: "attach-noreplace"}) },
	} {
		s := newScene(t, p)
		s.pass(2100, 1)
		s.next()
		if s.m.Server(1).State != clustermap.Fault {
			t.Fatal("not fault")
		}
		back(s)
		s.registers(1, 1)
		s.next()
		q := s.next()
		if q.Epoch <= 5 || q.Active || q.Replicas[0] != 1 || !slices.Equal(q.LastKnown, []ID{1}) || s.m.Server(1).State != clustermap.Active {
			t.Fatalf("%s: %+v", name, q)
		}
		s.c.Report(s.now, 1, control.Report{Incarnation: 1, InSync: []control.InSync{{P: 0, E: 5, Joiner: 2, Incarnation: 1}}})
		if q := s.next(); slices.Contains(q.Replicas, 2) {
			t.Errorf("%s: a report of the old epoch was taken: %+v", name, q)
		}
	}
}
