package control

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// level is a LogLevel.
type level struct{ now string }

func (l *level) String() string { return l.now }
func (l *level) Start() string  { return "warn" }
func (l *level) Set(to string) error {
	if to != "debug" {
		return errors.New("must be debug")
	}
	l.now = to
	return nil
}

// Only who comes from this machine, or has the secret, sees into a process.
func TestPrivate(t *testing.T) {
	l := &level{now: "info"}
	mux := http.NewServeMux()
	Private(mux, "gateway", l)
	ask := func(method, path, from, body string, header ...string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = from
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const here, away = "127.0.0.1:1", "192.0.2.1:1"
	for _, from := range []string{here, "[::1]:1", "[::ffff:127.0.0.9]:1"} {
		if code, body := ask("GET", PathLogLevel, from, ""); code != 200 || body != `{"level":"info","start":"warn"}`+"\n" {
			t.Errorf("from %s: %d %q", from, code, body)
		}
	}
	if code, body := ask("GET", PathProfiles+"goroutine?debug=1", here, ""); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.100q", code, body)
	}
	for _, path := range []string{PathLogLevel, PathProfiles, PathProfiles + "heap", PathProfiles + "profile?seconds=1", PathProfiles + "cmdline", PathProfiles + "symbol", PathProfiles + "trace"} {
		for _, from := range []string{away, "[2001:db8::1]:1", "@", "", "pipe"} {
			if code, body := ask("GET", path, from, ""); code != 403 || !strings.Contains(body, "only on its own machine") {
				t.Errorf("%s from %q: %d %q", path, from, code, body)
			}
		}
		for _, header := range []string{"X-Forwarded-For", "Forwarded"} {
			if code, _ := ask("GET", path, here, "", header, "for=192.0.2.1"); code != 403 {
				t.Errorf("%s passed on from elsewhere: %d", path, code)
			}
		}
	}
	// Allocations are sampled on demand alone.
	if code, body := ask("GET", PathProfiles+"heap", here, ""); code != 400 || !strings.Contains(body, "seconds=30") || runtime.MemProfileRate != 0 {
		t.Errorf("%d %q, sampled at %d", code, body, runtime.MemProfileRate)
	}
	if code, body := ask("GET", PathProfiles+"allocs?seconds=1&debug=0", here, ""); code != 200 || len(body) == 0 || runtime.MemProfileRate != 0 {
		t.Errorf("%d %.100q, sampled at %d", code, body, runtime.MemProfileRate)
	}
	if code, _ := ask("POST", PathLogLevel, away, `{"level":"debug"}`); code != 403 || l.now != "info" {
		t.Errorf("%d %s", code, l.now)
	}
	for _, body := range []string{`{"level":"loud"}`, "", "debug"} {
		if code, answer := ask("POST", PathLogLevel, here, body); code != 400 || !strings.Contains(answer, "was not changed") || l.now != "info" {
			t.Errorf("%q: %d %q", body, code, answer)
		}
	}
	if code, body := ask("POST", PathLogLevel, here, `{"level":"debug"}`); code != 200 || body != `{"level":"debug","start":"warn"}`+"\n" || l.now != "debug" {
		t.Errorf("%d %q %s", code, body, l.now)
	}
}

// away is a listener whose connections seem to come from another machine.
type away struct{ net.Listener }

type awayConn struct{ net.Conn }

func (a away) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return awayConn{c}, nil
}

func (awayConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// Whatever else is open, without the secret another machine sees nothing private; with it, it does.
func TestPrivateAsksForTheSecret(t *testing.T) {
	right := theSecret(t, "the secret of this cluster")
	for _, guard := range []bool{true, false} { // a gateway's port has none
		m := NewMux(away{listen(t)}, right, slog.New(slog.NewTextHandler(io.Discard, nil)))
		pages := m.HTTP()
		mux := http.NewServeMux()
		Private(mux, "server", &level{now: "info"})
		web := &http.Server{Handler: mux, ReadTimeout: time.Minute}
		if guard {
			Guard(web, right, "server", true)
		} else {
			MarkProven(web)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = web.Serve(pages) })
		wg.Go(func() { _ = m.Serve() })
		for _, path := range []string{PathProfiles, PathLogLevel} {
			if code, body, err := ask(t, nil, "GET", "http://"+m.Addr().String()+path); err != nil || code != 403 || !strings.Contains(body, "secret") {
				t.Errorf("%s without the secret: %d %q %v", path, code, body, err)
			}
			if code, body, err := ask(t, right, "GET", "http://"+m.Addr().String()+path); err != nil || code != 200 {
				t.Errorf("%s with the secret: %d %q %v", path, code, body, err)
			}
		}
		m.Close()
		web.Close()
		wg.Wait()
	}
}

func TestWriteHealth(t *testing.T) {
	for _, c := range []struct {
		reasons []string
		code    int
		body    string
	}{
		{nil, 200, `{"status":"ok"}`},
		{[]string{"a", "b"}, 503, `{"status":"failing","reasons":["a","b"],"error":"a; b"}`},
	} {
		w := httptest.NewRecorder()
		WriteHealth(w, c.reasons...)
		if w.Code != c.code || w.Body.String() != c.body+"\n" {
			t.Errorf("%v: %d %q", c.reasons, w.Code, w.Body.String())
		}
	}
}
