package frontend

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// stillLoop is a loop whose turns the benchmark makes: no sockets, no sleep.
type stillLoop struct {
	hooks  []func()
	accept func(loop.Conn) loop.Handler
	dialed loop.Handler
	server *stillConn
}

type stillTimer struct{}

func (stillTimer) Stop() bool                               { return true }
func (l *stillLoop) Run(context.Context) error              { return nil }
func (l *stillLoop) Post(fn func()) bool                    { fn(); return true }
func (l *stillLoop) After(time.Duration, func()) loop.Timer { return stillTimer{} }
func (l *stillLoop) OnTurnEnd(fn func())                    { l.hooks = append(l.hooks, fn) }
func (l *stillLoop) OnError(func(error))                    {}
func (l *stillLoop) Listen(_ string, accept func(loop.Conn) loop.Handler) (loop.Listener, error) {
	l.accept = accept
	return nil, nil
}
func (l *stillLoop) Dial(_ string, _ time.Duration, h loop.Handler) loop.Conn {
	l.dialed, l.server = h, &stillConn{}
	return l.server
}

func (l *stillLoop) turnEnd() {
	for _, fn := range l.hooks {
		fn()
	}
}

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

// memory is a Backend that has one value for every key.
type memory struct {
	local bool
	value []byte
	rep   wire.Reply
}

func (m *memory) Local(uint16) bool { return m.local }

func (m *memory) Submit(r *wire.Request, sink router.Sink) {
	m.answer(r)
	sink.Reply(&m.rep)
}

func (m *memory) answer(r *wire.Request) {
	m.rep.ID, m.rep.Status = r.ID, item.OK
	m.rep.Item = item.Item{Version: 1 << 40}
	if r.Op == item.OpGet {
		m.rep.Item.Value = m.value
	}
}

const depth = 16

func pipeline(op string) []byte {
	var b bytes.Buffer
	for i := range depth {
		switch op {
		case "get":
			fmt.Fprintf(&b, "get key-%08d\r\n", i)
		case "set":
			fmt.Fprintf(&b, "set key-%08d 0 0 100\r\n%0100d\r\n", i, i)
		}
	}
	if op == "multiget" {
		b.WriteString("get")
		for i := range depth {
			fmt.Fprintf(&b, " key-%08d", i)
		}
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// newStill is a client of a frontend on a stillLoop; local: the Backend has all
// partitions, else a server over the wire does.
func newStill(local bool) (l *stillLoop, conn *stillConn, h loop.Handler, turn func()) {
	l = &stillLoop{}
	m := &memory{local: local, value: bytes.Repeat([]byte("v"), 100)}
	r := router.New(l, router.Options{Backend: m})
	New(l, Options{Router: r}).Listen("")
	cm := &clustermap.Map{ClusterID: 1, Version: 1, Partitions: make([]clustermap.Partition, 64),
		Servers: []clustermap.Server{{ID: 1, Addr: "s:1"}}}
	for i := range cm.Partitions {
		cm.Partitions[i] = clustermap.Partition{Epoch: 1, Replicas: []clustermap.ServerID{1}, Active: true}
	}
	r.SetMap(cm)
	conn = &stillConn{}
	h = l.accept(conn)
	var req wire.Request
	var replies []byte
	turn = func() {
		conn.out = conn.out[:0]
		l.turnEnd()
		if l.dialed == nil {
			return
		}
		replies = replies[:0]
		for b := bytes.TrimPrefix(l.server.out, []byte(wire.Magic)); len(b) > 0; {
			_, body, n, err := wire.Frame(b)
			if err != nil || wire.DecodeRequest(body, &req) != nil {
				panic("bad frame")
			}
			m.answer(&req)
			replies = wire.AppendReply(replies, &m.rep)
			b = b[n:]
		}
		l.server.out = l.server.out[:0]
		l.dialed.OnData(l.server, replies)
	}
	if !local {
		h.OnData(conn, []byte("get warm\r\n"))
		l.dialed.OnOpen(l.server)
		turn()
	}
	return l, conn, h, turn
}

func benchmark(b *testing.B, local bool, op string) {
	_, _, h, turn := newStill(local)
	in := pipeline(op)
	for range 100 { // fill the pools
		h.OnData(nil, in)
		turn()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += depth {
		if h.OnData(nil, in) != len(in) {
			b.Fatal("not all taken")
		}
		turn()
	}
}

func BenchmarkLocalGet(b *testing.B)       { benchmark(b, true, "get") }
func BenchmarkLocalSet(b *testing.B)       { benchmark(b, true, "set") }
func BenchmarkLocalMultiGet(b *testing.B)  { benchmark(b, true, "multiget") }
func BenchmarkRemoteGet(b *testing.B)      { benchmark(b, false, "get") }
func BenchmarkRemoteSet(b *testing.B)      { benchmark(b, false, "set") }
func BenchmarkRemoteMultiGet(b *testing.B) { benchmark(b, false, "multiget") }

// In steady state a command allocates nothing, here or over the wire.
func TestNoAllocations(t *testing.T) {
	for _, local := range []bool{true, false} {
		for _, op := range []string{"get", "set", "multiget"} {
			_, conn, h, turn := newStill(local)
			in := pipeline(op)
			run := func() { h.OnData(nil, in); turn() }
			for range 100 {
				run()
			}
			if n := testing.AllocsPerRun(100, run); n >= 1 {
				t.Errorf("%s, local %v: %v allocations for %d commands", op, local, n, depth)
			}
			h.OnData(nil, in)
			if local && len(conn.out) == 0 {
				t.Error("nothing was answered")
			}
		}
	}
}
