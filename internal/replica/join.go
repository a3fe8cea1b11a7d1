package replica

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Joining (R6, R7). The primary drives it:
//
//	primary                         joiner
//	JoinHello(id)              ->
//	                           <-   JoinState(position)
//	JoinStart(ring, sessions)  ->   from here on it takes live operations
//	                           <-   JoinStarted, when its store is marked unfinished
//	snapshot, by the daemons' bulk copy (Copy, Chunk)
//	JoinEnd(upTo)              ->
//	                           <-   JoinDone, when all of it is stored
//
// then it is counted as soon as it has all that is committed and has granted a
// lease, and only then reported. Whatever goes wrong on the way, the join begins
// again with a new ID; what was copied stays and is not sent twice (R7).

// joiner is what a replica holds while it is being filled.
type joiner struct {
	id   uint64
	live bool
	// touched are the keys that live operations of this join wrote or deleted:
	// the snapshot must not overwrite them. Nil once the snapshot is in.
	touched map[string]struct{}
}

type joinPhase uint8

const (
	joinIdle    joinPhase = iota
	joinQueued            // waits for BeginJoin
	joinAsked             // JoinHello sent
	joinStarted           // JoinStart sent
	joinReady             // started at the joiner; waits for our own store
	joinCopying           // the daemon copies
	joinEnding            // JoinEnd sent
	joinDone              // stored there; waits to be counted
)

// outgoing is a join as its primary sees it.
type outgoing struct {
	id          uint64
	phase       joinPhase
	live        bool // live operations go to it
	mode        wire.JoinMode
	keys        []string
	base        uint64 // version of the last operation before the live ones
	incarnation uint64
	notBefore   int64 // when it may be tried again
	failures    int
	reported    int64
	since       int64 // when BeginJoin was called, or JoinStart or JoinEnd sent
}

func (n *Node) incarnationOf(id clustermap.ServerID) uint64 {
	if n.Map == nil {
		return 0
	}
	if s := n.Map.Server(id); s != nil {
		return s.Incarnation
	}
	return 0
}

// wantJoins queues the joins of this configuration. A join begins only when the
// primary serves; until then no store of a joiner is touched (R6).
func (r *Replica) wantJoins(fx *Effects) {
	for _, p := range r.pri.peers {
		if p.joining && p.join.phase == joinIdle && r.node.Now >= p.join.notBefore {
			r.node.joinIDs++
			p.join.id = r.node.joinIDs
			p.join.phase = joinQueued
			fx.JoinsWanted = append(fx.JoinsWanted, JoinWanted{r, p.id, p.join.id})
		}
	}
}

// joinsMayBegin: this primary serves (R6).
func (r *Replica) joinsMayBegin() bool {
	return r.pri.active || planted.Is(planted.JoinBeforeServing)
}

// BeginJoin starts a join that was wanted. False: it is not wanted any more.
func (r *Replica) BeginJoin(w JoinWanted, fx *Effects) bool {
	if r.pri == nil || !r.joinsMayBegin() {
		return false
	}
	p := r.pri.peer(w.Peer)
	if p == nil || p.join.id != w.JoinID || p.join.phase != joinQueued {
		return false
	}
	p.join.phase = joinAsked
	p.join.since = r.node.Now
	r.askJoin(p, fx)
	return true
}

func (r *Replica) askJoin(p *peer, fx *Effects) {
	p.asked = r.node.Now
	r.wantLease(p, fx) // it will be needed to count it
	fx.send(p.id, wire.Message{Kind: wire.KindJoinHello, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: p.join.id, Config: r.config()})
}

// stepJoinHello tells the primary what this store has.
func (r *Replica) stepJoinHello(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	if r.role != roleJoiner || !r.fromPrimary(from) || r.distrusted {
		return
	}
	if r.join.id != m.JoinID {
		// An unfinished earlier join leaves data without a position (R7).
		r.join = joiner{id: m.JoinID}
	}
	if r.join.live {
		return
	}
	fx.send(from, wire.Message{
		Kind: wire.KindJoinState, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: m.JoinID,
		Version: r.last, Unfinished: r.unfinished,
	})
}

// joinMode is R7's choice.
func (r *Replica) joinMode(m *wire.Message) (wire.JoinMode, []string) {
	if m.Unfinished && !planted.Is(planted.UnfinishedTakenAsEqual) {
		return wire.JoinDigest, nil
	}
	if m.Version == r.last {
		return wire.JoinEqual, nil
	}
	if keys, ok := r.log.covers(m.Version); ok {
		return wire.JoinTail, keys
	}
	if epochOf(m.Version) == 0 || planted.Is(planted.WholeOverData) { // its store has never had anything of this partition, or has forgotten all
		return wire.JoinWhole, nil
	}
	return wire.JoinDigest, nil
}

func (r *Replica) stepJoinState(p *peer, m *wire.Message, fx *Effects) {
	if !p.joining || p.join.id != m.JoinID || p.join.phase != joinAsked || !r.joinsMayBegin() {
		return
	}
	p.join.mode, p.join.keys = r.joinMode(m)
	p.join.phase = joinStarted
	p.join.live = true
	p.join.base = r.last
	p.acked = seqOf(r.last)
	p.waiting = 0
	p.join.since = r.node.Now
	m = &wire.Message{
		Kind: wire.KindJoinStart, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: p.join.id,
		Version: r.last, Committed: r.log.committed, Mode: p.join.mode, Flush: r.flush, Ring: r.log.ring(),
		Sessions: r.sessions.states(r.sessions.ids()),
	}
	if len(m.Ring) > 0 && planted.Is(planted.RingNotSentToJoiner) {
		m.Ring = nil
	}
	if len(m.Sessions) > 0 && planted.Is(planted.SessionsNotSentToJoiner) {
		m.Sessions = nil
	}
	fx.send(p.id, *m)
}

// stepJoinStart takes the ring and the session table; live operations follow on this connection.
func (r *Replica) stepJoinStart(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	if r.role != roleJoiner || !r.fromPrimary(from) || r.join.id != m.JoinID || r.join.live {
		return
	}
	r.join.live = true
	if r.flush != m.Flush && !planted.Is(planted.FlushNotSentToJoiner) {
		r.flush = m.Flush
		r.write(fx, Write{IsFlush: true, Flush: m.Flush})
	}
	r.last = m.Version
	r.sessions = sessions{}
	r.sessions.replace(m.Sessions)
	if m.Mode == wire.JoinEqual {
		r.log.reset(m.Version, len(m.Ring) == 0, m.Committed, m.Ring)
		r.touch(fx)
		r.afterPersist(fx, wire.KindJoinDone, from, m.JoinID)
		return
	}
	r.log.reset(m.Version, len(m.Ring) == 0, m.Committed, m.Ring)
	r.unfinished = true
	r.join.touched = map[string]struct{}{}
	r.touch(fx)
	r.afterPersist(fx, wire.KindJoinStarted, from, m.JoinID)
}

func (r *Replica) stepJoinStarted(p *peer, m *wire.Message, fx *Effects) {
	if p.joining && p.join.id == m.JoinID && p.join.phase == joinStarted && p.join.mode != wire.JoinEqual {
		p.join.phase = joinReady
		r.startCopies(fx)
	}
}

// startCopies asks for the snapshot of joins whose base is in our own store.
func (r *Replica) startCopies(fx *Effects) {
	for _, p := range r.pri.peers {
		if p.join.phase == joinReady && seqOf(r.persisted) >= seqOf(p.join.base) {
			p.join.phase = joinCopying
			fx.Copies = append(fx.Copies, Copy{Replica: r, To: p.id, JoinID: p.join.id, Mode: p.join.mode, Keys: p.join.keys})
			p.join.keys = nil
		}
	}
}

// Chunk takes values of a join's snapshot. What the primary sends replaces what
// the joiner has, whatever its version, unless a live operation of this join
// touched the key (R7). False: the join is not under way any more.
func (r *Replica) Chunk(epoch uint32, joinID uint64, values []wire.Value, fx *Effects) bool {
	if epoch != r.cfg.Epoch || r.role != roleJoiner || r.join.id != joinID || r.join.touched == nil {
		return false
	}
	for _, v := range values {
		if v.Item == nil && planted.Is(planted.ExtraKeysStay) {
			continue
		}
		if _, ok := r.join.touched[v.Key]; !ok || planted.Is(planted.SnapshotOverLive) {
			r.write(fx, Write{Key: v.Key, Item: v.Item})
		}
	}
	return true
}

// Copying tells whether a Copy is still to be made.
func (r *Replica) Copying(c *Copy) bool {
	if r.pri == nil {
		return false
	}
	p := r.pri.peer(c.To)
	return p != nil && p.join.id == c.JoinID && p.join.phase == joinCopying
}

// CopyDone says how a Copy went. upTo is this replica's Last read after the
// snapshot was taken: the snapshot holds nothing newer.
func (r *Replica) CopyDone(c *Copy, upTo uint64, err error, fx *Effects) {
	if !r.Copying(c) {
		return
	}
	p := r.pri.peer(c.To)
	if err != nil {
		r.restartJoin(p, fx)
		return
	}
	p.join.phase = joinEnding
	p.join.since = r.node.Now
	fx.send(p.id, wire.Message{Kind: wire.KindJoinEnd, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: c.JoinID, Version: upTo})
}

// stepJoinEnd: the snapshot is in. It may hold operations up to m.Version, so
// the join is done only when this replica has taken those.
func (r *Replica) stepJoinEnd(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	if r.role != roleJoiner || !r.fromPrimary(from) || r.join.id != m.JoinID || !r.join.live {
		return
	}
	if seqOf(r.last) < seqOf(m.Version) && !planted.Is(planted.JoinEndsEarly) {
		return
	}
	if r.unfinished {
		r.unfinished = false
		r.join.touched = nil
		r.touch(fx)
	}
	r.afterPersist(fx, wire.KindJoinDone, from, m.JoinID)
}

func (r *Replica) stepJoinDone(p *peer, m *wire.Message, fx *Effects) {
	if !p.joining || p.join.id != m.JoinID || p.join.phase != joinEnding && !(p.join.phase == joinStarted && p.join.mode == wire.JoinEqual) {
		return
	}
	p.join.phase = joinDone
	fx.JoinsEnded = append(fx.JoinsEnded, JoinWanted{r, p.id, p.join.id})
	if seq := seqOf(m.Version); seq > p.acked && seq <= seqOf(r.last) {
		p.acked = seq
	}
	r.tryCount(p, fx)
}

// tryCount counts a joiner that has stored all that is committed and granted a
// lease (R6); from then on every commit and every lease needs it. It is
// reported after that.
func (r *Replica) tryCount(p *peer, fx *Effects) {
	switch {
	case !p.joining || p.counted || !r.joinsMayBegin():
		return
	case p.join.phase != joinDone && !(p.join.live && planted.Is(planted.CountedBeforeCopied)):
		return
	case p.acked < seqOf(r.log.committed) && !planted.Is(planted.CountedBeforeCaughtUp):
		return
	case !r.wantLease(p, fx) && !planted.Is(planted.CountedWithoutGrant):
		return
	}
	p.counted = true
	p.join.failures = 0
	p.join.reported = r.node.Now
	r.reportInSync(p, fx)
}

// tickJoin repeats and begins what is due.
func (r *Replica) tickJoin(p *peer, fx *Effects) {
	if !r.joinsMayBegin() {
		return
	}
	now := r.node.Now
	if p.join.phase != joinIdle {
		r.wantLease(p, fx)
	}
	switch p.join.phase {
	case joinIdle:
		r.wantJoins(fx)
	case joinAsked:
		switch {
		case now-p.join.since > 4*int64(SilenceLimit):
			r.restartJoin(p, fx) // its slot is for joiners that answer
		case now-p.asked > retryAfter:
			r.askJoin(p, fx)
		}
	case joinStarted, joinEnding:
		if now-p.join.since > 4*int64(SilenceLimit) {
			r.restartJoin(p, fx)
		}
	case joinDone:
		r.tryCount(p, fx)
		if p.counted && now-p.join.reported > retryAfter {
			p.join.reported = now
			r.reportInSync(p, fx)
		}
	}
}

// restartJoin gives a join up and has it begin again a little later. A counted
// joiner cannot be given up by its primary: only a newer epoch without it does (R6).
func (r *Replica) restartJoin(p *peer, fx *Effects) {
	if p.counted {
		r.resend(p, fx)
		return
	}
	r.endJoin(p, fx)
	p.join.failures++
	wait := time.Second << min(p.join.failures-1, 5)
	p.join.notBefore = r.node.Now + int64(min(wait, 30*time.Second))
	p.waiting = 0
}

// endJoin frees the join's slot.
func (r *Replica) endJoin(p *peer, fx *Effects) {
	if p.joining && p.join.phase != joinIdle && p.join.phase != joinDone {
		fx.JoinsEnded = append(fx.JoinsEnded, JoinWanted{r, p.id, p.join.id})
	}
	p.join = outgoing{incarnation: p.join.incarnation, failures: p.join.failures, notBefore: p.join.notBefore}
}

func (r *Replica) endJoins(fx *Effects) {
	for _, p := range r.pri.peers {
		r.endJoin(p, fx)
	}
}

// boundBacklog gives up the joins for which this primary keeps too much (R6). What is
// not committed yet is kept for the others anyway.
func (r *Replica) boundBacklog(fx *Effects) {
	for _, p := range r.pri.peers {
		if p.joining && !p.counted && p.join.live && r.log.lag(p.acked) > maxJoinBacklog {
			r.restartJoin(p, fx)
		}
	}
}

// Joins counts the copies that this primary has still to make.
func (r *Replica) Joins() (n int) {
	if r.pri == nil {
		return 0
	}
	for _, p := range r.pri.peers {
		if p.joining && p.join.phase != joinDone {
			n++
		}
	}
	return n
}
