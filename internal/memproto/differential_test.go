package memproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/memcached"
)

// TestDifferentialDialogs puts the dialogs to a real memcached and to fake, and
// compares the answers byte for byte. It is skipped where there is no memcached; it
// was written against 1.6.18. Random commands are test/differential's.

// startMemcached is a memcached that ends with the test.
func startMemcached(t *testing.T) *memcached.Server {
	t.Helper()
	mc, err := memcached.Start()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mc.Stop)
	return mc
}

// realConn is a connection to a memcached.
type realConn struct {
	net.Conn
	buf bytes.Buffer
}

func connect(t *testing.T, mc *memcached.Server) *realConn {
	t.Helper()
	c, err := net.Dial("tcp", mc.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &realConn{Conn: c}
}

// sentinel is a command whose answer ends an answer and cannot be in it.
const (
	sentinel      = "set endoftest 0 0 1\r\nx\r\nget endoftest\r\n"
	sentinelReply = "STORED\r\nVALUE endoftest 0 1\r\nx\r\nEND\r\n"
)

// ask sends in, and reads to the end of the answer of the sentinel in it or
// until the server closes.
func (c *realConn) ask(t *testing.T, in string) (out string, closed bool) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	// A server that closes the connection may do so before it has read all.
	go io.WriteString(c, in)
	c.buf.Reset()
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.Read(chunk)
		c.buf.Write(chunk[:n])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			return c.buf.String(), true
		case err != nil:
			t.Fatalf("after %.200q: %v, got %.200q", in, err, c.buf.Bytes())
		case bytes.HasSuffix(c.buf.Bytes(), []byte(sentinelReply)):
			return c.buf.String(), false
		}
	}
}

func TestDifferentialDialogs(t *testing.T) {
	mc := startMemcached(t)
	for _, d := range dialogs {
		if d.ours != "" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			in := d.in
			if !d.closed {
				in += sentinel
			}
			connect(t, mc).ask(t, "flush_all\r\n"+sentinel)
			want, wantClosed := connect(t, mc).ask(t, in)
			f := newFake(time.Now().Unix())
			f.name = mc.Version
			got, gotClosed := f.serve([]byte(in))
			if string(got) != want || gotClosed != wantClosed {
				t.Errorf("answers %.300q closed %v; memcached %.300q closed %v", got, gotClosed, want, wantClosed)
			}
		})
	}
}
