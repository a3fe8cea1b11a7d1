package frontend

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/loop/looptest"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

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
func newStill(local bool) (l *looptest.Still, conn *looptest.Conn, h loop.Handler, turn func()) {
	l = &looptest.Still{}
	m := &memory{local: local, value: bytes.Repeat([]byte("v"), 100)}
	r := router.New(l, router.Options{Backend: m})
	New(l, Options{Router: r}).Listen("")
	cm := &clustermap.Map{ClusterID: 1, Version: 1, Partitions: make([]clustermap.Partition, 64),
		Servers: []clustermap.Server{{ID: 1, Addr: "s:1"}}}
	for i := range cm.Partitions {
		cm.Partitions[i] = clustermap.Partition{Epoch: 1, Replicas: []clustermap.ServerID{1}, Active: true}
	}
	r.SetMap(cm)
	conn = &looptest.Conn{}
	h = l.Accept(conn)
	var req wire.Request
	var replies []byte
	turn = func() {
		conn.Out = conn.Out[:0]
		l.TurnEnd()
		if l.Dialed == nil {
			return
		}
		replies = replies[:0]
		for b := bytes.TrimPrefix(l.Server.Out, []byte(wire.Magic)); len(b) > 0; {
			_, body, n, err := wire.Frame(b)
			if err != nil || wire.DecodeRequest(body, &req) != nil {
				panic("bad frame")
			}
			m.answer(&req)
			replies = wire.AppendReply(replies, &m.rep)
			b = b[n:]
		}
		l.Server.Out = l.Server.Out[:0]
		l.Dialed.OnData(l.Server, replies)
	}
	if !local {
		h.OnData(conn, []byte("get warm\r\n"))
		l.Dialed.OnOpen(l.Server)
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
			if local && len(conn.Out) == 0 {
				t.Error("nothing was answered")
			}
		}
	}
}
