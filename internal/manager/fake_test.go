package manager

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/tools"
)

// fakeServer behaves as a server's replicas do towards the manager: it activates
// what it is primary of, fills joiners at once and accuses the dead.
type fakeServer struct {
	t    *testing.T
	id   clustermap.ServerID
	addr string
	inc  uint64
	run  uint64

	mu      sync.Mutex
	m       *clustermap.Map
	dead    []clustermap.ServerID
	refused *control.Refuse
	cmds    []control.Command
	kick    chan struct{}
	member  *control.Member
	port    net.Listener
	stop    context.CancelFunc
	ended   chan struct{}
	mgrs    []string
}

func newFake(t *testing.T, id clustermap.ServerID, managers ...string) *fakeServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{t: t, id: id, addr: l.Addr().String(), mgrs: managers}
	l.Close()
	f.start()
	t.Cleanup(f.kill)
	return f
}

func (f *fakeServer) start() {
	f.inc++
	f.run = rand.Uint64()
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.port = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	f.stop, f.kick, f.ended = stop, make(chan struct{}, 1), make(chan struct{})
	f.mu.Lock()
	f.dead, f.refused = nil, nil
	first := f.m
	f.mu.Unlock()
	h := control.Hello{Role: control.RoleServer, ID: f.id, Addr: f.addr, StreamAddr: f.addr, Incarnation: f.inc, RunID: f.run}
	f.member = control.NewMember(control.MemberConfig{
		Managers: f.mgrs, Map: first, Logger: slog.New(slog.DiscardHandler),
		Hello: func() control.Hello {
			if m := f.member.Map(); m != nil {
				h.ClusterID = m.ClusterID
			}
			return h
		},
		OnMap:     func(m *clustermap.Map) { f.mu.Lock(); f.m = m; f.mu.Unlock(); f.poke() },
		OnDead:    func(d control.Dead) { f.mu.Lock(); f.dead = d.Servers; f.mu.Unlock(); f.poke() },
		OnRefused: func(r control.Refuse) { f.mu.Lock(); f.refused = &r; f.mu.Unlock() },
		OnCommand: func(c control.Command) {
			f.mu.Lock()
			f.cmds = append(f.cmds, c)
			f.mu.Unlock()
			f.member.Reply(control.Result{ID: c.ID})
		},
	})
	var wg sync.WaitGroup
	wg.Go(func() { f.member.Run(ctx) })
	wg.Go(func() { f.work(ctx) })
	go func() { wg.Wait(); close(f.ended) }()
}

func (f *fakeServer) poke() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *fakeServer) kill() {
	if f.stop == nil {
		return
	}
	f.port.Close()
	f.stop()
	<-f.ended
	f.stop = nil
}

func (f *fakeServer) work(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		case <-t.C:
		}
		f.mu.Lock()
		r := f.report()
		f.mu.Unlock()
		if len(r.Activated)+len(r.InSync)+len(r.Accuse) > 0 {
			f.member.Send(r)
		}
	}
}

func (f *fakeServer) report() (r control.Report) {
	r.Incarnation = f.inc
	if f.m == nil {
		return r
	}
	if s := f.m.Server(f.id); s == nil || s.Incarnation != f.inc {
		return r
	}
	acc := control.Accusation{Accused: f.dead}
	for i := range f.m.Partitions {
		p := &f.m.Partitions[i]
		if p.Primary() != f.id {
			continue
		}
		pe := control.PartitionEpoch{P: uint16(i), E: p.Epoch}
		if !p.Active {
			if !slices.ContainsFunc(p.Replicas, func(id clustermap.ServerID) bool { return slices.Contains(f.dead, id) }) {
				r.Activated = append(r.Activated, pe)
			}
		} else {
			for _, j := range p.Joining {
				r.InSync = append(r.InSync, control.InSync{P: pe.P, E: pe.E, Joiner: j, Incarnation: f.m.Server(j).Incarnation})
			}
		}
		if slices.ContainsFunc(p.Replicas, func(id clustermap.ServerID) bool { return slices.Contains(f.dead, id) }) {
			acc.Partitions = append(acc.Partitions, pe)
		}
	}
	if len(acc.Partitions) > 0 {
		r.Accuse = append(r.Accuse, acc)
	}
	return r
}

func (f *fakeServer) view() *clustermap.Map {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m
}

// manager under test.
type fixture struct {
	t    *testing.T
	cfg  Config
	addr string
	stop context.CancelFunc
	done chan error
	c    *tools.Client
}

func newFixture(t *testing.T, cfg Config) *fixture {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{t: t, cfg: cfg, addr: l.Addr().String()}
	l.Close()
	if x.cfg.StateDir == "" {
		x.cfg.StateDir = t.TempDir()
	}
	if x.cfg.Partitions == 0 {
		x.cfg.Partitions = 64
	}
	x.cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	x.cfg.Listen = x.addr
	x.c = tools.NewClient("manager", x.addr)
	x.start()
	t.Cleanup(x.end)
	return x
}

func (x *fixture) start() {
	ctx, stop := context.WithCancel(context.Background())
	x.stop, x.done = stop, make(chan error, 1)
	up := make(chan struct{})
	cfg := x.cfg
	cfg.Up = func() { close(up) }
	go func() { x.done <- Run(ctx, cfg) }()
	select {
	case <-up:
	case err := <-x.done:
		x.t.Fatal("manager:", err)
	}
}

func (x *fixture) end() {
	if x.stop == nil {
		return
	}
	x.stop()
	x.stop = nil
	if err := <-x.done; err != nil {
		x.t.Error("manager ended:", err)
	}
	x.c.Close()
}

func (x *fixture) status() *control.Status {
	s, err := x.c.Status(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

func (x *fixture) command(name string, args ...string) *control.CommandResponse {
	x.t.Helper()
	r, err := x.c.Command(context.Background(), control.CommandRequest{Command: name, Args: args})
	if err != nil {
		x.t.Fatal(name, ": ", err)
	}
	return r
}

func (x *fixture) eventually(what string, ok func() bool) {
	x.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; {
		if ok() {
			return
		}
		if time.Now().After(end) {
			x.t.Fatalf("%s: not within 15 s; status %+v", what, x.status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settled: every partition has n live copies where planning wants them.
func (x *fixture) settled(n int) {
	x.t.Helper()
	x.eventually("settled", func() bool {
		m, err := x.c.Map(context.Background())
		if err != nil || m.ClusterID == 0 {
			return false
		}
		for i := range m.Partitions {
			p := &m.Partitions[i]
			if !p.Active || len(p.Replicas) != n || p.Replicas[0] != p.Assigned[0] || !clustermap.SameSet(p.Replicas, p.Assigned) {
				return false
			}
		}
		return true
	})
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	defer func() { recover() }() // a line after the test's end
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}
