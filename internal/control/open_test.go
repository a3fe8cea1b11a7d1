package control

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/testlog"
)

func theSecret(t *testing.T, line string) *secret.Secret {
	t.Helper()
	s, err := secret.New(nil, line)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// guarded is a port as a manager has it.
func guarded(t *testing.T, s *secret.Secret, openMetrics bool) (addr string, links net.Listener, log *testlog.Buffer) {
	t.Helper()
	log = &testlog.Buffer{}
	m := NewMux(listen(t), s, slog.New(slog.NewTextHandler(log, nil)))
	links = m.Magic(Magic)
	pages := m.HTTP()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page "+r.URL.Path) })}
	Guard(web, s, "manager", openMetrics)
	var wg sync.WaitGroup
	wg.Go(func() { _ = web.Serve(pages) })
	wg.Go(func() { _ = m.Serve() })
	t.Cleanup(func() { m.Close(); web.Close(); wg.Wait() })
	return m.Addr().String(), links, log
}

func ask(t *testing.T, s *secret.Secret, method, url string) (int, string, error) {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	req, err := http.NewRequest(method, url, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Without the secret HTTP is for monitoring alone.
func TestWebAsksForTheSecret(t *testing.T) {
	right, wrong := theSecret(t, "the secret of this cluster"), theSecret(t, "the secret of another cluster")
	addr, _, log := guarded(t, right, true)
	for _, c := range []struct {
		s            *secret.Secret
		method, path string
		code         int
	}{
		{right, "GET", PathStatus, 200}, {right, "POST", PathCommand, 200}, {right, "GET", PathMetrics, 200},
		{nil, "GET", PathMetrics, 200}, {nil, "HEAD", PathHealth, 200}, {nil, "GET", PathHealth, 200}, {nil, "GET", PathReady, 200},
		{nil, "GET", PathStatus, 403}, {nil, "POST", PathCommand, 403}, {nil, "POST", PathMetrics, 403}, {nil, "GET", PathMap, 403},
		{nil, "GET", PathMetrics + "/../v1/status", 403}, {nil, "GET", "//metrics", 403}, {nil, "DELETE", PathHealth, 403},
	} {
		code, body, err := ask(t, c.s, c.method, "http://"+addr+c.path)
		if err != nil || code != c.code || code == 403 && !strings.Contains(body, "--cluster-secret-file") {
			t.Errorf("%v %s %s: %d %q %v", c.s.Known(), c.method, c.path, code, body, err)
		}
	}
	shut, _, _ := guarded(t, right, false)
	for _, path := range []string{PathMetrics, PathHealth, PathStatus, "/"} {
		if code, body, err := ask(t, nil, "GET", "http://"+shut+path); err != nil || code != 403 || strings.Contains(body, "page") {
			t.Errorf("without --open-metrics %s: %d %q %v", path, code, body, err)
		}
	}
	if _, _, err := ask(t, wrong, "GET", "http://"+addr+PathMetrics); err == nil || !strings.Contains(err.Error(), string(secret.ErrOther)) {
		t.Error(err)
	}
	for i := 0; i < 100 && !strings.Contains(log.String(), string(secret.ErrUnknown)); i++ {
		time.Sleep(10 * time.Millisecond) // it is said after the answer
	}
	if !strings.Contains(log.String(), "refused a connection from 127.0.0.1:") || !strings.Contains(log.String(), string(secret.ErrUnknown)) {
		t.Error(log.String())
	}
	// One that is proven is not another's: each request of a connection that is not proven is refused.
	open, _, _ := guarded(t, nil, false)
	if code, _, err := ask(t, nil, "POST", "http://"+open+PathCommand); err != nil || code != 200 {
		t.Error(code, err)
	}
	if _, _, err := ask(t, right, "GET", "http://"+open+PathStatus); err == nil || !strings.Contains(err.Error(), string(secret.ErrNone)) {
		t.Error(err)
	}
}

// What else comes without the secret is closed before it is looked at.
func TestMuxAsksForTheSecret(t *testing.T) {
	addr, links, log := guarded(t, theSecret(t, "the secret of this cluster"), false)
	for _, text := range []string{"KMRF\x01", "KMDT\x01", "rubbish", "PRI * HTTP/2.0\r\n\r\n", secret.Magic + strings.Repeat("x", 100)} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte(text))
		_, err = io.Copy(io.Discard, c)
		if e, is := err.(net.Error); is && e.Timeout() {
			t.Errorf("%q: not closed", text)
		}
	}
	if n := strings.Count(log.String(), string(secret.ErrMissing)); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}
	got := make(chan struct{})
	go func() { links.Accept(); close(got) }()
	select {
	case <-got:
		t.Error("a link got through")
	case <-time.After(100 * time.Millisecond):
	}
}

// A member with the secret is taken; one without it, or with another, is told.
func TestLinkAsksForTheSecret(t *testing.T) {
	right := theSecret(t, "the secret of this cluster")
	addr, links, _ := guarded(t, right, false)
	member := func(s *secret.Secret, ok func(log string, refused string) bool) {
		t.Helper()
		log, refused := &testlog.Buffer{}, &testlog.Buffer{}
		m := NewMember(MemberConfig{
			Managers: []string{addr}, Secret: s, Logger: slog.New(slog.NewTextHandler(log, nil)),
			Hello:       func() Hello { return Hello{Role: RoleGateway} },
			OnRefused:   func(r Refuse) { io.WriteString(refused, r.Reason) },
			OnConnected: func(string) { io.WriteString(log, "connected") },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		for end := time.Now().Add(10 * time.Second); !ok(log.String(), refused.String()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("log %q, refused %q", log.String(), refused.String())
				break
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	go func() {
		for {
			nc, err := links.Accept()
			if err != nil {
				return
			}
			go func() {
				if s, err := Accept(nc); err == nil {
					s.Send(Frame(KindWelcome, Welcome{HeartbeatMillis: 100}))
					<-s.Done()
				}
			}()
		}
	}()
	member(right, func(log, _ string) bool { return strings.Contains(log, "connected") })
	member(nil, func(_, refused string) bool { return strings.Contains(refused, "--cluster-secret-file") })
	member(theSecret(t, "the secret of another cluster"), func(log, _ string) bool { return strings.Contains(log, string(secret.ErrOther)) })
}
