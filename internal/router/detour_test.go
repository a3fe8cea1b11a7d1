package router_test

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
)

// A server that answers others, but not this process, is reached through one of
// them, and directly again when that can be.
func TestDetour(t *testing.T) {
	g := newRig(t, router.Options{Silence: 200 * time.Millisecond})
	g.b.Peers = map[clustermap.ServerID]*routertest.Server{g.a.ID: g.a}
	g.setMap(1, 1, g.b)
	g.begin(0, item.OpSet, "k", "1").want(t, item.OK, "") // b is connected
	deaf := true
	g.on(func() {
		// What comes on the direct connection is done, but its answers are lost.
		g.a.Script = func(try *routertest.Try) bool {
			if deaf && g.b.Relays == 0 {
				try.Do()
				return true
			}
			return false
		}
	})
	g.setMap(2, 2, g.a)
	s := g.r.NewStream()
	g.begin(s, item.OpSet, "n", "1").want(t, item.OK, "")
	g.on(func() { g.net.Blackhole("a:1", true) })
	incr := func(want uint64) {
		t.Helper()
		if r := g.begin(s, item.OpIncr, "n", "").wait(t); r.Status != item.OK || r.Number != want {
			t.Fatalf("status %d, %d; want %d", r.Status, r.Number, want)
		}
	}
	incr(2)
	g.on(func() {
		if g.b.Relays != 1 {
			t.Errorf("%d relays", g.b.Relays)
		}
		deaf = false
		g.net.Blackhole("a:1", false)
	})
	// After 5 s a direct connection takes over, and nothing is done twice.
	connects := func() (n uint64) { g.on(func() { n = g.r.Stats().Connects }); return n }
	before := connects()
	n := uint64(3)
	for end := time.Now().Add(15 * time.Second); connects() == before; n++ {
		if time.Now().After(end) {
			t.Fatal("no direct connection")
		}
		incr(n)
	}
	incr(n)
	g.on(func() {
		if g.b.Relays != 1 {
			t.Errorf("%d relays", g.b.Relays)
		}
	})
}

// Where nobody reaches the server it is tried directly, and a server that refuses
// is not asked for through others.
func TestNoDetour(t *testing.T) {
	g := newRig(t, router.Options{})
	g.b.Peers = map[clustermap.ServerID]*routertest.Server{g.a.ID: g.a}
	g.setMap(1, 1, g.b)
	g.begin(0, item.OpGet, "k", "").want(t, item.NotFound, "")
	g.on(func() { g.a.Crash() })
	g.setMap(2, 2, g.a)
	set := g.begin(0, item.OpSet, "k", "v")
	set.unanswered(t)
	g.on(func() { g.a.Start(g.l) })
	set.want(t, item.OK, "")
	g.on(func() {
		if g.b.Relays != 0 {
			t.Errorf("%d relays", g.b.Relays)
		}
	})
}
