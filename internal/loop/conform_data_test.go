package loop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		addr := r.listen(r.loop(), echo)
		got, opened := make(chan []byte, 1), make(chan [2]string, 1)
		cl := r.loop()
		c := r.dial(cl, addr, &calls{
			open: func(c Conn) { opened <- [2]string{c.RemoteAddr(), c.LocalAddr()} },
			data: collect(10, got),
		})
		do(t, cl, func() { c.Write([]byte("hello ")); c.Write([]byte("loop")) })
		if b := await(t, got); string(b) != "hello loop" {
			t.Errorf("got %q", b)
		}
		if a := await(t, opened); a[0] != addr || a[1] == "" {
			t.Errorf("addresses %q", a)
		}
	})
}

// Requests of a line each, many at once and cut anywhere, are answered in order.
func TestPipeline(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		addr := r.listen(r.loop(), func(Conn) Handler {
			return &calls{data: func(c Conn, b []byte) int {
				used := 0
				for {
					line, _, ok := bytes.Cut(b[used:], []byte("\n"))
					if !ok {
						return used
					}
					used += len(line) + 1
					c.Append(func(dst []byte) []byte { return append(append(dst, line...), '.') })
				}
			}}
		})
		var in, want strings.Builder
		for i := range 50_000 {
			fmt.Fprintf(&in, "request %d\n", i)
			fmt.Fprintf(&want, "request %d.", i)
		}
		got := make(chan []byte, 1)
		cl := r.loop()
		c := r.dial(cl, addr, &calls{data: collect(want.Len(), got)})
		for s := in.String(); s != ""; {
			n := min(len(s), 7777)
			part := s[:n]
			s = s[n:]
			do(t, cl, func() { c.Write([]byte(part)) })
		}
		if string(await(t, got)) != want.String() {
			t.Error("not the answers in order")
		}
	})
}

// What is not consumed comes again, with what follows it.
func TestUnconsumed(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		seen := make(chan string, 10)
		addr := r.listen(r.loop(), func(Conn) Handler {
			return &calls{data: func(c Conn, b []byte) int {
				seen <- string(b)
				return len(b) / 2
			}}
		})
		cl := r.loop()
		c := r.dial(cl, addr, &calls{})
		for _, step := range []struct{ write, want string }{
			{"abcd", "abcd"}, {"ef", "cdef"}, {"g", "efg"}, {"hi", "fghi"},
		} {
			do(t, cl, func() { c.Write([]byte(step.write)) })
			if s := await(t, seen); s != step.want {
				t.Fatalf("after %q: %q, want %q", step.write, s, step.want)
			}
		}
	})
}

// A message of 8 MiB that the handler takes only as a whole, with small ones
// before and behind it: they must come whole, without a call for every packet's
// worth copying all again.
func TestBigMessages(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		framed := func(n int) []byte {
			return append(binary.BigEndian.AppendUint32(nil, uint32(n)), pattern(n)...)
		}
		var all []byte
		for _, n := range []int{3, 8 << 20, 5, 70_000, smallTail - 4, smallTail - 3, 1 << 20, 1} {
			all = append(all, framed(n)...)
		}
		addr := r.listen(r.loop(), func(Conn) Handler {
			return &calls{data: func(c Conn, b []byte) (used int) {
				for len(b)-used >= 4 {
					n := 4 + int(binary.BigEndian.Uint32(b[used:]))
					if len(b)-used < n {
						break
					}
					c.Write(b[used : used+n])
					used += n
				}
				return used
			}}
		})
		got := make(chan []byte, 1)
		cl := r.loop()
		c := r.dial(cl, addr, &calls{data: collect(2*len(all), got)})
		do(t, cl, func() { c.Write(all); c.Write(all) })
		if !bytes.Equal(await(t, got), append(all, all...)) {
			t.Error("not what was sent")
		}
	})
}

// A reader that pauses holds the writer back; OnDrain tells when that ends, and
// nothing is lost on the way.
func TestBackpressure(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const total, limit = 32 << 20, 64 << 10
		sl, cl := r.loop(), r.loop()
		server := make(chan Conn, 1)
		got := make(chan []byte, 1)
		take := collect(total, got)
		paused := true // on sl
		addr := r.listen(sl, func(c Conn) Handler {
			c.PauseRead()
			server <- c
			return &calls{data: func(c Conn, b []byte) int {
				if paused {
					t.Error("OnData while paused")
				}
				return take(c, b)
			}}
		})
		want := pattern(total)
		c := r.dial(cl, addr, &calls{})
		drained := make(chan int, 1)
		do(t, cl, func() {
			c.Write(want)
			c.OnDrain(limit, func() { drained <- c.Buffered() })
		})
		s := await(t, server)
		// The kernel fills up, and the rest stays here.
		for last := -1; ; {
			var now int
			do(t, cl, func() {
				now = c.Buffered()
				if sent := c.Sent(); sent != uint64(total-now) {
					t.Errorf("%d bytes are said to be sent, %d of %d are left", sent, now, total)
				}
			})
			do(t, sl, func() {})
			if now == last && now < total {
				break
			}
			last = now
		}
		select {
		case <-drained:
			t.Error("drained while the reader was paused")
		default:
		}
		do(t, sl, func() { paused = false; s.ResumeRead() })
		if n := await(t, drained); n > limit {
			t.Errorf("drained with %d bytes buffered", n)
		}
		if !bytes.Equal(await(t, got), want) {
			t.Error("not what was sent")
		}
	})
}

// Input kept when OnData paused comes again on ResumeRead with nothing new, and
// pausing within the call stops the calls at once.
func TestPauseKeepsInput(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl, cl := r.loop(), r.loop()
		type call struct {
			c Conn
			b string
		}
		seen := make(chan call, 10)
		addr := r.listen(sl, func(Conn) Handler {
			return &calls{data: func(c Conn, b []byte) int {
				seen <- call{c, string(b)}
				c.PauseRead()
				return 1
			}}
		})
		c := r.dial(cl, addr, &calls{})
		do(t, cl, func() { c.Write([]byte("abc")) })
		for _, want := range []string{"abc", "bc", "c"} {
			got := await(t, seen)
			if got.b != want {
				t.Fatalf("got %q, want %q", got.b, want)
			}
			do(t, sl, func() { got.c.ResumeRead(); got.c.PauseRead(); got.c.ResumeRead() })
		}
		// All consumed; new input comes, though the pause and its end are old.
		do(t, cl, func() { c.Write([]byte("d")) })
		if got := await(t, seen); got.b != "d" {
			t.Fatalf("got %q", got.b)
		}
	})
}

// Writes made before the connection is open are sent when it is.
func TestWriteBeforeOpen(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		addr := r.listen(r.loop(), echo)
		got := make(chan []byte, 1)
		cl := r.loop()
		do(t, cl, func() {
			c := cl.Dial(addr, patience, &calls{
				open: func(c Conn) { c.Write([]byte("def")) },
				data: collect(6, got),
			})
			c.Write([]byte("abc"))
			if n := c.Buffered(); n != 3 {
				t.Errorf("%d bytes buffered", n)
			}
		})
		if b := await(t, got); string(b) != "abcdef" {
			t.Errorf("got %q", b)
		}
	})
}

// What a pause kept is given before the peer's end.
func TestPauseThenEOF(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl, cl := r.loop(), r.loop()
		h := newClosing()
		seen := make(chan byte, 10)
		h.data = func(c Conn, b []byte) int {
			seen <- b[0]
			c.PauseRead()
			if b[0]%2 == 0 {
				c.ResumeRead()
			} else {
				sl.After(5*time.Millisecond, c.ResumeRead) // the end has come by then
			}
			return 1
		}
		addr := r.listen(sl, func(Conn) Handler { return h })
		got := newClosing()
		c := r.dial(cl, addr, got)
		do(t, cl, func() { c.Write([]byte("abcdef")); c.CloseAfterFlush() })
		h.once(t, io.EOF)
		close(seen)
		all := ""
		for b := range seen {
			all += string(b)
		}
		if all != "abcdef" {
			t.Errorf("saw %q", all)
		}
	})
}
