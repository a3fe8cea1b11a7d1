package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

const (
	brokenWrite = "write: connection broken"
	brokenRead  = "read: connection broken"
)

// Every process killed at once and started again: all that was acknowledged is
// there and it serves without a command.
func TestKillEverything(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, size(10_000, 100_000))
	l.Mark("kill -9 of everything")
	harness.Kill9(c.All()...)
	l.Mark("started again")
	start := time.Now()
	ops := l.Ops()
	c.StartAll()
	served := harness.Until(t, 20*time.Second, "an operation succeeds", func() error {
		if l.Ops() == ops {
			return errors.New("none does")
		}
		return nil
	})
	usable := everyPartitionWithin(t, c, l, besideBar())
	c.WaitReady(30 * time.Second)
	ready := time.Since(start)
	l.Mark("ready")
	l.Run(2 * time.Second)
	// A client may connect once more to a gateway that is just dying.
	finish(t, l, 3*clients, 15*time.Second, unknownWrite, brokenWrite, brokenRead)
	t.Logf("the first operation succeeded %v after the start, a key of every partition after %v, all copies were there after %v",
		served.Round(time.Millisecond), (served + usable).Round(time.Millisecond), ready.Round(time.Millisecond))
	for _, n := range c.Status().Attached {
		if n.State != "active" {
			t.Errorf("%s is %s", n.Addr, n.State)
		}
	}
	copiesOfAll(t, c)
}

// Without a manager reads and writes go on, and when it is back nobody has
// become fault by its absence.
func TestManagerAway(t *testing.T) {
	t.Parallel()
	away := size(10*time.Second, time.Minute)
	for _, test := range []struct {
		name       string
		away, back func(m *harness.Process)
	}{
		{"stopped", (*harness.Process).Stop, (*harness.Process).Cont},
		{"killed", (*harness.Process).Kill9, (*harness.Process).Start},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, options(3))
			l := fill(t, c, size(10_000, 100_000))
			l.Mark("manager %s for %v", test.name, away)
			test.away(c.Manager)
			l.Run(away)
			l.Mark("manager back")
			test.back(c.Manager)
			faults := map[string]time.Duration{}
			stop := watch(c, func(s *control.Status) {
				for _, n := range s.Attached {
					if n.State != "active" && faults[n.Addr] == 0 {
						faults[n.Addr] = l.Now()
					}
				}
			})
			if took, err := c.PollReady(20 * time.Second * harness.Patience); err != nil {
				t.Errorf("not ready %v after the manager was back: %v", took, err)
			}
			l.Mark("ready")
			l.Run(3 * time.Second)
			if looks := stop(); looks == 0 {
				t.Error("the status was never seen")
			}
			for addr, at := range faults {
				t.Errorf("%s became fault at %v", addr, at)
			}
			finish(t, l, 0, besideBar())
		})
	}
}
