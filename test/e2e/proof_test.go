package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// A counter that 32 clients count up while the server that leads it is killed
// again and again ends at exactly the number of increments that were
// acknowledged, each of which was answered another number.
func TestIncrThroughFailovers(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	first, err := load.Dial(c.Gateway.Addr, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	const key = "counter"
	if r, err := first.Do(&load.Op{Kind: load.Set, Key: key, Value: "0"}); err != nil || r.Status != load.Done {
		t.Fatal(r, err)
	}
	var (
		mu      sync.Mutex
		answers = map[string]int{}
		others  = map[string]int{}
		longest time.Duration
		wg      sync.WaitGroup
	)
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	for range 32 {
		wg.Go(func() {
			conn, err := load.Dial(c.Gateway.Addr, 15*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				began := time.Now()
				r, err := conn.Do(&load.Op{Kind: load.Incr, Key: key})
				mu.Lock()
				longest = max(longest, time.Since(began))
				if err == nil && r.Status == load.Done {
					answers[r.Value]++
				} else {
					others[fmt.Sprintf("%v %s %v", r.Status, r.Error, err)]++
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	failovers := size(8, 50)
	for i := range failovers {
		m := c.Map()
		addr := m.Server(m.Partitions[m.PartitionOf([]byte(key))].Primary()).Addr
		for _, p := range c.Servers {
			if p.Addr == addr {
				p.Kill9()
				harness.Until(t, 10*time.Second, fmt.Sprintf("failover %d", i+1), func() error {
					m := c.Map()
					if part := &m.Partitions[m.PartitionOf([]byte(key))]; m.Server(part.Primary()).Addr == addr || !part.Active {
						return fmt.Errorf("%s leads the counter, active %v", addr, part.Active)
					}
					return nil
				})
				p.Start()
			}
		}
		c.WaitReady(20 * time.Second)
	}
	end()
	r, err := first.Do(&load.Op{Kind: load.Get, Key: key})
	if err != nil || r.Status != load.Done {
		t.Fatal(r, err)
	}
	t.Logf("%d failovers: %d increments acknowledged, the counter is %s; longest wait %v", failovers, len(answers), r.Value, longest.Round(time.Millisecond))
	if r.Value != strconv.Itoa(len(answers)) {
		t.Errorf("%d increments were acknowledged, the counter is %s", len(answers), r.Value)
	}
	for n, times := range answers {
		if times > 1 {
			t.Errorf("%d clients were answered %s", times, n)
		}
	}
	for what, times := range others {
		t.Errorf("%d times: %s", times, what)
	}
}

// A server that was away until it was fault stays so, brings nothing back, not
// even where its clock is an hour ahead of the others' or an hour behind, and
// after attach has what its peers have; only what changed is sent.
func TestReturnOfFaultServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		seconds int32
	}{{"an hour ahead", 3600}, {"an hour behind", -3600}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), "kumo-server")
			if err := harness.Shift(tool(t, "kumo-server"), program, test.seconds); err != nil {
				t.Fatal(err)
			}
			returnOfFaultServer(t, program, int64(test.seconds))
		})
	}
}

// returnOfFaultServer does it to a server that runs a program whose clock is apart.
func returnOfFaultServer(t *testing.T, program string, apart int64) {
	const keys, changes = 50_000, 1_000
	c := harness.New(t, options(3))
	p := c.Servers[0]
	p.SetProgram(program)
	c.StartAll()
	c.WaitNotAttached(3)
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second)
	clock := func(p *harness.Process) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(must(t, 5*time.Second, tool(t, "kumostat"), p.Addr, "time")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if d := clock(p) - clock(c.Servers[1]); d < apart-10 || d > apart+10 {
		t.Fatalf("the clocks are %d s apart, not %d", d, apart)
	}
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: keys})
	l.Fill()
	p.Kill9()
	c.WaitState(p, "fault", 10*time.Second)
	// Change some keys and delete others; they are judged with all the rest.
	var ops []load.Op
	for i := range changes {
		op := load.Op{Kind: load.Set, Key: load.Key(i * 47), Value: fmt.Sprintf("%-100s", fmt.Sprintf("changed-%d", i))}
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
	p.Start()
	harness.Until(t, 10*time.Second, "the returned server is listed as not attached", func() error {
		if s := c.Status(); !harness.NotAttached(s, p) {
			return fmt.Errorf("%+v", s.NotAttached)
		}
		return nil
	})
	// It stays fault: nothing of the cluster's own moves it.
	for end := time.Now().Add(size(2*time.Second, 12*time.Second)); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
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
	// Its own, since it started: beside other tests one that was too slow for the load
	// may be on its way back too, with what it missed.
	sent := c.Stats(p)["copy_bytes_received"]
	const all, changed = keys * 100, changes / 2 * 100
	t.Logf("clocks %d s apart; attach --wait took %v; sent %d bytes for %d bytes of values changed and %d deletes, of %d bytes of values in all (%.2f %%)",
		apart, took.Round(time.Millisecond), sent, changed, changes/2, all, 100*float64(sent)/all)
	if sent > all/10 {
		t.Errorf("%d bytes were sent, more than a tenth of everything", sent)
	}
	if sent < changed {
		t.Errorf("%d bytes were sent, fewer than were changed: the counter does not count", sent)
	}
	l.Verify()
}
