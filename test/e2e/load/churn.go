package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Churn is a load without an end in bounded memory: clients work on keys that
// live for some dozens of operations each. A key that is done with is read once
// more, and its history judged while the load goes on. What was read last is
// kept and read again whenever Reread is called.
type Churn struct {
	opt  ChurnOptions
	base time.Time

	gate   sync.RWMutex // held for reading during each operation
	stop   chan struct{}
	wg     sync.WaitGroup
	judges sync.WaitGroup
	done   chan *cell
	tags   atomic.Int64
	window atomic.Pointer[Window]

	mu      sync.Mutex
	flushes []record
	kept    map[string]Result // what retired keys must hold for ever
	verdict Verdict
}

// ChurnOptions of a Churn.
type ChurnOptions struct {
	Gateways []string
	Direct   []string      // servers' own memcached ports: a client of each for every group, counted apart
	Clients  int           // in groups of eight, which share keys
	Pace     time.Duration // at least between two commands of a client
	Timeout  time.Duration // of an answer
	Flush    time.Duration // about between two flush_all; 0: none
	// Large is of how many written values about one is larger than 1 MiB; 0: none.
	Large int
	Seed  uint64
}

// Verdict is what was found so far.
type Verdict struct {
	Keys, Ops  int      // histories judged, operations in them
	Kinds      [16]int  // those by Kind
	Unjudged   int      // histories that were not judged in time
	Violations []string // histories that cannot be, and values that changed by themselves
	Reread     int      // values read again of keys that nobody writes any more
}

// Window is a stretch of time with what clients met in it.
type Window struct {
	Name string

	mu      sync.Mutex
	Ops     int            // answered with success
	Slow    [2]int         // of these, slower than 1 s and than 4 s
	Stall   time.Duration  // the longest of a success
	Slowest string         // that one
	Unknown int            // writes of unknown outcome
	Errors  map[string]int // by kind
	Direct  map[string]int // of clients of servers' own ports
}

const (
	slots    = 8  // keys that a group works on
	lifetime = 48 // operations on a key
	noTimes  = 24 // the same where keys expire, which is harder to judge
)

// class of a key: what is done to it.
type class uint8

const (
	plain class = iota
	counter
	timed
)

// cell is one key in use.
type cell struct {
	key     string
	class   class
	mu      sync.Mutex
	records []record
	// Guarded by the group:
	begun, busy int
}

type group struct {
	mu    sync.Mutex
	id    int
	next  int
	cells [slots]*cell
}

// StartChurn starts the clients.
func StartChurn(opt ChurnOptions) *Churn {
	c := &Churn{opt: opt, base: time.Now(), stop: make(chan struct{}), done: make(chan *cell, 256), kept: map[string]Result{}}
	c.window.Store(newWindow("start"))
	for range 2 {
		c.judges.Go(c.judge)
	}
	id := 0
	begin := func(g *group, addrs []string, direct bool) {
		cl := &churner{c: c, g: g, id: id, addrs: addrs, direct: direct, rnd: rand.New(rand.NewPCG(opt.Seed, uint64(id))), tokens: map[*cell]Result{}}
		id++
		c.wg.Go(cl.run)
	}
	for i := 0; i < opt.Clients; i += 8 {
		g := &group{id: i / 8}
		for j := i; j < min(i+8, opt.Clients); j++ {
			begin(g, rotate(opt.Gateways, j), false)
		}
		// Who speaks to a server that was cut off is who would see old values.
		for _, addr := range opt.Direct {
			begin(g, []string{addr}, true)
		}
	}
	if opt.Flush > 0 {
		c.wg.Go(c.flush)
	}
	return c
}

func rotate(list []string, by int) []string {
	by %= len(list)
	return append(slices.Clone(list[by:]), list[:by]...)
}

func newWindow(name string) *Window {
	return &Window{Name: name, Errors: map[string]int{}, Direct: map[string]int{}}
}

// Begin begins a new window and gives the one that ends. Operations that were
// called in that one and end later count where they end.
func (c *Churn) Begin(name string) *Window { return c.window.Swap(newWindow(name)) }

// Pause lets nobody begin an operation, and returns when none is in flight.
func (c *Churn) Pause() { c.gate.Lock() }

// Resume ends a Pause.
func (c *Churn) Resume() { c.gate.Unlock() }

// Stop ends the load: every key is read once more, every history judged.
func (c *Churn) Stop() Verdict {
	close(c.stop)
	c.wg.Wait()
	close(c.done)
	c.judges.Wait()
	return c.Verdict()
}

// Verdict is what was found so far.
func (c *Churn) Verdict() Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verdict
}

func (c *Churn) now() time.Duration { return time.Since(c.base) }

// flush wipes the store now and then.
func (c *Churn) flush() {
	rnd := rand.New(rand.NewPCG(c.opt.Seed, math.MaxUint64))
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(c.opt.Flush/2 + time.Duration(rnd.Int64N(int64(c.opt.Flush)))):
		}
		c.gate.RLock()
		conn, err := Dial(c.opt.Gateways[rnd.IntN(len(c.opt.Gateways))], c.opt.Timeout)
		if err != nil { // that gateway is down
			c.gate.RUnlock()
			continue
		}
		r := record{client: -1, op: Op{Kind: FlushAll}, call: c.now(), ret: math.MaxInt64}
		c.mu.Lock()
		at := len(c.flushes)
		c.flushes = append(c.flushes, r)
		c.mu.Unlock()
		res, err := conn.Do(&r.op)
		conn.Close()
		if err != nil {
			res = Result{Status: Unknown, Error: broken(err)}
		}
		c.mu.Lock()
		if res.Status == Done {
			c.flushes[at].ret = c.now()
			for k := range c.kept {
				c.kept[k] = Result{Status: Missing}
			}
		} else { // some of it may be done, and some of it later, and some never
			c.flushes[at].maybe = true
			clear(c.kept)
		}
		c.mu.Unlock()
		r.res, r.ret = res, c.now()
		c.window.Load().note(&r, false)
		c.gate.RUnlock()
	}
}

// Quiet says that nothing sent earlier is still on its way: a flush_all of
// unknown outcome is over. The load must be paused, and every process run.
func (c *Churn) Quiet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.flushes {
		c.flushes[i].ret = min(c.flushes[i].ret, c.now())
	}
}

// judge judges the histories of retired keys.
func (c *Churn) judge() {
	for cell := range c.done {
		h := cell.records
		last := h[len(h)-1]
		var maybe []record
		c.mu.Lock()
		flushed := 0
		for _, f := range c.flushes {
			if f.ret > h[0].call {
				f.op.Key = cell.key
				flushed++
				if f.maybe {
					maybe = append(maybe, f)
				} else {
					h = append(h, f)
				}
			}
		}
		c.mu.Unlock()
		h, err := judgeFlushed(h, maybe)
		keep := flushed == 0 && last.op.Kind == Get && last.res.Status < Unknown && (cell.class != timed || last.res.Status == Missing)
		for i := range h {
			keep = keep && (h[i].res.Status != Unknown || h[i].op.Kind == Get)
		}
		c.mu.Lock()
		// Wiped since it was read last?
		for _, f := range c.flushes {
			keep = keep && f.ret < h[0].call
		}
		c.verdict.Keys++
		c.verdict.Ops += len(h)
		for i := range h {
			c.verdict.Kinds[h[i].op.Kind]++
		}
		switch {
		case errors.Is(err, errUnjudged):
			c.verdict.Unjudged++
		case err != nil:
			c.verdict.Violations = append(c.verdict.Violations, fmt.Sprintf("%s: %v\n%s", cell.key, err, show(h)))
		case keep:
			c.kept[cell.key] = last.res
		}
		c.mu.Unlock()
	}
}

// maxMaybe is how many flushes of unknown outcome one key's history may have had.
const maxMaybe = 6

// judgeFlushed is judge with flushes each of which the key's partition may have seen, before
// the end of the record, or never: one that fails says nothing of any partition. It gives the history
// that was judged last, in order.
func judgeFlushed(h, maybe []record) (judged []record, err error) {
	if len(maybe) > maxMaybe {
		return h, errUnjudged
	}
	for without := range 1 << len(maybe) {
		judged = slices.Clone(h)
		for i, f := range maybe {
			if without&(1<<i) == 0 {
				judged = append(judged, f)
			}
		}
		slices.SortFunc(judged, func(a, b record) int { return int(a.call - b.call) })
		if err = judge(value{}, judged); err == nil {
			break
		}
	}
	return judged, err
}

// Reread reads every key that is done with and compares it with what it held.
// The load must be paused.
func (c *Churn) Reread() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]string, 0, len(c.kept))
	for k := range c.kept {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil
	}
	conn, err := Dial(c.opt.Gateways[len(keys)%len(c.opt.Gateways)], c.opt.Timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	for part := range slices.Chunk(keys, 100) {
		found, res, err := conn.MultiGet(part)
		if err != nil {
			return err
		}
		if res.Error != "" {
			return errors.New(res.Error)
		}
		for _, k := range part {
			r, hit := found[k]
			if !hit {
				r.Status = Missing
			}
			c.verdict.Reread++
			if want := c.kept[k]; r != want {
				c.verdict.Violations = append(c.verdict.Violations, fmt.Sprintf("%s: nobody wrote it, and it was %+v and is %+v", k, want, r))
				delete(c.kept, k)
			}
		}
	}
	return nil
}

// note counts one operation.
func (w *Window) note(r *record, direct bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case direct && r.res.Status >= Unknown:
		w.Direct[kindOf(r)]++
	case direct:
		w.Ops++
	case r.res.Status >= Unknown:
		w.Errors[kindOf(r)]++
		if r.res.Status == Unknown && r.op.Kind != Get {
			w.Unknown++
		}
	default:
		w.Ops++
		d := r.ret - r.call
		for i, limit := range []time.Duration{time.Second, 4 * time.Second} {
			if d > limit {
				w.Slow[i]++
			}
		}
		if d > w.Stall {
			w.Stall, w.Slowest = d, r.String()
		}
	}
}
