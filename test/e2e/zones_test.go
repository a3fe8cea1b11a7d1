package e2e

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// TestZones: the copies of each partition are in different zones, and any zone may die.
func TestZones(t *testing.T) {
	t.Parallel()
	c := harness.New(t, options(6))
	zones := []string{"a", "a", "b", "b", "c", "c"}
	for i, p := range c.Servers {
		p.AddArgs("--zone", zones[i])
	}
	c.StartAll()
	c.WaitNotAttached(len(zones))
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second * harness.Patience)
	m := c.Map()
	for i := range m.Partitions {
		in := map[string]clustermap.ServerID{}
		for _, id := range m.Partitions[i].Replicas {
			in[m.Server(id).Zone] = id
		}
		if len(in) != 3 {
			t.Fatalf("partition %d is in %d zones: %v", i, len(in), in)
		}
	}
	l := fill(t, c, size(5_000, 50_000))
	l.Mark("zone a dies")
	harness.Kill9(c.Servers[0], c.Servers[1])
	everyPartition(t, c, l)
	finish(t, l, 2*clients, besideBar())
	if s := c.Status(); s.Unavailable != 0 || s.Survives != 1 {
		t.Errorf("%d partitions are unavailable, %d more crashes are survived", s.Unavailable, s.Survives)
	}
}
