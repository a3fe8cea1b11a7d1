package sim

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

const (
	microsecond = int64(time.Microsecond)
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
)

// World is everything there is in one run.
type World struct {
	rng   *rand.Rand
	now   int64 // ns since the run began
	seq   uint64
	queue eventQueue

	opt     Options
	servers []*Server
	manager *Manager
	gates   []*gateway
	hist    *history
	net     network
	// faults: things still go wrong.
	faults    bool
	busyUntil int64 // when the only fault is over (Single)
	healed    int64 // when the last fault ended
	// served is the highest epoch in which each partition has answered anything.
	served []uint32
	// began is when each partition served first, resumed when it last lost its
	// session table.
	began, resumed []int64

	failures []string
	stats    map[string]int
	trace    io.Writer
}

// event is something that happens at a time. With a server it happens to one
// run of it: not after a crash, and later while it is paused.
type event struct {
	at  int64
	seq uint64
	do  func()
	srv *Server
	run uint64
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return x
}

// after has do happen d nanoseconds from now.
func (w *World) after(d int64, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + d, seq: w.seq, do: do})
}

// afterOn is after, for one run of a server.
func (w *World) afterOn(s *Server, d int64, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + d, seq: w.seq, do: do, srv: s, run: s.run})
}

// runUntil lets everything happen up to a time.
func (w *World) runUntil(t int64) {
	for len(w.queue) > 0 && w.queue[0].at <= t {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		if s := e.srv; s != nil {
			if !s.up || s.run != e.run {
				continue
			}
			if s.pausedUntil > w.now {
				e.at = s.pausedUntil // its place among the others stays: seq does
				heap.Push(&w.queue, e)
				continue
			}
		}
		e.do()
		if len(w.failures) > 0 {
			return
		}
	}
	w.now = t
}

// between is a random time from lo to hi.
func (w *World) between(lo, hi int64) int64 { return lo + w.rng.Int64N(hi-lo+1) }

// often is a random time that is mostly short and sometimes up to hi.
func (w *World) often(lo, mid, hi int64, rare float64) int64 {
	if w.chance(rare) {
		return w.between(mid, hi)
	}
	return w.between(lo, mid)
}

func (w *World) chance(p float64) bool { return w.rng.Float64() < p }

// fail notes that the run has shown a fault of the code under test.
func (w *World) fail(format string, args ...any) {
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
	w.tracef("FAILURE "+format, args...)
}

func (w *World) tracef(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%10.3f  %s\n", float64(w.now)/1e6, fmt.Sprintf(format, args...))
	}
}

// name is a server as the trace shows it.
func (w *World) name(id clustermap.ServerID) string {
	if s := w.server(id); s != nil {
		return s.name
	}
	return fmt.Sprintf("?%x", uint64(id))
}

func (w *World) names(ids []clustermap.ServerID) string {
	out := "["
	for i, id := range ids {
		if i > 0 {
			out += " "
		}
		out += w.name(id)
	}
	return out + "]"
}

// server is the server with this ID, or nil.
func (w *World) server(id clustermap.ServerID) *Server {
	for _, s := range w.servers {
		if s.id == id {
			return s
		}
	}
	return nil
}
