package secret

import (
	"time"

	"github.com/kumofs/kumofs/internal/loop"
)

// loopLeast is what a handshake has at least: the kernel takes a connection at once, but
// the acceptor's loop may be busy. It is less than routers' patience with a silent server.
const loopLeast = 2 * time.Second

// DialLoop is l.Dial with the handshake, if there is a secret. h hears of the
// connection when the handshake is done: OnOpen comes then, or OnClose with what was wrong.
// What is written before that would precede the handshake: nothing may be. The handshake
// has as long as the connect, but not less than loopLeast. Loop goroutine only.
func (s *Secret) DialLoop(l loop.Loop, addr string, timeout time.Duration, h loop.Handler) loop.Conn {
	if s == nil {
		return l.Dial(addr, timeout, h)
	}
	if timeout <= 0 {
		timeout = Timeout
	}
	return l.Dial(addr, timeout, &greeter{Handler: h, s: s, l: l, addr: addr, limit: max(timeout, loopLeast)})
}

// greeter stands before the handler of a connection that was dialed: during the
// handshake instead of it, and then passes everything on.
type greeter struct {
	loop.Handler
	s     *Secret
	l     loop.Loop
	addr  string
	limit time.Duration

	dialer *Dialer
	timer  loop.Timer
	proven bool
	failed error
}

// OnOpen sends the hello.
func (g *greeter) OnOpen(c loop.Conn) {
	g.dialer = g.s.Dialer()
	g.timer = g.l.After(g.limit, func() { g.fail(c, ErrSilent) })
	c.Write(g.dialer.Hello())
}

// OnData takes the answer, then passes on.
func (g *greeter) OnData(c loop.Conn, b []byte) int {
	if g.proven {
		return g.Handler.OnData(c, b)
	}
	proof, err := g.dialer.Answer(b)
	switch {
	case err != nil:
		g.fail(c, err)
		return len(b)
	case proof == nil:
		return 0
	}
	g.proven, g.dialer = true, nil
	g.timer.Stop()
	c.Write(proof)
	g.Handler.OnOpen(c)
	return len(b)
}

// OnClose says why; the handler's own Close is no failure.
func (g *greeter) OnClose(c loop.Conn, err error) {
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.dialer != nil && g.failed == nil && err != nil && err != loop.ErrStopped {
		g.failed = unanswered(err)
		g.s.failed(g.addr, g.failed)
	}
	if g.failed != nil {
		err = g.failed
	}
	g.Handler.OnClose(c, err)
}

func (g *greeter) fail(c loop.Conn, err error) {
	g.failed = err
	g.s.failed(g.addr, err)
	c.Close()
}
