package router_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

func TestBrokenConnection(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	hangUps := 1
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			hangUps--
			if hangUps >= 0 {
				try.HangUp()
			}
			return hangUps >= 0
		}
	})
	g.begin(0, item.OpSet, "k", "w").want(t, item.OK, "") // over a new connection
	g.on(func() { hangUps = 1 })
	g.begin(0, item.OpGet, "k", "").want(t, item.OK, "w") // a read is sent again
	g.on(func() {
		if len(g.a.Store.Log) != 1 {
			t.Errorf("writes done: %v", g.a.Store.Log)
		}
	})
}

func TestUnreachablePrimary(t *testing.T) {
	g := newRig(t, router.Options{})
	g.on(func() { g.a.Crash() })
	g.setMap(1, 1, g.a)
	set, get := g.begin(0, item.OpSet, "k", "v"), g.begin(0, item.OpGet, "j", "")
	set.unanswered(t) // surely not sent, so it is kept
	g.on(func() { g.a.Start(g.l) })
	set.want(t, item.OK, "")
	get.want(t, item.NotFound, "")
}

func TestHangingDialIsLeft(t *testing.T) {
	g := newRig(t, router.Options{})
	g.net.Blackhole("a:1", true)
	g.setMap(1, 1, g.a)
	set := g.begin(0, item.OpSet, "k", "v")
	set.unanswered(t)
	start := time.Now()
	g.setMap(2, 2, g.b)
	set.want(t, item.OK, "")
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("it took %v", d)
	}
}

func TestTimeout(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 100 * time.Millisecond})
	msg := func(p *pending, status item.Status, text string) {
		t.Helper()
		if r := p.wait(t); r.Status != status || !strings.Contains(r.Message, text) {
			t.Errorf("%d %q, want %d %q", r.Status, r.Message, status, text)
		}
	}
	msg(g.begin(0, item.OpSet, "k", "v"), item.Failed, "no cluster map for 0.1 s")
	g.setMap(1, 1, nil)
	msg(g.begin(0, item.OpSet, "k", "v"), item.Failed, "has no primary for 0.1 s")
	g.net.Blackhole("a:1", true)
	g.setMap(2, 2, g.a)
	msg(g.begin(0, item.OpSet, "k", "v"), item.Failed, "has no reachable primary (a:1) for 0.1 s")
	g.setMap(3, 3, g.b)
	g.on(func() { g.b.Script = func(*routertest.Try) bool { return true } })
	msg(g.begin(0, item.OpGet, "k", ""), item.Failed, "(b:1) did not answer for 0.1 s")
	msg(g.begin(0, item.OpSet, "k", "v"), item.FateUnknown, "")
	g.on(func() {
		g.b.Script = func(try *routertest.Try) bool { try.Nak(wire.NakNotReady, clustermap.Partition{}); return true }
	})
	// On a busy machine a try may be on its way when time is over: then nobody
	// knows whether it was done. Not every time.
	for range 5 {
		r := g.begin(0, item.OpSet, "k", "v").wait(t)
		if r.Status == item.Failed && strings.Contains(r.Message, "(b:1) was not ready for 0.1 s") {
			return
		}
		if r.Status != item.FateUnknown {
			t.Fatalf("%d %q", r.Status, r.Message)
		}
	}
	t.Error("a write that was always refused had an unknown fate five times")
}

// What waited behind a command that times out goes on after it, or ends with it.
func TestTimeoutInChain(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 150 * time.Millisecond})
	g.setMap(1, 1, g.a)
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { return try.Req.Op == item.OpSet } })
	s := g.r.NewStream()
	set := g.begin(s, item.OpSet, "k", "v")
	read := g.begin(s, item.OpGet, "k", "")
	time.Sleep(100 * time.Millisecond)
	late := g.begin(s, item.OpGet, "k", "")
	set.want(t, item.FateUnknown, "")
	// It was released with no time left: its own timeout, in whatever words.
	if r := read.wait(t); r.Status != item.NotFound && !strings.HasPrefix(r.Message, "timeout: ") {
		t.Errorf("%+v", r)
	}
	late.want(t, item.NotFound, "")
}

// A server that answers some commands and others never: what nobody waits for
// any more must not stop the clients for ever once it fills the bound.
func TestAbandonedFillTheBound(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 200 * time.Millisecond, MaxServerBytes: 10_000})
	g.setMap(1, 1, g.a)
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { return try.Req.Key[0] == 'n' } })
	var never []*pending
	for range 4 {
		never = append(never, g.begin(0, item.OpGet, strings.Repeat("n", 2000), ""))
	}
	g.begin(0, item.OpGet, "k", "").want(t, item.NotFound, "") // the server is heard
	for _, p := range never {
		p.want(t, item.Failed, "")
	}
	g.begin(0, item.OpGet, strings.Repeat("k", 4000), "").want(t, item.NotFound, "")
	eventually(t, func() (ok bool) {
		g.on(func() { ok = !g.r.Overloaded() })
		return ok
	})
	g.begin(0, item.OpGet, "k", "").want(t, item.NotFound, "")
}

// No command is lost or answered twice when everything goes wrong at once.
func TestChaos(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 2 * time.Second})
	g.setMap(1, 1, g.a)
	n := 0
	script := func(try *routertest.Try) bool {
		n++
		switch n % 11 {
		case 1:
			try.Nak(wire.NakNotReady, clustermap.Partition{})
		case 3:
			try.Answer(item.Result{Status: item.FateUnknown})
		case 5:
			try.Nak(wire.NakWrongEpoch, clustermap.Partition{Epoch: try.Req.Epoch + 1, Replicas: []clustermap.ServerID{1 + clustermap.ServerID(n/11%2)}})
		case 7:
			if n%5 == 0 {
				try.HangUp()
			} else {
				return false
			}
		case 9: // never answered
		default:
			return false
		}
		return true
	}
	g.on(func() { g.a.Script, g.b.Script = script, script })
	var all []*pending
	for i := range 2000 {
		op := []item.Op{item.OpGet, item.OpSet, item.OpIncr}[i%3]
		all = append(all, g.begin(router.Stream(1+i%3), op, strings.Repeat("k", 1+i%17), "1"))
		if i%100 == 99 {
			g.setMap(uint64(2+i), uint32(10+i), g.servers()[i/100%2])
		}
	}
	for _, p := range all {
		p.wait(t)
	}
	eventually(t, func() (ok bool) { // a session may still be being opened
		g.on(func() { s := g.r.Stats(); ok = s.Outstanding == 0 && s.Bytes == 0 })
		return ok
	})
}
