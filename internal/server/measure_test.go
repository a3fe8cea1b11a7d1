package server

import (
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/wire"
)

func (g *glue) times() *latency.Summary { return g.meter.requests.Summary(g.time) }

// A request's time is from its arrival to its answer: a write waits for the other server, a
// get for a lease. What the server asks itself does not count.
func TestRequestTimes(t *testing.T) {
	g := newGlue(t)
	g.rn.Leases.Granted(other, g.time, 1, g.time)
	g.touchClock()
	var a answers
	g.ask(&a, item.OpSet, "k", "v")
	g.ask(&a, item.OpSet, "l", "v")
	g.turn()
	g.time += int64(7 * time.Millisecond)
	g.touchClock()
	g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
	g.turn()
	if h := &g.times().All[latency.Set]; a.replies != 2 || h.Count() != 2 || h.Sum() != 14*time.Millisecond {
		t.Errorf("%d answers; %d sets took %v", a.replies, h.Count(), h.Sum())
	}
	g.ask(&a, item.OpGet, "k", "")
	g.turn()
	if h := &g.times().All[latency.Get]; h.Count() != 1 || h.Sum() != 0 { // the test's clock stands still within a turn
		t.Errorf("%d gets took %v", h.Count(), h.Sum())
	}
	g.time += int64(20 * time.Minute) // tags go around meanwhile
	g.touchClock()
	g.ask(&a, item.OpGet, "k", "")
	g.turn()
	g.time += int64(3 * time.Millisecond)
	g.rn.Leases.Granted(other, g.time, 1, g.time)
	g.granted = true
	g.touchClock()
	g.turn()
	if h := &g.times().Recent[latency.Get]; a.replies != 4 || h.Count() != 1 || h.Sum() != 3*time.Millisecond {
		t.Errorf("%d answers; %d gets took %v", a.replies, h.Count(), h.Sum())
	}
	before := *g.times()
	g.replyAll()
	g.answered(0)
	g.settle()
	if after := *g.times(); after.All != before.All {
		t.Error("what has no tag was counted")
	}
}

// One append at a time is measured, and none for ever.
func TestAppendTimes(t *testing.T) {
	var a appendMeter
	app := func(part uint16, version uint64) *wire.Message {
		return &wire.Message{Kind: wire.KindAppend, Partition: part, Version: version}
	}
	ack := func(part uint16, version uint64) *wire.Message {
		return &wire.Message{Kind: wire.KindAppendAck, Partition: part, Version: version}
	}
	a.sending(&wire.Message{Kind: wire.KindAppendQuery}, 1)
	a.sending(app(3, 10), 1000)
	a.sending(app(4, 1), 1500)
	a.sending(app(3, 11), 2000)
	a.heard(ack(4, 99), 2500)
	a.heard(ack(3, 9), 2600)
	if a.times.Count() != 0 {
		t.Fatal("another acknowledgement was taken for that of the append")
	}
	a.heard(ack(3, 11), 9000)
	if a.times.Count() != 1 || a.times.Sum() != 8000 {
		t.Errorf("%d took %v", a.times.Count(), a.times.Sum())
	}
	a.heard(ack(3, 12), 9500)
	a.sending(app(5, 7), 10_000) // is not acknowledged
	a.sending(app(6, 7), 10_000+giveUpAppend)
	a.sending(app(6, 8), 10_001+giveUpAppend)
	a.heard(ack(6, 8), 10_003+giveUpAppend)
	if a.times.Count() != 2 || a.times.Sum() != 8002 {
		t.Errorf("%d took %v", a.times.Count(), a.times.Sum())
	}
}

// A server is ready when it serves all that it leads, and says why else.
func TestNotReady(t *testing.T) {
	g := newGlue(t)
	want := func(text string) {
		t.Helper()
		if got := strings.Join(g.notReady(), "; "); got != text && (text == "" || !strings.Contains(got, text)) {
			t.Errorf("%q, not %q", got, text)
		}
	}
	want("")
	g.leaving.set(control.Stops)
	want("to stop")
	g.leaving.level.Store(0)
	g.commit.full = time.Now()
	want("the disk is full")
	g.commit.full, g.commit.hangs = time.Time{}, true
	want("the disk does not answer")
	g.commit.hangs = false
	next := *g.cmap
	next.Version++
	next.Partitions = []clustermap.Partition{{Epoch: 2, Replicas: []clustermap.ServerID{g.self, other},
		LastKnown: []clustermap.ServerID{g.self, other}, LastPrimary: other, LastPrimaryIncarnation: 1}}
	g.adopt(&next) // a failover: not active yet
	want("1 of the 1 partitions that it leads are not served yet")
	if n := g.notServing(); n != 1 {
		t.Errorf("%d partitions are not served", n)
	}
	last := next
	last.Version++
	last.Servers = []clustermap.Server{{ID: g.self, Addr: "a:1", Incarnation: 1, RunID: 1, State: clustermap.Fault}, next.Servers[1]}
	g.adopt(&last)
	want("it is no active member")
	gone := last
	gone.Version++
	gone.Servers = last.Servers[1:]
	g.adopt(&gone)
	want("it is not attached")
	g.cmap = nil
	want("no manager is connected")
	g.leaving.linked.Store(true)
	want("it is not attached: its manager")
}
