package frontend_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

const parts = 16

// rig is a frontend and two servers with one store, over real sockets.
type rig struct {
	t       testing.TB
	l       loop.Loop
	r       *router.Router
	f       *frontend.Frontend
	addr    string
	servers []*routertest.Server
}

func newRig(t testing.TB, ropt router.Options, opt frontend.Options) *rig {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, l: l, r: router.New(l, ropt)}
	store := routertest.NewStore()
	for i := range 2 {
		s := &routertest.Server{ID: clustermap.ServerID(i + 1), Addr: "127.0.0.1:0", Store: store}
		if err := s.Start(l); err != nil {
			t.Fatal(err)
		}
		g.servers = append(g.servers, s)
	}
	opt.Router = g.r
	f, li, err := frontend.Serve(l, "127.0.0.1:0", opt)
	if err != nil {
		t.Fatal(err)
	}
	g.f, g.addr = f, li.Addr()
	g.r.SetMap(routertest.Map(1, parts, 1, g.servers, func(p int) *routertest.Server { return g.servers[p%2] }))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

func (g *rig) on(fn func()) {
	g.t.Helper()
	done := make(chan struct{})
	if !g.l.Post(func() { fn(); close(done) }) {
		g.t.Fatal("the loop has ended")
	}
	<-done
}

// settled waits until ok, on the loop, is true.
func (g *rig) settled(what string, ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var now bool
		if g.on(func() { now = ok() }); now {
			return
		}
		if time.Now().After(end) {
			g.t.Fatal(what)
		}
	}
}

// script makes every server do this first.
func (g *rig) script(fn func(try *routertest.Try) bool) {
	g.on(func() {
		for _, s := range g.servers {
			s.Script = fn
		}
	})
}

// socket is a client by hand.
type socket struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (g *rig) dial() *socket {
	g.t.Helper()
	return dialAddr(g.t, g.addr)
}

func dialAddr(t testing.TB, addr string) *socket {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute)) // a busy machine is slow; what hangs does for longer
	return &socket{t, c, bufio.NewReader(c)}
}

func (s *socket) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.Conn, text); err != nil {
		s.t.Fatal(err)
	}
}

// want reads exactly this.
func (s *socket) want(text string) {
	s.t.Helper()
	b := make([]byte, len(text))
	n, err := io.ReadFull(s.r, b)
	if err != nil || string(b) != text {
		s.t.Fatalf("read %.300q (%v), want %.300q", b[:n], err, text)
	}
}

// wantEnd reads the end of the connection.
func (s *socket) wantEnd() {
	s.t.Helper()
	if b, err := io.ReadAll(s.r); err != nil || len(b) > 0 {
		s.t.Fatalf("read %q, %v; want the end", b, err)
	}
}

// shuffle makes servers hold requests and answer them in the reverse order,
// some refused first.
func (g *rig) shuffle() {
	var held []*routertest.Try
	g.on(func() {
		g.l.OnTurnEnd(func() {
			for i := len(held) - 1; i >= 0; i-- {
				held[i].Execute()
			}
			held = held[:0]
		})
	})
	n := 0
	g.script(func(try *routertest.Try) bool {
		n++
		if n%7 == 0 {
			try.Nak(wire.NakNotReady, clustermap.Partition{})
		} else {
			held = append(held, try)
		}
		return true
	})
}

func set(key, value string) string {
	return fmt.Sprintf("set %s 0 0 %d\r\n%s\r\n", key, len(value), value)
}

func hit(key, value string) string {
	return fmt.Sprintf("VALUE %s 0 %d\r\n%s\r\n", key, len(value), value)
}

const stored, end = "STORED\r\n", "END\r\n"

var big = strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
