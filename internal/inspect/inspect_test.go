package inspect

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

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// level is a control.LogLevel.
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
	ask := func(method, path, from, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr, r.Host = from, "localhost:19800"
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const here, away = "127.0.0.1:1", "192.0.2.1:1"
	for _, from := range []string{here, "[::1]:1", "[::ffff:127.0.0.9]:1"} {
		if code, body := ask("GET", control.PathLogLevel, from, ""); code != 200 || body != `{"level":"info","start":"warn"}`+"\n" {
			t.Errorf("from %s: %d %q", from, code, body)
		}
	}
	if code, body := ask("GET", control.PathProfiles+"goroutine?debug=1", here, ""); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.100q", code, body)
	}
	for _, path := range []string{control.PathLogLevel, control.PathProfiles, control.PathProfiles + "heap", control.PathProfiles + "profile?seconds=1", control.PathProfiles + "cmdline", control.PathProfiles + "symbol", control.PathProfiles + "trace"} {
		for _, from := range []string{away, "[2001:db8::1]:1", "@", "", "pipe"} {
			if code, body := ask("GET", path, from, ""); code != 403 || !strings.Contains(body, "only on its own machine") {
				t.Errorf("%s from %q: %d %q", path, from, code, body)
			}
		}
	}
	// Allocations are sampled on demand alone.
	if code, body := ask("GET", control.PathProfiles+"heap", here, ""); code != 400 || !strings.Contains(body, "seconds=30") || runtime.MemProfileRate != 0 {
		t.Errorf("%d %q, sampled at %d", code, body, runtime.MemProfileRate)
	}
	if code, body := ask("GET", control.PathProfiles+"allocs?seconds=1&debug=0", here, ""); code != 200 || len(body) == 0 || runtime.MemProfileRate != 0 {
		t.Errorf("%d %.100q, sampled at %d", code, body, runtime.MemProfileRate)
	}
	if code, _ := ask("POST", control.PathLogLevel, away, `{"level":"debug"}`); code != 403 || l.now != "info" {
		t.Errorf("%d %s", code, l.now)
	}
	for _, body := range []string{`{"level":"loud"}`, "", "debug"} {
		if code, answer := ask("POST", control.PathLogLevel, here, body); code != 400 || !strings.Contains(answer, "was not changed") || l.now != "info" {
			t.Errorf("%q: %d %q", body, code, answer)
		}
	}
	if code, body := ask("POST", control.PathLogLevel, here, `{"level":"debug"}`); code != 200 || body != `{"level":"debug","start":"warn"}`+"\n" || l.now != "debug" {
		t.Errorf("%d %q %s", code, body, l.now)
	}
}

// What a proxy on this machine passes on does not come from it, nor what a web site has a browser ask.
func TestFromHere(t *testing.T) {
	for _, c := range []struct {
		host, header, value string
		here                bool
	}{
		{"localhost:19800", "", "", true}, {"localhost", "", "", true}, {"svr1:19800", "", "", true},
		{"127.0.0.1:19800", "", "", true}, {"127.0.0.1", "", "", true}, {"[::1]:19800", "", "", true}, {"[::1]", "", "", true}, {"192.0.2.1:80", "", "", true},
		{"site.example:19800", "", "", false}, {"site.example", "", "", false}, {"localhost.", "", "", false}, {"", "", "", false}, {":19800", "", "", false},
		{"localhost", "Forwarded", "for=192.0.2.1", false}, {"localhost", "X-Forwarded-For", "192.0.2.1", false},
		{"localhost", "X-Real-IP", "192.0.2.1", false}, {"localhost", "Via", "1.1 proxy", false}, {"localhost", "Via", "", false},
		{"localhost", "Origin", "http://site.example", false}, {"localhost", "Origin", "null", false},
		{"localhost", "Sec-Fetch-Site", "cross-site", false}, {"localhost", "Sec-Fetch-Site", "same-site", false},
		{"localhost", "Sec-Fetch-Site", "none", true}, {"localhost", "Sec-Fetch-Site", "same-origin", true},
	} {
		r := httptest.NewRequest("GET", control.PathProfiles, nil)
		r.RemoteAddr, r.Host = "127.0.0.1:1", c.host
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		if got := fromHere(r); got != c.here {
			t.Errorf("%q, %s: %q: %v", c.host, c.header, c.value, got)
		}
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

func get(t *testing.T, s *secret.Secret, url string) (int, string, error) {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Whatever else is open, without the secret another machine sees nothing private; with it, it does.
func TestPrivateAsksForTheSecret(t *testing.T) {
	right, err := secret.New(nil, "the secret of this cluster")
	if err != nil {
		t.Fatal(err)
	}
	for _, guard := range []bool{true, false} { // a gateway's port has none
		li, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m := control.NewMux(away{li}, right, slog.New(slog.NewTextHandler(io.Discard, nil)))
		pages := m.HTTP()
		mux := http.NewServeMux()
		Private(mux, "server", &level{now: "info"})
		web := &http.Server{Handler: mux, ReadTimeout: time.Minute}
		if guard {
			control.Guard(web, right, "server", true)
		} else {
			control.MarkProven(web)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = web.Serve(pages) })
		wg.Go(func() { _ = m.Serve() })
		for _, path := range []string{control.PathProfiles, control.PathLogLevel} {
			if code, body, err := get(t, nil, "http://"+m.Addr().String()+path); err != nil || code != 403 || !strings.Contains(body, "secret") {
				t.Errorf("%s without the secret: %d %q %v", path, code, body, err)
			}
			if code, body, err := get(t, right, "http://"+m.Addr().String()+path); err != nil || code != 200 {
				t.Errorf("%s with the secret: %d %q %v", path, code, body, err)
			}
		}
		m.Close()
		web.Close()
		wg.Wait()
	}
}
