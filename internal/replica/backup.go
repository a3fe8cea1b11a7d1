package replica

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// stepAppend takes an operation of the stream (R1): only if it follows what
// this replica has. A repeated one is acknowledged and not applied twice.
func (r *Replica) stepAppend(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	if !r.inStream(from, m) {
		return
	}
	if seqOf(m.Version) <= seqOf(r.last) {
		r.afterPersist(fx, wire.KindAppendAck, from, m.JoinID)
		return
	}
	if m.Prev != r.last && !planted.Is(planted.GapTaken) {
		return // the primary will ask (stepAppendQuery)
	}
	r.last = m.Version
	r.touch(fx)
	switch m.Effect {
	case wire.EffectPut, wire.EffectRemove:
		if m.Item != nil && m.Item.Expired(r.node.Unix) && planted.Is(planted.ExpiryAtBackup) {
			m.Item = nil
		}
		// Item is nil for a removal. While the snapshot is on its way the key is
		// marked as touched: that is the tombstone of R6.
		r.write(fx, Write{Key: m.Key, Item: m.Item})
		if r.join.touched != nil && !(m.Item == nil && planted.Is(planted.NoTombstones)) {
			r.join.touched[m.Key] = struct{}{}
		}
	case wire.EffectFlush:
		r.flush = m.Flush
		r.write(fx, Write{IsFlush: true, Flush: m.Flush})
	}
	e := entry{
		version: m.Version, prev: m.Prev, key: m.Key, effect: m.Effect,
		status: m.Status, won: m.Won, session: m.Session, number: m.Number, lowest: m.Lowest, answer: m.Answer, item: m.Item,
	}
	r.sessions.take(&e, r.node.Now)
	e.item = nil // only a primary keeps it
	r.log.push(&e)
	r.log.commit(m.Committed, seqOf(m.Version))
	if planted.Is(planted.AckBeforeStored) {
		r.acknowledge(fx, ticketed{version: r.last, ack: wire.KindAppendAck, to: from, epoch: r.cfg.Epoch, joinID: m.JoinID})
	}
	r.afterPersist(fx, wire.KindAppendAck, from, m.JoinID)
}

// inStream tells whether this replica takes the stream of which m is a part.
func (r *Replica) inStream(from clustermap.ServerID, m *wire.Message) bool {
	if !r.fromPrimary(from) && !(m.Epoch < r.cfg.Epoch && planted.Is(planted.OldEpochTaken)) {
		return false
	}
	switch r.role {
	case roleBackup:
		return m.JoinID == 0
	case roleJoiner:
		return m.JoinID != 0 && m.JoinID == r.join.id && r.join.live
	}
	return false
}

// stepAppendQuery: the primary misses acknowledgements. If operations are missing
// here it is told from where on; if all is stored it is told again; else what was
// taken is on its way to the store, and is acknowledged when it is there.
func (r *Replica) stepAppendQuery(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	switch {
	case !r.inStream(from, m):
	case seqOf(r.last) < seqOf(m.Version):
		fx.send(from, wire.Message{Kind: wire.KindAppendGap, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: m.JoinID, Version: r.last})
	case !r.dirty && r.stored == r.ticket:
		r.afterPersist(fx, wire.KindAppendAck, from, m.JoinID)
	}
}
