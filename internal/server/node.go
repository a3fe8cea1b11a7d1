package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/hotkeys"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	// tickInterval is how often servers speak of leases, and primaries repeat and watch.
	tickInterval = replica.LeaseInterval
	// stallStep is the longest time between two looks at the clock, in ns, that
	// counts as having run: ticks come more often.
	stallStep = int64(tickInterval * 3 / 2)
	// maxJoins bounds the joins that this server, as primary, runs at a time.
	maxJoins = 64
)

// node is a server's state. It belongs to the loop's goroutine, except where a
// field says otherwise.
type node struct {
	cfg    Config
	log    *slog.Logger
	warner secret.Warner // of refused connections; any goroutine
	ctx    context.Context
	loop   loop.Loop
	store  *store.Store
	clock  func() int64 // CLOCK_BOOTTIME, ns

	self        clustermap.ServerID
	cluster     clustermap.ClusterID
	incarnation uint64
	runID       uint64

	rn       *replica.Node
	fx       replica.Effects
	replicas []*replica.Replica // by partition; nil until there is a map
	leads    []*replica.Replica // those that are primaries, by the adopted map
	stored   map[uint16]store.Bookkeeping
	cmap     *clustermap.Map
	member   bool
	// uncertain: the store's tail may have been lost with the machine's power.
	uncertain bool

	peers   map[clustermap.ServerID]*peer
	inbound map[clustermap.ServerID]*dataConn
	relays  int // connections of gateways that are joined to other servers

	commit  committer
	reads   *readers
	scans   *scanner
	copies  *copier
	backups *backups
	scrub   *scrubber
	sweep   sweeper
	joins   map[replica.JoinWanted]struct{} // running
	waiting []replica.JoinWanted            // wanted, in order
	leasing map[*replica.Replica]struct{}   // answers wait for a lease
	granted bool                            // a grant came in this turn
	held    int                             // by all partitions (replica.Held), at the last tick
	// heldLimit is maxHeld.
	heldLimit int
	report    reporter
	leaving   leaver
	itemCount itemCount
	witness   *witness

	text     *frontend.Frontend // nil: memcached is not served here
	textPort loop.Listener
	mapSink  func(*clustermap.Map) // the text port's router
	asked    []router.Sink         // what the text port's clients asked for in this turn
	ahead    uint64                // means nothing: what is read ahead is added to it
	hot      hotkeys.Finder
	hotAt    int64 // replica.Node.Now when hot was aged last
	counters counters
	meter    meter
	started  time.Time
	// shown is what other goroutines (HTTP) may read of the map.
	shown atomic.Pointer[clustermap.Map]
	// saved is the newest map that the store holds, of whichever run.
	saved   atomic.Pointer[clustermap.Map]
	arrived atomic.Pointer[clustermap.Map] // the newest that the loop has not adopted; nil: none
	disk    atomic.Pointer[string]         // see diskState
	fatal   func(error)
	// wg holds every goroutine that Run must wait for before it closes the store.
	wg sync.WaitGroup
	// web is held for reading by those who answer tools, and taken for good by Run
	// before it closes the store. (A WaitGroup may not grow while it is waited for.)
	web sync.RWMutex
}

// counters are read by any goroutine.
type counters struct {
	gets, sets, deletes, others atomic.Uint64
	scans                       atomic.Uint64 // pages
	collected                   atomic.Uint64 // chunks of large values that nobody lists
	hits, misses                atomic.Uint64
	copyBytes, copyItems        atomic.Uint64
	copyReceived                atomic.Uint64 // bytes
	copiesDone                  atomic.Uint64
	backupBytes                 atomic.Uint64 // sent to those who make backups
	connections                 atomic.Int64
	delay                       atomic.Bool
}

// values is the item cache as the core sees it.
type values struct {
	c *store.Cache
	// buf holds a key for the call.
	buf []byte
}

// keptChunk is how long a value may be that is kept whatever its key is, in bytes.
const keptChunk = 100

// space tells the times as primary of all partitions apart.
func space(part uint16, gen uint32) uint64 { return uint64(gen)<<16 | uint64(part) }

func (v *values) Get(part uint16, gen uint32, key []byte) (*item.Item, bool) {
	return v.c.Get(space(part, gen), key)
}

// Put keeps an item, but no chunk of a large value: one such value would drive out
// thousands of items.
func (v *values) Put(part uint16, gen uint32, key string, it *item.Item) {
	v.buf = append(v.buf[:0], key...)
	if len(it.Value) > keptChunk && item.IsChunk(v.buf) {
		return
	}
	v.c.Set(space(part, gen), v.buf, it)
}

func (v *values) Remove(part uint16, gen uint32, key string) {
	v.buf = append(v.buf[:0], key...)
	v.c.Delete(space(part, gen), v.buf)
}

// touchClock reads the clocks for the core; called before anything that came in
// is handed to it, and again before answers that need a lease are given (R5).
func (n *node) touchClock() {
	now := n.clock()
	if d := now - n.rn.Now; n.rn.Now != 0 && d > stallStep {
		n.rn.Stalled += d - stallStep
	}
	n.rn.Now = now
	n.rn.Unix = time.Now().Unix()
}

// makeReplicas makes the replicas when the number of partitions is known.
func (n *node) makeReplicas(partitions int) {
	n.replicas = make([]*replica.Replica, partitions)
	for i := range n.replicas {
		b := n.stored[uint16(i)]
		n.replicas[i] = replica.New(uint16(i), n.rn, replica.Stored{
			Version:    b.Position.Version,
			Unfinished: b.Position.Unfinished,
			Flush:      wire.Flush{Version: b.Flushed.Version, At: b.Flushed.At},
		})
	}
}

// adopt takes a whole map from the managers.
func (n *node) adopt(m *clustermap.Map) {
	if n.cmap != nil && m.Version <= n.cmap.Version {
		return
	}
	if n.replicas == nil {
		n.makeReplicas(len(m.Partitions))
	}
	if len(m.Partitions) != len(n.replicas) {
		n.fatal(errPartitions(len(m.Partitions), len(n.replicas)))
		return
	}
	n.touchClock()
	if n.cmap == nil || n.cmap.Copying != m.Copying {
		n.copies.tune(m.Copying)
		n.copies.grow(n.ctx)
	}
	n.cmap, n.cluster = m, m.ClusterID
	n.shown.Store(m)
	n.rn.Map = m
	// Before any partition adopts it (R5).
	n.rn.Leases.SetMapVersion(m.Version)
	me := m.Server(n.self)
	n.member = me != nil && me.State == clustermap.Active && me.Incarnation == n.incarnation && me.RunID == n.runID
	n.connectPeers()
	n.leads = n.leads[:0]
	for i, r := range n.replicas {
		c := &m.Partitions[i]
		v := replica.View{Config: *c, Member: n.member, Whole: true}
		if lp := m.Server(c.LastPrimary); lp != nil && lp.Incarnation > c.LastPrimaryIncarnation {
			v.LastPrimaryRestarted = true
		}
		r.Adopt(v, &n.fx)
		if r.IsPrimary() {
			n.leads = append(n.leads, r)
		}
	}
	n.granted = n.rn.Leases.Adopted() || n.granted
	n.dropMoved()
	n.clearUncertain()
	if n.mapSink != nil {
		n.mapSink(m)
	}
}

// clearUncertain: when every partition of this server was joined or resumed
// since it started, nothing of its tail is missing any more (R9).
func (n *node) clearUncertain() {
	if !n.uncertain || !n.member {
		return
	}
	for i, r := range n.replicas {
		c := &n.cmap.Partitions[i]
		if len(c.Awaited) > 0 || r.Unfinished() || clustermap.Contains(c.Joining, n.self) ||
			clustermap.Contains(c.LastKnown, n.self) && !(c.Active && clustermap.Contains(c.Replicas, n.self)) {
			return
		}
	}
	n.uncertain = false
	n.wg.Go(func() {
		if err := n.store.ClearUncertainTail(); err != nil && n.ctx.Err() == nil {
			n.log.Warn("cannot note that the store is complete again", "err", err)
		}
	})
}

// dropMoved removes what this server holds of partitions that have moved away
// and have all their copies elsewhere.
func (n *node) dropMoved() {
	if !n.member {
		return
	}
	dropped := 0
	for i, r := range n.replicas {
		c := &n.cmap.Partitions[i]
		if r.Empty() || !c.Active || len(c.Replicas) < len(c.Assigned) ||
			clustermap.Contains(c.Replicas, n.self) || clustermap.Contains(c.Joining, n.self) ||
			clustermap.Contains(c.Assigned, n.self) || clustermap.Contains(c.LastKnown, n.self) {
			continue
		}
		n.fill() // what was written before goes too
		if r.Forget() {
			n.commit.batch.DeletePartition(uint16(i))
			dropped++
		}
	}
	if dropped > 0 {
		n.log.Info("start replace delete", "partitions", dropped)
	}
}

// positions is what the store holds, for a manager.
func (n *node) positions() []control.StorePosition {
	var list []control.StorePosition
	if n.replicas == nil {
		for p, b := range n.stored {
			list = append(list, control.StorePosition{Partition: p, Version: b.Position.Version, Unfinished: b.Position.Unfinished})
		}
		return list
	}
	for i, r := range n.replicas {
		if !r.Empty() {
			v, unfinished := r.StorePosition()
			list = append(list, control.StorePosition{Partition: uint16(i), Version: v, Unfinished: unfinished})
		}
	}
	return list
}
