package frontend_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

const noMemory = "SERVER_ERROR out of memory storing object\r\n"

// Clients that send half a value each and then nothing were in no bound.
func TestManyHalfSentValues(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	const limit, clients, first = 16 << 20, 100, 24
	g.on(func() { g.f.SetInputLimit(limit) })
	input := func() (n int) {
		g.on(func() { n = g.f.Input() })
		return n
	}
	all := make([]*socket, clients)
	most := 0
	for i := range all {
		all[i] = g.dial()
		all[i].send("set k 0 0 1048576\r\n" + big[:len(big)/2])
		if i < first {
			g.settled("they have not come", func() bool { return g.f.Input() >= (i+1)*len(big)/2 })
		}
		most = max(most, input())
	}
	answered := func(s *socket) bool { // now, or in a moment
		s.SetReadDeadline(time.Now().Add(5 * time.Second))
		defer s.SetReadDeadline(time.Now().Add(2 * time.Minute))
		_, err := s.r.Peek(1)
		return err == nil
	}
	// The last ones are refused. They go on with other commands, others too, and
	// nothing was stored.
	last := all[clients-1]
	if !answered(last) {
		t.Fatalf("%d clients with half a value each, and none is refused; %d MiB of input are counted", clients, input()>>20)
	}
	last.send(big[len(big)/2:] + "\r\nget k\r\n" + set("small", "v"))
	last.want(noMemory + end + stored)
	other := g.dial()
	other.send("get small\r\n" + set("small", big[:1000]) + "get small\r\n")
	other.want(hit("small", "v") + end + stored + hit("small", big[:1000]) + end)
	if most = max(most, input()); most > limit+1<<20 {
		t.Errorf("%d MiB of input were kept, more than %d", most>>20, limit>>20)
	}
	// Those that came first may end what they have begun, and leave room.
	for _, s := range all[:first] {
		s.send(big[len(big)/2:] + "\r\n")
		s.want(stored)
	}
	other.send(set("k", big) + "get k\r\n")
	other.want(stored + hit("k", big) + end)
	for _, s := range all {
		s.Close()
	}
	g.settled("input is counted when there is nobody", func() bool { return g.f.Input() == 0 })
}

// A value that is allowed is stored, however large, when nobody else has much.
func TestOneLargeValue(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{MaxItemSize: 8 << 20})
	g.on(func() { g.f.SetInputLimit(1 << 20) })
	stalled := g.dial()
	stalled.send("set k 0 0 1048576\r\n" + big[:len(big)/2])
	s := g.dial()
	large := strings.Repeat(big, 8)
	for range 2 {
		s.send(set("large", large))
		s.want(stored)
	}
	s.send("get large\r\n")
	s.want(hit("large", large) + end)
}

// A line of keys that does not end cannot be swallowed.
func TestLongLineAmongManyHalfSentValues(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	g.on(func() { g.f.SetInputLimit(64 << 10) })
	stalled := g.dial()
	stalled.send("set k 0 0 1048576\r\n" + big[:len(big)/2])
	g.settled("it has not come", func() bool { return g.f.Input() > len(big)/2 })
	s := g.dial()
	io.WriteString(s.Conn, "get"+strings.Repeat(" key", 50_000))
	if b, _ := io.ReadAll(s.r); len(b) > 0 {
		t.Errorf("read %.100q", b)
	}
}
