package loop

import (
	"fmt"
	"io"
)

func (c *conn) wantsRead() bool {
	return c.state == open && !c.paused && !c.closing && !c.eof
}

// readable reads what has come and gives it to the handler. True: it stopped at
// the turn's budget, there may be more.
func (c *conn) readable() (more bool) {
	for budget := readBudget; c.wantsRead(); {
		if budget <= 0 {
			return true
		}
		kept, long := len(c.in), len(c.in) > smallTail
		buf := c.l.scratch
		if long {
			if cap(c.in)-kept < kept/2 { // doubles: each byte moves once or twice
				c.in = c.l.bufs.grow(c.in, kept)
			}
			buf = c.in[:cap(c.in)]
		} else {
			copy(buf, c.in)
		}
		n, err := c.t.recv(buf[kept:])
		if n > 0 {
			budget -= n
			if long {
				c.in = buf[:kept+n]
			}
			c.deliver(buf[:kept+n], long)
		}
		if err != nil {
			return err != errAgain && c.state == open && c.readFailed(err)
		}
	}
	return false
}

// deliver gives b to the handler and keeps what it leaves. own: b is c.in.
func (c *conn) deliver(b []byte, own bool) {
	c.inData = true
	used := c.h.OnData(c, b)
	c.inData = false
	if c.state != open { // closed or detached within the call
		c.dropIn()
		return
	}
	if used < 0 || used > len(b) {
		panic(fmt.Sprintf("loop: OnData consumed %d of %d bytes", used, len(b)))
	}
	rest := b[used:]
	switch {
	case len(rest) == 0:
		c.dropIn()
	case own && used == 0:
	case own && len(rest) > smallTail:
		c.in = c.in[:copy(c.in, rest)]
	case own:
		// A long buffer is not kept for a short tail.
		big := c.in
		c.in = append([]byte(nil), rest...)
		c.l.bufs.put(big)
	case len(rest) > smallTail:
		c.in = append(c.l.bufs.grow(c.in[:0], len(rest)), rest...)
	default:
		c.in = append(c.in[:0], rest...)
	}
}

func (c *conn) dropIn() {
	if !c.inData && c.in != nil {
		c.l.bufs.put(c.in)
		c.in = nil
	}
}

// readFailed ends the input. True: not yet, it is to be read again.
func (c *conn) readFailed(err error) (more bool) {
	if err != io.EOF {
		c.end(err)
		return false
	}
	if c.resumed { // what was kept comes before the end
		c.redeliver()
		if c.resumed || !c.wantsRead() {
			return c.resumed
		}
	}
	if h, ok := c.h.(HalfCloser); ok {
		c.eof = true
		c.l.touch(c)
		if h.OnEOF(c) {
			return false
		}
	}
	if c.state == open { // the last answers, if the peer only closed its side
		c.closing, c.endErr = true, io.EOF
		c.flush()
	}
	return false
}

func (c *conn) PauseRead() {
	if c.state < closed && !c.paused {
		c.paused = true
		c.l.touch(c) // the system call, if any, is made once for the turn
	}
}

func (c *conn) ResumeRead() {
	if c.state >= closed || !c.paused {
		return
	}
	c.paused = false
	c.l.touch(c)
	// Within OnData it is not known yet what will be kept.
	if !c.resumed && (c.inData || len(c.in) > 0) {
		c.resumed = true
		c.l.later(c.redeliver)
	}
}

// redeliver gives what was kept again after a pause.
func (c *conn) redeliver() {
	if c.resumed && c.wantsRead() && len(c.in) > 0 {
		c.resumed = false
		c.deliver(c.in, true)
		return
	}
	c.resumed = false
}
