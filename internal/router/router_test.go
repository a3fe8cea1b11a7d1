package router_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

const parts = 16

// rig is a router and two servers with one store, on one memory loop.
type rig struct {
	t    *testing.T
	net  *loop.MemNetwork
	l    loop.Loop
	r    *router.Router
	a, b *routertest.Server
}

func newRig(t *testing.T, opt router.Options) *rig {
	t.Helper()
	net := loop.NewMemNetwork()
	g := &rig{t: t, net: net, l: loop.NewMemory(net)}
	store := routertest.NewStore()
	g.a = &routertest.Server{ID: 1, Addr: "a:1", Store: store}
	g.b = &routertest.Server{ID: 2, Addr: "b:1", Store: store}
	for _, s := range []*routertest.Server{g.a, g.b} {
		if err := s.Start(g.l); err != nil {
			t.Fatal(err)
		}
	}
	g.r = router.New(g.l, opt)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

// on runs fn on the loop and waits for it.
func (g *rig) on(fn func()) {
	g.t.Helper()
	done := make(chan struct{})
	if !g.l.Post(func() { fn(); close(done) }) {
		g.t.Fatal("the loop has ended")
	}
	<-done
}

func (g *rig) servers() []*routertest.Server { return []*routertest.Server{g.a, g.b} }

// mapTo makes every partition s's.
func (g *rig) mapTo(version uint64, epoch uint32, s *routertest.Server) *clustermap.Map {
	return routertest.Map(version, parts, epoch, g.servers(), func(int) *routertest.Server { return s })
}

func (g *rig) setMap(version uint64, epoch uint32, s *routertest.Server) {
	g.on(func() { g.r.SetMap(g.mapTo(version, epoch, s)) })
}

// pending is a command that was begun.
type pending struct {
	ch    chan item.Result
	calls int
}

func (p *pending) Done(res *item.Result) {
	p.calls++
	if p.calls > 1 {
		panic("answered twice")
	}
	r := *res
	r.Item.Value = bytes.Clone(r.Item.Value)
	p.ch <- r
}

func (g *rig) begin(s router.Stream, op item.Op, key, value string) *pending {
	p := &pending{ch: make(chan item.Result, 2)}
	g.on(func() {
		k, v := []byte(key), []byte(value)
		g.r.DoInOrder(s, &item.Request{Op: op, Key: k, Value: v, Delta: 1}, p)
		clear(k) // they were only borrowed
		clear(v)
	})
	return p
}

func (p *pending) wait(t *testing.T) item.Result {
	t.Helper()
	select {
	case r := <-p.ch:
		return r
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

func (p *pending) want(t *testing.T, status item.Status, value string) {
	t.Helper()
	r := p.wait(t)
	if r.Status != status || string(r.Item.Value) != value {
		t.Fatalf("answered %d %q %q, want %d %q", r.Status, r.Item.Value, r.Message, status, value)
	}
}

func (p *pending) unanswered(t *testing.T) {
	t.Helper()
	select {
	case r := <-p.ch:
		t.Fatalf("answered %+v", r)
	case <-time.After(20 * time.Millisecond):
	}
}

func TestRoutesByPartition(t *testing.T) {
	g := newRig(t, router.Options{})
	g.on(func() {
		g.r.SetMap(routertest.Map(1, parts, 5, g.servers(), func(p int) *routertest.Server { return g.servers()[p%2] }))
	})
	for i := range 64 {
		key := strings.Repeat("k", i+1)
		g.begin(0, item.OpSet, key, "v"+key).want(t, item.OK, "")
		g.begin(0, item.OpGet, key, "").want(t, item.OK, "v"+key)
	}
	g.on(func() {
		if g.a.Tries == 0 || g.b.Tries == 0 || g.a.Tries+g.b.Tries != 128 {
			t.Errorf("%d and %d tries", g.a.Tries, g.b.Tries)
		}
		if s := g.r.Stats(); s.Connects != 2 || s.Outstanding != 0 || s.Bytes != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestWaitsForMapAndPrimary(t *testing.T) {
	g := newRig(t, router.Options{})
	set := g.begin(0, item.OpSet, "k", "v")
	set.unanswered(t)
	g.setMap(1, 1, nil) // a map in which nobody is primary
	set.unanswered(t)
	g.setMap(2, 2, g.a)
	set.want(t, item.OK, "")
}

func TestNakWithNewerEpochIsFollowed(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			try.Nak(wire.NakWrongEpoch, clustermap.Partition{Epoch: 3, Replicas: []clustermap.ServerID{g.b.ID}})
			return true
		}
		g.b.Script = func(try *routertest.Try) bool {
			if try.Req.Epoch != 3 {
				t.Errorf("epoch %d", try.Req.Epoch)
			}
			return false
		}
	})
	g.begin(0, item.OpSet, "k", "v").want(t, item.OK, "")
	// A map that is newer but not for this partition does not undo it.
	g.setMap(2, 2, g.a)
	g.begin(0, item.OpGet, "k", "").want(t, item.OK, "v")
	g.on(func() {
		if g.a.Tries != 1 || g.b.Tries != 2 {
			t.Errorf("%d and %d tries", g.a.Tries, g.b.Tries)
		}
		g.b.Script, g.a.Script = nil, nil
	})
	g.setMap(3, 4, g.a)
	g.begin(0, item.OpGet, "k", "").want(t, item.OK, "v")
	g.on(func() {
		if g.a.Tries != 2 {
			t.Errorf("%d tries after the map caught up", g.a.Tries)
		}
	})
}

func TestNotReadyIsTriedAgain(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	left := 8
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			left--
			if left >= 0 {
				try.Nak(wire.NakNotReady, clustermap.Partition{})
			}
			return left >= 0
		}
	})
	g.begin(0, item.OpIncr, "n", "").want(t, item.NotFound, "")
	g.on(func() {
		if g.a.Tries != 9 {
			t.Errorf("%d tries", g.a.Tries)
		}
	})
}

func TestOrderWithinStream(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	var held []*routertest.Try
	naks := 1
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			if string(try.Req.Key) == "held" {
				held = append(held, try)
				return true
			}
			naks--
			if naks >= 0 {
				try.Nak(wire.NakNotReady, clustermap.Partition{})
			}
			return naks >= 0
		}
	})
	// The first is refused once; nothing may overtake it.
	s := g.r.NewStream()
	var all []*pending
	for _, v := range []string{"1", "2", "3"} {
		all = append(all, g.begin(s, item.OpSet, "k", v), g.begin(s, item.OpGet, "k", ""), g.begin(s, item.OpGet, "k", ""))
	}
	for i, p := range all {
		if i%3 == 0 {
			p.want(t, item.OK, "")
		} else {
			p.want(t, item.OK, string(rune('1'+i/3)))
		}
	}
	// Another key, and another stream, need not wait; a write waits for reads.
	r1, r2 := g.begin(s, item.OpGet, "held", ""), g.begin(s, item.OpGet, "held", "")
	w := g.begin(s, item.OpSet, "held", "x")
	r3 := g.begin(s, item.OpGet, "held", "")
	g.begin(s, item.OpGet, "k", "").want(t, item.OK, "3")
	other := g.begin(g.r.NewStream(), item.OpSet, "held", "y")
	for i, n := range []int{3, 3, 4, 5} { // r1, r2, other; then w; then r3
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			got := 0
			g.on(func() { got = len(held) })
			if got == n {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d requests arrived, want %d", got, n)
			}
		}
		answer := [][]int{{2}, {0, 1}, {3}, {4}}[i]
		g.on(func() {
			for _, k := range answer {
				held[k].Execute()
			}
		})
	}
	other.want(t, item.OK, "")
	r1.want(t, item.OK, "y")
	r2.want(t, item.OK, "y")
	w.want(t, item.OK, "")
	r3.want(t, item.OK, "x")
}

// decliner has no room for the first values.
type decliner struct {
	pending
	times int
	get   router.Declined
}

func (d *decliner) Decline(_ *item.Result, get router.Declined) bool {
	d.times--
	d.get = get
	return d.times >= 0
}

// A get that is declined keeps its place in its stream, for as long as it takes.
func TestDecline(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 500 * time.Millisecond})
	g.setMap(1, 1, g.a)
	s := g.r.NewStream()
	g.begin(s, item.OpSet, "k", "v").want(t, item.OK, "")
	get := func(times int) *decliner {
		d := &decliner{pending: pending{ch: make(chan item.Result, 2)}, times: times}
		g.on(func() { g.r.DoInOrder(s, &item.Request{Op: item.OpGet, Key: []byte("k")}, d) })
		eventually(t, func() (ok bool) {
			g.on(func() { ok = d.times == 0 })
			return ok
		})
		return d
	}
	d := get(1)
	time.Sleep(600 * time.Millisecond)
	g.setMap(2, 2, g.b)
	set := g.begin(s, item.OpSet, "k", "w")
	d.unanswered(t)
	set.unanswered(t)
	g.begin(s, item.OpGet, "other", "").want(t, item.NotFound, "")
	g.on(func() { d.get.Again() })
	d.want(t, item.OK, "v")
	set.want(t, item.OK, "")

	d = get(1)
	set = g.begin(s, item.OpSet, "k", "x")
	set.unanswered(t)
	g.on(func() { d.get.Drop() })
	set.want(t, item.OK, "")
	d.unanswered(t)

	d = get(1)
	g.on(func() {
		g.a.Script = func(*routertest.Try) bool { return true }
		g.b.Script = g.a.Script
		d.get.Again()
	})
	d.wait(t) // its time runs again
	g.on(func() {
		if st := g.r.Stats(); st.Outstanding != 0 || st.Bytes != 0 {
			t.Errorf("%d commands of %d bytes are left", st.Outstanding, st.Bytes)
		}
	})
}

func TestOverload(t *testing.T) {
	g := newRig(t, router.Options{MaxServerBytes: 10_000})
	g.setMap(1, 1, g.a)
	var held []*routertest.Try
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { held = append(held, try); return true } })
	value := strings.Repeat("v", 6000)
	g.begin(0, item.OpGet, "warm", "") // so that the connection is open
	first, second := g.begin(0, item.OpSet, "k", value), g.begin(0, item.OpSet, "l", value)
	relieved := make(chan bool, 1)
	eventually(t, func() (ok bool) {
		g.on(func() { ok = g.r.Overloaded() && len(held) == 3 })
		return ok
	})
	g.on(func() {
		g.r.WhenRelieved(func() { relieved <- g.r.Overloaded() })
		held[1].Execute()
		held[2].Execute()
	})
	first.want(t, item.OK, "")
	second.want(t, item.OK, "")
	if <-relieved {
		t.Error("still overloaded")
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never")
		}
	}
}

func TestFlushAll(t *testing.T) {
	g := newRig(t, router.Options{})
	p := &pending{ch: make(chan item.Result, 2)}
	g.on(func() { g.r.FlushAll(0, p) })
	if r := p.wait(t); r.Status != item.Failed {
		t.Errorf("without a map: %+v", r)
	}
	g.setMap(1, 1, g.a)
	p = &pending{ch: make(chan item.Result, 2)}
	seen := map[uint16]int{}
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool { seen[try.Req.Partition]++; return false }
		g.r.FlushAll(0, p)
	})
	p.want(t, item.OK, "")
	g.on(func() {
		if len(seen) != parts {
			t.Errorf("partitions flushed: %v", seen)
		}
	})
}
