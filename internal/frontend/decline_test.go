package frontend_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// primed is a client whose values were small so far, so that it may ask for many.
func (g *rig) primed() *socket {
	s := g.dial()
	s.send(set("small", "v") + strings.Repeat("get small\r\n", 500))
	s.want(stored + strings.Repeat(hit("small", "v")+end, 500))
	return s
}

func (g *rig) tries() (n int) {
	g.on(func() { n = g.servers[0].Tries + g.servers[1].Tries })
	return n
}

// filled waits until no more is taken for clients that do not read.
func (g *rig) filled() {
	for last, end := -1, time.Now().Add(10*time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var n int
		g.on(func() { n = g.f.Used() })
		if n == last && n > 20<<20 {
			return
		}
		last = n
	}
	g.t.Fatal("not much is held")
}

// What a client was answered says nothing of what it asks for next: thousands of
// gets of large values must not be answered into memory.
func TestPrimedClientThatDoesNotRead(t *testing.T) {
	const n = 80
	for name, in := range map[string]string{
		"get":       strings.Repeat("get big\r\n", n),
		"multi-get": "get" + strings.Repeat(" big", n) + "\r\n",
		"gat":       strings.Repeat("gat 0 big\r\n", n),
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, router.Options{}, frontend.Options{})
			other := g.dial()
			other.send(set("big", big))
			other.want(stored)
			s := g.primed()
			var before, after frontend.Counters
			g.on(func() { before = g.f.Counters() })
			s.send(in)
			time.Sleep(500 * time.Millisecond)
			used := 0
			g.on(func() { after, used = g.f.Counters(), g.f.Used() })
			if hits := after.GetHits + after.TouchHits - before.GetHits - before.TouchHits; hits > 60 || used > 50<<20 {
				t.Errorf("%d values of 1 MiB were taken for a client that reads none, %d MiB are held", hits, used>>20)
			}
			other.send("get a\r\n") // nobody else suffers
			other.want(end)
			for i := range n {
				s.want(hit("big", big))
				if name != "multi-get" || i == n-1 {
					s.want(end)
				}
			}
			g.settled("something is still counted", func() bool { return g.f.Used() == 0 && g.r.Stats().Bytes == 0 })
			s.send("get small\r\n")
			s.want(hit("small", "v") + end)
		})
	}
}

// A get that is asked for again keeps its place among the client's commands; a
// write waits for gets of its key before it.
func TestDeclinedGetKeepsItsPlace(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.primed()
	s.send(set("big", big))
	s.want(stored)
	const n = 60
	tries := g.tries()
	s.send(strings.Repeat("get big\r\n", n) + "get small\r\n" + set("big", "new") + "get big small\r\n")
	g.filled()
	for range n {
		s.want(hit("big", big) + end)
	}
	s.want(hit("small", "v") + end + stored + hit("big", "new") + hit("small", "v") + end)
	if tries = g.tries() - tries; tries < n+10 {
		t.Errorf("%d tries: this test is about values that are asked for again", tries)
	}
}

// Who has said all it wants to say still gets all its answers.
func TestDeclinedAtTheEndOfInput(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.primed()
	s.send(set("big", big))
	s.want(stored)
	const n = 60
	s.send(strings.Repeat("get big\r\n", n))
	s.Conn.(*net.TCPConn).CloseWrite()
	g.filled()
	for range n {
		s.want(hit("big", big) + end)
	}
	s.wantEnd()
}

// Values that were declined are not asked for again when nobody is there to read.
func TestDeclinedAndGone(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.primed()
	s.send(set("big", big))
	s.want(stored)
	io.WriteString(s.Conn, strings.Repeat("get big\r\n", 100)+set("big", "new"))
	g.filled()
	tries := g.tries()
	s.Close()
	g.settled("something is still counted", func() bool {
		return g.f.Used() == 0 && g.r.Stats().Bytes == 0 && g.r.Stats().Outstanding == 0
	})
	if tries = g.tries() - tries; tries > 40 {
		t.Errorf("%d tries for a client that has gone", tries)
	}
	other := g.dial()
	other.send("get big\r\n") // what was begun went on
	other.want(hit("big", "new") + end)
}
