package frontend_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// Many clients that ask for much and read nothing had 64 MiB each; together
// they made the process as large as they liked.
func TestManyClientsThatDoNotRead(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	s := g.dial()
	s.send(set("big", big) + set("small", "v"))
	s.want(stored + stored)
	const greedy, each = 32, 20
	var held []io.Closer
	var last = s
	for range greedy {
		c := g.primed() // they may ask for many
		held = append(held, c.Conn)
		last = c
		go io.WriteString(c.Conn, strings.Repeat("get big\r\n", each))
	}
	used := func() (n int) {
		g.on(func() { n = g.f.Used() })
		return n
	}
	most := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		most = max(most, used())
	}
	// 64 MiB, and what each may do although it is too much: one value of 1 MiB,
	// and another that was under way.
	if limit := 64<<20 + 2*greedy<<20; most > limit {
		t.Errorf("%d clients that do not read hold %d MiB, more than %d", greedy, most>>20, limit>>20)
	}
	// One of them reads, and gets everything; others are served.
	for range each {
		last.want(hit("big", big) + end)
	}
	other := g.dial()
	other.send("get small\r\n" + set("small", big) + "get small\r\n")
	other.want(hit("small", "v") + end + stored + hit("small", big) + end)
	for _, c := range held {
		c.Close()
	}
	for end := time.Now().Add(5 * time.Second); used() != 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if n := used(); n != 0 {
		t.Errorf("%d bytes are counted when nobody holds anything", n)
	}
	t.Logf("%d clients that do not read held %d MiB at most", greedy, most>>20)
}
