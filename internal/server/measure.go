package server

import (
	"context"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/wire"
)

// meter knows how long things take here. It belongs to the loop, and goes by the readings
// of the clock that the loop makes anyway.
type meter struct {
	// requests are commands of gateways, and of this server's own text port: from the turn in
	// which one came to the turn in which its answer left.
	requests latency.Windows
	tag      uint32 // of the replies being counted
	replies  uint64 // so many
	// reads are of values that were not in memory, their wait for a goroutine included;
	// commits are of batches into the store.
	reads, commits latency.Histogram
}

// A tag is what a request's token keeps of it: its kind + 1 in the low bits, above them
// when it came, in us. It goes around in nine minutes; no request waits for so long.
const (
	tagKind = 3 // bits
	tagMask = 1<<(32-tagKind) - 1
)

func (n *node) tag(op item.Op) uint32 {
	return uint32(n.rn.Now/1000)<<tagKind | uint32(latency.KindOf(op)+1)
}

// answered counts a reply. Those of one turn have few different tags.
func (n *node) answered(tag uint32) {
	if m := &n.meter; tag != m.tag {
		n.settle()
		m.tag = tag
	}
	n.meter.replies++
}

// settle notes how long what was counted took.
func (n *node) settle() {
	m := &n.meter
	if m.tag != 0 {
		us := (uint32(n.rn.Now/1000) - m.tag>>tagKind) & tagMask
		m.requests[m.tag&(1<<tagKind-1)-1].Add(n.rn.Now, time.Duration(us)*time.Microsecond, m.replies)
	}
	m.tag, m.replies = 0, 0
}

// requestTimes tells how long requests took. Any goroutine.
func (n *node) requestTimes(ctx context.Context) (s *latency.Summary, err error) {
	err = n.onLoop(ctx, func() { s = n.meter.requests.Summary(n.clock()) })
	return s, err
}

// appendMeter measures the way of an operation to a peer and of the acknowledgement back: of one at a
// time, which is enough to know the rest by.
type appendMeter struct {
	times   latency.Histogram
	part    uint16
	version uint64
	sent    int64 // replica.Node.Now; 0: none is measured
}

// giveUpAppend is when another one is measured, because the last one is not acknowledged (R1: it
// may come to the peer as part of a copy), in ns.
const giveUpAppend = int64(10 * time.Second)

func (a *appendMeter) sending(m *wire.Message, now int64) {
	if m.Kind == wire.KindAppend && (a.sent == 0 || now-a.sent > giveUpAppend) {
		a.part, a.version, a.sent = m.Partition, m.Version, now
	}
}

func (a *appendMeter) heard(m *wire.Message, now int64) {
	if m.Kind == wire.KindAppendAck && a.sent != 0 && m.Partition == a.part && m.Version >= a.version {
		a.times.Add(time.Duration(now-a.sent), 1)
		a.sent = 0
	}
}
