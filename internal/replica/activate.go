package replica

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Activation (R4): the primary of a new epoch makes the rings of all replicas
// agree, waits out the old primary's leases (R5), reports, and serves when the
// report is recorded. Under a step that keeps Active it goes on when the rings agree.

// askRings asks every replica for its ring. Called when all that this server
// took in earlier epochs is in its store, so that its present values can be read.
func (r *Replica) askRings(fx *Effects) {
	q := r.pri
	for _, p := range q.peers {
		if !p.joining && !p.agreed {
			r.askRing(p, fx)
		}
	}
	lp := r.cfg.LastPrimary
	if p := q.peer(lp); lp != 0 && lp != r.node.Self && (p == nil || p.joining) && !r.cfg.Active {
		// A hand-over asks the old primary first, also if it leaves or is to join
		// again (R5). It learns from this what became of its last writes too.
		fx.send(lp, wire.Message{Kind: wire.KindEpochQuery, Partition: r.part, Epoch: r.cfg.Epoch, Version: r.last, Config: r.config()})
	}
}

func (r *Replica) askRing(p *peer, fx *Effects) {
	p.asked = r.node.Now
	if p.waiting == 0 {
		p.waiting = r.node.Awake()
	}
	fx.send(p.id, wire.Message{Kind: wire.KindActivate, Partition: r.part, Epoch: r.cfg.Epoch, Version: r.last, Config: r.config()})
}

// stepActivate answers with this replica's ring, when all it took is in its store.
// A store whose join is unfinished has no position (R7), whatever operation it
// took last: it stays silent, and is accused, rather than be taken as equal.
func (r *Replica) stepActivate(from clustermap.ServerID, fx *Effects) {
	if r.role == roleBackup && r.fromPrimary(from) && !r.unfinished {
		r.afterPersist(fx, wire.KindRing, from, 0)
	}
}

// stepRing compares a member's ring with ours, in both directions.
func (r *Replica) stepRing(p *peer, m *wire.Message, fx *Effects) {
	q := r.pri
	q.ackedEpoch[p.id] = struct{}{}
	if p.joining || p.agreed || p.reading || !r.allStored() {
		return
	}
	p.waiting = r.node.Awake()
	if m.Version == r.last {
		r.agree(p, fx)
		return
	}
	if q.tooFar != nil {
		r.tooFar(q.tooFar, fx)
		return
	}
	keys, sessions, gap := r.ringDifference(m)
	if gap {
		// It misses operations that this log does not hold any more: it comes back as a joiner (R7).
		fx.Accuse = append(fx.Accuse, Accusation{r.pe(), []clustermap.ServerID{p.id}})
		return
	}
	if len(keys) == 0 {
		r.reconcile(p, nil, sessions, fx)
		return
	}
	p.reading, p.waiting = true, 0
	fx.Reads = append(fx.Reads, Read{Replica: r, Epoch: r.cfg.Epoch, Peer: p.id, Keys: keys, sessions: sessions, gen: r.gen})
}

// ringDifference lists every key and session touched by an operation that only
// one of the two replicas has (R4). gap: the other one misses more than can be told.
func (r *Replica) ringDifference(m *wire.Message) (keys []string, sessions []uint64, gap bool) {
	if seqOf(m.Version) < seqOf(r.log.committed) {
		first := seqOf(r.last) + 1
		if len(r.log.entries) > 0 {
			first = seqOf(r.log.entries[0].version)
		}
		if seqOf(m.Version)+1 < first {
			return nil, nil, true
		}
	}
	mine := make(map[uint64]struct{}, len(r.log.entries))
	for i := range r.log.entries {
		mine[r.log.entries[i].version] = struct{}{}
	}
	theirs := make(map[uint64]struct{}, len(m.Ring))
	for i := range m.Ring {
		theirs[m.Ring[i].Version] = struct{}{}
	}
	seen := map[string]struct{}{}
	add := func(effect wire.Effect, key string, session uint64) {
		if session != 0 && !slices.Contains(sessions, session) {
			sessions = append(sessions, session)
		}
		if effect != wire.EffectPut && effect != wire.EffectRemove {
			return // the flush record goes with every Reconcile
		}
		if _, dup := seen[key]; !dup {
			seen[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	for i := range r.log.entries {
		e := &r.log.entries[i]
		if _, ok := theirs[e.version]; !ok && seqOf(e.version) > seqOf(m.Committed) {
			add(e.effect, e.key, e.session)
		}
	}
	for i := range m.Ring {
		e := &m.Ring[i]
		if _, ok := mine[e.Version]; !ok && seqOf(e.Version) > seqOf(r.log.committed) && !planted.Is(planted.RingsOneWay) {
			add(e.Effect, e.Key, e.Session)
		}
	}
	return keys, sessions, false
}

// reconcileRead brings this primary's present values for a member's Reconcile.
func (r *Replica) reconcileRead(rd *Read, items []*item.Item, err error, fx *Effects) {
	p := r.pri.peer(rd.Peer)
	if p == nil || rd.Epoch != r.cfg.Epoch || !p.reading {
		return
	}
	p.reading = false
	if p.agreed {
		return // it answered twice, and operations may have been ordered since
	}
	if err != nil {
		return // asked again on a tick; the daemon reports its disk itself
	}
	values, size := make([]wire.Value, len(items)), 0
	for i, it := range items {
		values[i] = wire.Value{Key: rd.Keys[i], Item: it}
		size += len(rd.Keys[i])
		if it != nil {
			size += len(it.Value)
		}
	}
	if size > r.node.maxReconcile() {
		r.tooFar(p, fx)
		return
	}
	r.reconcile(p, values, rd.sessions, fx)
}

// tooFar accuses a member that needs more values than one Reconcile is to hold: as a
// joiner it gets them in pieces (R7). It is the only one in this epoch: a primary
// that accuses all others is replaced (R9), and the next would have to do the same.
func (r *Replica) tooFar(p *peer, fx *Effects) {
	q := r.pri
	if q.tooFar == nil {
		q.tooFar = p
	}
	fx.Accuse = append(fx.Accuse, Accusation{r.pe(), []clustermap.ServerID{q.tooFar.id}})
}

func (r *Replica) reconcile(p *peer, values []wire.Value, sessions []uint64, fx *Effects) {
	p.waiting = r.node.Awake()
	if len(sessions) > 0 && planted.Is(planted.SessionsNotMended) {
		sessions = nil
	}
	fx.send(p.id, wire.Message{
		Kind: wire.KindReconcile, Partition: r.part, Epoch: r.cfg.Epoch,
		Version: r.last, Committed: r.log.committed, Flush: r.flush, Ring: r.log.ring(), Values: values,
		Sessions: r.sessions.states(sessions),
	})
}

// stepReconcile stores the primary's values, ring and position in one batch, and
// takes its sessions.
func (r *Replica) stepReconcile(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	if r.role != roleBackup || !r.fromPrimary(from) {
		return
	}
	if epochOf(r.last) == r.cfg.Epoch && seqOf(m.Version) < seqOf(r.last) && !planted.Is(planted.LateReconcileTaken) {
		return // late: the primary has ordered operations since, and we have them
	}
	for _, v := range m.Values {
		r.write(fx, Write{Key: v.Key, Item: v.Item})
	}
	if r.flush != m.Flush {
		r.flush = m.Flush
		r.write(fx, Write{IsFlush: true, Flush: m.Flush})
	}
	r.sessions.replace(m.Sessions)
	r.last = m.Version
	r.log.reset(m.Version, len(m.Ring) == 0, m.Committed, m.Ring)
	r.touch(fx)
	r.afterPersist(fx, wire.KindReconcileAck, from, 0)
}

func (r *Replica) stepReconcileAck(p *peer, m *wire.Message, fx *Effects) {
	if !p.joining && !p.agreed && m.Version == r.last {
		r.agree(p, fx)
	}
}

func (r *Replica) agree(p *peer, fx *Effects) {
	p.agreed = true
	p.acked = seqOf(r.last)
	p.waiting = 0
	r.tryReady(fx)
}

// tryReady: when the rings of all replicas agree, everything in them commits.
func (r *Replica) tryReady(fx *Effects) {
	q := r.pri
	if q.ready || !r.allStored() {
		return
	}
	for _, p := range q.peers {
		if !p.joining && !p.agreed && !planted.Is(planted.RingsNotCompared) {
			return
		}
	}
	q.ready = true
	r.tryCommit(fx)
	r.tryActivate(fx)
}

// tryActivate begins to serve if this epoch is recorded Active, else reports it
// when the old primary's leases are over.
func (r *Replica) tryActivate(fx *Effects) {
	q := r.pri
	if !q.ready || !r.allStored() || q.active && (r.cfg.Active || !planted.Is(planted.ServedBeforeRecorded)) {
		return
	}
	if !r.cfg.Active {
		if r.mustWait() || q.reported != 0 && r.node.Now-q.reported < retryAfter {
			return
		}
		q.reported = r.node.Now
		fx.Activated = append(fx.Activated, r.pe())
		if !planted.Is(planted.ServedBeforeRecorded) {
			return
		}
	}
	q.active = true
	r.mark()
	r.beginUnfinished(fx)
	r.pend(fx)
	r.wantJoins(fx)
	list := q.parked
	q.parked = nil
	for i := range list {
		q.held -= list[i].size()
	}
	for i := range list {
		r.Request(&list[i].req, list[i].token, fx)
	}
}

// beginUnfinished: where all others were given up a store begins whose join was not
// finished. What it has is the partition's data now, at a position of its own: a
// store that has the one of that join may hold more.
func (r *Replica) beginUnfinished(fx *Effects) {
	if !r.unfinished {
		return
	}
	r.unfinished = false
	r.touch(fx)
	r.log.reset(r.last, false, r.last, nil) // what came by that join's stream is no history of this store
	if version, ok := r.nextVersion(); ok {
		r.order(entry{version: version}, nil, nil, fx)
	}
}

// mustWait is R5's wait: until the leases that this server granted to the last
// recorded primary have ended, unless that is this server, has acknowledged
// this epoch, or was seen in a later incarnation.
func (r *Replica) mustWait() bool {
	q := r.pri
	lp := r.cfg.LastPrimary
	if lp == 0 || lp == r.node.Self || q.restarted {
		return false
	}
	if _, ok := q.ackedEpoch[lp]; ok {
		return false
	}
	return r.node.Now < q.waitUntil && !planted.Is(planted.WaitSkipped)
}

func (r *Replica) pe() control.PartitionEpoch {
	return control.PartitionEpoch{P: r.part, E: r.cfg.Epoch}
}
