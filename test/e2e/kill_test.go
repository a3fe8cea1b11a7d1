package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

const (
	clients = 16
	// stallBar is how long a fault may make a client wait.
	stallBar = 5 * time.Second
)

func TestKillOneServer(t *testing.T) {
	c := harness.Start(t, options(3))
	l := fill(t, c, size(20_000, 100_000))
	p := c.MostPrimaries()
	l.Mark("kill -9 %s (%d primaries)", p.Name, harness.Node(c.Status(), p).Primaries)
	p.Kill9()
	usable := everyPartition(t, c, l)
	l.Run(size(4*time.Second, 10*time.Second))
	finish(t, l, clients, stallBar)
	t.Logf("every partition was written and read %v after the kill", usable)
	if s := harness.Node(c.Status(), p).State; s != "fault" {
		t.Errorf("the killed server is %s, not fault", s)
	}
}

func TestKillTwoServersAtOnce(t *testing.T) {
	c := harness.Start(t, options(3))
	l := fill(t, c, size(20_000, 100_000))
	p := c.MostPrimaries()
	var q *harness.Process
	for _, s := range c.Servers {
		if s != p {
			q = s
		}
	}
	l.Mark("kill -9 %s and %s", p.Name, q.Name)
	harness.Kill9(p, q)
	usable := everyPartition(t, c, l)
	l.Run(size(4*time.Second, 10*time.Second))
	finish(t, l, 2*clients, stallBar)
	t.Logf("every partition was written and read %v after the kill", usable)
}

// everyPartition writes and reads a key of every partition, again where a write's
// outcome is unknown, and tells how long that took.
func everyPartition(t *testing.T, c *harness.Cluster, l *load.Load) time.Duration {
	t.Helper()
	return everyPartitionWithin(t, c, l, stallBar)
}

func everyPartitionWithin(t *testing.T, c *harness.Cluster, l *load.Load, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	m := c.Map()
	keys := make([]string, len(m.Partitions))
	for i, left := 0, len(keys); left > 0; i++ {
		k := fmt.Sprintf("probe-%d", i)
		if p := m.PartitionOf([]byte(k)); keys[p] == "" {
			keys[p] = k
			left--
		}
	}
	todo, again, tries := keys, []string(nil), 0
	run := func(op func(key string) load.Op, check func(op *load.Op, r load.Result)) {
		ops := make([]load.Op, len(todo))
		for i, k := range todo {
			ops[i] = op(k)
		}
		again = nil
		call := l.Now()
		err := load.Pipeline(c.Gateway.Addr, ops, 30*time.Second, func(i int, r load.Result) {
			l.Observe(ops[i], r, call, l.Now())
			check(&ops[i], r)
		})
		if err != nil {
			t.Errorf("a key of every partition: %v", err)
		}
		todo = again
	}
	value := func(key string) string { return fmt.Sprintf("%s-try%d", key, tries) }
	for ; len(todo) > 0 && !t.Failed(); tries++ {
		run(func(k string) load.Op { return load.Op{Kind: load.Set, Key: k, Value: value(k)} }, func(op *load.Op, r load.Result) {
			switch r.Status {
			case load.Unknown:
				again = append(again, op.Key)
			case load.Failed:
				t.Errorf("set %s after the fault: %s", op.Key, r.Error)
			}
		})
		if tries == 0 && len(again) > 0 {
			t.Logf("%d of %d writes sent right after the fault had an unknown outcome", len(again), len(keys))
		}
	}
	written := time.Since(start)
	todo = keys
	run(func(k string) load.Op { return load.Op{Kind: load.Get, Key: k} }, func(op *load.Op, r load.Result) {
		if r.Status != load.Done {
			t.Errorf("get %s after the fault: %v %s", op.Key, r.Status, r.Error)
		}
	})
	took := time.Since(start)
	l.Mark("a key of every partition written after %v and read after %v", written.Round(time.Millisecond), took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("it took %v until every partition was readable and writable", took)
	}
	return took
}
