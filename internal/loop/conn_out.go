package loop

import "unsafe"

func (c *conn) writes() bool { return c.state <= open && !c.closing }

func (c *conn) Write(b []byte) {
	if !c.writes() || len(b) == 0 {
		return
	}
	c.out = append(c.l.bufs.grow(c.out, len(b)), b...)
	c.l.touch(c)
}

func (c *conn) Append(fn func(dst []byte) []byte) {
	if !c.writes() {
		return
	}
	if c.out == nil {
		c.out = c.l.bufs.get(c.usual)
	}
	old := c.out
	c.out = fn(old)
	if unsafe.SliceData(old) != unsafe.SliceData(c.out) {
		c.l.bufs.put(old) // fn's append has moved it
	}
	c.l.touch(c)
}

func (c *conn) Buffered() int { return len(c.out) - c.sent }

func (c *conn) Sent() uint64 { return c.total }

func (c *conn) OnDrain(limit int, fn func()) {
	if c.state < closed {
		c.wants = append(c.wants, drain{limit, fn})
		c.l.touch(c)
	}
}

func (c *conn) CloseAfterFlush() {
	if c.state < closed {
		c.closing = true
		c.l.touch(c)
	}
}

// writable: the kernel may take output again.
func (c *conn) writable() {
	c.blocked = false
	c.flush()
}

// flush sends what it can, then sees to everything that depends on how much is
// left, and to the interest in events.
func (c *conn) flush() {
	if c.state != open {
		return
	}
	for budget := flushBudget; c.Buffered() > 0 && !c.blocked; {
		if budget <= 0 {
			c.l.touch(c) // the others first
			break
		}
		n, err := c.t.send(c.out[c.sent:])
		c.sent += n
		c.total += uint64(n)
		budget -= n
		if err == errAgain {
			c.blocked = true
		} else if err != nil {
			c.end(err)
			return
		}
	}
	switch {
	case c.Buffered() == 0:
		c.dropOut()
		c.blocked = false
		if c.closing {
			c.end(c.endErr)
			return
		}
	case c.sent >= len(c.out)/2: // each byte moves no more than once
		c.out = c.out[:copy(c.out, c.out[c.sent:])]
		c.sent = 0
	}
	c.drained()
	c.t.interest(c.wantsRead(), c.blocked)
}

// drained makes the OnDrain calls that are due, in the next turn: a caller that
// writes again at once must not hold up the flush of other connections.
func (c *conn) drained() {
	kept := c.wants[:0]
	for _, w := range c.wants {
		if c.Buffered() > w.limit {
			kept = append(kept, w)
			continue
		}
		c.l.later(func() {
			if c.state == open {
				w.fn()
			}
		})
	}
	clear(c.wants[len(kept):])
	c.wants = kept
}

func (c *conn) dropOut() {
	if c.out != nil {
		// The next will be about as long as the last ones: it need not grow.
		c.usual = min(max(len(c.out), c.usual-c.usual/8), maxUsual)
		c.l.bufs.put(c.out)
		c.out, c.sent = nil, 0
	}
}
