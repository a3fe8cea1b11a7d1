package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serviceManager takes what daemons say of themselves, as systemd does.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t, conn, path}
}

// next is the next message; "": none within wait.
func (m *serviceManager) next(wait time.Duration) string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(wait))
	var b [4096]byte
	n, err := m.conn.Read(b[:])
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return ""
	}
	return string(b[:n])
}

// until is the first message with a line of this beginning; it fails the test where none comes.
func (m *serviceManager) until(begins string) string {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for line := range strings.SplitSeq(m.next(time.Second), "\n") {
			if strings.HasPrefix(line, begins) {
				return line
			}
		}
	}
	m.t.Fatalf("never said: %s", begins)
	return ""
}

func TestSupervise(t *testing.T) {
	m := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	t.Setenv("WATCHDOG_USEC", "80000")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := Supervise(ctx, slog.New(slog.DiscardHandler))
	// One probe that fails must not end a daemon, so there are several within that time.
	if s.every != 20*time.Millisecond {
		t.Errorf("signs of life every %v", s.every)
	}
	if said := m.next(100 * time.Millisecond); said != "" {
		t.Errorf("before it is up: %q", said)
	}
	// SIGHUP before it is up: files are read, and nobody is told that it is ready.
	read := make(chan struct{})
	early := onHangup(func() { close(read) })
	syscall.Kill(syscall.Getpid(), syscall.SIGHUP)
	select {
	case <-read:
	case <-time.After(10 * time.Second):
		t.Fatal("SIGHUP before it is up: nothing was read")
	}
	early()
	if said := m.next(100 * time.Millisecond); said != "" {
		t.Errorf("SIGHUP before it is up: %q", said)
	}
	var hangs atomic.Bool
	s.Watch(func(ctx context.Context) (string, error) {
		if hangs.Load() {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "well", nil
	})
	s.Up()
	s.Up()
	var said []string
	for range 4 {
		said = append(said, m.next(5*time.Second))
	}
	if want := []string{"READY=1", "WATCHDOG=1\nSTATUS=well", "WATCHDOG=1", "WATCHDOG=1"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	// A loop that does not turn: no sign of life, and the reason once.
	hangs.Store(true)
	m.until("STATUS=the event loop does not answer: context deadline exceeded")
	if said := m.next(200 * time.Millisecond); strings.Contains(said, "WATCHDOG") {
		t.Errorf("a loop that hangs: %q", said)
	}
	hangs.Store(false)
	m.until("STATUS=well")
	// Files are read again.
	stop := onHangup(func() { s.say("STATUS=reading") })
	syscall.Kill(syscall.Getpid(), syscall.SIGHUP)
	for _, line := range []string{"RELOADING=1", "STATUS=reading", "READY=1"} {
		m.until(line)
	}
	stop()
	// While it hands its work over it lives.
	cancel()
	m.until("STOPPING=1")
	m.until("WATCHDOG=1")
	s.Close()
	for m.next(10*time.Millisecond) != "" { // said before
	}
	if said := m.next(100 * time.Millisecond); said != "" {
		t.Errorf("after the end: %q", said)
	}
}

// One that ends by itself says so too; one that nobody supervises says nothing.
func TestSuperviseEnds(t *testing.T) {
	m := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	t.Setenv("WATCHDOG_USEC", "soon")
	s := Supervise(context.Background(), slog.New(slog.DiscardHandler))
	if s.every != statusEvery {
		t.Errorf("signs of life every %v", s.every)
	}
	s.Close()
	m.until("STOPPING=1")
	t.Setenv("NOTIFY_SOCKET", "")
	s = Supervise(context.Background(), slog.New(slog.DiscardHandler))
	s.Watch(func(context.Context) (string, error) { t.Error("asked"); return "", nil })
	s.Up()
	s.Close()
}

// SIGHUP: all that is registered is done in order, and nothing of what was removed.
func TestHangups(t *testing.T) {
	done := make(chan string, 10)
	stops := []func(){
		onHangup(func() { done <- "a" }),
		onHangup(func() { done <- "b" }),
		onHangup(func() { done <- "c" }),
	}
	hang := func(want ...string) {
		t.Helper()
		syscall.Kill(syscall.Getpid(), syscall.SIGHUP)
		for _, w := range want {
			select {
			case got := <-done:
				if got != w {
					t.Errorf("did %s, want %s", got, w)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("never did %s", w)
			}
		}
	}
	hang("a", "b", "c")
	stops[1]()
	hang("a", "c")
	stops[0]()
	stops[2]()
	stops[2]() // again: nothing
	defer onHangup(func() { done <- "d" })()
	hang("d")
}
