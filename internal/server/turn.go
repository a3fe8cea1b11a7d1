package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// sink takes the answer to one request: a connection of a gateway, or the
// router of this server's own text port. Values are borrowed for the call.
type sink interface {
	Reply(*wire.Reply)
	Nak(*wire.Nak)
}

// endTurn carries out what the turn's events led to: the one place where the
// core's effects become writes, messages and answers. Writes go into the batch
// first; what depends on their being stored comes back through persisted.
func (n *node) endTurn() {
	for {
		n.carryOut()
		// Answers on this server's own text port may have brought new requests.
		fx := &n.fx
		if len(n.asked)+len(fx.Pending)+len(fx.Dirty)+len(fx.Writes)+len(fx.Sends)+len(fx.Replies)+len(fx.Reads)+len(fx.Copies) == 0 {
			return
		}
	}
}

func (n *node) carryOut() {
	fx := &n.fx
	n.takeAsked()
	if n.granted {
		n.granted = false
		n.lookAtLeasing()
	}
	if len(fx.Pending) > 0 {
		// All values of the turn have been read: the clock is read after that (R5).
		n.touchClock()
		for _, r := range fx.Pending {
			if r.Drain(fx) {
				n.leasing[r] = struct{}{}
			}
		}
		clear(fx.Pending)
		fx.Pending = fx.Pending[:0]
	}
	n.scheduleJoins()
	n.persist()
	n.urgeLeases()
	n.sendAll()
	n.replyAll()
	if len(fx.Reads) > 0 {
		n.reads.submit(fx.Reads, n.rn.Now)
		clear(fx.Reads)
		fx.Reads = fx.Reads[:0]
	}
	for i := range fx.Copies {
		n.copies.start(fx.Copies[i])
	}
	clear(fx.Copies)
	fx.Copies = fx.Copies[:0]
	n.report.collect(n)
}

// persist moves the turn's writes into the batch and commits it if the last one is done.
func (n *node) persist() {
	n.fill()
	n.fillChunks()
	for n.commit.start() && len(n.commit.chunks) > 0 {
		n.fillChunks()
	}
}

// fillChunks moves chunks of copies into the batch, as many as it may have. Only now
// do their replicas see them: they leave out what live operations wrote meanwhile (R7).
func (n *node) fillChunks() {
	c := &n.commit
	for len(c.chunks) > 0 && (c.copied == 0 || c.copied+c.chunks[0].bytes <= copyBytes) {
		k := c.chunks[0]
		c.chunks[0] = chunk{}
		c.chunks = c.chunks[1:]
		k.take()
		if len(n.fx.Writes) > 0 { // a batch that stays empty is not committed, and nothing would go on after it
			c.copied += k.bytes
		}
		n.fill()
	}
}

// fill moves the writes that there are, and their partitions' positions, into the batch.
func (n *node) fill() {
	fx := &n.fx
	b := n.commit.batch
	for i := range fx.Writes {
		w := &fx.Writes[i]
		n.sweep.wrote(w)
		switch {
		case w.IsFlush:
			b.SetFlushed(w.Partition, w.Flush.Version, w.Flush.At)
		case w.Item != nil:
			n.commit.key = append(n.commit.key[:0], w.Key...)
			b.PutItem(w.Partition, n.commit.key, w.Item)
		default:
			n.commit.key = append(n.commit.key[:0], w.Key...)
			b.Delete(w.Partition, n.commit.key)
		}
	}
	clear(fx.Writes)
	fx.Writes = fx.Writes[:0]
	for _, r := range fx.Dirty {
		v, unfinished := r.StorePosition()
		b.SetPosition(r.Part(), store.Position{Version: v, Unfinished: unfinished})
		n.commit.refs = append(n.commit.refs, ref{r, r.TakeTicket()})
	}
	clear(fx.Dirty)
	fx.Dirty = fx.Dirty[:0]
	n.commit.cut()
}

func (n *node) sendAll() {
	fx := &n.fx
	for i := range fx.Sends {
		s := &fx.Sends[i]
		var c *dataConn
		switch s.Msg.Kind {
		case wire.KindAppendAck, wire.KindAppendGap, wire.KindRing, wire.KindReconcileAck, wire.KindEpochAck,
			wire.KindJoinState, wire.KindJoinStarted, wire.KindJoinDone:
			// An answer goes back on the connection that the other side opened.
			c = n.inbound[s.To]
		default:
			if p := n.peers[s.To]; p != nil && p.up {
				c = p.conn
				p.appends.sending(&s.Msg, n.rn.Now)
			}
		}
		if c != nil {
			c.out = &s.Msg
			c.conn.Append(c.appendOut)
		}
		// Without a connection it is lost; the core asks again when there is one.
	}
	clear(fx.Sends)
	fx.Sends = fx.Sends[:0]
}

func (n *node) replyAll() {
	fx := &n.fx
	for i := 0; i < len(fx.Replies); i++ { // an answer may lead to another
		r := fx.Replies[i]
		to := r.Token.Owner.(sink)
		if r.Nak != nil {
			r.Nak.ID = r.Token.ID
			to.Nak(r.Nak)
		} else {
			to.Reply(&r.Reply)
		}
		n.answered(r.Token.Tag)
		n.rn.Free(r)
	}
	n.settle()
	clear(fx.Replies)
	fx.Replies = fx.Replies[:0]
}

// scheduleJoins begins joins as slots become free.
func (n *node) scheduleJoins() {
	fx := &n.fx
	for _, j := range fx.JoinsEnded {
		delete(n.joins, j)
	}
	clear(fx.JoinsEnded)
	fx.JoinsEnded = fx.JoinsEnded[:0]
	n.waiting = append(n.waiting, fx.JoinsWanted...)
	clear(fx.JoinsWanted)
	fx.JoinsWanted = fx.JoinsWanted[:0]
	i := 0
	for ; i < len(n.waiting) && len(n.joins) < maxJoins && !n.cmap.Copying.Paused; i++ {
		j := n.waiting[i]
		if j.Replica.BeginJoin(j, fx) {
			n.joins[j] = struct{}{}
		}
	}
	if i > 0 {
		rest := copy(n.waiting, n.waiting[i:])
		clear(n.waiting[rest:])
		n.waiting = n.waiting[:rest]
	}
}

// lookAtLeasing has the partitions with answers that wait for a lease looked at in this turn.
func (n *node) lookAtLeasing() {
	for r := range n.leasing {
		n.fx.Pending = append(n.fx.Pending, r)
	}
	clear(n.leasing)
}

// tick is called every tickInterval.
func (n *node) tick() {
	n.touchClock()
	n.commit.look()
	n.ageHotKeys()
	n.held = 0
	for _, r := range n.leads {
		r.Tick(&n.fx)
		n.held += r.Held()
	}
	// Answers that wait for a lease are looked at again even if no grant comes:
	// their partition may have lost the member that would have granted it.
	n.lookAtLeasing()
	n.talkLeases()
	n.loop.After(untilTick(time.Now()), n.tick)
}

// untilTick is how long it is to the next tick. They are at multiples of the interval of the
// wall's clock, so that servers speak of leases at one time: each is then woken
// once for all others, not once by each of them. Nothing else depends on it.
func untilTick(now time.Time) time.Duration {
	return tickInterval - time.Duration(now.UnixNano())%tickInterval
}
