package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// Faults of every kind one after another, at random and without waiting for
// the cluster to recover between them, in a cluster of four servers; at most
// one server is away at a time. At the end everything heals.
func TestNemesis(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	rnd := rand.New(rand.NewPCG(s, 1))
	c := harness.Start(t, options(4))
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: size(5_000, 50_000), Seed: s})
	l.Fill()
	l.Start()
	between := func(low, high int) time.Duration {
		return time.Duration(low+rnd.IntN(high-low)) * time.Millisecond
	}
	hits := map[string]int{}
	faults := 0
	for end := time.Now().Add(size(20*time.Second, 4*time.Minute)); time.Now().Before(end); {
		p := c.Servers[rnd.IntN(len(c.Servers))]
		var what string
		do := func(kind string, gap time.Duration, begin, over func()) {
			what = kind
			l.Mark("%s %s for %v", kind, p.Name, gap)
			begin()
			l.Run(gap)
			over()
		}
		switch rnd.IntN(8) {
		case 0, 1:
			do("kill", between(0, 900), p.Kill9, p.Start)
		case 2:
			do("kill until fault", between(2500, 4000), p.Kill9, p.Start)
			faults++
		case 3:
			do("pause", between(50, 900), p.Stop, p.Cont)
		case 4:
			do("pause past the lease", between(900, 1900), p.Stop, p.Cont)
		case 5:
			do("pause until fault", between(2500, 4000), p.Stop, p.Cont)
			faults++
		case 6:
			// A primary fails while there is no manager.
			m := c.Manager
			do("manager killed, then kill", between(200, 800), func() { m.Kill9(); p.Kill9() }, func() { p.Start(); m.Start() })
		case 7:
			m := c.Manager
			do("manager paused, then pause", between(200, 2500), func() { m.Stop(); p.Stop() }, func() { p.Cont(); m.Cont() })
		}
		hits[what]++
		faults++
		l.Run(between(0, 1200))
		if rnd.IntN(2) == 0 {
			if out, err := c.TryCtl("attach"); err == nil {
				l.Mark("attach: %.60q", out)
			}
		}
		// Never two servers away at once: an attached one that is fault counts.
		harness.Until(t, 30*time.Second, "every partition has two live copies again", func() error {
			st, err := c.TryStatus()
			if err != nil {
				return err
			}
			away := 0
			for _, n := range st.Attached {
				if n.State != "active" || !n.Reachable {
					away++
				}
			}
			if away > 0 {
				c.TryCtl("attach")
				return fmt.Errorf("%d servers are away", away)
			}
			return nil
		})
	}
	l.Mark("heal")
	// A server whose joins have failed often waits up to 30 s before the next.
	_, err := harness.Poll(60*time.Second, func() error {
		c.TryCtl("attach")
		_, err := c.PollReady(3 * time.Second)
		return err
	})
	if err != nil {
		t.Errorf("the cluster does not heal: %v", err)
	}
	l.Mark("ready")
	l.Run(time.Second)
	finish(t, l, faults*clients, 10*time.Second, unknownWrite)
	t.Logf("faults: %v", hits)
	copiesOfAll(t, c)
}
