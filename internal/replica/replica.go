package replica

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Limits and times of the protocol.
const (
	// SilenceLimit is when a primary accuses a member that does not answer (R9).
	SilenceLimit = time.Second
	// retryAfter is how long a primary waits for an answer before it asks again:
	// messages are lost only with a connection, so this is seldom needed.
	retryAfter = int64(250 * time.Millisecond)
	// maxResend bounds, in bytes, what one AppendGap has a primary send again; what
	// is missing still is asked for by the next.
	maxResend = 1 << 20
	// maxReconcile bounds, in bytes, the values of one Reconcile: it is one message and
	// one batch, and must be there and stored before a primary loses patience.
	maxReconcile = 64 << 20
	// maxParked bounds the requests that wait for a partition's activation.
	maxParked = 1024
	// maxJoinBacklog bounds, in bytes, what a primary keeps for one partition's
	// joiners (R6); beyond it their joins start again.
	maxJoinBacklog = 16 << 20
)

// Values is the cache of items in front of the store, and nothing more: it may
// forget at any time. gen tells apart the times in which this server is the
// partition's primary: what was cached in another generation is never returned.
type Values interface {
	// Get returns the cached item; ok false means that it is not known.
	Get(part uint16, gen uint32, key []byte) (it *item.Item, ok bool)
	Put(part uint16, gen uint32, key string, it *item.Item)
	Remove(part uint16, gen uint32, key string)
}

// Node is what the replicas of one server share. The daemon sets the times
// before it calls a replica.
type Node struct {
	Self   clustermap.ServerID
	Leases *Leases
	Values Values
	// Map is the newest whole map, set before its partitions are adopted.
	Map *clustermap.Map
	// Now is nanoseconds of a clock that counts suspended time; Unix is the wall
	// clock in seconds, asked only by a primary that fixes or judges expiry (R11).
	Now  int64
	Unix int64
	// Stalled is for how long, in nanoseconds, this server itself has stood still
	// (suspended, stopped, starved) in all.
	Stalled int64
	// Answered counts the bytes of values in all answers made.
	Answered uint64
	// MaxReconcile, if not 0, is instead of maxReconcile, for tests.
	MaxReconcile int

	joinIDs uint64

	serving []bool // by partition

	free  *Reply // linked by next
	freed int
}

// Awake is Now without the time in which this server stood still: what the
// silence of others is measured by.
func (n *Node) Awake() int64 { return n.Now - n.Stalled }

// Serves is Serving of a partition's replica. It asks one small table instead of
// thousands of replicas: whoever asks seldom has the replica at hand.
func (n *Node) Serves(part uint16) bool { return int(part) < len(n.serving) && n.serving[part] }

func (n *Node) maxReconcile() int {
	if n.MaxReconcile != 0 {
		return n.MaxReconcile
	}
	return maxReconcile
}

// Stored is what a store says about a partition when it is opened.
type Stored struct {
	// Version is the position; 0 for a partition that never held anything.
	Version uint64
	// Unfinished: a join was under way; the store has no position (R7).
	Unfinished bool
	Flush      wire.Flush
}

type role uint8

const (
	roleNone role = iota
	rolePrimary
	roleBackup
	roleJoiner
)

// Replica is one server's part in one partition. Not safe for concurrent use:
// it belongs to one loop.
//
// There are thousands, and requests come for any of them, so what costs is how many
// lines of 64 bytes of them are touched. A get needs the first one here and of
// primary.
type Replica struct {
	pri        *primary
	node       *Node
	last       uint64 // version of the last operation taken
	flush      wire.Flush
	gen        uint32
	part       uint16
	role       role
	unfinished bool
	dirty      bool
	distrusted bool                 // see Distrust
	cfg        clustermap.Partition // its Epoch is in the first line

	persisted uint64 // version of the last operation that is in the store
	// ticket counts groups of writes, those up to stored are in the store; queue
	// is what waits for the rest.
	ticket   uint64
	stored   uint64
	queue    []ticketed
	log      oplog
	sessions sessions

	handed handover
	join   joiner
}

// ticketed is what happens when the writes up to ticket are persisted.
type ticketed struct {
	ticket  uint64
	version uint64
	ack     wire.Kind // KindNone: nothing to send
	to      clustermap.ServerID
	epoch   uint32
	joinID  uint64
}

// New makes the replica of partition part from what the store holds.
func New(part uint16, node *Node, st Stored) *Replica {
	for int(part) >= len(node.serving) {
		node.serving = append(node.serving, false)
	}
	node.serving[part] = false
	r := &Replica{part: part, node: node, unfinished: st.Unfinished, flush: st.Flush, last: st.Version}
	if r.last == 0 || planted.Is(planted.SeqRestarts) {
		r.last = uint64(part) << 20 // where seq begins
	}
	if planted.Is(planted.FlushInMemory) {
		r.flush = wire.Flush{}
	}
	r.persisted = r.last
	// What a store holds after a restart counts as committed: the ring is in
	// memory, and a restarted replica is never kept (R3) or resumes alone (R9).
	// So is the session table.
	r.log.reset(r.last, !st.Unfinished, r.last, nil)
	return r
}

// Part is the partition's number.
func (r *Replica) Part() uint16 { return r.part }

// Config is the configuration adopted last; Epoch 0 means none.
func (r *Replica) Config() *clustermap.Partition { return &r.cfg }

// config is a copy of the present configuration, for a message: that leaves later.
func (r *Replica) config() *clustermap.Partition {
	c := r.cfg
	return &c
}

// Last is the version of the last operation taken.
func (r *Replica) Last() uint64 { return r.last }

// IsPrimary tells whether this server is the partition's primary in the adopted epoch.
func (r *Replica) IsPrimary() bool { return r.role == rolePrimary }

// Touch reads what a request will need, a write or not, so that it is near. The result
// means nothing.
func (r *Replica) Touch(write bool) (sum uint64) {
	if r.pri != nil {
		sum = uint64(r.pri.held)
	}
	if !write {
		return sum + r.last
	}
	if n := len(r.log.entries); n > 0 {
		sum += r.log.entries[n-1].version
	}
	if s := r.sessions.latest; s != nil && len(s.results) > 0 {
		sum += s.results[int(s.highest+1)&(len(s.results)-1)].Version
	}
	return sum + r.persisted
}

// Serving tells whether this server is an active primary.
func (r *Replica) Serving() bool { return r.pri != nil && r.pri.active }

// mark keeps Node.Serves true. Whenever Serving may change it is called.
func (r *Replica) mark() { r.node.serving[r.part] = r.Serving() }

// StorePosition is what belongs into a batch with this replica's writes.
func (r *Replica) StorePosition() (version uint64, unfinished bool) {
	return r.last, r.unfinished
}

// TakeTicket is called when the replica's writes are put into a batch; the
// ticket is given to Persisted when that batch is in the store. Batches of one
// replica must be persisted in order.
func (r *Replica) TakeTicket() uint64 {
	r.dirty = false
	return r.ticket
}

// Generation tells apart this server's times as primary, for Values.
func (r *Replica) Generation() uint32 { return r.gen }

func (r *Replica) write(fx *Effects, w Write) {
	w.Partition = r.part
	fx.Writes = append(fx.Writes, w)
	r.touch(fx)
}

// touch makes the next batch hold this replica's position.
func (r *Replica) touch(fx *Effects) {
	if !r.dirty {
		r.dirty = true
		r.ticket++
		fx.Dirty = append(fx.Dirty, r)
	}
}

// allStored tells whether all that this replica took is in its store.
func (r *Replica) allStored() bool {
	return r.persisted == r.last || planted.Is(planted.RingReadTooEarly)
}

// afterPersist has ack sent when everything written so far is in the store.
func (r *Replica) afterPersist(fx *Effects, ack wire.Kind, to clustermap.ServerID, joinID uint64) {
	t := ticketed{ticket: r.ticket, version: r.last, ack: ack, to: to, epoch: r.cfg.Epoch, joinID: joinID}
	if !r.dirty && r.stored == r.ticket {
		r.persisted = r.last
		r.acknowledge(fx, t)
		return
	}
	if n := len(r.queue); n > 0 && ack == wire.KindNone && r.queue[n-1].ack == ack && r.queue[n-1].ticket == t.ticket {
		r.queue[n-1] = t
		return
	}
	r.queue = append(r.queue, t)
}

func (r *Replica) acknowledge(fx *Effects, t ticketed) {
	if t.ack == wire.KindNone || t.epoch != r.cfg.Epoch {
		return // an older epoch's: nobody waits for it any more (R3)
	}
	m := wire.Message{Kind: t.ack, Partition: r.part, Epoch: t.epoch, Version: t.version, JoinID: t.joinID}
	if t.ack == wire.KindRing {
		m.Version, m.Committed, m.Ring = r.last, r.log.committed, r.log.ring()
	}
	fx.send(t.to, m)
}

// Persisted says that everything up to ticket is in the store.
func (r *Replica) Persisted(ticket uint64, fx *Effects) {
	r.stored = max(r.stored, ticket)
	n := 0
	for n < len(r.queue) && r.queue[n].ticket <= ticket {
		n++
	}
	if n == 0 {
		return
	}
	done := r.queue[:n]
	r.persisted = done[n-1].version
	for i, t := range done {
		// One acknowledgement says what the ones before it would.
		if t.ack == wire.KindAppendAck && i+1 < n && done[i+1].ack == t.ack && done[i+1].joinID == t.joinID && done[i+1].epoch == t.epoch {
			continue
		}
		r.acknowledge(fx, t)
	}
	rest := copy(r.queue, r.queue[n:])
	r.queue = r.queue[:rest]
	if r.role == rolePrimary {
		r.afterOwnWrites(fx)
	}
}

// View is a partition's configuration and what else a replica must know of the
// map to take a role in it.
type View struct {
	Config clustermap.Partition
	// Member is false when this server takes no part: it is not in the map, is
	// fault, or runs in another incarnation than the map's (R3: a role ends
	// with its incarnation).
	Member bool
	// Whole: this comes from the server's own whole map. Only then can it make
	// this server primary (R5: its later grants must carry a version at least as new).
	Whole bool
	// LastPrimaryRestarted: the map shows a higher incarnation of the last
	// recorded primary than the recorded one (R5).
	LastPrimaryRestarted bool
}

// Adopt takes a configuration (R3). One of an older epoch is ignored; the same
// epoch brings what was recorded since.
func (r *Replica) Adopt(v View, fx *Effects) {
	c := &v.Config
	if c.Epoch < r.cfg.Epoch {
		return
	}
	newRole := roleNone
	switch {
	case !v.Member:
	case len(c.Replicas) > 0 && c.Replicas[0] == r.node.Self:
		newRole = rolePrimary
	case clustermap.Contains(c.Replicas, r.node.Self):
		newRole = roleBackup
	case clustermap.Contains(c.Joining, r.node.Self):
		newRole = roleJoiner
	}
	if newRole == rolePrimary && !v.Whole {
		return
	}
	if c.Epoch == r.cfg.Epoch && newRole == r.role {
		r.cfg = *c
		if r.pri != nil {
			r.pri.restarted = v.LastPrimaryRestarted
			r.pri.active = r.pri.active && c.Active
			r.mark()
			r.tryActivate(fx)
		}
		r.settle(fx)
		return
	}
	from := r.cfg
	if c.Epoch > from.Epoch {
		r.fateUnknown(fx)
	}
	r.cfg = *c
	if lp := from.Primary(); lp != 0 && lp != c.LastPrimary && newRole == rolePrimary && planted.Is(planted.WaitForWrongPrimary) {
		r.cfg.LastPrimary = lp
	}
	r.role = newRole
	r.join = joiner{}
	if newRole != rolePrimary {
		r.stepDown(&from, fx)
		r.settle(fx)
		return
	}
	r.takeOver(v, fx)
}

// Step takes a message of another server about this partition.
func (r *Replica) Step(from clustermap.ServerID, m *wire.Message, fx *Effects) {
	switch m.Kind {
	case wire.KindActivate, wire.KindEpochQuery, wire.KindJoinHello:
		if m.Config != nil && m.Config.Epoch == m.Epoch && m.Epoch > r.cfg.Epoch {
			// The connection was opened to this incarnation (wire.PeerHello), so
			// the sender's map gives this run its role.
			r.Adopt(View{Config: *m.Config, Member: true}, fx)
		}
	}
	if (m.Kind == wire.KindActivate || m.Kind == wire.KindEpochQuery) && m.Epoch == r.cfg.Epoch && r.fromPrimary(from) {
		r.successor(m.Version, fx)
	}
	if m.Kind == wire.KindEpochQuery {
		if r.cfg.Epoch >= m.Epoch {
			fx.send(from, wire.Message{Kind: wire.KindEpochAck, Partition: r.part, Epoch: m.Epoch})
		}
		return
	}
	if m.Epoch != r.cfg.Epoch && !(m.Epoch < r.cfg.Epoch && m.Kind == wire.KindAppend && planted.Is(planted.OldEpochTaken)) {
		return // R3, R10
	}
	switch m.Kind {
	case wire.KindAppend:
		r.stepAppend(from, m, fx)
	case wire.KindAppendQuery:
		r.stepAppendQuery(from, m, fx)
	case wire.KindActivate:
		r.stepActivate(from, fx)
	case wire.KindReconcile:
		r.stepReconcile(from, m, fx)
	case wire.KindJoinHello:
		r.stepJoinHello(from, m, fx)
	case wire.KindJoinStart:
		r.stepJoinStart(from, m, fx)
	case wire.KindJoinEnd:
		r.stepJoinEnd(from, m, fx)
	}
	if r.pri == nil {
		return
	}
	switch m.Kind {
	case wire.KindEpochAck:
		r.pri.ackedEpoch[from] = struct{}{}
		r.tryActivate(fx)
		return
	}
	p := r.pri.peer(from)
	if p == nil {
		return
	}
	switch m.Kind {
	case wire.KindAppendAck:
		r.stepAppendAck(p, m, fx)
	case wire.KindAppendGap:
		r.stepAppendGap(p, m, fx)
	case wire.KindRing:
		r.stepRing(p, m, fx)
	case wire.KindReconcileAck:
		r.stepReconcileAck(p, m, fx)
	case wire.KindJoinState:
		r.stepJoinState(p, m, fx)
	case wire.KindJoinStarted:
		r.stepJoinStarted(p, m, fx)
	case wire.KindJoinDone:
		r.stepJoinDone(p, m, fx)
	}
}

// fromPrimary tells whether a message of the present epoch comes from its primary.
func (r *Replica) fromPrimary(from clustermap.ServerID) bool {
	return len(r.cfg.Replicas) > 0 && r.cfg.Replicas[0] == from && r.role != rolePrimary
}

// Forget says that the daemon removes all of the partition from the store in
// the next batch. Only a server without a role may; false: it has one.
func (r *Replica) Forget() bool {
	if r.role != roleNone {
		return false
	}
	r.last = uint64(r.part) << 20
	r.persisted = r.last
	r.queue = nil // what was on its way is removed with the rest
	r.unfinished = false
	r.flush = wire.Flush{}
	r.log.reset(r.last, true, r.last, nil)
	r.sessions = sessions{}
	r.gen++
	return true
}

// Empty tells whether the partition never held anything here.
func (r *Replica) Empty() bool { return r.last == uint64(r.part)<<20 && !r.unfinished }

// Unfinished tells whether a join into this store is not complete.
func (r *Replica) Unfinished() bool { return r.unfinished }
