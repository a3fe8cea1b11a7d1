package council

import (
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// checkRest tells whether what is passed over as being at rest really is: the
// long way round finds nothing to do there either.
func (s *sim) checkRest() {
	t := s.c.newTurn(s.now)
	for i := range t.m.Partitions {
		p := t.m.Partitions[i]
		if !t.atRest(uint16(i), &p) {
			if t.still() {
				s.t.Fatalf("partition %d was not looked at, and is not at rest: %+v", i, p)
			}
			continue
		}
		if np, ok := t.led(uint16(i), p, p.Replicas); ok || len(t.dead) > 0 || len(t.failures) > 0 {
			s.t.Fatalf("partition %d was taken for being at rest: %+v becomes %+v; notices %v, failures %v", i, p, np, t.dead, t.failures)
		}
	}
}

// One look at 4096 partitions: at rest, and while copies of them all are made.
func BenchmarkStep(b *testing.B) {
	for name, joining := range map[string]bool{"rest": false, "copying": true} {
		b.Run(name, func(b *testing.B) {
			m := &clustermap.Map{ClusterID: 7, Version: 1, Replication: 3}
			c := New(Config{})
			for id := ID(1); id <= 4; id++ {
				m.Servers = append(m.Servers, clustermap.Server{ID: id, Addr: addr(id), StreamAddr: addr(id), Incarnation: 1, RunID: 1})
			}
			for range clustermap.DefaultPartitions {
				p := active(1, 2, 3)
				if joining {
					p.Assigned, p.Joining = []ID{1, 2, 4}, []ID{4}
				}
				m.Partitions = append(m.Partitions, p)
			}
			c.Lead(1000, m)
			s := &scene{c: c, m: m, now: 1000}
			for id := ID(1); id <= 4; id++ {
				s.registers(id, 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				c.resting = nil // as after any change
				if d, _, _ := c.step(1000); d != nil {
					b.Fatal("something is due")
				}
			}
		})
	}
}

// A primary repeats what it reports until the map shows it. What comes after that asks for
// nothing: all partitions were looked through 20 times a second from then on.
func TestRepeatedReportLeavesPartitionsAtRest(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	s.next()
	if !s.c.newTurn(s.now).still() || !s.c.AtRest() {
		t.Fatal("not at rest to begin with")
	}
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, Accuse: []control.Accusation{{Accused: []ID{2}, Partitions: all(s.m.Partitions[0].Epoch)}}})
	if s.c.AtRest() {
		t.Error("at rest although a primary asks for something")
	}
	s.next()
	s.next()
	if s.c.AtRest() {
		t.Error("at rest although copies are missing")
	}
	s = newScene(t, active(1, 2, 3))
	s.next()
	s.c.Report(s.now, 1, control.Report{Incarnation: 1, Activated: all(s.m.Partitions[0].Epoch)})
	s.next()
	if !s.c.newTurn(s.now).still() {
		t.Error("not at rest for an activation that was recorded before it was reported again")
	}
}
