package router

import (
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/secret"
)

// Defaults of Options.
const (
	DefaultTimeout        = 10 * time.Second
	DefaultSilence        = 3 * time.Second
	DefaultMaxServerBytes = 64 << 20
	DefaultMaxBytes       = 256 << 20
)

// Options of a Router. The zero value is usable.
type Options struct {
	// Timeout bounds a command, its retries included.
	Timeout time.Duration
	// Silence is for how long a server may say nothing while an answer is awaited,
	// before its connection is given up and what was sent is sent again.
	Silence time.Duration
	// Backend takes the partitions of which this process is primary, if any.
	Backend Backend
	// MaxServerBytes of requests at one server, MaxBytes in all: beyond it
	// Overloaded is true.
	MaxServerBytes int
	MaxBytes       int
	// Zone is where this process runs. A server that has to be reached through another one
	// is reached through one of this zone, if one answers.
	Zone string
	// Secret is the cluster's; nil: there is none.
	Secret *secret.Secret
	Log    *slog.Logger
	// Now is the clock; nil is the monotonic one. It is read about once a turn.
	Now func() time.Time
}

// A Completion hears how a command ended.
type Completion interface {
	// Done is called exactly once for each Do, on the loop, perhaps before Do
	// returns (a Backend may answer at once). res and its value are only
	// borrowed. It may call Do.
	Done(res *item.Result)
}

// Router routes the commands of one loop.
type Router struct {
	loop    loop.Loop
	opt     Options
	log     *slog.Logger
	backend Backend
	stats   Stats

	m      *clustermap.Map
	routes []route
	// sessions are those of the routes' partitions.
	sessions []session
	servers  map[clustermap.ServerID]*server

	outstanding node // all calls, the first deadline first
	deadlineSet bool
	watching    bool
	watchDue    int64 // when watch should come
	parking     [len(parkDelays)]parking
	runnable    node // chained calls that may go now
	running     bool

	order    orderTable
	seed     maphash.Seed
	streams  uint64
	freeCall *call
	freeTry  *localTry

	bytes    int // of all calls
	full     int // servers over MaxServerBytes
	over     bool
	relieved []func()

	now     int64 // nanoseconds since start, read once a turn; 0: not yet in this turn
	start   time.Time
	stopped bool

	// writing is the call whose request appendRequest appends: a closure for each
	// request would be an allocation for each.
	writing       *call
	appendRequest func(dst []byte) []byte
}

// New makes a router on l. Call it before l runs, or on the loop.
func New(l loop.Loop, opt Options) *Router {
	setDefault(&opt.Timeout, DefaultTimeout)
	setDefault(&opt.Silence, DefaultSilence)
	setDefault(&opt.MaxServerBytes, DefaultMaxServerBytes)
	setDefault(&opt.MaxBytes, DefaultMaxBytes)
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		loop:    l,
		opt:     opt,
		log:     opt.Log,
		backend: opt.Backend,
		servers: map[clustermap.ServerID]*server{},
		seed:    maphash.MakeSeed(),
	}
	if opt.Now != nil {
		r.start = opt.Now()
	} else {
		r.start = time.Now()
	}
	r.start = r.start.Add(-time.Second) // so that no reading is 0
	r.outstanding.init()
	r.runnable.init()
	r.initParking()
	r.appendRequest = func(dst []byte) []byte { return r.appendCall(dst, r.writing) }
	l.OnTurnEnd(r.TurnEnd)
	return r
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// clock is the time of this turn.
func (r *Router) clock() int64 {
	if r.now == 0 {
		r.now = r.ReadClock()
	}
	return r.now
}

// Clock is the time of this turn: the clock is read the first time that anybody asks. It is
// in ns since a second before the router was made, on the loop only.
func (r *Router) Clock() int64 { return r.clock() }

// ReadClock reads the clock that Clock has the turn's time of.
func (r *Router) ReadClock() int64 {
	if r.opt.Now != nil {
		return int64(r.opt.Now().Sub(r.start))
	}
	return int64(time.Since(r.start)) // half of what time.Now costs
}

// TurnEnd ends the time of this turn. The router has its loop call it; who gives it answers in a
// hook of its own, as a Backend may, calls it after that too.
func (r *Router) TurnEnd() { r.now = 0 }

// Stream is an order of commands: one client connection.
type Stream uint64

// NewStream makes one. It costs nothing and need not be given back.
func (r *Router) NewStream() Stream {
	r.streams++
	return Stream(r.streams)
}

// Do routes one command on one key. req is only borrowed.
func (r *Router) Do(req *item.Request, done Completion) { r.DoInOrder(0, req, done) }

// DoInOrder is Do for a command of a stream: one that reads or writes a key
// takes effect after the stream's earlier writes of that key, and a write after
// its earlier reads, however often any of them must be retried.
func (r *Router) DoInOrder(s Stream, req *item.Request, done Completion) {
	c := r.newCall(req, done)
	if s != 0 && r.enter(c, s) {
		c.state = chained
		return
	}
	r.dispatch(c)
}

// dispatch sends c to where its key's partition is now, or parks it.
func (r *Router) dispatch(c *call) {
	if len(r.routes) == 0 {
		c.req.Epoch = 0
		r.park(c)
		return
	}
	if !c.fixed {
		c.req.Partition = r.m.PartitionOf(item.RoutingKey(c.req.Key))
	}
	rt := &r.routes[c.req.Partition]
	c.req.Epoch = rt.epoch
	switch {
	case r.stopped:
		r.fail(c, "the gateway is shutting down")
	case c.req.Number == 0 && c.isWrite() && !r.number(c):
	case r.backend != nil && c.scan == nil && r.backend.Local(c.req.Partition):
		r.submit(c)
	case rt.server == nil:
		r.park(c)
	default:
		rt.server.take(c)
	}
}

// finish ends c with res. Whatever c was linked into, it is no more.
func (r *Router) finish(c *call, res *item.Result) {
	c.byDeadline.unlink()
	c.place.unlink()
	if c.stream != 0 {
		r.leave(c)
	}
	r.bytes -= c.size()
	if r.over {
		r.checkLoad()
	}
	if res.Status.Unsure() && c.req.Op != item.OpOpenSession {
		r.stats.Failed++
		if res.Status == item.FateUnknown {
			r.stats.Unknown++
		}
	}
	done := c.done
	c.state = finished
	r.unnumber(c)
	done.Done(res)
	r.free(c) // after Done: a Backend's result may share memory with the request
	r.run()
}

// fail ends c without an answer: not done, unless a try of it may have been.
func (r *Router) fail(c *call, message string) {
	if c.req.Retry {
		r.finish(c, &item.Result{Status: item.FateUnknown})
		return
	}
	r.finish(c, &item.Result{Status: item.Failed, Message: message})
}

// run dispatches the calls that leave and release made runnable. Only the outermost finish
// does it, so that a long chain is a loop and not a recursion.
func (r *Router) run() {
	if r.running || r.runnable.empty() {
		return
	}
	r.running = true
	for c := r.runnable.first(); c != nil; c = r.runnable.first() {
		c.place.unlink()
		r.dispatch(c)
	}
	r.running = false
}

// Overloaded tells that so much is outstanding that no more should be read from
// clients; WhenRelieved says when it is over. Do still takes commands.
func (r *Router) Overloaded() bool { return r.over }

// WhenRelieved calls fn once, later on the loop, when Overloaded has ended.
func (r *Router) WhenRelieved(fn func()) { r.relieved = append(r.relieved, fn) }

// checkLoad sees whether an overload has begun or ended. It ends at half the
// bounds, so that it does not begin again with the next request.
func (r *Router) checkLoad() {
	if !r.over {
		r.over = r.full > 0 || r.bytes > r.opt.MaxBytes
		return
	}
	if r.full > 0 || r.bytes > r.opt.MaxBytes/2 {
		return
	}
	r.over = false
	for _, fn := range r.relieved {
		r.loop.Post(fn)
	}
	r.relieved = r.relieved[:0]
}

// Stats counts what a router did.
type Stats struct {
	Commands uint64 // begun
	Sent     uint64 // tries written to a connection
	Local    uint64 // tries given to the Backend
	Refused  uint64 // tries refused by a server
	Failed   uint64 // commands that ended without an answer, Unknown ones among them
	Unknown  uint64
	Timeouts uint64
	Connects uint64 // connections opened to servers

	Outstanding int // commands now
	Bytes       int // of theirs
	MapVersion  uint64
}

// Stats is a copy of the counters.
func (r *Router) Stats() Stats {
	s := r.stats
	s.Bytes = r.bytes
	if r.m != nil {
		s.MapVersion = r.m.Version
	}
	return s
}

// Map is the newest map that was set, or nil.
func (r *Router) Map() *clustermap.Map { return r.m }
