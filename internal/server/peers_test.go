package server

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// slowConn is a connection whose kernel takes what the test says.
type slowConn struct {
	loop.Conn
	buffered int
	sent     uint64
	closed   bool
}

func (c *slowConn) Write(b []byte)                { c.buffered += len(b) }
func (c *slowConn) Append(fn func([]byte) []byte) { c.buffered += len(fn(nil)) }
func (c *slowConn) Buffered() int                 { return c.buffered }
func (c *slowConn) Sent() uint64                  { return c.sent }
func (c *slowConn) Close()                        { c.closed = true }

func (c *slowConn) take(n int) { c.buffered, c.sent = c.buffered-n, c.sent+uint64(n) }

// A value may be longer than what a peer's connection is to hold: it is closed only
// if the peer takes nothing of it.
func TestPeerThatReadsSlowlyIsNotCutOff(t *testing.T) {
	g := newGlue(t)
	conn := &slowConn{}
	p := g.peers[other]
	p.conn = newDataConn(g.node)
	p.conn.conn, p.conn.peer, p.up = conn, p, true
	g.peerOpened(p.conn)
	conn.buffered += 2 * maxPeerBuffer // a large value
	look := func(d time.Duration, take int) {
		for ; d > 0; d -= replica.LeaseInterval {
			g.time += int64(replica.LeaseInterval)
			conn.take(take)
			g.tick()
		}
	}
	look(10*time.Second, 1)
	look(500*time.Millisecond, 0)
	look(10*time.Second, 1)
	if conn.closed {
		t.Fatal("closed although it takes something all the time")
	}
	look(2*time.Second, 0)
	if !conn.closed {
		t.Error("open although it takes nothing")
	}
}

// shutter accepts connections and closes each as soon as something comes.
type shutter struct{ accepted atomic.Int64 }

func (s *shutter) OnOpen(loop.Conn) {}
func (s *shutter) OnData(c loop.Conn, b []byte) int {
	c.Close()
	return len(b)
}
func (s *shutter) OnClose(loop.Conn, error) {}

// A server that takes connections and closes them, as one does that stands at the address of
// another, is not dialed as often as it can be.
func TestPeerThatRefusesIsDialedSeldom(t *testing.T) {
	g := newGlue(t)
	network := loop.NewMemNetwork()
	g.node.loop = loop.NewMemory(network)
	s := &shutter{}
	if _, err := g.loop.Listen("b:1", func(loop.Conn) loop.Handler { s.accepted.Add(1); return s }); err != nil {
		t.Fatal(err)
	}
	g.dial(g.peers[other])
	ctx, end := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer end()
	if err := g.loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.accepted.Load(); n < 2 || n > 10 {
		t.Errorf("dialed %d times", n)
	}
}

// A server from which something comes all the time is not silent, although what it says of leases
// waits behind that: a backlog may be of seconds. But it is where leases never come.
func TestPeerThatSendsIsNotSilent(t *testing.T) {
	for _, where := range []string{"leases", "the other connection", "nothing"} {
		g := newGlue(t)
		p := g.peers[other]
		c := newDataConn(g.node)
		c.conn, c.opened, c.passed, c.from = &slowConn{}, true, true, other
		if where == "leases" {
			c.peer, p.conn, p.up = p, c, true // it is this server that begins them
		} else {
			g.inbound[other] = c
		}
		accused := 0
		g.report.send = func(r *control.Report) { accused += len(r.Accuse) }
		b := wire.AppendMessage(nil, &wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
		for range 20 {
			g.time += int64(replica.LeaseInterval)
			if where != "nothing" {
				c.OnData(c.conn, b)
			}
			g.tick()
			g.endTurn()
		}
		if (accused == 0) != (where == "leases") {
			t.Errorf("%s: accused %d times", where, accused)
		}
	}
}
