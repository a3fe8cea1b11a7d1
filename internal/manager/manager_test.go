package manager

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

func TestAttachFailoverRestart(t *testing.T) {
	x := newFixture(t, Config{})
	a, b, c := newFake(t, 1, x.addr), newFake(t, 2, x.addr), newFake(t, 3, x.addr)
	begin := time.Now()
	r := x.command("attach")
	if len(r.Nodes) != 3 || r.Nothing {
		t.Fatalf("attach: %+v", r)
	}
	if d := time.Since(begin); d > 6*time.Second {
		t.Errorf("attach took %v", d)
	}
	x.settled(3)
	for _, f := range []*fakeServer{a, b, c} {
		x.eventually("map pushed", func() bool { m := f.view(); return m != nil && m.Version == x.status().Clock })
	}

	// A killed server is replaced at once, and nothing waits for the silence limit.
	a.kill()
	begin = time.Now()
	x.eventually("failover", func() bool {
		m := b.view()
		for i := range m.Partitions {
			if p := &m.Partitions[i]; !p.Active || p.Primary() == 1 {
				return false
			}
		}
		return true
	})
	if d := time.Since(begin); d > 1500*time.Millisecond {
		t.Errorf("failover took %v", d)
	}
	m := b.view()
	prim := map[clustermap.ServerID]int{}
	for i := range m.Partitions {
		prim[m.Partitions[i].Primary()]++
	}
	if prim[2] < 28 || prim[3] < 28 {
		t.Errorf("primaries after the failover: %v", prim)
	}

	// Back within the limit it joins by itself.
	a.start()
	x.settled(3)
	if s := x.status(); len(s.Attached) != 3 || s.Attached[0].State != "active" || s.Moving != 0 || s.Short != 0 || s.Unavailable != 0 {
		t.Errorf("status: %+v", s)
	}

	// The manager's state outlives it; members come back by themselves.
	clock := x.status().Clock
	x.end()
	x.start()
	x.eventually("members back", func() bool {
		s := x.status()
		n := 0
		for _, a := range s.Attached {
			if a.Reachable && a.State == "active" {
				n++
			}
		}
		return n == 3
	})
	x.settled(3)
	if s := x.status(); s.Clock < clock {
		t.Errorf("clock %d after the restart, %d before", s.Clock, clock)
	}
}

func TestFaultAttachDetach(t *testing.T) {
	x := newFixture(t, Config{})
	a, _, _, d := newFake(t, 1, x.addr), newFake(t, 2, x.addr), newFake(t, 3, x.addr), newFake(t, 4, x.addr)
	x.command("attach")
	x.settled(3)
	if r := x.command("detach"); !r.Nothing {
		t.Errorf("detach without a fault server: %+v", r)
	}
	a.kill()
	x.eventually("fault", func() bool {
		for _, n := range x.status().Attached {
			if n.State == "fault" && n.Addr == a.addr {
				return true
			}
		}
		return false
	})
	a.start()
	x.eventually("listed again", func() bool { s := x.status(); return len(s.NotAttached) == 1 && s.NotAttached[0].State == "fault" })
	x.command("attach")
	x.settled(3)
	d.kill()
	x.eventually("fault", func() bool {
		n := 0
		for _, a := range x.status().Attached {
			if a.State == "fault" {
				n++
			}
		}
		return n == 1
	})
	r := x.command("detach")
	if len(r.Nodes) != 1 || r.Nodes[0] != d.addr {
		t.Errorf("detach: %+v", r)
	}
	x.settled(3)
	if s := x.status(); len(s.Attached) != 3 {
		t.Errorf("status: %+v", s)
	}
	if r := x.command("backup", "x1"); len(r.Nodes) != 3 || r.Lines[0] != "suffix=x1" {
		t.Errorf("backup: %+v", r)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if r, err := x.c.Command(ctx, control.CommandRequest{Command: "full-replace", Wait: true}); err != nil {
		t.Error("full-replace: ", err)
	} else if s := x.status(); s.Moving != 0 {
		t.Errorf("full-replace: %+v; status %+v", r, s)
	}
	x.settled(3)
}

func TestWholeClusterKilled(t *testing.T) {
	x := newFixture(t, Config{})
	all := []*fakeServer{newFake(t, 1, x.addr), newFake(t, 2, x.addr), newFake(t, 3, x.addr)}
	x.command("attach")
	x.settled(3)
	for _, f := range all {
		f.kill()
	}
	x.eventually("all fault", func() bool {
		for _, a := range x.status().Attached {
			if a.State != "fault" {
				return false
			}
		}
		return true
	})
	if _, err := x.c.Command(context.Background(), control.CommandRequest{Command: "detach"}); err == nil || !strings.Contains(err.Error(), "--accept-loss") {
		t.Errorf("detach of last replicas: %v", err)
	}
	for _, f := range all {
		f.start()
	}
	x.eventually("all active", func() bool {
		for _, a := range x.status().Attached {
			if a.State != "active" || !a.Reachable {
				return false
			}
		}
		return true
	})
	x.settled(3)
}

func TestRefusals(t *testing.T) {
	x := newFixture(t, Config{})
	f := newFake(t, 1, x.addr)
	f.mu.Lock()
	f.m = nil
	f.mu.Unlock()
	if r := x.command("attach"); r.Nothing {
		t.Fatal("nothing attached")
	}
	copied := newFake(t, 1, x.addr) // the same store, the same incarnation, another run
	x.eventually("copied disk refused", func() bool {
		copied.mu.Lock()
		defer copied.mu.Unlock()
		return copied.refused != nil && copied.refused.Fatal && strings.Contains(copied.refused.Reason, "copied or rolled-back")
	})
	y := newFixture(t, Config{})
	f.kill()
	f.mgrs = []string{y.addr}
	f.start()
	x.eventually("blank manager refuses", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.refused != nil && !f.refused.Fatal && strings.Contains(f.refused.Reason, "recover")
	})
	if s := y.status(); len(s.NotAttached) != 1 || s.NotAttached[0].State != "refused" {
		t.Errorf("status: %+v", s)
	}
}

// TestFullSize is the usual number of partitions: one event is one delta, and a
// new server's part is moved to it in a few bounded batches.
func TestFullSize(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	x := newFixture(t, Config{Partitions: clustermap.DefaultPartitions})
	a, _, _ := newFake(t, 1, x.addr), newFake(t, 2, x.addr), newFake(t, 3, x.addr)
	x.command("attach")
	x.settled(3)
	clock := x.status().Clock
	begin := time.Now()
	a.kill()
	x.eventually("failover", func() bool {
		m := x.mapNow()
		for i := range m.Partitions {
			if p := &m.Partitions[i]; !p.Active || len(p.Replicas) != 2 {
				return false
			}
		}
		return true
	})
	t.Logf("failover of %d partitions: %v, %d steps", clustermap.DefaultPartitions, time.Since(begin), x.status().Clock-clock)
	if n := x.status().Clock - clock; n > 40 {
		t.Errorf("%d steps for one dead server", n)
	}
	a.start()
	x.settled(3)
	newFake(t, 4, x.addr)
	x.eventually("new server listed", func() bool { return len(x.status().NotAttached) == 1 })
	clock, begin = x.status().Clock, time.Now()
	x.command("attach")
	x.settled(3)
	t.Logf("attach of a fourth: %v, %d steps", time.Since(begin), x.status().Clock-clock)
}

func (x *fixture) mapNow() *clustermap.Map {
	m, err := x.c.Map(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	return m
}
