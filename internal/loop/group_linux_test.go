package loop

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Loops of a group reach each other without sockets, whoever is not of it with one; and
// each ends for itself.
func TestGroup(t *testing.T) {
	g := startGroup(t, NewMemNetwork())
	make2 := func() Loop {
		l, err := g.Loop()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	server, near := make2(), make2()
	remotes := make(chan string, 2)
	li, err := server.Listen("127.0.0.1:0", func(c Conn) Handler {
		remotes <- c.RemoteAddr()
		return echo(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	startLoop(t, server)
	stopNear := startLoop(t, near)
	far, err := New()
	if err != nil {
		t.Fatal(err)
	}
	startLoop(t, far)
	closed := make(chan error, 1)
	for _, from := range []struct {
		l      Loop
		prefix string
	}{{near, "mem:"}, {far, "127.0.0.1:"}} {
		got := make(chan []byte, 1)
		do(t, from.l, func() {
			from.l.Dial(li.Addr(), patience, &calls{
				open: func(c Conn) { c.Write([]byte("hello")) }, data: collect(5, got),
				close: func(_ Conn, err error) {
					if from.l == near {
						closed <- err
					}
				},
			})
		})
		if b := await(t, got); string(b) != "hello" {
			t.Errorf("got %q", b)
		}
		if r := await(t, remotes); !strings.HasPrefix(r, from.prefix) {
			t.Errorf("a connection from %s, want %s...", r, from.prefix)
		}
	}
	stopNear()
	if err := await(t, closed); err != ErrStopped {
		t.Errorf("closed with %v", err)
	}
	if near.Post(func() {}) {
		t.Error("a loop that has ended takes functions")
	}
	do(t, server, func() {}) // goes on
}

// A loop that is run when its group has ended releases what it holds.
func TestLoopAfterItsGroup(t *testing.T) {
	g, err := NewGroup(NewMemNetwork())
	if err != nil {
		t.Fatal(err)
	}
	l, err := g.Loop()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

// A loop looks on for as long as short sleeps have shown to be worth it, and ceases to
// where sleeps last.
func TestLookout(t *testing.T) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epfd)
	evs := make([]unix.EpollEvent, 4)
	p := lookout{}
	began := time.Now()
	if n := p.look(epfd, evs, func() bool { return false }); n != 0 || time.Since(began) > patience {
		t.Errorf("%d events of none", n)
	}
	p.slept(maxPatience)
	if p.span != newPatience {
		t.Errorf("looks %v after a short sleep, want %v", p.span, newPatience)
	}
	for range 5 {
		p.slept(time.Microsecond)
	}
	if p.span != maxPatience {
		t.Errorf("looks %v after short sleeps, want %v", p.span, maxPatience)
	}
	asked := 0
	if n := p.look(epfd, evs, func() bool { asked++; return asked == 3 }); n != 0 || asked > 3 {
		t.Errorf("%d events, %d looks, want 3 at most: then there was work", n, asked)
	}
	for range 5 {
		p.slept(time.Second)
	}
	if p.span != 0 {
		t.Errorf("looks %v after long sleeps, want not to", p.span)
	}
	p.span, p.none = maxPatience, true
	if n := p.look(epfd, evs, func() bool { t.Error("looked, with one processor"); return true }); n != 0 {
		t.Errorf("%d events", n)
	}
}
