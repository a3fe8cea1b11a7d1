package router_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

// number begins with the key k set to 5 at server a.
func numberRig(t *testing.T, opt router.Options) *rig {
	g := newRig(t, opt)
	g.setMap(1, 1, g.a)
	g.begin(0, item.OpSet, "k", "5").want(t, item.OK, "")
	return g
}

func (p *pending) wantNumber(t *testing.T, n uint64) {
	t.Helper()
	if r := p.wait(t); r.Status != item.OK || r.Number != n {
		t.Fatalf("answered %d, number %d; want %d", r.Status, r.Number, n)
	}
}

// script has a server's first tries dealt with, one function each.
func script(s *routertest.Server, seen *[]wire.Request, steps ...func(*routertest.Try)) {
	s.Script = func(try *routertest.Try) bool {
		*seen = append(*seen, try.Req)
		if len(steps) == 0 {
			return false
		}
		step := steps[0]
		steps = steps[1:]
		step(try)
		return true
	}
}

// R8: a write that was done, but not answered, is not done again.
func TestRetryGetsTheFirstTrysAnswer(t *testing.T) {
	faults := map[string]func(*routertest.Try){
		"connection broken": func(try *routertest.Try) { try.Do(); try.HangUp() },
		"stepped down":      func(try *routertest.Try) { try.Do(); try.Answer(item.Result{Status: item.FateUnknown}) },
		"broken before":     func(try *routertest.Try) { try.HangUp() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			g := numberRig(t, router.Options{})
			var seen []wire.Request
			g.on(func() { script(g.a, &seen, fault) })
			g.begin(0, item.OpIncr, "k", "").wantNumber(t, 6)
			g.on(func() {
				if len(seen) != 2 || seen[0].Retry || !seen[1].Retry || seen[0].Session == 0 ||
					seen[0].Session != seen[1].Session || seen[0].Number != seen[1].Number {
					t.Errorf("tries: %+v", seen)
				}
				if u := g.r.Stats().Unknown; u != 0 {
					t.Errorf("%d of unknown fate", u)
				}
			})
		})
	}
}

// A write at a hanging server is sent to the newer primary as soon as the map
// has one. Whatever becomes of the old try, only the new one's answer counts.
func TestMoveFromHangingPrimary(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	g.begin(0, item.OpSet, "k", "5").want(t, item.OK, "")
	var held []*routertest.Try
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { held = append(held, try); return true } })
	get, incr := g.begin(0, item.OpGet, "g", ""), g.begin(0, item.OpIncr, "k", "")
	miss := g.begin(0, item.OpIncr, "missing", "")
	get.unanswered(t)
	start := time.Now()
	g.setMap(2, 2, g.b)
	get.want(t, item.NotFound, "")
	incr.wantNumber(t, 6)
	miss.want(t, item.NotFound, "")
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	// The first tries reach a store only now: too late for anyone, and for any effect.
	g.begin(0, item.OpSet, "missing", "1").want(t, item.OK, "")
	g.on(func() {
		for _, try := range held {
			try.Execute()
		}
	})
	g.begin(0, item.OpGet, "k", "").want(t, item.OK, "6")
	g.begin(0, item.OpGet, "missing", "").want(t, item.OK, "1")
}

// A late answer to an earlier try is not taken for that of the latest.
func TestLateAnswer(t *testing.T) {
	g := numberRig(t, router.Options{})
	var old []*routertest.Try
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { old = append(old, try); return true } })
	hold := true
	var late *routertest.Try
	g.on(func() {
		g.b.Script = func(try *routertest.Try) bool {
			if hold {
				late = try
			}
			return hold
		}
	})
	incr := g.begin(0, item.OpIncr, "k", "")
	incr.unanswered(t)
	g.setMap(2, 2, g.b)
	eventually(t, func() (ok bool) { g.on(func() { ok = late != nil }); return ok })
	g.on(func() { old[0].Answer(item.Result{Status: item.NotFound}) })
	incr.unanswered(t)
	g.on(func() { hold = false; late.Execute() })
	incr.wantNumber(t, 6)
}

// A refused try is none: the first that is taken is a first try.
func TestRefusedTryIsNone(t *testing.T) {
	g := numberRig(t, router.Options{})
	var seen []wire.Request
	nak := func(try *routertest.Try) { try.Nak(wire.NakNotReady, clustermap.Partition{}) }
	g.on(func() { script(g.a, &seen, nak, nak, func(try *routertest.Try) { try.Do(); try.HangUp() }, nak) })
	g.begin(0, item.OpIncr, "k", "").wantNumber(t, 6)
	g.on(func() {
		for i, retry := range []bool{false, false, false, true, true} {
			if seen[i].Retry != retry || seen[i].Number != seen[0].Number {
				t.Errorf("try %d: %+v", i, seen[i])
			}
		}
	})
}

// Of an unknown session a first try was not done, and another session is opened.
func TestUnknownSessionOnFirstTry(t *testing.T) {
	g := numberRig(t, router.Options{})
	g.on(func() { clear(g.a.Store.Sessions) })
	var all []*pending
	for range 10 {
		all = append(all, g.begin(1, item.OpIncr, "k", ""), g.begin(0, item.OpSet, "l", "1"))
	}
	for i, p := range all {
		if i%2 == 0 {
			p.wantNumber(t, uint64(6+i/2))
		} else {
			p.want(t, item.OK, "")
		}
	}
	g.on(func() {
		if s := g.r.Stats(); s.Failed != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Of an unknown session a retry's fate is unknown, and it is never repeated.
// A session that is at rest is not used on under another run of the primary: all
// replicas may have crashed, and a refusal that is lost would leave the write's fate
// unknown. One with writes outstanding is.
func TestSessionOfAnEarlierRun(t *testing.T) {
	g := numberRig(t, router.Options{})
	var seen []wire.Request
	restart := func(incarnation uint64) {
		m := routertest.Map(1+incarnation, parts, 1, []*routertest.Server{g.a, g.b}, func(int) *routertest.Server { return g.a })
		for i := range m.Servers {
			m.Servers[i].Incarnation = incarnation
		}
		g.on(func() { g.r.SetMap(m) })
	}
	restart(2)
	g.on(func() {
		clear(g.a.Store.Sessions) // they were in memory
		script(g.a, &seen)
	})
	g.begin(0, item.OpIncr, "k", "").wantNumber(t, 6)
	g.on(func() {
		if len(seen) != 1 || seen[0].Number != 1 || seen[0].Retry {
			t.Errorf("tries: %+v", seen)
		}
		seen = nil
		script(g.a, &seen)
	})
	g.begin(0, item.OpIncr, "k", "").wantNumber(t, 7)
	g.on(func() {
		if len(seen) != 1 {
			t.Errorf("a session of this run is used on; tries: %+v", seen)
		}
	})
	// A write is outstanding while the primary starts again: those after it stay in
	// its session.
	var held []*routertest.Try
	other := ""
	for i := 0; other == ""; i++ {
		if k := fmt.Sprint("other-", i); clustermap.PartitionOf([]byte(k), parts) == clustermap.PartitionOf([]byte("k"), parts) {
			other = k
		}
	}
	g.on(func() {
		seen = nil
		g.a.Script = func(try *routertest.Try) bool {
			seen = append(seen, try.Req)
			held = append(held, try)
			return true
		}
	})
	sent := func(n int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			now := 0
			if g.on(func() { now = len(held) }); now == n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d tries, not %d", now, n)
			}
		}
	}
	one := g.begin(0, item.OpIncr, "k", "")
	sent(1)
	restart(3)
	two := g.begin(0, item.OpSet, other, "x")
	sent(2)
	g.on(func() {
		if seen[0].Session == 0 || seen[1].Session != seen[0].Session {
			t.Errorf("tries: %+v", seen)
		}
		for _, try := range held {
			try.Execute()
		}
	})
	one.wantNumber(t, 8)
	two.want(t, item.OK, "")
}

func TestUnknownSessionOnRetry(t *testing.T) {
	g := numberRig(t, router.Options{})
	var seen []wire.Request
	g.on(func() {
		script(g.a, &seen, func(try *routertest.Try) { try.Do(); clear(try.Server.Store.Sessions); try.HangUp() })
	})
	g.begin(0, item.OpIncr, "k", "").want(t, item.FateUnknown, "")
	g.begin(0, item.OpIncr, "k", "").wantNumber(t, 7)
	g.on(func() {
		if len(seen) != 3 { // done, unknown, and the other one
			t.Errorf("%d tries: %+v", len(seen), seen)
		}
	})
}

// At most MaxOutstanding numbers are outstanding; the others wait in order.
func TestOutstandingNumbersAreBounded(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	var held []*routertest.Try
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { held = append(held, try); return true } })
	const n = wire.MaxOutstanding + 500
	var all []*pending
	for i := range n {
		all = append(all, g.begin(0, item.OpAppend, "k", fmt.Sprint(i))) // without order: all of one partition
	}
	eventually(t, func() (ok bool) { g.on(func() { ok = len(held) >= wire.MaxOutstanding }); return ok })
	all[0].unanswered(t)
	g.on(func() {
		if len(held) != wire.MaxOutstanding {
			t.Errorf("%d arrived", len(held))
		}
		g.a.Script = nil
		for i := len(held) - 1; i > 0; i-- {
			held[i].Execute()
		}
		held = held[:1]
	})
	all[1].want(t, item.NotStored, "")
	all[n-1].unanswered(t) // the first number still is
	g.on(func() { held[0].Execute() })
	for i, p := range all {
		if i != 1 {
			p.want(t, item.NotStored, "")
		}
	}
}

// What was answered or timed out is not outstanding any more.
func TestLowest(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 150 * time.Millisecond})
	g.setMap(1, 1, g.a)
	var seen []wire.Request
	never := func(*routertest.Try) {}
	do := func(try *routertest.Try) { try.Execute() }
	g.on(func() { script(g.a, &seen, do, never, do) })
	g.begin(0, item.OpSet, "k", "1").want(t, item.OK, "")
	lost := g.begin(0, item.OpSet, "k", "2")
	g.begin(0, item.OpSet, "k", "3").want(t, item.OK, "")
	lost.want(t, item.FateUnknown, "")
	g.begin(0, item.OpSet, "k", "4").want(t, item.OK, "")
	g.on(func() {
		for i, want := range [][2]uint32{{1, 1}, {2, 2}, {3, 2}, {4, 4}} {
			if got := [2]uint32{seen[i].Number, seen[i].Lowest}; got != want {
				t.Errorf("write %d has number and lowest %v, want %v", i, got, want)
			}
		}
	})
}

// A server that says nothing is left for another connection, and a retry of a
// write whose time is over has an unknown fate.
func TestSilence(t *testing.T) {
	g := numberRig(t, router.Options{Silence: 200 * time.Millisecond, Timeout: 2 * time.Second})
	var seen []wire.Request
	g.on(func() { script(g.a, &seen, func(try *routertest.Try) { try.Do() }) })
	g.begin(0, item.OpIncr, "k", "").wantNumber(t, 6)
	g.on(func() { script(g.a, &seen, func(try *routertest.Try) { try.Do(); try.HangUp(); g.a.Crash() }) })
	g.begin(0, item.OpIncr, "k", "").want(t, item.FateUnknown, "")
}

// A loop that is busy for longer than the limit in every turn has not read what
// came: no server is silent for that.
func TestBusyLoopIsNobodysSilence(t *testing.T) {
	g := numberRig(t, router.Options{Silence: 600 * time.Millisecond, Timeout: 20 * time.Second})
	var busy func()
	left := 3
	busy = func() {
		time.Sleep(1100 * time.Millisecond) // stands for work
		if left--; left > 0 {
			g.l.Post(busy)
		}
	}
	tries := 0
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			if tries++; tries == 1 {
				g.l.After(1500*time.Millisecond, func() { try.Execute() })
				g.l.Post(busy)
				return true
			}
			return false
		}
	})
	g.begin(0, item.OpSet, "k", "1").want(t, item.OK, "")
	g.on(func() {
		if tries != 1 {
			t.Errorf("tried %d times", tries)
		}
	})
}

// Writes wait while no session can be opened; what surely was not sent has failed.
func TestNoSession(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 1500 * time.Millisecond})
	g.setMap(1, 1, g.a)
	opens := 0
	g.on(func() {
		g.a.ScriptOpens = true
		// The first opening gets no answer. The next one comes as soon as that has ended.
		g.a.Script = func(*routertest.Try) bool { opens++; return opens == 1 }
	})
	first := g.begin(0, item.OpSet, "k", "1")
	time.Sleep(time.Second) // the second has as long from the first's end
	second := g.begin(0, item.OpSet, "k", "2")
	if r := first.wait(t); r.Status != item.Failed || r.Message != "timeout: the primary of partition "+fmt.Sprint(g.part("k"))+" (a:1) opened no session for 1.5 s" {
		t.Errorf("%+v", r)
	}
	second.want(t, item.OK, "")
	g.on(func() { clear(g.a.Store.Sessions) })
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			if try.Req.Op != item.OpOpenSession {
				return false
			}
			try.Answer(item.Result{Status: item.Failed, Message: "used up"})
			return true
		}
	})
	if r := g.begin(0, item.OpSet, "k", "3").wait(t); r.Status != item.Failed || r.Message != "used up" {
		t.Errorf("%+v", r)
	}
}

func (g *rig) part(key string) (p uint16) {
	g.on(func() { p = g.r.Map().PartitionOf([]byte(key)) })
	return p
}

// Sessions mean nothing in another cluster.
func TestAnotherCluster(t *testing.T) {
	g := numberRig(t, router.Options{})
	g.on(func() { g.a.Script = func(try *routertest.Try) bool { return true } })
	sent := g.begin(0, item.OpIncr, "k", "")
	sent.unanswered(t)
	g.on(func() {
		g.b.Store = routertest.NewStore()
		m := g.mapTo(1, 1, g.b)
		m.ClusterID++
		g.r.SetMap(m)
	})
	sent.want(t, item.FateUnknown, "")
	g.begin(0, item.OpIncr, "k", "").want(t, item.NotFound, "")
}

// A flush of all partitions is done once in each, whatever goes wrong.
func TestFlushAllIsDoneOnce(t *testing.T) {
	g := newRig(t, router.Options{})
	g.setMap(1, 1, g.a)
	n := 0
	done := map[uint16]int{}
	g.on(func() {
		g.a.Script = func(try *routertest.Try) bool {
			if n++; n%3 == 0 {
				try.Do()
				try.Answer(item.Result{Status: item.FateUnknown})
				return true
			}
			return false
		}
		g.a.Store.OnExecute = func(r *wire.Request) { done[r.Partition]++ }
	})
	p := &pending{ch: make(chan item.Result, 2)}
	g.on(func() { g.r.FlushAll(0, p) })
	p.want(t, item.OK, "")
	g.on(func() {
		for part, n := range done {
			if n != 1 {
				t.Errorf("partition %d was flushed %d times", part, n)
			}
		}
		if len(done) != parts {
			t.Errorf("%d partitions were flushed", len(done))
		}
	})
}
