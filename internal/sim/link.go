package sim

import (
	"bytes"
	"slices"

	"github.com/kumofs/kumofs/internal/wire"
)

// A place in the network: a server's index, or one of these.
const (
	placeManager = 100 + iota
	placeGateway // and the ones after it
)

// network is what may befall messages.
type network struct {
	cut   map[[2]int]bool
	conns []*conn
	// chaos: frames between servers are lost, repeated and reordered, which TCP
	// does not do. The core is to stand it.
	chaos bool
	// slow is the share of frames that take up to 400 ms.
	slow  float64
	pipes map[[2]int]int64 // last delivery, for send
}

func (w *World) isCut(from, to int) bool { return w.net.cut[[2]int{from, to}] }

// setCut cuts or heals one direction between two places.
func (w *World) setCut(from, to int, cut bool) {
	if cut {
		w.net.cut[[2]int{from, to}] = true
	} else {
		delete(w.net.cut, [2]int{from, to})
		for _, c := range w.net.conns {
			c.pump(w, &c.there)
			c.pump(w, &c.back)
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

// send delivers something between two places in order, unless the way is cut.
// It is what links to managers and requests of gateways go over: whatever is
// lost there is sent again or given up.
func (w *World) send(from, to int, on *Server, do func()) {
	if w.isCut(from, to) {
		return
	}
	way := [2]int{from, to}
	at := max(w.now+w.delay(), w.net.pipes[way]+1)
	w.net.pipes[way] = at
	if on != nil {
		w.afterOn(on, at-w.now, do)
	} else {
		w.after(at-w.now, do)
	}
}

// conn is a connection from one run of a server to one run of another.
type conn struct {
	from, to    *Server
	runF, runT  uint64
	there, back flow
	broken      bool
	// until: what was on its way when the connection broke arrives up to then.
	until int64
}

// flow is one direction: frames in order.
type flow struct {
	src, dst *Server
	run      uint64
	frames   []frame
	waiting  bool
	last     int64
}

type frame struct {
	at int64
	b  []byte
}

func (w *World) newConn(from, to *Server) *conn {
	c := &conn{from: from, to: to, runF: from.run, runT: to.run,
		there: flow{src: from, dst: to, run: to.run}, back: flow{src: to, dst: from, run: from.run}}
	w.net.conns = append(w.net.conns, c)
	return c
}

// write sends a frame along c, from one of its ends.
func (c *conn) write(w *World, from *Server, b []byte) {
	f := &c.there
	if from == c.to {
		f = &c.back
	}
	if c.broken {
		return
	}
	if w.net.chaos && wire.Kind(b[4]) != wire.KindPeerHello {
		c.writeChaos(w, f, b)
		return
	}
	at := max(w.now+w.delay(), f.last+1)
	f.last = at
	f.frames = append(f.frames, frame{at, b})
	c.pump(w, f)
}

func (c *conn) writeChaos(w *World, f *flow, b []byte) {
	n := 1
	switch {
	case w.chance(0.02):
		n = 0
	case w.chance(0.03):
		n = 2
	}
	for range n {
		b := bytes.Clone(b) // the receiver wipes it
		w.afterOn(f.dst, w.often(0, 5*millisecond, 300*millisecond, 0.05), func() {
			if !c.broken && !w.isCut(f.src.index, f.dst.index) {
				c.arrive(f, b)
			}
		})
	}
}

// pump delivers what is due. Behind a cut frames wait, as TCP has them wait.
func (c *conn) pump(w *World, f *flow) {
	if f.waiting || len(f.frames) == 0 || w.isCut(f.src.index, f.dst.index) || c.over(w) {
		return
	}
	f.waiting = true
	w.afterOn(f.dst, max(0, f.frames[0].at-w.now), func() {
		f.waiting = false
		if w.isCut(f.src.index, f.dst.index) || c.over(w) || len(f.frames) == 0 {
			return
		}
		b := f.frames[0].b
		f.frames = f.frames[1:]
		c.arrive(f, b)
		c.pump(w, f)
	})
}

func (c *conn) over(w *World) bool { return c.broken && w.now > c.until }

func (c *conn) arrive(f *flow, b []byte) {
	if !f.dst.up || f.dst.run != f.run {
		return
	}
	f.dst.frame(c, b, f.dst == c.from)
}

// snap breaks a connection: both ends find out, each in its own time.
func (c *conn) snap(w *World) {
	if c.broken {
		return
	}
	c.broken = true
	c.until = w.now + w.between(0, 5*millisecond)
	w.net.conns = slices.DeleteFunc(w.net.conns, func(x *conn) bool { return x == c })
	if c.from.up && c.from.run == c.runF {
		w.afterOn(c.from, w.often(0, 20*millisecond, 800*millisecond, 0.1), func() { c.from.peerClosed(c) })
	}
	if c.to.up && c.to.run == c.runT {
		w.afterOn(c.to, w.often(0, 20*millisecond, 800*millisecond, 0.1), func() { c.to.inboundClosed(c) })
	}
}

// snapAll breaks the connections for which hit holds.
func (w *World) snapAll(hit func(*conn) bool) {
	for _, c := range slices.Clone(w.net.conns) {
		if hit(c) {
			c.snap(w)
		}
	}
}
