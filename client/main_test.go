package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/local"
)

// managers are those of a real cluster in this process: a manager and three servers,
// as `kumofs local` has them.
var managers []string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stop, err := startCluster()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stop()
		return m.Run()
	}())
}

// greeting is where the cluster tells its addresses.
type greeting struct {
	mu   sync.Mutex
	text strings.Builder
	done chan struct{}
}

func (g *greeting) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.text.Len()
	g.text.Write(p)
	if at := strings.Index(g.text.String(), "Try it:"); at >= 0 && at >= before-len("Try it:") {
		select {
		case <-g.done:
		default:
			close(g.done)
		}
	}
	return len(p), nil
}

func (g *greeting) manager() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, rest, _ := strings.Cut(g.text.String(), "  manager    ")
	addr, _, _ := strings.Cut(rest, "\n")
	return addr
}

func startCluster() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "kumofs-client-")
	if err != nil {
		return nil, err
	}
	li, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		return nil, err
	}
	port := li.Addr().(*net.TCPAddr).Port
	li.Close()
	ctx, cancel := context.WithCancel(context.Background())
	out := &greeting{done: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- local.Run(ctx, local.Config{Servers: 3, Port: port, Data: dir, CacheSize: 16 << 20, Out: out, Log: slog.New(slog.DiscardHandler),
			Serve: cli.ServeOptions{Timeout: 10 * time.Second, Clients: cli.ClientLimits{MaxItemSize: 1 << 20}}})
	}()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "the cluster:", err)
		}
		os.RemoveAll(dir)
	}
	select {
	case err := <-ended:
		ended <- err
		stop()
		return nil, fmt.Errorf("no cluster: %w", err)
	case <-time.After(time.Minute):
		stop()
		return nil, fmt.Errorf("no cluster within a minute")
	case <-out.done:
	}
	managers = []string{out.manager()}
	return stop, nil
}
