package control

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countWarnings counts lines of the log.
type countWarnings struct{ n *atomic.Int64 }

func (c countWarnings) Enabled(context.Context, slog.Level) bool { return true }
func (c countWarnings) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "no link to manager") {
		c.n.Add(1)
	}
	return nil
}
func (c countWarnings) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c countWarnings) WithGroup(string) slog.Handler      { return c }

// Waiting is said once for each reason and manager: a server whose store was
// refused filled its log with the same line, and so did one with two managers
// of which neither was there.
func TestWaitingIsSaidOnce(t *testing.T) {
	gone := func() string {
		l := listen(t)
		defer l.Close()
		return l.Addr().String()
	}
	l := listen(t)
	defer l.Close()
	var refusals, links, warnings atomic.Int64
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func(nc net.Conn) {
				if s, err := Accept(nc); err == nil {
					links.Add(1)
					s.Refuse(Refuse{Reason: "not with these pairs"})
				}
			}(nc)
		}
	}()
	m := NewMember(MemberConfig{
		Managers:  []string{gone(), gone(), l.Addr().String()},
		Hello:     func() Hello { return Hello{Role: RoleServer, ID: 1, Incarnation: 1} },
		OnRefused: func(Refuse) { refusals.Add(1) },
		Logger:    slog.New(countWarnings{&warnings}),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for end := time.Now().Add(10 * time.Second); links.Load() < 4 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if links.Load() < 4 || refusals.Load() != 1 || warnings.Load() != 2 {
		t.Errorf("%d links: %d refusals told, %d lines of %q", links.Load(), refusals.Load(), warnings.Load(), "no link to manager")
	}
}
