package e2e

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// A fourth server takes its share of a running cluster, no more is moved than
// that, and clients notice nothing.
func TestAttachUnderLoad(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, size(20_000, 100_000))
	before := c.Map()
	done := c.Sum("copies_done")
	p := c.AddServer()
	p.Start()
	c.WaitNotAttached(1)
	l.Mark("attach --wait")
	start := time.Now()
	t.Log(c.Ctl("attach", "--wait"))
	took := time.Since(start)
	l.Mark("attached")
	c.WaitReady(20 * time.Second)
	l.Mark("ready")
	l.Run(time.Second)
	rep := finish(t, l, 0, besideBar())
	balanced(t, c)
	after := c.Map()
	least := len(after.Partitions) * after.Replication / len(after.Servers)
	made := newCopies(before, after)
	counted := c.Sum("copies_done") - done
	t.Logf("attach --wait took %v with %d operations in all; copies made %d by the map, %d by the servers' counters; least possible %d",
		took.Round(time.Millisecond), rep.Ops, made, counted, least)
	if float64(made) > 1.05*float64(least) || made < least {
		t.Errorf("%d copies were made by the map, the least possible are %d", made, least)
	}
	// A partition without keys needs no copying, so this may be less.
	if float64(counted) > 1.05*float64(least) || counted < int64(least)*9/10 {
		t.Errorf("the servers counted %d copies, the least possible are %d", counted, least)
	}
	copiesOfAll(t, c)
}

// balanced checks that every server is within one replica and one primary of the mean.
func balanced(t *testing.T, c *harness.Cluster) {
	t.Helper()
	s := c.Status()
	servers := float64(len(s.Attached))
	for _, n := range s.Attached {
		t.Logf("%s: %d replicas, %d primaries", n.Addr, n.Replicas, n.Primaries)
		if math.Abs(float64(n.Replicas)-float64(s.Partitions*s.Replication)/servers) > 1 {
			t.Errorf("%s has %d replicas", n.Addr, n.Replicas)
		}
		if math.Abs(float64(n.Primaries)-float64(s.Partitions)/servers) > 1 {
			t.Errorf("%s has %d primaries", n.Addr, n.Primaries)
		}
	}
}

// newCopies counts the replicas that are on a server which had none of that partition.
func newCopies(before, after *clustermap.Map) (n int) {
	for i := range after.Partitions {
		for _, id := range after.Partitions[i].Replicas {
			if !clustermap.Contains(before.Partitions[i].Replicas, id) {
				n++
			}
		}
	}
	return n
}

// copiesOfAll checks that every partition has three equal copies and the stores
// nothing else.
func copiesOfAll(t *testing.T, c *harness.Cluster) {
	t.Helper()
	pairs := c.CheckCopies()
	var stored int64
	_, err := harness.Poll(10*time.Second, func() error {
		if stored = c.Sum("items"); stored != 3*pairs {
			return fmt.Errorf("%d", stored)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%d pairs, but the stores hold %d, not three times as many", pairs, stored)
	}
	t.Logf("%d pairs, %d stored", pairs, stored)
}

// detach and remove take dead servers out and make the missing copies.
func TestDetachDeadServers(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(5))
	l := fill(t, c, size(10_000, 100_000))
	for _, command := range []string{"detach", "remove"} {
		p := c.MostPrimaries()
		l.Mark("kill -9 %s", p.Name)
		p.Kill9()
		c.WaitState(p, "fault", 10*time.Second)
		l.Mark("%s --wait", command)
		start := time.Now()
		c.Ctl(command, "--wait")
		l.Mark("done")
		t.Logf("%s --wait took %v", command, time.Since(start).Round(time.Millisecond))
		if harness.Node(c.Status(), p) != nil {
			t.Errorf("after %s the server is still attached", command)
		}
		c.WaitReady(20 * time.Second)
	}
	finish(t, l, 2*clients, besideBar())
	balanced(t, c)
	copiesOfAll(t, c)
}
