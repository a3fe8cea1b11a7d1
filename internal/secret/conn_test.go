package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/loop"
)

// port takes connections with s and answers what it is told after "KMDT\x01" with the
// same; it tells what became of the opening of each.
func port(t *testing.T, s *Secret) (addr string, openings <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan error, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				first, proven, err := s.Opening(nc)
				if err == nil && !proven && s.Known() {
					err = ErrMissing
				}
				if err == nil && string(first) != "KMDT\x01" {
					err = errors.New("first " + string(first))
				}
				out <- err
				if err == nil {
					_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
					_, _ = io.Copy(nc, nc)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String(), out
}

func TestNetConns(t *testing.T) {
	a, b := with(t, first), with(t, second)
	for name, c := range map[string]struct {
		dialer, acceptor *Secret
		dialed, accepted error
	}{
		"same":          {a, a, nil, nil},
		"no secrets":    {nil, nil, nil, nil},
		"another":       {b, a, ErrOther, ErrUnknown},
		"dialer has":    {a, nil, ErrNone, ErrUnasked},
		"acceptor has":  {nil, a, nil, ErrMissing},
		"more than one": {with(t, second, first), with(t, first, second), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, openings := port(t, c.acceptor)
			nc, err := c.dialer.Dial(t.Context(), &net.Dialer{Timeout: 5 * time.Second}, "tcp", addr)
			if c.dialed != nil {
				var op *net.OpError
				if !errors.Is(err, c.dialed) || !errors.As(err, &op) || op.Op != "dial" {
					t.Fatalf("dialed: %v", err)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := nc.Write([]byte("KMDT\x01hello")); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 5)
				_, err = io.ReadFull(nc, got)
				if (err == nil) != (c.accepted == nil) || err == nil && string(got) != "hello" {
					t.Errorf("%q, %v", got, err)
				}
			}
			if err := <-openings; err != c.accepted {
				t.Errorf("accepted: %v, not %v", err, c.accepted)
			}
		})
	}
}

// Who only looks whether somebody listens is no one to be warned of, and who says
// nothing is not waited for.
func TestOpeningOfNothing(t *testing.T) {
	addr, openings := port(t, with(t, first))
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := <-openings; err != io.EOF {
		t.Error(err)
	}
	half, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte(Magic + "half")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := <-openings; err != ErrIncomplete || time.Since(start) > 3*Timeout {
		t.Error(err, time.Since(start))
	}
}

// silent takes connections and never answers, or answers with text and closes.
func silent(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var held []net.Conn
		for {
			nc, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, nc)
			if text != "" {
				_, _ = io.ReadFull(nc, make([]byte, helloBytes))
				_, _ = nc.Write([]byte(text))
				nc.Close()
			}
		}
		for _, nc := range held {
			nc.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestDialingOthers(t *testing.T) {
	s := with(t, first)
	if _, err := s.Dial(t.Context(), new(net.Dialer), "tcp", silent(t, "HTTP/1.1 400 Bad Request\r\n\r\n")); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Dial(ctx, new(net.Dialer), "tcp", silent(t, "")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// heard is a handler that notes what it is told.
type heard struct {
	open   chan struct{}
	data   chan string
	closed chan error
}

func newHeard() *heard {
	return &heard{make(chan struct{}, 1), make(chan string, 100), make(chan error, 1)}
}

func (h *heard) OnOpen(c loop.Conn) {
	h.open <- struct{}{}
	c.Write([]byte("KMDT\x01hello"))
}

func (h *heard) OnData(_ loop.Conn, b []byte) int {
	h.data <- string(b)
	return len(b)
}

func (h *heard) OnClose(_ loop.Conn, err error) { h.closed <- err }

func TestLoopConns(t *testing.T) {
	a, b := with(t, first), with(t, second)
	var said bytes.Buffer
	log, err := New(slog.New(slog.NewTextHandler(&said, nil)), first)
	if err != nil {
		t.Fatal(err)
	}
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) })
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	defer stop()
	dial := func(s *Secret, addr string, timeout time.Duration) *heard {
		h := newHeard()
		l.Post(func() { s.DialLoop(l, addr, timeout, h) })
		return h
	}
	for name, c := range map[string]struct {
		dialer, acceptor *Secret
		want             error
	}{
		"same": {a, a, nil}, "no secrets": {nil, nil, nil}, "another": {b, a, ErrOther}, "dialer has": {log, nil, ErrNone},
	} {
		addr, _ := port(t, c.acceptor)
		h := dial(c.dialer, addr, 5*time.Second)
		select {
		case <-h.open:
			if got := <-h.data; got != "hello" || c.want != nil {
				t.Errorf("%s: %q", name, got)
			}
		case err := <-h.closed:
			if err != c.want || c.want == nil {
				t.Errorf("%s: %v, not %v", name, err, c.want)
			}
		}
	}
	if err := <-dial(a, silent(t, ""), 50*time.Millisecond).closed; err != ErrSilent {
		t.Error("silent: ", err)
	}
	if err := <-dial(a, silent(t, "rubbish"), time.Second).closed; err != ErrNoAnswer {
		t.Error("rubbish: ", err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	if err := <-dial(a, nobody.Addr().String(), time.Second).closed; err == nil || errors.As(err, new(Error)) {
		t.Error("nobody: ", err)
	}
	stop()
	if n := strings.Count(said.String(), string(ErrNone)); n != 1 {
		t.Errorf("%d lines: %s", n, said.String())
	}
}

func TestWarner(t *testing.T) {
	var w Warner
	now := time.Now()
	if !w.due("10.0.0.1:1", ErrMissing, now) || w.due("10.0.0.1:2", ErrMissing, now) {
		t.Error("not said once of a machine")
	}
	if !w.due("10.0.0.1:1", ErrOther, now) || !w.due("10.0.0.2:1", ErrMissing, now) {
		t.Error("another cause or machine is not said")
	}
	n := 0
	for i := range 1000 {
		if w.due(net.IPv4(10, 1, byte(i>>8), byte(i)).String()+":1", ErrMissing, now) {
			n++
		}
	}
	if n != warnMost-3 {
		t.Errorf("%d lines in all", n)
	}
	if !w.due("10.0.0.1:1", ErrMissing, now.Add(warnEvery)) {
		t.Error("not said again")
	}
}
