package load

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// churner is one client of a Churn.
type churner struct {
	c      *Churn
	g      *group
	id     int
	addrs  []string // where it connects, in this order
	direct bool     // to servers' own ports
	rnd    *rand.Rand
	conn   *Conn
	seq    int
	tokens map[*cell]Result // what it read last
}

func (cl *churner) run() {
	defer func() {
		if cl.conn != nil {
			cl.conn.Close()
		}
	}()
	for {
		select {
		case <-cl.c.stop:
			cl.leave()
			return
		case <-time.After(cl.pause()):
		}
		if !cl.connect() {
			continue
		}
		cl.c.gate.RLock()
		cells := cl.g.pick(cl)
		if len(cells) > 1 {
			cl.multiGet(cells)
		} else {
			cl.do(cells[0], cl.choose(cells[0]))
		}
		cl.c.gate.RUnlock()
		for _, cell := range cells {
			if cl.g.release(cell) {
				cl.retire(cell)
			}
		}
	}
}

// pause is how long it waits between two operations. A client of a server's own
// port is seldom there: an old value is one that is asked for when the server
// has stood still so long that another has taken over and written.
func (cl *churner) pause() time.Duration {
	if cl.direct {
		return time.Duration(cl.rnd.Int64N(int64(6 * time.Second)))
	}
	return cl.c.opt.Pace/2 + time.Duration(cl.rnd.Int64N(int64(cl.c.opt.Pace)))
}

func (cl *churner) connect() bool {
	if cl.conn != nil {
		return true
	}
	conn, err := Dial(cl.addrs[0], cl.c.opt.Timeout)
	if err != nil { // it is down: not an operation
		cl.addrs = rotate(cl.addrs, 1)
		return false
	}
	conn.Speak(AnyProtocol(cl.rnd))
	cl.conn = conn
	return true
}

// pick takes a key of the group, or several for a multi-get.
func (g *group) pick(cl *churner) (cells []*cell) {
	n := 1
	if cl.rnd.IntN(16) == 0 {
		n = 2 + cl.rnd.IntN(5)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range cl.rnd.Perm(slots)[:n] {
		c := g.cells[i]
		if c == nil {
			c = &cell{key: fmt.Sprintf("n%x-%d-%d", cl.c.opt.Seed&0xffff, g.id, g.next), class: class(g.next % 3)}
			g.next++
			g.cells[i] = c
		}
		c.busy++
		if c.begun++; c.begun >= lifetime || c.class == timed && c.begun >= noTimes {
			g.cells[i] = nil
		}
		cells = append(cells, c)
	}
	return cells
}

// release tells whether the caller was the last one to use a key that is done with.
func (g *group) release(c *cell) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.busy--; c.busy > 0 {
		return false
	}
	for _, other := range g.cells {
		if other == c {
			return false
		}
	}
	return true
}

// leave retires the keys that are left when the load ends.
func (cl *churner) leave() {
	cl.g.mu.Lock()
	var last []*cell
	for i, c := range cl.g.cells {
		if c != nil && c.busy == 0 {
			last = append(last, c)
		}
		if c != nil {
			cl.g.cells[i] = nil // who uses it now retires it
		}
	}
	cl.g.mu.Unlock()
	for _, c := range last {
		cl.retire(c)
	}
}

// retire reads a key for the last time and hands its history on. A read that
// never succeeds is counted as an error each time.
func (cl *churner) retire(c *cell) {
	delete(cl.tokens, c)
	if cl.direct { // its server may be away for long
		cl = &churner{c: cl.c, g: cl.g, id: cl.id, addrs: cl.c.opt.Gateways, rnd: cl.rnd, tokens: map[*cell]Result{}}
		defer func() {
			if cl.conn != nil {
				cl.conn.Close()
			}
		}()
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if !cl.connect() {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		cl.c.gate.RLock()
		res := cl.do(c, &Op{Kind: Get, Key: c.key})
		cl.c.gate.RUnlock()
		if res.Status < Unknown {
			break
		}
	}
	cl.c.done <- c
}

func (cl *churner) value() string {
	cl.seq++
	if n := cl.c.opt.Large; n > 0 && cl.rnd.IntN(n) == 0 {
		return Large(cl.id*1_000_000+cl.seq, 1<<20+cl.rnd.IntN(200_000))
	}
	return pad(fmt.Sprintf("c%d-%d-", cl.id, cl.seq), 40)
}

// exptime gives an operation one, now and then.
func (cl *churner) exptime(op *Op, oneIn int) *Op {
	if cl.rnd.IntN(oneIn) == 0 {
		op.Exptime, op.Tag = 2+cl.rnd.IntN(2), cl.c.tags.Add(1)
	}
	return op
}

// choose is what to do to a key.
func (cl *churner) choose(c *cell) *Op {
	n := cl.rnd.IntN(100)
	op := &Op{Kind: Get, Key: c.key}
	if cl.direct && cl.rnd.IntN(4) > 0 {
		return op
	}
	if c.class == counter {
		switch {
		case n < 45:
			op.Kind = Incr
		case n < 60:
			op.Kind = Decr
		case n < 75:
			op.Kind, op.Value = Add, "8"
		case n < 80:
			op.Kind = Delete
		}
		return op
	}
	switch {
	case n < 35:
		return op
	case n < 55:
		op.Kind = Set
	case n < 63:
		op.Kind = Add
	case n < 70:
		op.Kind = Replace
	case n < 80:
		op.Kind = Append
		if n%2 == 0 {
			op.Kind = Prepend
		}
		cl.seq++
		op.Value = fmt.Sprintf("+c%d-%d+", cl.id, cl.seq)
		return op
	case n < 88:
		op.Kind = Delete
		return op
	case c.class == timed: // touch changes the unique, so there is no cas here
		op.Kind = Touch
		if n%2 == 0 {
			op.Kind = GetTouch
		}
		return cl.exptime(op, 2)
	default:
		tok, known := cl.tokens[c]
		if !known {
			return op
		}
		delete(cl.tokens, c)
		op.Kind, op.Unique, op.Expect = CAS, tok.Unique, tok.Value
	}
	op.Value = cl.value()
	if c.class == timed {
		return cl.exptime(op, 4)
	}
	return op
}

func (cl *churner) do(c *cell, op *Op) Result {
	call := cl.c.now()
	res, err := cl.conn.Do(op)
	ret := cl.c.now()
	if err != nil {
		res = cl.lost(err)
	}
	if op.Kind == Get && res.Status == Done && c.class == plain {
		if len(cl.tokens) > 64 {
			clear(cl.tokens)
		}
		cl.tokens[c] = res
	}
	cl.note(c, record{cl.id, *op, res, call, ret, false, false})
	return res
}

// lost ends a connection that is of no more use; the next may go elsewhere.
func (cl *churner) lost(err error) Result {
	cl.conn.Close()
	cl.conn = nil
	cl.addrs = rotate(cl.addrs, 1)
	return Result{Status: Unknown, Error: broken(err)}
}

func (cl *churner) note(c *cell, r record) {
	c.mu.Lock()
	c.records = append(c.records, r)
	c.mu.Unlock()
	if !r.more {
		cl.c.window.Load().note(&r, cl.direct)
	}
}

func (cl *churner) multiGet(cells []*cell) {
	keys := make([]string, len(cells))
	for i, c := range cells {
		keys[i] = c.key
	}
	call := cl.c.now()
	found, all, err := cl.conn.MultiGet(keys)
	ret := cl.c.now()
	if err != nil {
		all = cl.lost(err)
	}
	for i, c := range cells {
		res := all
		if all.Error == "" {
			var hit bool
			if res, hit = found[c.key]; !hit {
				res = Result{Status: Missing}
			}
		}
		cl.note(c, record{cl.id, Op{Kind: Get, Key: c.key}, res, call, ret, i > 0, false})
	}
}
