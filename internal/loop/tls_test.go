package loop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/certs"
	"github.com/kumofs/kumofs/internal/certs/certstest"
)

// tlsRig is a loop that serves TLS with files of its own.
type tlsRig struct {
	*rig
	l      Loop
	ca     *certstest.CA
	dir    string
	files  *certs.Files
	failed chan error
	stop   func()
}

func newTLSRig(t *testing.T, r *rig) *tlsRig {
	t.Helper()
	g := &tlsRig{rig: r, ca: certstest.New(t, "authority"), dir: t.TempDir(), failed: make(chan error, 100)}
	cert, key := g.ca.Write(g.dir, "server")
	var err error
	if g.files, err = certs.Load(cert, key, g.ca.WriteCA(g.dir)); err != nil {
		t.Fatal(err)
	}
	g.l = r.make()
	g.stop = startLoop(t, g.l)
	return g
}

func (g *tlsRig) listen(timeout time.Duration, accept func(Conn) Handler) (addr string) {
	g.t.Helper()
	do(g.t, g.l, func() {
		li, err := ListenTLS(g.l, "127.0.0.1:0", TLS{Config: g.files.Config, Timeout: timeout, Failed: func(_ string, err error) { g.failed <- err }}, accept)
		if err != nil {
			g.t.Error(err)
			return
		}
		addr = li.Addr()
	})
	return addr
}

func (g *tlsRig) client() *tls.Config {
	return &tls.Config{RootCAs: g.ca.Pool(), Certificates: []tls.Certificate{g.ca.Issue("client")}}
}

func (g *tlsRig) dial(addr string) *tls.Conn {
	g.t.Helper()
	c, err := tls.Dial("tcp", addr, g.client())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// Over TLS a connection is as any: bytes come and go in order, however many, both ways
// at once, and held back while reading is paused.
func TestTLSEcho(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		g := newTLSRig(t, r)
		addr := g.listen(0, func(c Conn) Handler {
			if !strings.HasPrefix(c.RemoteAddr(), "127.0.0.1:") || !strings.HasPrefix(c.LocalAddr(), "127.0.0.1:") {
				t.Errorf("from %q to %q", c.RemoteAddr(), c.LocalAddr())
			}
			if _, err := c.Detach(nil); err == nil {
				t.Error("it was detached")
			}
			return &calls{data: func(c Conn, b []byte) int {
				c.Write(b)
				if c.Buffered() > 1<<20 {
					c.PauseRead()
					c.OnDrain(1<<16, c.ResumeRead)
				}
				return len(b)
			}}
		})
		c := g.dial(addr)
		want := make([]byte, 4<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(want)
		sent := make(chan error, 1)
		go func() {
			for b := want; len(b) > 0; {
				n := min(len(b), 1+rand.IntN(100_000))
				if _, err := c.Write(b[:n]); err != nil {
					sent <- err
					return
				}
				b = b[n:]
			}
			sent <- nil
		}()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("not what was sent: %v", err)
		}
		if err := await(t, sent); err != nil {
			t.Error(err)
		}
	})
}

// How a connection ends is seen on both sides.
func TestTLSEnds(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		g := newTLSRig(t, r)
		closed := make(chan error, 1)
		addr := g.listen(0, func(Conn) Handler {
			return &calls{
				data: func(c Conn, b []byte) int {
					if string(b) == "bye" {
						c.Write([]byte("answer"))
						c.CloseAfterFlush()
					} else {
						c.Write(b)
					}
					return len(b)
				},
				close: func(_ Conn, err error) { closed <- err },
			}
		})
		c := g.dial(addr)
		if _, err := c.Write([]byte("bye")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != "answer" || err != nil { // with a proper end
			t.Errorf("%q, %v", got, err)
		}
		if err := await(t, closed); err != nil {
			t.Error(err)
		}
		c = g.dial(addr)
		c.Close()
		if err := await(t, closed); err != io.EOF {
			t.Error(err)
		}
		c = g.dial(addr)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil { // now it is the loop's
			t.Fatal(err)
		}
		g.stop()
		if err := await(t, closed); err != ErrStopped {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("it is open after the loop's end")
		}
	})
}

func TestTLSRefuses(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		g := newTLSRig(t, r)
		addr := g.listen(200*time.Millisecond, echo)
		stranger := certstest.New(t, "stranger")
		for name, change := range map[string]func(*tls.Config){
			"no certificate":        func(c *tls.Config) { c.Certificates = nil },
			"another's certificate": func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger.Issue("client")} },
			"TLS 1.1":               func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			"it trusts another":     func(c *tls.Config) { c.RootCAs = stranger.Pool() },
		} {
			config := g.client()
			change(config)
			c, err := tls.Dial("tcp", addr, config)
			if err == nil { // of a client's certificate TLS 1.3 tells after the handshake
				c.SetDeadline(time.Now().Add(patience))
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if err := await(t, g.failed); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		// Who says nothing, or speaks no TLS, is closed.
		for _, text := range []string{"", "get a\r\n"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			if _, err := c.Write([]byte(text)); err != nil {
				t.Error(err)
			}
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: not closed", text)
			}
			await(t, g.failed)
		}
		// The good one gets through after all of them.
		c := g.dial(addr)
		got := make([]byte, 2)
		if _, err := c.Write([]byte("ok")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "ok" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// New files are for new connections; those that are open go on.
func TestTLSReload(t *testing.T) {
	g := newTLSRig(t, &rig{t: t, kind: "new"})
	addr := g.listen(0, echo)
	serial := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].SerialNumber.String() }
	c := g.dial(addr)
	g.ca.Write(g.dir, "server")
	if err := g.files.Reload(); err != nil {
		t.Fatal(err)
	}
	c2 := g.dial(addr)
	if serial(c) == serial(c2) {
		t.Error("the certificate is the old one")
	}
	// From now on clients are another authority's.
	old := g.client()
	g.ca = certstest.New(t, "next")
	g.ca.Write(g.dir, "server")
	g.ca.WriteCA(g.dir)
	if err := g.files.Reload(); err != nil {
		t.Fatal(err)
	}
	g.dial(addr)
	if c, err := tls.Dial("tcp", addr, old); err == nil {
		c.Close()
		t.Error("the old authority is good still")
	}
	for _, c := range []*tls.Conn{c, c2} {
		got := make([]byte, 2)
		if _, err := c.Write([]byte("ok")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "ok" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A loop ends though handshakes are under way, and peers do not read.
func TestTLSStops(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		g := newTLSRig(t, r)
		begun := make(chan struct{}, 1)
		addr := g.listen(time.Hour, func(c Conn) Handler {
			c.Write(make([]byte, 32<<20))
			begun <- struct{}{}
			return &calls{}
		})
		for range 3 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		g.dial(addr) // and reads nothing
		await(t, begun)
		time.Sleep(50 * time.Millisecond)
		start := time.Now()
		g.stop()
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			t.Error("the port is open")
		}
	})
}

func TestTLSListen(t *testing.T) {
	l := NewNet()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer l.Run(ctx)
	for _, addr := range []string{"nonsense", "localhost:1", "192.0.2.1:1"} {
		if _, err := ListenTLS(l, addr, TLS{}, nil); err == nil {
			t.Error(addr)
		}
	}
	if _, err := ListenTLS(nil, "127.0.0.1:0", TLS{}, nil); err == nil {
		t.Error("a loop of another kind is taken")
	}
}
