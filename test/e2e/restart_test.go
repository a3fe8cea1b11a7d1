package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
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
		took, err := c.PollReady(30 * time.Second)
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

// A server that was away until it was fault stays so, brings nothing back, and
// after attach has what its peers have; only what changed is sent.
func TestReturnOfFaultServer(t *testing.T) {
	const keys, changes = 100_000, 1_000
	c := harness.Start(t, options(3))
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: keys})
	l.Fill()
	before := map[*harness.Process]int64{}
	p := c.MostPrimaries()
	p.Kill9()
	c.WaitState(p, "fault", 10*time.Second)
	// Change some keys and delete others; they are judged with all the rest.
	var ops []load.Op
	for i := range changes {
		op := load.Op{Kind: load.Set, Key: load.Key(i * 97), Value: fmt.Sprintf("%-100s", fmt.Sprintf("changed-%d", i))}
		if i%2 == 1 {
			op = load.Op{Kind: load.Delete, Key: op.Key}
		}
		ops = append(ops, op)
	}
	call := l.Now()
	err := load.Pipeline(c.Gateway.Addr, ops, 30*time.Second, func(i int, r load.Result) {
		if r.Status != load.Done {
			t.Errorf("%v %s: %v %s", ops[i].Kind, ops[i].Key, r.Status, r.Error)
		}
		l.Observe(ops[i], r, call, l.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Servers {
		if s != p {
			before[s] = c.Stats(s)["copy_bytes_sent"]
		}
	}
	p.Start()
	harness.Until(t, 10*time.Second, "the returned server is listed as not attached", func() error {
		if s := c.Status(); !harness.NotAttached(s, p) {
			return fmt.Errorf("%+v", s.NotAttached)
		}
		return nil
	})
	// It stays fault: nothing of the cluster's own moves it.
	for end := time.Now().Add(size(4*time.Second, 12*time.Second)); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		s := c.Status()
		if n := harness.Node(s, p); n == nil || n.State != "fault" || !harness.NotAttached(s, p) {
			t.Fatalf("without attach it is %+v, not attached: %+v", n, s.NotAttached)
		}
	}
	start := time.Now()
	c.Ctl("attach", "--wait")
	took := time.Since(start)
	if s := harness.Node(c.Status(), p).State; s != "active" {
		t.Errorf("after attach --wait it is %s", s)
	}
	c.WaitReady(20 * time.Second)
	items := c.CheckCopies()
	if want := int64(keys - changes/2); items != want {
		t.Errorf("%d pairs, want %d", items, want)
	}
	var sent int64
	for s, b := range before {
		sent += c.Stats(s)["copy_bytes_sent"] - b
	}
	const all, changed = keys * 100, changes / 2 * 100
	t.Logf("attach --wait took %v; sent %d bytes for %d bytes of values changed and %d deletes, of %d bytes of values in all (%.2f %%)",
		took.Round(time.Millisecond), sent, changed, changes/2, all, 100*float64(sent)/all)
	if sent > all/10 {
		t.Errorf("%d bytes were sent, more than a tenth of everything", sent)
	}
	if sent < changed {
		t.Errorf("%d bytes were sent, fewer than were changed: the counter does not count", sent)
	}
	l.Verify()
}
