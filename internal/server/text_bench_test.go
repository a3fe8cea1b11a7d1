package server

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/loop/looptest"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
)

// newTextGlue is a server that leads all of 4096 partitions alone, with a port for memcached.
func newTextGlue(t testing.TB) (*glue, *looptest.Still) {
	s, err := store.Open("/s", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := &looptest.Still{}
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
	n.scrub = newScrubber(n, 0, 0)
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
		conn *looptest.Conn
		h    loop.Handler
	}
	all := make([]client, clients)
	for i := range all {
		c := &looptest.Conn{}
		all[i] = client{c, l.Accept(c)}
	}
	turn := func() {
		l.TurnEnd()
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
		c.conn.Out = c.conn.Out[:0]
		c.h.OnData(c.conn, commands[rnd.IntN(keys)])
		if i%clients < clients-1 {
			continue
		}
		turn()
		for j := range all {
			if len(all[j].conn.Out) != answer {
				b.Fatalf("%q", all[j].conn.Out)
			}
		}
	}
}
