package council

import (
	"flag"
	"fmt"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone, with a trace")
	seedsFlag = flag.Int("seeds", 0, "how many seeds to run")
)

// TestRandom crashes, restarts, pauses and cuts off servers, kills them all,
// changes managers, loses them all and gives commands; then faults stop, and the cluster must
// come to rest with every copy where it is planned and nothing lost.
func TestRandom(t *testing.T) {
	seeds := 25
	if testing.Short() {
		seeds = 5
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	if *seedFlag != 0 {
		random(t, *seedFlag, true)
		return
	}
	for i := range seeds {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) { random(t, uint64(i+1), false) })
	}
}

func random(t *testing.T, seed uint64, trace bool) {
	s := newSim(t, seed, 3+int(seed%4), 16)
	s.trace = trace
	s.command("attach")
	if !s.until(10_000, s.settled) {
		t.Fatalf("not settled after the first attach")
	}
	r := s.r
	for end := s.now + 40_000; s.now < end; {
		b := s.boxes[r.IntN(len(s.boxes))]
		switch r.IntN(24) {
		case 0, 1, 2:
			s.crash(b)
			s.after(int64(r.IntN(4000)), func() {
				if !b.up {
					s.boot(b)
				}
			})
		case 3: // faster than it is noticed
			s.crash(b)
			s.boot(b)
		case 4, 5:
			b.paused = s.now + int64(r.IntN(5000))
		case 6, 7:
			o := ID(r.IntN(len(s.boxes) + 1)) // 0: the manager
			k := [2]ID{min(o, b.id), max(o, b.id)}
			s.cut[k] = true
			s.after(int64(r.IntN(4000)), func() { delete(s.cut, k) })
		case 8:
			s.c.Follow()
			s.downTo = s.now + int64(r.IntN(2000))
		case 9:
			s.command("attach")
		case 10:
			s.command("detach")
		case 11:
			s.command("replace")
		case 12:
			if len(s.boxes) < 7 {
				s.add(ID(len(s.boxes) + 1))
				s.command("attach")
			}
		case 13:
			s.command("detach-noreplace")
		case 14:
			s.command("full-replace")
		case 15:
			if r.IntN(3) == 0 {
				for _, b := range s.boxes {
					s.crash(b)
					s.after(int64(r.IntN(6000)), func() {
						if !b.up {
							s.boot(b)
						}
					})
				}
			}
		case 17: // always the same machine: the others have what it loses
			if b := s.boxes[0]; b.up {
				s.powerLoss(b)
				s.after(int64(r.IntN(4000)), func() {
					if !b.up {
						s.boot(b)
					}
				})
			}
		case 18:
			if r.IntN(3) == 0 {
				s.loseManagers()
			}
		case 16:
			s.command([]string{"enable-auto-replace", "disable-auto-replace"}[r.IntN(2)])
		}
		for range r.IntN(100) {
			s.step()
		}
	}
	// Faults end.
	for _, b := range s.boxes {
		if !b.up {
			s.boot(b)
		}
		b.paused = 0
	}
	clear(s.cut)
	for range 800 {
		s.step()
	}
	s.command("attach")
	s.command("replace")
	if !s.until(120_000, func() bool {
		return s.settled() && allActive(s.m) && len(s.m.Servers) == len(s.boxes) && len(s.m.Partitions[0].Replicas) == 3
	}) {
		for i := range s.m.Partitions {
			p := &s.m.Partitions[i]
			t.Logf("p%d e%d %v joining %v active %v known %v assigned %v", i, p.Epoch, p.Replicas, p.Joining, p.Active, p.LastKnown, p.Assigned)
		}
		t.Fatalf("seed %d: not at rest 120 s after the last fault; servers %+v, answers %+v", seed, s.m.Servers, s.answers[s.ticket])
	}
	for _, p := range s.m.Partitions {
		if int(p.Epoch) > 2000+s.recoveries*recoverEpochs {
			t.Errorf("seed %d: epoch %d: rejoins are not damped", seed, p.Epoch)
		}
	}
}

func allActive(m *clustermap.Map) bool {
	for _, s := range m.Servers {
		if s.State != clustermap.Active {
			return false
		}
	}
	return true
}
