package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// reader is a gateway that asks and, for a while, does not read.
type reader struct {
	ask         []byte
	hits, again int
	values      int // bytes
	stop        func()
	want        int // answers, then stop
}

func (r *reader) OnOpen(c loop.Conn) {
	c.PauseRead()
	c.Write(append([]byte(wire.Magic), r.ask...))
}

func (r *reader) OnData(_ loop.Conn, b []byte) (used int) {
	for {
		kind, body, n, err := wire.Frame(b[used:])
		if err != nil || n == 0 {
			return used
		}
		used += n
		var rep wire.Reply
		if kind != wire.KindReply || wire.DecodeReply(body, &rep) != nil {
			continue
		}
		switch rep.Status {
		case item.OK:
			r.hits++
			r.values += len(rep.Item.Value)
		case item.FateUnknown:
			r.again++
		}
		if r.hits+r.again == r.want {
			r.stop()
		}
	}
}

func (r *reader) OnClose(loop.Conn, error) {}

// serveReader runs g's loop with r, which reads from half a second on. begun is
// called on the loop with the server's side when r has asked; most is how much was
// buffered for it at most.
func (g *glue) serveReader(r *reader, begun func(c *dataConn)) (most int) {
	ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	r.stop = stop
	var c *dataConn
	if _, err := g.loop.Listen("s:1", func(lc loop.Conn) loop.Handler {
		h := g.accept(lc)
		c = h.(*dataConn)
		return h
	}); err != nil {
		g.t.Fatal(err)
	}
	g.loop.OnTurnEnd(func() {
		g.endTurn()
		if c != nil {
			most = max(most, c.conn.Buffered())
		}
	})
	lc := g.loop.Dial("s:1", 0, r)
	g.loop.After(200*time.Millisecond, func() { begun(c) })
	g.loop.After(500*time.Millisecond, lc.ResumeRead)
	if err := g.loop.Run(ctx); err != nil {
		g.t.Fatal(err)
	}
	return most
}

// One read brings thousands of gets, and each may find a large value in the cache.
func TestGatewayThatDoesNotRead(t *testing.T) {
	g := newGlue(t)
	g.rn.Leases.Granted(other, g.time, 1, g.time)
	var a answers
	value := strings.Repeat("v", 1<<20)
	g.ask(&a, item.OpSet, "k", value)
	g.turn()
	g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
	g.turn()
	const gets = 300
	r := &reader{want: gets}
	for i := range gets {
		req := wire.Request{ID: uint32(i), Epoch: 1, Request: item.Request{Op: item.OpGet, Key: []byte("k")}}
		r.ask = wire.AppendRequest(r.ask, &req)
	}
	most := g.serveReader(r, func(*dataConn) {})
	if most > 16<<20 {
		t.Errorf("%d MiB were buffered for a gateway that does not read", most>>20)
	}
	if r.hits != gets || r.again != 0 || r.values != gets<<20 {
		t.Errorf("%d hits, %d times told to ask again, %d MiB", r.hits, r.again, r.values>>20)
	}
}

// Answers that come later, from the store or with a lease, are not appended
// beyond all bounds either: they are to be asked for again.
func TestLateAnswersToAGatewayThatDoesNotRead(t *testing.T) {
	g := newGlue(t)
	const gets = 200
	r := &reader{want: gets}
	most := g.serveReader(r, func(c *dataConn) {
		it := item.Item{Version: 1 << 40, Value: []byte(strings.Repeat("v", 1<<20))}
		for i := range uint32(gets) {
			g.fx.Replies = append(g.fx.Replies, &replica.Reply{
				Token: replica.Token{Owner: c, ID: i}, Reply: wire.Reply{ID: i, Result: item.Result{Status: item.OK, Item: it}}})
		}
	})
	if most > 66<<20 {
		t.Errorf("%d MiB were buffered for a gateway that does not read", most>>20)
	}
	if r.hits < 64 || r.hits+r.again != gets {
		t.Errorf("%d hits, %d times told to ask again", r.hits, r.again)
	}
}
