package loop

import (
	"context"
	"errors"
	"net"
	"time"
)

// netLoop is the loop over package net: goroutines wait in its blocking calls
// and post what came of them. Slower than epoll, but it runs everywhere.
type netLoop struct {
	core
}

// NewNet makes a loop over package net. New is better where it is another kind.
func NewNet() Loop {
	l := &netLoop{}
	l.init(newChanPoller(&l.core))
	return l
}

type netListener struct {
	l      *netLoop
	nl     net.Listener
	to     *takers[*core]
	closed bool
	done   chan struct{}
}

func (l *netLoop) Listen(addr string, accept func(Conn) Handler) (Listener, error) {
	if _, err := parseAddr(addr); err != nil {
		return nil, err
	}
	nl, err := net.Listen("tcp", addr) // sets SO_REUSEADDR
	if err != nil {
		return nil, err
	}
	li := &netListener{l: l, nl: nl, to: newTakers(&l.core, accept), done: make(chan struct{})}
	l.addListener(li)
	go li.run()
	return li, nil
}

func (li *netListener) Addr() string { return li.nl.Addr().String() }

func (li *netListener) share(l Loop, accept func(Conn) Handler) bool {
	other, ok := l.(*netLoop)
	if ok {
		li.to.add(&other.core, accept)
	}
	return ok
}

func (li *netListener) Close() {
	if !li.closed {
		li.closed = true
		close(li.done)
		li.nl.Close()
		li.l.dropListener(li)
	}
}

func (li *netListener) run() {
	for {
		nc, err := li.nl.Accept()
		switch {
		case err == nil:
			to := li.to.next()
			if !to.l.Post(func() { li.take(nc, to) }) {
				nc.Close()
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		// No room for another connection, most likely: see acceptPause.
		li.l.Post(func() { li.l.onError(err) })
		select {
		case <-time.After(acceptPause):
		case <-li.done:
			return
		}
	}
}

func (li *netListener) take(nc net.Conn, to taker[*core]) {
	select {
	case <-li.done:
		nc.Close()
		return
	default:
	}
	t := newNetConn(to.l)
	t.use(nc)
	t.c = to.l.newConn(t, nil, open)
	t.c.accepted(to.accept)
	to.l.touch(t.c) // its first interest in reading
}

func (l *netLoop) Dial(addr string, timeout time.Duration, h Handler) Conn {
	ctx, cancel := context.WithCancel(context.Background())
	t := newNetConn(&l.core)
	t.remote, t.cancel = addr, cancel
	t.c = l.newConn(t, h, connecting)
	if _, err := parseAddr(addr); err != nil {
		t.c.end(dialError(addr, err))
		return t.c
	}
	t.c.dialing(addr, timeout)
	go func() {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "tcp", addr)
		if !l.Post(func() { t.connected(nc, err) }) && err == nil {
			nc.Close()
		}
	}()
	return t.c
}

func (t *netConn) connected(nc net.Conn, err error) {
	switch {
	case err != nil:
	case t.c.state != connecting: // given up
		nc.Close()
	default:
		t.use(nc)
	}
	t.c.dialed(err)
}
