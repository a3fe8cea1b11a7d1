package loop

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// dialTimes opens n connections to addr, each of which has been answered, and returns them.
func dialTimes(t *testing.T, n int, dial func() (net.Conn, error)) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns
}

// Connections go to the loops of a shared listener in turn, and live and end there.
func TestShare(t *testing.T) {
	for _, kind := range []string{"new", "net"} {
		for _, secure := range []bool{false, true} {
			name := kind
			if secure {
				name += " TLS"
			}
			t.Run(name, func(t *testing.T) {
				r := &rig{t: t, kind: kind}
				g := newTLSRig(t, r)
				loops := []Loop{g.l, r.make(), r.make()}
				stopLast := startLoop(t, loops[2])
				startLoop(t, loops[1])
				came := make([]int, len(loops)) // each on its loop
				accept := func(i int) func(Conn) Handler {
					return func(c Conn) Handler { came[i]++; return echo(c) }
				}
				var li Listener
				do(t, g.l, func() {
					var err error
					if secure {
						li, err = ListenTLS(g.l, "127.0.0.1:0", TLS{Config: g.files.Config}, accept(0))
					} else {
						li, err = g.l.Listen("127.0.0.1:0", accept(0))
					}
					if err != nil {
						t.Error(err)
					}
				})
				for i, l := range loops[1:] {
					if err := Share(li, l, accept(i+1)); err != nil {
						t.Fatal(err)
					}
				}
				dial := func() (net.Conn, error) {
					if secure {
						return tls.Dial("tcp", li.Addr(), g.client())
					}
					return net.Dial("tcp", li.Addr())
				}
				conns := dialTimes(t, 9, dial)
				for i, l := range loops {
					do(t, l, func() {
						if came[i] != 3 {
							t.Errorf("loop %d has %d of 9 connections", i, came[i])
						}
					})
				}
				// A loop that has ended closes what is its, and what comes to it.
				stopLast()
				ended := 0
				for _, c := range conns {
					c.Write([]byte("y"))
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						ended++
					}
				}
				if ended != 3 {
					t.Errorf("%d connections ended with a loop that had 3", ended)
				}
				ended = 0
				for range 3 {
					c, err := dial()
					if err == nil {
						c.Write([]byte("z"))
						_, err = io.ReadFull(c, make([]byte, 1))
						c.Close()
					}
					if err != nil {
						ended++
					}
				}
				if ended != 1 {
					t.Errorf("%d of 3 new connections ended, want that of the loop that has", ended)
				}
			})
		}
	}
}

// Loops of different kinds cannot share one.
func TestShareRefused(t *testing.T) {
	r := &rig{t: t, kind: "new", memory: NewMemNetwork()}
	l := r.loop()
	memory := NewMemory(r.memory)
	startLoop(t, memory)
	do(t, l, func() {
		li, err := l.Listen("127.0.0.1:0", echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := Share(li, memory, echo); err == nil {
			t.Error("a loop in memory shares a socket")
		}
	})
	do(t, memory, func() {
		li, err := memory.Listen("a:1", echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := Share(li, memory, echo); err == nil {
			t.Error("a listener in memory is shared")
		}
	})
}
