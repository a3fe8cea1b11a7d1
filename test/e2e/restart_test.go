package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// watch polls the status until stop is called, and hands each to see.
func watch(c *harness.Cluster, see func(*control.Status)) (stop func() (looks int)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	looks := 0
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if s, err := c.TryStatus(); err == nil {
				looks++
				see(s)
			}
		}
	})
	return func() int {
		close(done)
		wg.Wait()
		return looks
	}
}

// A server killed and started again at once is never fault, joins by itself, and
// every partition has its three copies again.
func TestKillAndStartAtOnce(t *testing.T) {
	c := harness.Start(t, options(3))
	l := fill(t, c, size(20_000, 100_000))
	var faults []string
	stop := watch(c, func(s *control.Status) {
		for _, n := range s.Attached {
			if n.State != "active" {
				faults = append(faults, fmt.Sprintf("%v: %s is %s", l.Now(), n.Addr, n.State))
			}
		}
		if s.Unavailable > 0 {
			faults = append(faults, fmt.Sprintf("%v: %d partitions unavailable", l.Now(), s.Unavailable))
		}
	})
	var back []time.Duration
	const rounds = 5
	for i := range rounds {
		p := c.MostPrimaries()
		l.Mark("kill -9 %s (%d primaries) and start it 200 ms later", p.Name, harness.Node(c.Status(), p).Primaries)
		p.Restart(200 * time.Millisecond)
		took, err := c.PollReady(30 * time.Second * harness.Patience)
		if err != nil {
			t.Fatalf("round %d: not ready by itself after %v: %v", i, took, err)
		}
		back = append(back, took.Round(time.Millisecond))
		l.Mark("ready again after %v", took.Round(time.Millisecond))
		l.Run(500 * time.Millisecond)
	}
	looks := stop()
	t.Logf("status was looked at %d times; all copies were back after %v", looks, back)
	for _, f := range faults {
		t.Error(f)
	}
	finish(t, l, rounds*clients, stallBar)
	c.CheckCopies()
	if s := c.Status(); s.Short != 0 {
		t.Errorf("%d partitions are short of copies", s.Short)
	}
}
