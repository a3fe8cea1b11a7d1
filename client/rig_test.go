package client_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router/routertest"
)

// rig is a manager that only hands out a map, and a server that does what a test
// says, for what a real cluster does not do on demand.
type rig struct {
	t      *testing.T
	loop   loop.Loop
	server *routertest.Server
	m      *clustermap.Map
	addr   string // the manager's
}

// rigParts is more than a scan asks for at a time.
const rigParts = 128

func newRig(t *testing.T) *rig {
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, loop: l, server: &routertest.Server{ID: 1, Addr: "127.0.0.1:0", Store: routertest.NewStore(), Partitions: rigParts}}
	if err := g.server.Start(l); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	g.m = routertest.Map(1, rigParts, 1, []*routertest.Server{g.server}, func(int) *routertest.Server { return g.server })
	g.addr = manage(t, func(s *control.Session) {
		s.Send(control.Frame(control.KindWelcome, control.Welcome{ClusterID: g.m.ClusterID, HeartbeatMillis: 100}))
		s.Send(control.AppendFrame(nil, control.KindMap, clustermap.AppendMap(nil, g.m)))
	})
	return g
}

// manage is a manager that greets every member by hello.
func manage(t *testing.T, hello func(s *control.Session)) (addr string) {
	li, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { li.Close() })
	go func() {
		for {
			nc, err := li.Accept()
			if err != nil {
				return
			}
			go func() {
				s, err := control.Accept(nc)
				if err != nil {
					return
				}
				hello(s)
				for {
					if _, _, err := s.Receive(time.Minute); err != nil {
						return
					}
					s.Send(control.Frame(control.KindHeartbeat, control.Heartbeat{MapVersion: 1}))
				}
			}()
		}
	}()
	return li.Addr().String()
}

// on runs fn on the server's loop.
func (g *rig) on(fn func()) {
	done := make(chan struct{})
	g.loop.Post(func() { fn(); close(done) })
	<-done
}

// open opens a client and closes it with the test.
func open(t *testing.T, opt client.Options) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// noneLeft fails if goroutines of clients are there a little later.
func noneLeft(t *testing.T) {
	t.Helper()
	var all string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b := make([]byte, 1<<20)
		all = string(b[:runtime.Stack(b, true)])
		if !strings.Contains(all, "kumofs/client.(*Client)") && !strings.Contains(all, "kumofs/client.Open") {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", all)
}
