package loop

import (
	"errors"
	"net"
	"os"
	"time"
)

// errAgain: a transport can take or give no more for now. Its implementation
// calls readable or writable when that may have changed.
var errAgain = errors.New("loop: try again")

// A transport moves the bytes of one conn. None of its methods blocks or calls
// back; all are called on the loop.
type transport interface {
	// recv fills p and send takes from it; n may be above 0 along with errAgain.
	// recv's io.EOF is the peer's.
	recv(p []byte) (n int, err error)
	send(p []byte) (n int, err error)
	// interest says whether readable and writable are wanted. Data that arrived
	// while readable was not wanted must lead to it once it is.
	interest(read, write bool)
	// shut closes it, now.
	shut()
	// detach gives it away, with rest before what is read from it.
	detach(rest []byte) (net.Conn, error)
	remoteAddr() string
	localAddr() string
}

type connState uint8

const (
	connecting connState = iota
	open
	closed // OnClose has been called or is in the core's late list
	detached
)

// A settler is a transport that takes output in the background. settle waits
// shortly for what it is about and reports whether send is worth another call.
type settler interface{ settle() bool }

// conn is the Conn of all loops.
type conn struct {
	l *core
	h Handler
	t transport

	state   connState
	dirty   bool // in the core's dirty list
	paused  bool
	resumed bool // a redelivery of in is in the late list
	closing bool // close when all is sent; OnClose gets endErr
	eof     bool // the peer's side is closed and the handler stays (HalfCloser)
	blocked bool // the kernel takes no more: wait for writable
	inData  bool // within OnData: its bytes must not go back to the pool

	in    []byte // unconsumed input; nil if none
	out   []byte // output; out[:sent] is with the kernel
	sent  int
	usual int    // how long out has been lately
	total uint64 // of all that is with the kernel
	wants []drain

	endErr    error
	dialTimer Timer
}

type drain struct {
	limit int
	fn    func()
}

func (l *core) newConn(t transport, h Handler, s connState) *conn {
	c := &conn{l: l, t: t, h: h, state: s}
	l.conns[c] = struct{}{}
	return c
}

// accepted asks accept for the handler of a new connection.
func (c *conn) accepted(accept func(Conn) Handler) {
	h := accept(c)
	if h == nil {
		c.end(nil) // there is no handler, so nobody hears of it
		return
	}
	c.h = h
}

// dialing watches over a connect.
func (c *conn) dialing(addr string, timeout time.Duration) {
	if timeout > 0 {
		c.dialTimer = c.l.After(timeout, func() {
			c.end(dialError(addr, os.ErrDeadlineExceeded))
		})
	}
}

// dialed is the end of a connect, with or without luck.
func (c *conn) dialed(err error) {
	if c.state != connecting {
		return
	}
	if err != nil {
		c.end(err)
		return
	}
	c.stopDialTimer()
	c.state = open
	c.l.touch(c) // what was written before, and the interest in reading
	c.h.OnOpen(c)
}

func (c *conn) stopDialTimer() {
	if c.dialTimer != nil {
		c.dialTimer.Stop()
		c.dialTimer = nil
	}
}

func (c *conn) Close() { c.end(nil) }

// end closes c; err is for OnClose.
func (c *conn) end(err error) {
	if c.state >= closed {
		return
	}
	c.state = closed
	c.t.shut()
	c.release()
	c.l.later(func() {
		if c.h != nil {
			c.h.OnClose(c, err)
		}
	})
}

// release lets go of everything but the addresses.
func (c *conn) release() {
	c.stopDialTimer()
	c.dropIn()
	c.dropOut()
	c.wants = nil
	delete(c.l.conns, c)
}

func (c *conn) Detach(rest []byte) (net.Conn, error) {
	if c.state != open {
		return nil, ErrNotOpen
	}
	c.flush()
	if s, ok := c.t.(settler); ok {
		for c.state == open && c.Buffered() > 0 && s.settle() {
			c.writable()
		}
	}
	if c.state != open {
		return nil, ErrNotOpen
	}
	if c.Buffered() > 0 {
		return nil, ErrOutputPending
	}
	all := append([]byte(nil), rest...)
	if !c.inData { // nobody has seen what is kept
		all = append(append([]byte(nil), c.in...), rest...)
	}
	nc, err := c.t.detach(all)
	if err != nil {
		return nil, err
	}
	c.state = detached
	c.release()
	return nc, nil
}

func (c *conn) RemoteAddr() string { return c.t.remoteAddr() }
func (c *conn) LocalAddr() string  { return c.t.localAddr() }

// prefixConn is a net.Conn that has something to read already.
type prefixConn struct {
	net.Conn
	rest []byte
}

func withPrefix(nc net.Conn, rest []byte) net.Conn {
	if len(rest) == 0 {
		return nc
	}
	return &prefixConn{nc, rest}
}

func (p *prefixConn) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// CloseWrite lets the other side see an end while this one still reads.
func (p *prefixConn) CloseWrite() error {
	if cw, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
