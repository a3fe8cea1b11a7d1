package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

const (
	microsecond = int64(time.Microsecond)
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
)

// World is everything there is in one run.
type World struct {
	rng    *rand.Rand
	now    int64 // ns since the run began
	seq    uint64
	events uint64
	queue  queue

	opt      Options
	servers  []*Server
	managers []*Manager
	voters   []*voter
	agreed   agreed
	gates    []*gateway
	hist     *history
	// uploads are the values that were stored in chunks, whole or in part.
	uploads map[item.UploadID]string
	storing int // clients that store one, or give the command behind it
	net     network
	// slowCopy is how much longer each step of a bulk copy takes.
	slowCopy int64
	// faults: things still go wrong.
	faults    bool
	busyUntil int64 // when the only fault is over (Single)
	healed    int64 // when the last fault ended
	happened  []Fault
	// ambush waits for a primary to report a joiner (joinerLeads); or nil.
	ambush func(by *Server, part uint16, joiner clustermap.ServerID)
	// served is the highest epoch in which each partition has answered anything,
	// leads who served in it.
	served []uint32
	leads  []map[uint32]serverRun
	// began is when each partition served first, resumed when it last lost its
	// session table.
	began, resumed []int64
	// flushable are the partitions that clients flush.
	flushable []uint16

	failures []string
	stats    map[string]int
	trace    io.Writer
}

// proc is one process: a server, a manager or a gateway. What happens to it
// happens to one run of it: not after a crash, and later while it is paused.
type proc struct {
	w           *World
	name        string
	place       int // in the network
	up          bool
	run         uint64 // counts starts; also the random run ID that a server registers
	pausedUntil int64
	held        []event // what waits for the pause's end
	// unplugged: its machine has no power, so nobody is told that it is gone.
	unplugged bool
}

// after has do happen to this run d nanoseconds from now.
func (p *proc) after(d int64, do func()) {
	w := p.w
	w.seq++
	w.queue.push(event{at: w.now + d, seq: w.seq, do: do, on: p, run: p.run})
}

// pause stops the process for d; whatever comes meanwhile waits.
func (p *proc) pause(d int64) {
	p.pausedUntil = max(p.pausedUntil, p.w.now+d)
	p.w.tracef("%s is paused until %.3f", p.name, float64(p.pausedUntil)/1e6)
	p.w.after(d, p.wake)
}

// wake has what waited happen, if the pause is over: at once, in its order.
func (p *proc) wake() {
	if p.pausedUntil > p.w.now {
		return
	}
	for _, e := range p.held {
		e.at = p.w.now
		p.w.queue.push(e)
	}
	p.held = nil
}

// end is the end of one run.
func (p *proc) end(unplugged bool) {
	p.up, p.unplugged, p.held = false, unplugged, nil
	p.w.hangUp(p)
}

// after has do happen d nanoseconds from now.
func (w *World) after(d int64, do func()) {
	w.seq++
	w.queue.push(event{at: w.now + d, seq: w.seq, do: do})
}

// runUntil lets everything happen up to a time.
func (w *World) runUntil(t int64) {
	for len(w.queue) > 0 && w.queue[0].at <= t {
		e := w.queue.pop()
		w.now = e.at
		if p := e.on; p != nil {
			if !p.up || p.run != e.run {
				continue
			}
			if p.pausedUntil > w.now {
				p.held = append(p.held, e)
				continue
			}
		}
		w.events++
		e.do()
		if len(w.failures) > 0 {
			return
		}
	}
	w.now = max(w.now, t)
}

// runWhile lets time pass in steps while cond holds, up to a time. It tells
// whether cond ceased to hold.
func (w *World) runWhile(cond func() bool, until int64) bool {
	for len(w.failures) == 0 && cond() {
		if w.now >= until {
			return false
		}
		w.runUntil(min(until, w.now+100*millisecond))
	}
	return true
}

// between is a random time from lo to hi.
func (w *World) between(lo, hi int64) int64 {
	if w.opt.Still {
		return (lo + hi) / 2
	}
	return between(w.rng, lo, hi)
}

func between(rng *rand.Rand, lo, hi int64) int64 { return lo + rng.Int64N(hi-lo+1) }

// often is a random time that is mostly short and sometimes up to hi.
func (w *World) often(lo, mid, hi int64, rare float64) int64 {
	if w.opt.Still {
		return (lo + mid) / 2
	}
	return often(w.rng, lo, mid, hi, rare)
}

func often(rng *rand.Rand, lo, mid, hi int64, rare float64) int64 {
	if rng.Float64() < rare {
		return between(rng, mid, hi)
	}
	return between(rng, lo, mid)
}

func (w *World) chance(p float64) bool { return !w.opt.Still && w.rng.Float64() < p }

// stream is a random stream of its own: what draws from it does not change
// what others draw.
func (w *World) stream(n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.opt.Seed, 0x6b756d6f<<16+n))
}

// fail notes that the run has shown a fault of the code under test.
func (w *World) fail(c check, format string, args ...any) {
	text := string(c) + ": " + fmt.Sprintf(format, args...)
	w.failures = append(w.failures, text)
	w.tracef("FAILURE %s", text)
}

func (w *World) tracef(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%10.3f  %s\n", float64(w.now)/1e6, fmt.Sprintf(format, args...))
	}
}

// nameOf is a server as the trace shows it.
func (w *World) nameOf(id clustermap.ServerID) string {
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
		out += w.nameOf(id)
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
