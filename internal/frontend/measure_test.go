package frontend

import (
	"fmt"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/loop/looptest"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// keeper is a Backend that answers when it is told to, but for sessions.
type keeper struct{ kept []router.Sink }

func (*keeper) Local(uint16) bool { return true }

func (k *keeper) Submit(r *wire.Request, sink router.Sink) {
	if r.Op == item.OpOpenSession {
		done(sink)
		return
	}
	k.kept = append(k.kept, sink)
}

func done(sink router.Sink) {
	sink.Reply(&wire.Reply{ID: sink.Request().ID, Result: item.Result{Status: item.OK, Item: item.Item{Version: 1 << 40}}})
}

// answer answers the first n that wait.
func (k *keeper) answer(n int) {
	for _, sink := range k.kept[:n] {
		done(sink)
	}
	k.kept = k.kept[n:]
}

// watched is a frontend whose clock its test moves.
type watched struct {
	*keeper
	*looptest.Still
	f    *Frontend
	now  time.Time
	send func(text string)
}

func newWatched(t *testing.T) *watched {
	w := &watched{keeper: &keeper{}, Still: &looptest.Still{}, now: time.Now()}
	r := router.New(w.Still, router.Options{Backend: w.keeper, Now: func() time.Time { return w.now }})
	w.f = New(w.Still, Options{Router: r, AllowFlushAll: true})
	if _, err := w.f.Listen(""); err != nil {
		t.Fatal(err)
	}
	m := &clustermap.Map{ClusterID: 1, Version: 1, Partitions: make([]clustermap.Partition, 1), Servers: []clustermap.Server{{ID: 1, Addr: "s:1"}}}
	m.Partitions[0] = clustermap.Partition{Epoch: 1, Replicas: []clustermap.ServerID{1}, Active: true}
	r.SetMap(m)
	conn := &looptest.Conn{}
	h := w.Accept(conn)
	w.send = func(text string) {
		if n := h.OnData(conn, []byte(text)); n != len(text) {
			t.Fatalf("%d bytes of %q were taken", n, text)
		}
	}
	return w
}

// turn ends a turn, and passes time before the next.
func (w *watched) turn(d time.Duration) {
	w.TurnEnd()
	w.now = w.now.Add(d)
}

func (w *watched) want(t *testing.T, k latency.Kind, n uint64, took time.Duration) {
	t.Helper()
	s := w.f.Latency()
	if all := &s.All[k]; all.Count() != n || all.Sum() != took {
		t.Errorf("%d commands of kind %s that took %v, not %d and %v", all.Count(), k, all.Sum(), n, took)
	}
}

// A command's time is from the turn that took it to the end of the one that answered it.
func TestLatency(t *testing.T) {
	w := newWatched(t)
	w.send("get a\r\nget b\r\n")
	w.turn(2 * time.Millisecond)
	w.send("touch d 0\r\n")
	w.answer(2)
	w.now = w.now.Add(time.Millisecond) // the turn itself takes time
	w.want(t, latency.Get, 0, 0)
	w.turn(5 * time.Millisecond)
	w.want(t, latency.Get, 2, 6*time.Millisecond)
	w.want(t, latency.Touch, 0, 0)
	w.answer(1)
	w.turn(0)
	w.want(t, latency.Touch, 1, 6*time.Millisecond)

	w.send("get a b\r\n")
	w.now = w.now.Add(3 * time.Millisecond)
	w.answer(2) // within the turn
	w.turn(0)
	w.want(t, latency.Get, 4, 12*time.Millisecond)
	w.want(t, latency.Set, 0, 0)
}

// An answer that waits for those before it has gone out with them.
func TestLatencyInOrder(t *testing.T) {
	w := newWatched(t)
	w.send("get a\r\ntouch b 0\r\n")
	w.turn(time.Millisecond)
	first := w.kept[:1:1]
	w.kept = w.kept[1:]
	w.answer(1)
	w.turn(time.Millisecond)
	w.want(t, latency.Touch, 0, 0)
	w.kept = first
	w.answer(1)
	w.turn(0)
	w.want(t, latency.Touch, 1, 2*time.Millisecond)
	w.want(t, latency.Get, 1, 2*time.Millisecond)
}

// One turn may answer commands of any number of others.
func TestLatencyOfManyTurns(t *testing.T) {
	w := newWatched(t)
	const turns = 3*maxTallies + 5
	for i := range turns {
		w.send(fmt.Sprintf("touch %d 0\r\n", i))
		w.turn(time.Millisecond)
	}
	w.answer(turns)
	w.turn(0)
	w.want(t, latency.Touch, turns, turns*(turns+1)/2*time.Millisecond)
	if len(w.f.meter.other) != 0 || cap(w.f.meter.other) > 2*maxTallies {
		t.Errorf("%d of %d tallies are kept", len(w.f.meter.other), cap(w.f.meter.other))
	}
}

// What is no command on keys is not measured.
func TestLatencyOfNothing(t *testing.T) {
	w := newWatched(t)
	w.send("version\r\nget a\r\nversion\r\nbad\r\nset a 0 0 9999999\r\n")
	w.turn(time.Millisecond)
	w.answer(1)
	w.turn(0)
	w.want(t, latency.Get, 1, time.Millisecond)
	for _, k := range []latency.Kind{latency.Set, latency.Delete, latency.Touch, latency.Incr, latency.Other} {
		w.want(t, k, 0, 0)
	}
}
