package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// BenchmarkOrder is a write at a primary with two backups, from the request to
// the answer, acknowledged in groups of 16 as a turn does.
func BenchmarkOrder(b *testing.B) {
	b.Run("without session", func(b *testing.B) { benchmarkOrder(b, false) })
	b.Run("session", func(b *testing.B) { benchmarkOrder(b, true) })
}

func benchmarkOrder(b *testing.B, session bool) {
	r := benchReplica(A)
	var fx Effects
	req := wire.Request{Partition: part, Epoch: 1}
	if session {
		req.Session = benchSession(b, r, &fx)
	}
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%d", i)
	}
	value := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		req.Request = item.Request{Op: item.OpSet, Key: keys[i%len(keys)], Value: value}
		if session {
			req.Number = uint32(i + 1)
			req.Lowest = uint32(i/16*16 + 1)
		}
		r.Request(&req, Token{}, &fx)
		if i%16 == 15 {
			settle(r, &fx)
			if len(fx.Replies) != 16 {
				b.Fatalf("%d answers", len(fx.Replies))
			}
			empty(&fx)
		}
	}
}

// BenchmarkBackup is an operation at a backup.
func BenchmarkBackup(b *testing.B) {
	b.Run("without session", func(b *testing.B) { benchmarkBackup(b, 0) })
	b.Run("session", func(b *testing.B) { benchmarkBackup(b, versionOf(1, part<<20+1)) })
}

func benchmarkBackup(b *testing.B, session uint64) {
	r := benchReplica(B)
	var fx Effects
	first := uint64(part<<20 + 1)
	m := wire.Message{Kind: wire.KindAppend, Partition: part, Epoch: 1, Prev: r.Last(), Version: versionOf(1, first), Effect: wire.EffectOpen, Session: session}
	if session == 0 {
		m.Effect = wire.EffectPut
	}
	r.Step(A, &m, &fx)
	m.Effect, m.Status, m.Item, m.Key = wire.EffectPut, item.OK, &item.Item{Value: make([]byte, 100)}, "key"
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		m.Prev, m.Version, m.Committed = m.Version, m.Version+1, m.Version-16
		m.Number, m.Lowest = uint32(i+1), uint32(i/16*16+1)
		r.Step(A, &m, &fx)
		if i%16 == 15 {
			fx.Dirty = fx.Dirty[:0]
			r.Persisted(r.TakeTicket(), &fx)
			empty(&fx)
		}
	}
}

// benchReplica is a server's replica of a partition that A leads.
func benchReplica(self clustermap.ServerID) *Replica {
	node := &Node{Self: self, Leases: NewLeases(0), Values: cache{}, Now: int64(time.Hour), Unix: 1_700_000_000}
	r := New(part, node, Stored{})
	var fx Effects
	r.Adopt(View{Config: clustermap.Partition{Epoch: 1, Replicas: ids{A, B, C}, Active: true, LastPrimary: A}, Member: true, Whole: true}, &fx)
	for _, id := range []clustermap.ServerID{B, C} {
		r.Step(id, &wire.Message{Kind: wire.KindRing, Partition: part, Epoch: 1, Version: r.Last()}, &fx)
	}
	return r
}

func benchSession(b *testing.B, r *Replica, fx *Effects) uint64 {
	r.Request(&wire.Request{Partition: part, Epoch: 1, Request: item.Request{Op: item.OpOpenSession}}, Token{}, fx)
	settle(r, fx)
	if len(fx.Replies) != 1 || fx.Replies[0].Result.Status != item.OK {
		b.Fatalf("no session: %+v", fx.Replies)
	}
	id := fx.Replies[0].Result.Item.Version
	empty(fx)
	return id
}

// settle has all that is ordered stored everywhere and answered.
func settle(r *Replica, fx *Effects) {
	fx.Dirty = fx.Dirty[:0]
	r.Persisted(r.TakeTicket(), fx)
	for _, id := range []clustermap.ServerID{B, C} {
		r.Step(id, &wire.Message{Kind: wire.KindAppendAck, Partition: part, Epoch: 1, Version: r.Last()}, fx)
	}
	r.Drain(fx)
}

func empty(fx *Effects) {
	clear(fx.Writes)
	clear(fx.Sends)
	clear(fx.Replies)
	fx.Writes, fx.Sends, fx.Replies, fx.Pending = fx.Writes[:0], fx.Sends[:0], fx.Replies[:0], fx.Pending[:0]
}

// BenchmarkGet is a read at a primary, of an item that is cached.
func BenchmarkGet(b *testing.B) {
	r := benchReplica(A)
	it := &item.Item{Version: versionOf(1, part<<20+1), Value: make([]byte, 100)}
	r.node.Values = hits{cache{}, it}
	for _, id := range []clustermap.ServerID{B, C} {
		r.node.Leases.Granted(id, r.node.Now, 0, r.node.Now)
	}
	req := wire.Request{Partition: part, Epoch: 1, Request: item.Request{Op: item.OpGet, Key: []byte("bench:0000000042")}}
	var fx Effects
	// A replica in which nothing was ever written asks nobody.
	r.Request(&wire.Request{Partition: part, Epoch: 1, Request: item.Request{Op: item.OpSet, Key: []byte("another")}}, Token{}, &fx)
	settle(r, &fx)
	empty(&fx)
	b.ReportAllocs()
	for b.Loop() {
		r.Request(&req, Token{}, &fx)
		r.Drain(&fx)
		if len(fx.Replies) != 1 || fx.Replies[0].Result.Status != item.OK {
			b.Fatalf("%+v", fx)
		}
		empty(&fx)
	}
}

// hits is a Values in which every key has the same item.
type hits struct {
	cache
	it *item.Item
}

func (h hits) Get(uint16, uint32, []byte) (*item.Item, bool) { return h.it, true }
