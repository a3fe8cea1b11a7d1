package frontend_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
)

// TestStop: what a client has asked for is answered, to the end of a multi-get that is asked for in
// portions; what follows is not taken; idle clients are closed, and new ones.
func TestStop(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	idle, busy := dial(), dial()
	fmt.Fprintf(busy, "set k50 0 0 1\r\nx\r\n")
	if b := make([]byte, 8); must(io.ReadFull(busy, b)) != 8 || string(b) != "STORED\r\n" {
		t.Fatalf("%q", b)
	}
	stopped := false
	g.l.Post(func() {
		for _, s := range g.servers {
			s.Script = func(*routertest.Try) bool {
				if !stopped {
					stopped = true
					g.f.Stop()
				}
				return false
			}
		}
	})
	var keys strings.Builder
	for i := range 100 {
		fmt.Fprintf(&keys, " k%d", i)
	}
	fmt.Fprintf(busy, "get%s\r\nset late 0 0 1\r\nx\r\n", &keys)
	if b, err := io.ReadAll(busy); err != nil || string(b) != "VALUE k50 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("an idle client: %q, %v", b, err)
	}
	if b, err := io.ReadAll(dial()); err == nil && len(b) > 0 {
		t.Errorf("a new client: %q", b)
	}
	for end := time.Now().Add(10 * time.Second); g.f.Clients() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d clients are left", g.f.Clients())
		}
	}
}

func must(n int, err error) int {
	if err != nil {
		return -1
	}
	return n
}
