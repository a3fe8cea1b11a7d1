package replica

import (
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// primary is what a replica holds while it is its partition's primary. The first
// line of it is what every request touches.
type primary struct {
	// ready: the rings of all replicas agree (R4). active: this epoch is
	// recorded Active, so that it may serve.
	ready   bool
	active  bool
	pending bool // on Effects.Pending
	peers   []*peer
	// waits are the answers that are held back, in the order in which they were made.
	waits, lastWait *Reply
	held            int                 // what loading, parked and waits cost in memory, about, in bytes
	loading         map[string][]parked // nil until it is needed
	newest          newest

	// waitUntil is when the leases that this server granted to the last recorded
	// primary under older maps have ended (R5).
	waitUntil  int64
	restarted  bool
	ackedEpoch map[clustermap.ServerID]struct{}
	began      int64 // when this server became primary
	idleCheck  int64 // when to look for idle sessions next
	since      int64 // when the epoch was adopted
	reported   int64 // when the activation was reported last
	tooFar     *peer // whom its Reconcile would be too long for

	pinned map[string]int // markers that were found, for those who wait for their key's item now
	parked []parked
}

// parked is a request that cannot be executed yet. It owns its memory.
type parked struct {
	req   wire.Request
	token Token
	// marker is that of the manifest in req, found and pinned; "": it is still to be looked for.
	marker string
}

// heldOverhead is about what an operation, an answer or a request that waits
// costs besides keys and values, in bytes.
const heldOverhead = 200

func (w *Reply) size() int  { return len(w.Item.Value) + heldOverhead }
func (p *parked) size() int { return len(p.req.Key) + len(p.req.Value) + heldOverhead }

// Held is about how many bytes this primary holds, in memory, for what waits: for
// other members, a lease or its activation. It is bounded by whoever hands it
// requests, for nobody knows how long a member or a manager stays away.
func (r *Replica) Held() int {
	if r.pri == nil {
		return 0
	}
	return r.log.unsure() + r.pri.held
}

// peer is another member of the configuration, as its primary sees it.
type peer struct {
	id      clustermap.ServerID
	lease   *Lease // of this server, by that one (R5)
	joining bool
	counted bool
	// agreed: its ring is as ours (R4). A joiner never needs it.
	agreed  bool
	reading bool   // values for its Reconcile are being read
	acked   uint64 // sequence number of the last operation it has stored
	asked   int64  // when Activate or JoinHello was sent last
	// waiting is since when it has owed an answer: its ring, or that it has stored
	// what this server itself has stored. 0: it owes none. Who has not stored an
	// operation does not wait for others, and has no right to accuse them.
	waiting int64
	join    outgoing
}

func (q *primary) peer(id clustermap.ServerID) *peer {
	for _, p := range q.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// takeOver makes this server the primary of the epoch just adopted.
func (r *Replica) takeOver(v View, fx *Effects) {
	q := r.pri
	if q == nil {
		r.gen++
		q = &primary{began: r.node.Now, pinned: map[string]int{}}
		r.pri = q
	} else {
		r.endJoins(fx)
	}
	now := r.node.Awake()
	q.peers, q.tooFar, q.ready, q.active = nil, nil, false, false
	r.mark()
	q.ackedEpoch = map[clustermap.ServerID]struct{}{}
	q.since, q.reported, q.restarted = now, 0, v.LastPrimaryRestarted
	q.waitUntil = r.node.Leases.GrantedUntil(r.cfg.LastPrimary)
	for _, id := range r.cfg.Replicas[1:] {
		q.peers = append(q.peers, &peer{id: id, lease: r.node.Leases.By(id)})
	}
	for _, id := range r.cfg.Joining {
		q.peers = append(q.peers, &peer{id: id, lease: r.node.Leases.By(id), joining: true, join: outgoing{incarnation: r.node.incarnationOf(id)}})
	}
	if r.allStored() {
		r.askRings(fx)
	}
	r.tryReady(fx)
}

// stepDown ends this server's time as primary, the last configuration of which is
// from: what was ordered is answered when its fate is known (handover), everything
// else was surely not done.
func (r *Replica) stepDown(from *clustermap.Partition, fx *Effects) {
	q := r.pri
	if q == nil {
		return
	}
	r.pri = nil
	r.mark()
	r.handOver(q, from, fx)
	for _, p := range q.parked {
		r.refuse(p.token, wire.NakWrongEpoch, fx)
	}
	for _, key := range slices.Sorted(maps.Keys(q.loading)) {
		for _, p := range q.loading[key] {
			r.refuse(p.token, wire.NakWrongEpoch, fx)
		}
	}
	for _, p := range q.peers {
		r.endJoin(p, fx)
	}
}

func (r *Replica) refuse(t Token, why wire.NakReason, fx *Effects) {
	nak := &wire.Nak{ID: t.ID, Index: r.part, Reason: why}
	if why == wire.NakWrongEpoch {
		nak.Partition = r.cfg
	}
	w := r.node.newReply(t)
	w.Nak = nak
	fx.Replies = append(fx.Replies, w)
}

// reply gives an answer at once.
func (r *Replica) reply(t Token, res *item.Result, fx *Effects) {
	w := r.node.newReply(t)
	w.Result = *res
	fx.Replies = append(fx.Replies, w)
}

// order puts an operation into the stream (R1): it is sent to the others and
// written here, in parallel; it commits when all counted have stored it.
// What req's session keeps of its result goes with it (R8).
func (r *Replica) order(e entry, req *wire.Request, res *item.Result, fx *Effects) {
	q := r.pri
	e.ordered = true
	e.prev = r.last
	if req != nil && req.Session != 0 {
		e.session, e.number, e.lowest = req.Session, req.Number, req.Lowest
		e.status, e.won, e.answer = res.Status, res.Won, answerOf(req.Op, res)
	}
	r.last = e.version
	r.sessions.take(&e, r.node.Now)
	r.log.push(&e)
	switch e.effect {
	case wire.EffectPut:
		q.newest.note(&r.log, &e)
		r.node.Values.Put(r.part, r.gen, e.key, e.item)
		r.write(fx, Write{Key: e.key, Item: e.item})
	case wire.EffectRemove:
		q.newest.note(&r.log, &e)
		r.node.Values.Remove(r.part, r.gen, e.key)
		r.write(fx, Write{Key: e.key})
	case wire.EffectFlush:
		r.write(fx, Write{IsFlush: true, Flush: e.flush})
	default:
		r.touch(fx)
	}
	r.afterPersist(fx, wire.KindNone, 0, 0)
	for _, p := range q.peers {
		if p.joining && !p.join.live {
			continue
		}
		r.sendEntry(p, &e, fx)
	}
	r.boundBacklog(fx)
}

func (r *Replica) sendEntry(p *peer, e *entry, fx *Effects) {
	fx.send(p.id, wire.Message{
		Kind: wire.KindAppend, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: p.join.id,
		Version: e.version, Prev: e.prev, Committed: r.log.committed,
		Effect: e.effect, Status: e.status, Won: e.won, Session: e.session, Number: e.number, Lowest: e.lowest, Answer: e.answer,
		Key: e.key, Item: e.item, Flush: e.flush,
	})
}

// answer holds an answer back until Drain finds that it may be given.
func (r *Replica) answer(t Token, res *item.Result, depends uint64, local bool, fx *Effects) {
	q := r.pri
	w := r.node.newReply(t)
	w.Result, w.depends, w.local = *res, depends, local
	if q.waits == nil {
		q.waits = w
	} else {
		q.lastWait.next = w
	}
	q.lastWait = w
	q.held += w.size()
	r.node.Answered += uint64(len(res.Item.Value))
	if local || seqOf(depends) <= seqOf(r.log.committed) {
		r.pend(fx) // no commit will
	}
}

func (r *Replica) pend(fx *Effects) {
	if q := r.pri; !q.pending {
		q.pending = true
		fx.Pending = append(fx.Pending, r)
	}
}

// Drain gives the answers that may be given. The daemon calls it at the end of
// a turn for every replica on Effects.Pending, with Node.Now read after all
// values of the turn were (R5). It returns true when answers are left that wait
// for a lease: the daemon calls it again when a grant has come.
func (r *Replica) Drain(fx *Effects) (again bool) {
	q := r.pri
	if q == nil {
		return false
	}
	q.pending = false
	if !q.active || q.waits == nil {
		return false
	}
	asked, leased := false, false
	w := q.waits
	q.waits, q.lastWait = nil, nil
	for w != nil {
		next := w.next
		w.next = nil
		if w.local && !asked {
			asked, leased = true, r.leased()
		}
		if !(w.depends == 0 || seqOf(w.depends) <= seqOf(r.log.committed)) && !planted.Is(planted.WriteAnsweredBeforeCommit) || w.local && !leased {
			again = again || w.local && !leased
			if q.waits == nil {
				q.waits = w
			} else {
				q.lastWait.next = w
			}
			q.lastWait = w
		} else {
			q.held -= w.size()
			fx.Replies = append(fx.Replies, w)
		}
		w = next
	}
	if again {
		r.urge(fx)
	}
	return again
}

// urge asks those for leases who have given none that is needed now.
func (r *Replica) urge(fx *Effects) {
	for _, p := range r.pri.peers {
		if !p.joining || p.counted {
			r.wantLease(p, fx)
		}
	}
}

// wantLease tells whether the member's lease is held; if not it is asked for.
func (r *Replica) wantLease(p *peer, fx *Effects) bool {
	held := p.lease.Holds(r.node.Now)
	if !held {
		fx.Urge = append(fx.Urge, p.id)
	}
	return held
}

// leased tells whether a lease of every counted member is held now (R5). A sole
// replica needs none.
func (r *Replica) leased() bool {
	now := r.node.Now
	if planted.Is(planted.LeaseClockStops) {
		now = r.node.Awake()
	}
	for _, p := range r.pri.peers {
		if (!p.joining || p.counted && !planted.Is(planted.JoinerWithoutLease)) && !p.lease.Holds(now) && !planted.Is(planted.NoLease) {
			return false
		}
	}
	return true
}

// awaitStored begins to wait for a member that has not stored what this server has.
func (r *Replica) awaitStored(p *peer) {
	if p.waiting == 0 && (p.agreed || p.join.live) && p.acked < seqOf(r.persisted) {
		p.waiting = r.node.Awake()
	}
}

// afterOwnWrites goes on with whatever waited for this server's own store.
func (r *Replica) afterOwnWrites(fx *Effects) {
	if !r.pri.ready && r.allStored() {
		r.askRings(fx)
		r.tryReady(fx)
	}
	for _, p := range r.pri.peers {
		r.awaitStored(p)
	}
	r.startCopies(fx)
	r.tryActivate(fx)
	r.tryCommit(fx)
}

func (r *Replica) stepAppendAck(p *peer, m *wire.Message, fx *Effects) {
	if m.JoinID != p.join.id || !p.joining && !p.agreed {
		return
	}
	seq := seqOf(m.Version)
	if seq <= p.acked || seq > seqOf(r.last) {
		return
	}
	p.acked = seq
	p.waiting = 0
	r.awaitStored(p)
	r.tryCount(p, fx)
	r.tryCommit(fx)
}

// tryCommit advances the commit point: what every counted member has stored (R2).
func (r *Replica) tryCommit(fx *Effects) {
	q := r.pri
	if !q.ready {
		return
	}
	seq := seqOf(r.persisted)
	keep := seqOf(r.last)
	if seq < keep && planted.Is(planted.CommitBeforeOwnStore) {
		seq = keep
	}
	for _, p := range q.peers {
		if !p.joining || p.counted && !planted.Is(planted.JoinerNotCounted) {
			seq = min(seq, p.acked)
		}
		if !p.joining || p.join.live {
			keep = min(keep, p.acked)
		}
	}
	if seq <= seqOf(r.log.committed) {
		r.log.commit(r.log.committed, keep)
		return
	}
	version := r.last
	i := r.log.open
	for i < len(r.log.entries) && seqOf(r.log.entries[i].version) <= seq {
		e := &r.log.entries[i]
		version = e.version
		q.newest.committed(e)
		i++
	}
	r.log.commit(version, keep)
	q.newest.shrink(&r.log)
	for _, p := range q.peers {
		r.tryCount(p, fx)
	}
	if q.waits != nil {
		r.pend(fx)
	}
}
