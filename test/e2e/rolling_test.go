package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// One after the other all daemons of a cluster are told to end and started again, as
// for an upgrade: clients see no error, and nothing that they were not answered was done.
func TestRollingRestart(t *testing.T) {
	o := managed(2, 3)
	o.Gateways = 2
	c := harness.Start(t, o)
	voters(t, c, 2, 3, 15*time.Second*harness.Patience)
	l := load.New(t, load.Options{Addr: c.Gateways[0].Addr, Others: []string{c.Gateways[1].Addr}, Keys: size(20_000, 100_000), Seed: *seed,
		Pace: size(8*time.Millisecond, 3*time.Millisecond)})
	l.Fill()
	l.Start()
	quiet := l.Now()
	l.Run(size(time.Second, 20*time.Second))
	begun := l.Now()
	for _, p := range slices.Concat(c.Servers, c.Managers, c.Gateways) {
		l.Mark("%s is told to end", p.Name)
		p.Terminate(20 * time.Second)
		l.Mark("%s has ended", p.Name)
		l.Run(size(100*time.Millisecond, time.Second))
		p.Start()
		harness.Until(t, 20*time.Second, "it is back", func() error { return isBack(c, p) })
		l.Mark("%s is back", p.Name)
		l.Run(size(300*time.Millisecond, 5*time.Second))
	}
	ended := l.Now()
	finish(t, l, 0, besideBar())
	for _, q := range []float64{0.5, 0.99, 0.999} {
		before, meanwhile := l.Quantile(q, quiet, begun), l.Quantile(q, begun, ended)
		t.Logf("quantile %g: %v before, %v meanwhile: %.1f times", q, before, meanwhile, float64(meanwhile)/float64(before))
	}
	t.Logf("%d times a client went on with another gateway in the middle of an operation", l.Moved())
	voters(t, c, 2, 3, 15*time.Second*harness.Patience)
	c.CheckCopies()
	s := c.Status()
	most, least := 0, len(c.Map().Partitions)
	for _, n := range s.Attached {
		most, least = max(most, n.Primaries), min(least, n.Primaries)
	}
	if s.Short != 0 || most-least > 1 {
		t.Errorf("%d partitions lack copies; servers lead %d to %d partitions", s.Short, least, most)
	}
}

// isBack: a daemon that was started again does all that it did, and has what it had.
func isBack(c *harness.Cluster, p *harness.Process) error {
	s, err := c.TryStatus()
	switch {
	case err != nil:
		return err
	case slices.Contains(c.Gateways, p):
		conn, err := load.Dial(p.Addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	case slices.Contains(c.Managers, p):
		if i := slices.IndexFunc(s.Managers, func(m control.ManagerState) bool { return m.Addr == p.Addr }); i < 0 || !s.Managers[i].Reachable {
			return fmt.Errorf("%+v", s.Managers)
		}
		return nil
	}
	if harness.NotAttached(s, p) { // it was away for more than two seconds
		c.Ctl("attach")
	}
	if n := harness.Node(s, p); n == nil || n.State != "active" || n.CopiesLeft > 0 || s.Short > 0 || s.Moving > 0 {
		return fmt.Errorf("%+v", n)
	}
	return nil
}

// TestDrain: a server hands over what it leads, and is a backup until it is asked to lead again.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, size(5_000, 50_000))
	p := c.MostPrimaries()
	l.Mark("drain %s", p.Name)
	out := c.Ctl("drain", p.Addr)
	if want := fmt.Sprintf("draining %s: what it leads is handed to others; it remains a backup\ndrained: %s leads nothing\n", p.Addr, p.Addr); out != want {
		t.Errorf("kumoctl says %q", out)
	}
	if n := harness.Node(c.Status(), p); n.Primaries != 0 || n.Replicas != 4096 || n.Leaving != "drained" {
		t.Errorf("%+v", n)
	}
	if out, err := c.TryCtl("drain", "127.0.0.9"); err == nil {
		t.Errorf("a server that is not there is drained: %s", out)
	}
	l.Run(500 * time.Millisecond)
	l.Mark("undrain")
	c.Ctl("undrain", p.Addr)
	harness.Until(t, 20*time.Second, "it leads again", func() error {
		if n := harness.Node(c.Status(), p); n.Primaries < 1365 || n.Leaving != "" {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	finish(t, l, 0, besideBar())
}
