package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// closing is a Handler that reports its OnClose calls.
type closing struct {
	calls
	errs chan error
}

func newClosing() *closing {
	h := &closing{errs: make(chan error, 10)}
	h.close = func(_ Conn, err error) { h.errs <- err }
	return h
}

func (h *closing) once(t *testing.T, want error) {
	t.Helper()
	if err := await(t, h.errs); !errors.Is(err, want) {
		t.Errorf("OnClose(%v), want %v", err, want)
	}
}

// never is for when all that could follow has run.
func (h *closing) never(t *testing.T) {
	t.Helper()
	select {
	case err := <-h.errs:
		t.Errorf("another OnClose(%v)", err)
	default:
	}
}

func TestClose(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl, cl := r.loop(), r.loop()
		sh, ch := newClosing(), newClosing()
		addr := r.listen(sl, func(Conn) Handler { return sh })
		inCall := false
		do(t, cl, func() {
			ch.close = func(_ Conn, err error) {
				if inCall {
					t.Error("OnClose within Close")
				}
				ch.errs <- err
			}
			ch.open = func(c Conn) {
				inCall = true
				c.Close()
				c.Close()
				c.CloseAfterFlush()
				c.Write([]byte("dropped"))
				c.Append(func(b []byte) []byte { t.Error("Append after Close"); return b })
				c.PauseRead()
				c.ResumeRead()
				c.OnDrain(0, func() { t.Error("drained after Close") })
				if c.Buffered() != 0 {
					t.Error("bytes buffered after Close")
				}
				if _, err := c.Detach(nil); err != ErrNotOpen {
					t.Errorf("Detach: %v", err)
				}
				inCall = false
			}
			cl.Dial(addr, patience, ch)
		})
		ch.once(t, nil)
		sh.once(t, io.EOF)
		do(t, sl, func() {})
		do(t, cl, func() {})
		ch.never(t)
		sh.never(t)
	})
}

// Closing within OnData leaves the bytes of the call alone, whatever else the
// handler writes, and ends the calls.
func TestCloseInData(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl, cl := r.loop(), r.loop()
		sh := newClosing()
		want := pattern(200_000)
		n := 0
		sh.data = func(c Conn, b []byte) int {
			if n++; len(b) < len(want) {
				return 0
			}
			c.Close()
			other := sl.Dial("127.0.0.1:1", patience, &calls{})
			other.Write(make([]byte, 300_000)) // may take a buffer that was let go
			if string(b) != string(want) {
				t.Error("the bytes changed within the call")
			}
			other.Close()
			n = -1 << 30
			return 0
		}
		addr := r.listen(sl, func(Conn) Handler { return sh })
		c := r.dial(cl, addr, &calls{})
		do(t, cl, func() { c.Write(want) })
		sh.once(t, nil)
		do(t, sl, func() {
			if n != -1<<30 {
				t.Error("OnData after Close")
			}
		})
	})
}

func TestCloseAfterFlush(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const total = 8 << 20
		sl, cl := r.loop(), r.loop()
		sh, ch := newClosing(), newClosing()
		addr := r.listen(sl, func(c Conn) Handler {
			c.Write(pattern(total))
			c.CloseAfterFlush()
			c.Write([]byte("too late"))
			return sh
		})
		n := 0
		ch.data = func(_ Conn, b []byte) int {
			n += len(b)
			return len(b)
		}
		r.dial(cl, addr, ch)
		ch.once(t, io.EOF)
		sh.once(t, nil)
		do(t, cl, func() {
			if n != total {
				t.Errorf("%d bytes came, want %d", n, total)
			}
		})
	})
}

// The answer to the last request is sent although the peer's end came with it.
func TestAnswerBeforeEOF(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if r.kind == "memory" {
			t.Skip("no half-closed connections there")
		}
		addr := r.listen(r.loop(), echo)
		b := halfClosed(t, addr, "last")
		if string(b) != "last" {
			t.Errorf("got %q", b)
		}
	})
}

// A HalfCloser answers when the peer has long said all.
func TestHalfCloser(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if r.kind == "memory" {
			t.Skip("no half-closed connections there")
		}
		sl := r.loop()
		h := &halfCloser{closing: newClosing(), l: sl}
		addr := r.listen(sl, func(Conn) Handler { return h })
		b := halfClosed(t, addr, "x")
		if string(b) != "late" {
			t.Errorf("got %q", b)
		}
		h.once(t, nil)
	})
}

type halfCloser struct {
	*closing
	l Loop
}

func (h *halfCloser) OnEOF(c Conn) bool {
	h.l.After(time.Millisecond, func() {
		c.Write([]byte("late"))
		c.CloseAfterFlush()
	})
	return true
}

func halfClosed(t *testing.T, addr, send string) []byte {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write([]byte(send))
	nc.(*net.TCPConn).CloseWrite()
	nc.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDialRefused(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.loop()
		var li Listener
		do(t, l, func() { li, _ = l.Listen("127.0.0.1:0", echo); li.Close(); li.Close() })
		h := newClosing()
		h.open = func(Conn) { t.Error("opened") }
		r.dial(l, li.Addr(), h)
		h.once(t, syscall.ECONNREFUSED)
		do(t, l, func() {})
		h.never(t)
	})
}

func TestDialBadAddress(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.loop()
		h := newClosing()
		r.dial(l, "no such name", h)
		if err := await(t, h.errs); err == nil {
			t.Error("OnClose(nil)")
		}
	})
}

func TestDialTimeout(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.loop()
		addr := r.deaf()
		h := newClosing()
		h.open = func(Conn) { t.Error("opened") }
		var closed Conn
		ch := newClosing()
		do(t, l, func() {
			l.Dial(addr, 50*time.Millisecond, h)
			closed = l.Dial(addr, time.Hour, ch)
			closed.Close() // gives the dial up
		})
		ch.once(t, nil)
		h.once(t, os.ErrDeadlineExceeded)
		do(t, l, func() {})
		h.never(t)
		ch.never(t)
	})
}

// An accept that wants no connection closes it.
func TestRefusedByAccept(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		addr := r.listen(r.loop(), func(Conn) Handler { return nil })
		h := newClosing()
		r.dial(r.loop(), addr, h)
		h.once(t, io.EOF)
	})
}

// The end of the loop ends its connections, and listeners no longer listen.
func TestStop(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl := r.make()
		sh, ch := newClosing(), newClosing()
		accepted := make(chan bool, 1)
		li, err := sl.Listen("127.0.0.1:0", func(Conn) Handler { accepted <- true; return sh })
		if err != nil {
			t.Fatal(err)
		}
		stop := startLoop(t, sl)
		cl := r.loop()
		r.dial(cl, li.Addr(), ch)
		await(t, accepted)
		stop()
		sh.once(t, ErrStopped)
		sh.never(t)
		ch.once(t, io.EOF)
		if sl.Post(func() {}) {
			t.Error("Post after the end")
		}
		again := newClosing()
		r.dial(cl, li.Addr(), again)
		again.once(t, syscall.ECONNREFUSED)
	})
}

// A peer that resets is noticed though nothing is read.
func TestResetWhilePaused(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.(*netLoop); ok {
		t.Skip("only with epoll")
	}
	h := newClosing()
	li, err := l.Listen("127.0.0.1:0", func(c Conn) Handler { c.PauseRead(); return h })
	if err != nil {
		t.Fatal(err)
	}
	startLoop(t, l)
	nc, err := net.Dial("tcp", li.Addr())
	if err != nil {
		t.Fatal(err)
	}
	nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
	h.once(t, syscall.ECONNRESET)
}
