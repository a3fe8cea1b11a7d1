package frontend_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// More than a client may have outstanding, in commands and in bytes.
func TestMultiGetBeyondBounds(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("big", big) + set("k", "v"))
	s.want(stored + stored)
	s.send("get" + strings.Repeat(" k", 20_000) + "\r\nget" + strings.Repeat(" big", 50) + "\r\n")
	s.want(strings.Repeat(hit("k", "v"), 20_000) + end)
	for range 50 {
		s.want(hit("big", big))
	}
	s.want(end)
}

func TestClientThatDoesNotRead(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("big", big))
	s.want(stored)
	const n = 120
	sent := make(chan struct{})
	go func() { io.WriteString(s.Conn, strings.Repeat("get big\r\n", n)); close(sent) }()
	<-sent
	time.Sleep(300 * time.Millisecond)
	var hits uint64
	g.on(func() { hits = g.f.Counters().GetHits })
	if hits > 80 {
		t.Errorf("%d values of 1 MiB were fetched for a client that reads none", hits)
	}
	other := g.dial() // nobody else suffers
	other.send("get a\r\n")
	other.want(end)
	for range n {
		s.want(hit("big", big) + end)
	}
}

func TestMaxConnections(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{MaxConnections: 2})
	a, b := g.dial(), g.dial()
	a.send("version\r\n")
	a.want("VERSION 1.6.45\r\n")
	b.send("version\r\n")
	b.want("VERSION 1.6.45\r\n")
	c := g.dial()
	c.want("ERROR Too many open connections\r\n")
	c.wantEnd()
	a.Close()
	for i := 0; ; i++ {
		d := g.dial()
		d.send("version\r\n")
		line, _ := d.r.ReadString('\n')
		if line == "VERSION 1.6.45\r\n" {
			break
		}
		if i > 1000 {
			t.Fatal("no room after one left")
		}
	}
	g.on(func() {
		if n := g.f.Counters().RejectedConnections; n < 1 {
			t.Errorf("%d rejected", n)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{IdleTimeout: 200 * time.Millisecond})
	s := g.dial()
	for range 5 {
		time.Sleep(100 * time.Millisecond)
		s.send("version\r\n")
		s.want("VERSION 1.6.45\r\n")
	}
	s.wantEnd()
}

// A client that sends more than the router takes is held back, not refused.
func TestRouterOverload(t *testing.T) {
	g := newRig(t, router.Options{MaxServerBytes: 20_000}, frontend.Options{})
	g.shuffle()
	s := g.dial()
	var in strings.Builder
	for i := range 300 {
		in.WriteString(set(fmt.Sprintf("k%d", i), big[:5000]))
	}
	go io.WriteString(s.Conn, in.String())
	s.want(strings.Repeat(stored, 300))
	g.on(func() {
		if g.f.Counters().ConnYields == 0 {
			t.Error("it was never held back")
		}
	})
}
