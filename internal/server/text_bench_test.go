package server

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
)

// stillLoop is a loop whose turns the benchmark makes: no sockets, no sleep.
type stillLoop struct {
	loop.Loop
	accept func(loop.Conn) loop.Handler
	hooks  []func()
}

type stillTimer struct{}

func (stillTimer) Stop() bool                               { return true }
func (l *stillLoop) Post(fn func()) bool                    { fn(); return true }
func (l *stillLoop) After(time.Duration, func()) loop.Timer { return stillTimer{} }
func (l *stillLoop) OnTurnEnd(fn func())                    { l.hooks = append(l.hooks, fn) }
func (l *stillLoop) Addr() string                           { return "" }
func (l *stillLoop) Close()                                 {}
func (l *stillLoop) Listen(_ string, accept func(loop.Conn) loop.Handler) (loop.Listener, error) {
	l.accept = accept
	return l, nil
}

// stillConn drops what is written to it.
type stillConn struct{ out []byte }

func (c *stillConn) Write(b []byte)                    { c.out = append(c.out, b...) }
func (c *stillConn) Append(fn func(dst []byte) []byte) { c.out = fn(c.out) }
func (c *stillConn) Buffered() int                     { return len(c.out) }
func (c *stillConn) Sent() uint64                      { return 0 }
func (c *stillConn) OnDrain(int, func())               {}
func (c *stillConn) PauseRead()                        {}
func (c *stillConn) ResumeRead()                       {}
func (c *stillConn) Close()                            {}
func (c *stillConn) CloseAfterFlush()                  {}
func (c *stillConn) Detach([]byte) (net.Conn, error)   { return nil, nil }
func (c *stillConn) RemoteAddr() string                { return "" }
func (c *stillConn) LocalAddr() string                 { return "" }

// newTextGlue is a server that leads all of 4096 partitions alone, with a port for memcached.
func newTextGlue(t testing.TB) (*glue, *stillLoop) {
	s, err := store.Open("/s", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := &stillLoop{}
	n := &node{
		log: slog.New(slog.DiscardHandler), ctx: context.Background(), loop: l, store: s,
		clock: boottime, self: s.Identity().ID, incarnation: 1, runID: 1,
		peers: map[clustermap.ServerID]*peer{}, inbound: map[clustermap.ServerID]*dataConn{},
		joins: map[replica.JoinWanted]struct{}{}, leasing: map[*replica.Replica]struct{}{}, fatal: func(err error) { t.Error(err) },
		heldLimit: maxHeld,
	}
	n.rn = &replica.Node{Self: n.self, Leases: replica.NewLeases(boottime()), Values: &values{c: store.NewCache(256 << 20)}}
	n.commit.init(n)
	n.reads, n.copies, n.scans = newReaders(n, 1), newCopier(n, 0), newScanner(n)
	n.sweep.n, n.sweep.chunks.n = n, n
	if err := n.serveText("a:2"); err != nil {
		t.Fatal(err)
	}
	m := &clustermap.Map{
		ClusterID: 7, Version: 1, Replication: 1,
		Servers:    []clustermap.Server{{ID: n.self, Addr: "a:1", Incarnation: 1, RunID: 1, State: clustermap.Active}},
		Partitions: make([]clustermap.Partition, 4096),
	}
	for i := range m.Partitions {
		m.Partitions[i] = clustermap.Partition{
			Epoch: 1, Replicas: []clustermap.ServerID{n.self}, Active: true,
			LastKnown: []clustermap.ServerID{n.self}, LastPrimary: n.self, LastPrimaryIncarnation: 1,
		}
	}
	n.adopt(m)
	return &glue{node: n, t: t}, l
}

// BenchmarkText is what one command costs a server in its own code: 32 clients, one
// command of each in a turn, as many keys as a small cache has.
func BenchmarkText(b *testing.B) {
	for _, op := range []string{"get", "set"} {
		b.Run(op, func(b *testing.B) { benchmarkText(b, op) })
	}
}

func benchmarkText(b *testing.B, op string) {
	g, l := newTextGlue(b)
	const clients, keys = 32, 100_000
	type client struct {
		conn *stillConn
		h    loop.Handler
	}
	all := make([]client, clients)
	for i := range all {
		c := &stillConn{}
		all[i] = client{c, l.accept(c)}
	}
	turn := func() {
		for _, fn := range l.hooks {
			fn()
		}
		g.turn()
	}
	value := strings.Repeat("v", 100)
	answer := len("STORED\r\n")
	commands := make([][]byte, keys)
	for i := range commands {
		commands[i] = fmt.Appendf(nil, "set bench:%010d 0 0 100\r\n%s\r\n", i, value)
	}
	for i, cmd := range commands {
		all[i%clients].h.OnData(all[i%clients].conn, cmd)
		if i%clients == clients-1 {
			turn()
		}
	}
	turn()
	if op == "get" {
		answer = len("VALUE bench:0000000000 0 100\r\n" + value + "\r\nEND\r\n")
		for i := range commands {
			commands[i] = fmt.Appendf(nil, "get bench:%010d\r\n", i)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := &all[i%clients]
		c.conn.out = c.conn.out[:0]
		c.h.OnData(c.conn, commands[rnd.IntN(keys)])
		if i%clients < clients-1 {
			continue
		}
		turn()
		for j := range all {
			if len(all[j].conn.out) != answer {
				b.Fatalf("%q", all[j].conn.out)
			}
		}
	}
}
