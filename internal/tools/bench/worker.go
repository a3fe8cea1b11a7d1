package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/loop"
)

// A worker drives some of the connections, on a loop of its own. All that a turn of
// the loop has to send to one connection leaves in one system call, and nothing is
// allocated for an operation: what the load itself costs is taken from what is
// measured, where both share a machine.
type worker struct {
	load   *Load
	proto  protocol
	loop   loop.Loop
	zero   time.Time // of the worker's clock
	conns  []*conn
	ready  ring // connections with room for an operation
	rng    *rand.Rand
	picker *picker
	count  uint32 // of writes
	buf    []byte
	open   int // connections that are open
	lastUp int64
	opened func(error) // hears of the first attempts to connect
	phase  *phase
	ticked atomic.Bool // a tick was posted and has not run
	tick   func()
	ended  chan struct{}
	stop   context.CancelFunc
}

// phase is a worker's part of a fill, a warm-up or a measurement.
type phase struct {
	*record
	left     int64 // operations to be begun
	until    int64 // none is begun from then on; 0: no such time
	paced    bool
	schedule schedule
	begun    int64
	sets     int // per cent
	ordered  bool
	next     uint64 // key, if ordered
	inFlight int64
	done     chan<- error
}

// redialPause is how long to wait after a connection was lost.
const redialPause = 100 * time.Millisecond

// now is the worker's clock.
func (w *worker) now() int64 { return int64(time.Since(w.zero)) }

// connect begins to connect; opened is called once for each connection.
func (w *worker) connect() {
	for _, c := range w.conns {
		c.dial()
	}
	w.watch()
}

// watch looks after what does not come.
func (w *worker) watch() {
	now, limit := w.now(), int64(w.load.Timeout)
	for _, c := range w.conns {
		if c.n > 0 && now-c.ops[c.head].sent > limit {
			c.lose(fmt.Sprintf("no answer within %v", w.load.Timeout))
		}
	}
	if w.open > 0 {
		w.lastUp = now
	} else if w.phase != nil && now-w.lastUp > limit {
		w.finish(fmt.Errorf("no connection for %v", w.load.Timeout))
	}
	w.loop.After(50*time.Millisecond, w.watch)
}

func (w *worker) start(p *phase) {
	w.phase = p
	w.lastUp = w.now()
}

func (w *worker) finish(err error) {
	p := w.phase
	w.phase = nil
	p.end = w.now()
	p.done <- err
}

// cut begins no more operations.
func (w *worker) cut() {
	if w.phase != nil {
		w.phase.left = 0
	}
}

// turnEnd sends what is due, right before the loop flushes: so the time of sending is
// one look at the clock for all of it.
func (w *worker) turnEnd() {
	p := w.phase
	if p == nil {
		return
	}
	now := w.now()
	if p.until > 0 && now >= p.until {
		p.left = 0
	}
	for p.left > 0 && w.ready.n > 0 {
		start := now
		if p.paced {
			if start = p.schedule.due(p.begun); start > now {
				break
			}
		}
		c := w.ready.pop()
		c.queued = false
		if c.usable() {
			c.begin(p, start, now)
			c.enqueue()
		}
	}
	if p.left == 0 && p.inFlight == 0 {
		w.finish(nil)
	}
}

// pace wakes the loop when operations of an open loop are due, until stop. The loop's
// own timers are exact to a millisecond, which would be seen in every latency.
func (w *worker) pace(s schedule, stop *atomic.Bool) {
	// Not more often than this: to wake the loop costs more than an operation.
	const least = 50 * time.Microsecond
	defer exact()()
	for !stop.Load() {
		wait := time.Duration(s.after(w.now()) - w.now())
		if wait > redialPause {
			sleep(redialPause) // to see stop
			continue
		}
		sleep(max(wait, least))
		if w.ticked.CompareAndSwap(false, true) {
			w.loop.Post(w.tick)
		}
	}
}

// conn is one connection.
type conn struct {
	w      *worker
	addr   string
	lc     loop.Conn
	ops    []op // a ring of those in flight
	head   int
	n      int
	room   int // how many may be in flight
	up     bool
	queued bool // in the worker's ready
	first  bool // the first attempt to connect is not over
	why    string
}

func (c *conn) dial() { c.lc = c.w.loop.Dial(c.addr, c.w.load.Timeout, c) }

// usable: it is open and not about to be closed.
func (c *conn) usable() bool { return c.up && c.why == "" }

// enqueue says that there is room for an operation.
func (c *conn) enqueue() {
	if c.usable() && !c.queued && c.n < c.room {
		c.queued = true
		c.w.ready.push(c)
	}
}

// begin sends an operation.
func (c *conn) begin(p *phase, start, now int64) {
	w := c.w
	o := &c.ops[(c.head+c.n)%len(c.ops)]
	c.n++
	p.left--
	p.begun++
	p.inFlight++
	o.set = p.sets == 100 || p.sets > 0 && w.rng.IntN(100) < p.sets
	o.next, o.begun, o.failed, o.start, o.sent = 0, false, false, start, now
	o.keys = o.keys[:0]
	keys := 1
	if !o.set {
		keys = w.load.Multiget
	}
	for range keys {
		if p.ordered {
			o.keys = append(o.keys, p.next)
			p.next++
		} else {
			o.keys = append(o.keys, w.picker.pick(w.rng))
		}
	}
	if o.set {
		size := w.load.MinValue
		if more := w.load.MaxValue - size; more > 0 {
			size += w.rng.IntN(more + 1)
		}
		w.count++
		w.buf = w.proto.appendSet(w.buf[:0], o.keys[0], size, w.count)
	} else {
		w.buf = w.proto.appendGet(w.buf[:0], o.keys)
	}
	c.lc.Write(w.buf)
	if p.paced {
		observe(p.wait, now-start)
	}
}

// end takes the oldest operation out.
func (c *conn) end(now int64) {
	o := &c.ops[c.head]
	c.head = (c.head + 1) % len(c.ops)
	c.n--
	p := c.w.phase
	if p == nil {
		return // the phase was ended by an error
	}
	p.inFlight--
	p.ops++
	h := p.get
	if o.set {
		h = p.set
	}
	observe(h, now-o.start)
}

// OnOpen is the loop's.
func (c *conn) OnOpen(loop.Conn) {
	c.up = true
	c.w.open++
	c.enqueue()
	c.tried(nil)
}

// tried tells of the first attempt to connect.
func (c *conn) tried(err error) {
	if c.first {
		c.first = false
		c.w.opened(err)
	}
}

// OnData is the loop's: answers.
func (c *conn) OnData(_ loop.Conn, b []byte) (used int) {
	w := c.w
	if w.phase == nil {
		c.lose("answer that was not asked for")
		return len(b)
	}
	now := w.now()
	for c.n > 0 {
		n, done, err := w.proto.parse(b[used:], &c.ops[c.head], &w.phase.tally)
		if err != nil {
			c.lose(err.Error())
			return len(b)
		}
		if n == 0 {
			c.enqueue()
			return used
		}
		used += n
		if done {
			c.end(now)
		}
	}
	if used < len(b) {
		c.lose(fmt.Sprintf("answer that was not asked for: %q", b[used:min(len(b), used+64)]))
		return len(b)
	}
	c.enqueue()
	return used
}

// lose closes the connection for a reason of this side's.
func (c *conn) lose(why string) {
	if c.why == "" {
		c.why = why
	}
	c.lc.Close()
}

// OnClose is the loop's. What was in flight has failed, and another connection is made.
func (c *conn) OnClose(_ loop.Conn, err error) {
	w := c.w
	if errors.Is(err, loop.ErrStopped) {
		return
	}
	if !c.up {
		c.tried(err)
	} else {
		c.up = false
		w.open--
		why := c.why
		switch {
		case why != "":
		case errors.Is(err, io.EOF):
			why = "connection lost: closed by the server"
		default:
			why = "connection lost: " + strings.TrimSpace(fmt.Sprint(err))
		}
		if w.phase != nil {
			w.phase.lost++
		}
		for now := w.now(); c.n > 0; {
			if w.phase != nil {
				w.phase.fail(&c.ops[c.head], []byte(why))
			}
			c.end(now)
		}
	}
	c.why = ""
	w.loop.After(redialPause, c.dial)
}

// ring is a queue of connections, each in it once at most.
type ring struct {
	list []*conn
	head int
	n    int
}

func (r *ring) push(c *conn) {
	r.list[(r.head+r.n)%len(r.list)] = c
	r.n++
}

func (r *ring) pop() *conn {
	c := r.list[r.head]
	r.head = (r.head + 1) % len(r.list)
	r.n--
	return c
}
