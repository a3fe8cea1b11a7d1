package loop

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// chanListener gives net/http the connections that were detached.
type chanListener chan net.Conn

func (l chanListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l chanListener) Close() error   { return nil }
func (l chanListener) Addr() net.Addr { return textAddr("detached") }

// A connection that turns out to be HTTP goes to net/http, with the input that
// has been seen already; requests behind the first and a body work too.
func TestDetachHTTP(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		conns := make(chanListener, 1)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			b, _ := io.ReadAll(q.Body)
			w.Write(append([]byte(q.URL.Path+" "), b...))
		})}
		go srv.Serve(conns)
		defer srv.Close()
		defer close(conns)

		sh := newClosing()
		sh.data = func(c Conn, b []byte) int {
			if len(b) < 10 {
				return 0
			}
			nc, err := c.Detach(b)
			if err != nil {
				t.Error(err)
				return len(b)
			}
			c.Write([]byte("dropped"))
			c.Close()
			conns <- nc
			return 0
		}
		sl, cl := r.loop(), r.loop()
		addr := r.listen(sl, func(Conn) Handler { return sh })
		body := strings.Repeat("b", 100_000)
		got := make(chan []byte, 1)
		var all []byte
		c := r.dial(cl, addr, &calls{data: func(_ Conn, b []byte) int {
			all = append(all, b...)
			if bytes.Count(all, []byte("HTTP/1.1 200 OK")) == 2 && bytes.HasSuffix(all, []byte("b\r\n0\r\n\r\n")) {
				got <- all
			}
			return len(b)
		}})
		do(t, cl, func() {
			c.Write([]byte("GET /one HTTP/1.1\r\nHost: x\r\n\r\nPOST /two HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"))
		})
		do(t, cl, func() { c.Write([]byte(body)) })
		rd := bufio.NewReader(bytes.NewReader(await(t, got)))
		for _, want := range []string{"/one ", "/two " + body} {
			resp, err := http.ReadResponse(rd, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(resp.Body); string(b) != want {
				t.Errorf("answer %.40q", b)
			}
		}
		do(t, sl, func() {})
		sh.never(t)
	})
}

// Detached outside OnData, a connection gives what the loop had kept; both ends
// may be detached, and a close goes through.
func TestDetachBoth(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sl, cl := r.loop(), r.loop()
		server := make(chan Conn, 1)
		addr := r.listen(sl, func(Conn) Handler {
			return &calls{data: func(c Conn, b []byte) int {
				if len(b) == 4 {
					server <- c
				}
				return 0
			}}
		})
		c := r.dial(cl, addr, &calls{})
		do(t, cl, func() { c.Write([]byte("kept")) })
		s := await(t, server)
		detach := func(l Loop, c Conn, rest string) (nc net.Conn) {
			do(t, l, func() {
				b := []byte(rest)
				var err error
				if nc, err = c.Detach(b); err != nil {
					t.Error(err)
				}
				clear(b)
			})
			if nc == nil {
				t.FailNow()
			}
			return nc
		}
		a, b := detach(sl, s, "more"), detach(cl, c, "")
		defer a.Close()
		big := pattern(1 << 20)
		go func() {
			b.Write(big)
			b.Close()
		}()
		all, err := io.ReadAll(a)
		if err != nil || !bytes.Equal(all, append([]byte("keptmore"), big...)) {
			t.Errorf("%d bytes, %v", len(all), err)
		}
	})
}
