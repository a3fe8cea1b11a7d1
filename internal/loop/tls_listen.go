package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

const (
	tlsTimeout = 5 * time.Second // of one handshake
	// tlsAtOnce bounds the handshakes under way. Who comes beyond it waits in the
	// kernel's queue.
	tlsAtOnce = 256
)

// TLS is what a listener for TLS is told.
type TLS struct {
	// Config gives the configuration for the next connection. Any goroutine.
	Config func() *tls.Config
	// Failed, if not nil, hears of each handshake that failed, on the loop.
	Failed func(remote string, err error)
	// Timeout bounds one handshake; 0 is 5 s.
	Timeout time.Duration
}

// tlsListener takes TLS connections for any loop: crypto/tls wants a net.Conn, so
// each is a netConn, whose goroutines post to the loop.
type tlsListener struct {
	l     *core
	nl    net.Listener
	opt   TLS
	to    *takers[*core]
	ctx   context.Context
	stop  context.CancelFunc
	slots chan struct{}
}

// ListenTLS is l.Listen for connections over TLS. They are not the loop's before their
// handshake is done, and cannot be detached. It listens on a real socket whatever the loop is,
// of this package.
func ListenTLS(l Loop, addr string, opt TLS, accept func(Conn) Handler) (Listener, error) {
	c, ok := l.(interface{ theCore() *core })
	if !ok {
		return nil, errors.New("loop: this loop cannot serve TLS")
	}
	return c.theCore().listenTLS(addr, opt, accept)
}

func (l *core) theCore() *core { return l }

func (l *core) listenTLS(addr string, opt TLS, accept func(Conn) Handler) (Listener, error) {
	if _, err := parseAddr(addr); err != nil {
		return nil, err
	}
	nl, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if opt.Timeout <= 0 {
		opt.Timeout = tlsTimeout
	}
	li := &tlsListener{l: l, nl: nl, opt: opt, to: newTakers(l, accept), slots: make(chan struct{}, tlsAtOnce)}
	li.ctx, li.stop = context.WithCancel(context.Background())
	l.addListener(li)
	l.aside.Go(li.run)
	return li, nil
}

func (li *tlsListener) Addr() string { return li.nl.Addr().String() }

func (li *tlsListener) share(l Loop, accept func(Conn) Handler) bool {
	other, ok := l.(interface{ theCore() *core })
	if ok {
		li.to.add(other.theCore(), accept)
	}
	return ok
}

func (li *tlsListener) Close() {
	if li.ctx.Err() == nil {
		li.stop() // ends the handshakes under way
		li.nl.Close()
		li.l.dropListener(li)
	}
}

func (li *tlsListener) run() {
	for {
		select {
		case li.slots <- struct{}{}:
		case <-li.ctx.Done():
			return
		}
		nc, err := li.nl.Accept()
		switch {
		case err == nil:
			li.l.aside.Go(func() {
				defer func() { <-li.slots }()
				li.handshake(nc)
			})
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		<-li.slots
		// No room for another connection, most likely: see acceptPause.
		li.l.Post(func() { li.l.onError(err) })
		select {
		case <-time.After(acceptPause):
		case <-li.ctx.Done():
			return
		}
	}
}

// handshake hands the connection to the loop, or closes it.
func (li *tlsListener) handshake(nc net.Conn) {
	ctx, cancel := context.WithTimeout(li.ctx, li.opt.Timeout)
	defer cancel()
	tc := tls.Server(nc, li.opt.Config())
	if err := tc.HandshakeContext(ctx); err != nil { // an end of ctx closes nc
		nc.Close()
		if li.opt.Failed != nil && li.ctx.Err() == nil {
			remote := nc.RemoteAddr().String()
			li.l.Post(func() { li.opt.Failed(remote, err) })
		}
		return
	}
	to := li.to.next()
	if !to.l.Post(func() { li.take(tc, to) }) {
		nc.Close()
	}
}

func (li *tlsListener) take(tc *tls.Conn, to taker[*core]) {
	if li.ctx.Err() != nil {
		tc.NetConn().Close()
		return
	}
	t := &tlsConn{netConn: newNetConn(to.l), tls: tc}
	t.use(tc)
	t.c = to.l.newConn(t, nil, open)
	t.c.accepted(to.accept)
	to.l.touch(t.c) // its first interest in reading
}

// tlsConn is the transport over a tls.Conn.
type tlsConn struct {
	*netConn
	tls *tls.Conn
}

// shut tells the peer that this is the end, unless output is pending, which is dropped.
// To tell may block, so another goroutine does it; crypto/tls gives it five seconds.
func (t *tlsConn) shut() {
	if t.writing || t.c.Buffered() > 0 {
		t.tls.NetConn().Close()
		return
	}
	t.l.aside.Go(func() { t.tls.Close() })
}

// detach: who has the connection could not tell that it is encrypted.
func (t *tlsConn) detach([]byte) (net.Conn, error) {
	return nil, errors.New("loop: a TLS connection cannot be detached")
}
