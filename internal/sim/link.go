package sim

import (
	"bytes"
	"slices"

	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// A place in the network: a server's index, or one of these and the ones after it.
const (
	placeManager = 20
	placeGateway = 26
	places       = 32
)

// network is what may befall messages.
type network struct {
	cut   [places][places]int // how many faults cut this way
	conns []*conn
	// chaos: frames between servers are lost, repeated and reordered, which TCP
	// does not do. The core is to stand it.
	chaos bool
	// slow is the share of frames that take up to 400 ms.
	slow float64
	last [places][places]int64 // last delivery, for send
}

func (w *World) isCut(from, to int) bool { return w.net.cut[from][to] > 0 }

func (w *World) apart(a, b int) bool { return w.isCut(a, b) || w.isCut(b, a) }

// setCut cuts one direction between two places, or takes such a cut back.
func (w *World) setCut(from, to int, cut bool) {
	n := &w.net.cut[from][to]
	if cut {
		*n++
		return
	}
	if *n = max(0, *n-1); *n == 0 {
		for _, c := range w.net.conns {
			c.pump(&c.there)
			c.pump(&c.back)
		}
	}
}

func (w *World) delay() int64 {
	d := w.often(100*microsecond, millisecond, 8*millisecond, 0.2)
	if w.net.slow > 0 && w.chance(w.net.slow) {
		d += w.between(0, 400*millisecond)
	}
	return d
}

// send delivers something to a process in order, unless the way is cut. It is
// what managers agree over and requests of gateways go over: whatever is lost
// there is sent again or given up.
func (w *World) send(from int, to *proc, do func()) {
	if w.isCut(from, to.place) {
		return
	}
	last := &w.net.last[from][to.place]
	at := max(w.now+w.delay(), *last+1)
	*last = at
	to.after(at-w.now, do)
}

// conn is a connection from one run of a process to one run of another.
type conn struct {
	w           *World
	there, back flow // what the side that dialed sends, and what it receives
	broken      bool
	// until: what was on its way when the connection broke arrives up to then.
	until int64
	// peers: it is between servers and carries frames of package wire.
	peers bool
}

// flow is one direction: frames in order.
type flow struct {
	src, dst *proc
	run      uint64 // of dst
	frames   []frame
	waiting  bool
	last     int64
	closed   func()            // src finds out that the connection broke
	leases   replica.LeaseTalk // src's
	srcRun   uint64
}

// frame is bytes between servers, else what the receiver does.
type frame struct {
	at int64
	b  []byte
	do func()
}

func (w *World) newConn(from, to *proc) *conn {
	c := &conn{w: w, there: flow{src: from, srcRun: from.run, dst: to, run: to.run},
		back: flow{src: to, srcRun: to.run, dst: from, run: from.run}}
	w.net.conns = append(w.net.conns, c)
	return c
}

// flowOf is the direction in which p sends.
func (c *conn) flowOf(p *proc) *flow {
	if p == c.there.src {
		return &c.there
	}
	return &c.back
}

// talkOf is p's side of what is said of leases along c.
func (c *conn) talkOf(p *proc) *replica.LeaseTalk { return &c.flowOf(p).leases }

// do has the other end of p do something when it gets there.
func (c *conn) do(p *proc, do func()) { c.queue(c.flowOf(p), frame{do: do}) }

// write sends a frame along c, from one of its ends.
func (c *conn) write(from *proc, b []byte) {
	w := c.w
	if w.net.chaos && wire.Kind(b[4]) != wire.KindPeerHello {
		c.writeChaos(c.flowOf(from), b)
		return
	}
	c.queue(c.flowOf(from), frame{b: b})
}

func (c *conn) queue(f *flow, fr frame) {
	if c.broken {
		return
	}
	fr.at = max(c.w.now+c.w.delay(), f.last+1)
	f.last = fr.at
	f.frames = append(f.frames, fr)
	c.pump(f)
}

func (c *conn) writeChaos(f *flow, b []byte) {
	w, n := c.w, 1
	if c.broken {
		return
	}
	switch {
	case w.chance(0.02):
		n = 0
	case w.chance(0.03):
		n = 2
	}
	for range n {
		b := bytes.Clone(b) // the receiver wipes it
		f.dst.after(w.often(0, 5*millisecond, 300*millisecond, 0.05), func() {
			if !c.broken && !w.isCut(f.src.place, f.dst.place) {
				c.arrive(f, frame{b: b})
			}
		})
	}
}

// pump delivers what is due. Behind a cut frames wait, as TCP has them wait.
func (c *conn) pump(f *flow) {
	w := c.w
	if f.waiting || len(f.frames) == 0 || w.isCut(f.src.place, f.dst.place) || c.over() {
		return
	}
	f.waiting = true
	f.dst.after(max(0, f.frames[0].at-w.now), func() {
		f.waiting = false
		if w.isCut(f.src.place, f.dst.place) || c.over() || len(f.frames) == 0 {
			return
		}
		fr := f.frames[0]
		f.frames = f.frames[1:]
		c.arrive(f, fr)
		c.pump(f)
	})
}

func (c *conn) over() bool { return c.broken && c.w.now > c.until }

func (c *conn) arrive(f *flow, fr frame) {
	if !f.dst.up || f.dst.run != f.run {
		return
	}
	if fr.do != nil {
		fr.do()
		return
	}
	c.w.servers[f.dst.place].frame(c, fr.b, f == &c.back)
}

// snap breaks a connection: both ends find out, each in its own time. An end
// that hangs up itself knows already.
func (c *conn) snap() {
	if c.broken {
		return
	}
	w := c.w
	c.broken = true
	c.until = w.now + w.between(0, 5*millisecond)
	w.net.conns = slices.DeleteFunc(w.net.conns, func(x *conn) bool { return x == c })
	for _, f := range []*flow{&c.there, &c.back} {
		if f.closed != nil && f.src.up && f.src.run == f.srcRun {
			f.src.after(w.often(0, 20*millisecond, 800*millisecond, 0.1), f.closed)
		}
	}
}

// snapAll breaks the connections for which hit holds.
func (w *World) snapAll(hit func(*conn) bool) {
	for _, c := range slices.Clone(w.net.conns) {
		if hit(c) {
			c.snap()
		}
	}
}

// hangUp breaks every connection of a process that is gone. Where its machine
// is gone too nothing tells the others: they find out by silence.
func (w *World) hangUp(p *proc) {
	if !p.unplugged {
		w.snapAll(func(c *conn) bool { return c.there.src == p || c.there.dst == p })
		return
	}
	w.net.conns = slices.DeleteFunc(w.net.conns, func(c *conn) bool { return c.there.src == p || c.there.dst == p })
}
