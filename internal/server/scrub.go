package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/store"
)

// A disk that loses a block says so when it is read, and most blocks are read by nobody for years. So each
// server reads all of its store now and then (a round), slowly: first its tables, block by block; then, of
// each partition that it leads, it compares what the copies have (scrub_compare.go).
// What is damaged, or is not what the others have, is removed and filled again (scrub_mend.go).
//
// When idle a server reads nothing: a round begins --scrub-interval after the last one did, and how far
// it is outlives restarts. It reads --scrub-rate at most, and less while clients ask and
// the processors have no more time to spare (pacer). Damage that a read of somebody else's met is looked at at once.
type scrubber struct {
	n        *node
	limit    *rate.Limiter // nil: there are no rounds
	interval time.Duration
	pace     pacer // of the goroutine run
	unpaced  int   // bytes read since the last wait
	mends    mender
	bytes    atomic.Uint64 // read since the start
	found    atomic.Int64  // spans found damaged or different since the start

	wake chan struct{} // there is something for run

	mu       sync.Mutex
	files    map[uint64]bool      // tables in which something could not be read
	parts    map[uint16]bool      // partitions of which something could not be read
	looked   map[uint64]time.Time // run's: when a suspect table was looked at last
	listed   time.Time            // run's: when the tables were listed last for suspects
	asked    bool                 // a round is to begin now
	loaded   bool                 // state is what the store has
	hurry    bool                 // this one was asked for
	state    store.ScrubState
	tables   int // to be read in this round
	read     int // of them have been
	compared int // partitions
}

const (
	// scrubBurst is what is read between two waits, in bytes.
	scrubBurst = 64 << 10
	// scrubSave is how often progress is kept.
	scrubSave = 10 * time.Second
	// suspectAgain is how soon a table that somebody could not read is looked at again: clients may
	// ask for such a place many times a second.
	suspectAgain = 30 * time.Second
	// listAgain is between two lists of all tables, for what was met.
	listAgain = time.Second
	// scrubAgain is when what failed is tried again.
	scrubAgain = time.Minute
)

func newScrubber(n *node, bytesPerSecond int64, interval time.Duration) *scrubber {
	s := &scrubber{n: n, interval: interval, pace: pacer{processors: processors}, wake: make(chan struct{}, 1),
		files: map[uint64]bool{}, parts: map[uint16]bool{}, looked: map[uint64]time.Time{}}
	if bytesPerSecond > 0 {
		s.limit = rate.NewLimiter(rate.Limit(bytesPerSecond), scrubBurst)
	}
	s.mends.s, s.mends.wake = s, make(chan struct{}, 1)
	return s
}

// wait is a store.Pace: it keeps to the rate, and lets clients go first unless somebody waits for the round.
func (s *scrubber) wait(ctx context.Context, bytes int) error { return s.waitAlive(ctx, bytes, nil) }

// waitAlive has alive called now and then while it waits; nil: there is nobody to be told.
func (s *scrubber) waitAlive(ctx context.Context, bytes int, alive func() error) error {
	s.bytes.Add(uint64(bytes))
	if s.unpaced += bytes; s.unpaced < scrubBurst {
		return ctx.Err()
	}
	s.mu.Lock()
	s.state.Bytes += uint64(s.unpaced)
	hurry := s.hurry
	s.mu.Unlock()
	for s.unpaced > 0 && s.limit != nil {
		step := min(s.unpaced, scrubBurst, max(int(s.limit.Limit()), 1)) // a second, at most
		if err := s.limit.WaitN(ctx, step); err != nil {
			return err
		}
		s.unpaced -= step
		if alive != nil {
			if err := alive(); err != nil {
				return err
			}
		}
	}
	s.unpaced = 0
	if hurry {
		return ctx.Err()
	}
	n := &s.n.counters
	if d := s.pace.rest(time.Now(), n.gets.Load()+n.sets.Load()+n.deletes.Load()); d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	return ctx.Err()
}

func (s *scrubber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// suspectFile has a table looked at soon. It may be called from anywhere and does not block.
func (s *scrubber) suspectFile(file uint64) {
	s.mu.Lock()
	s.files[file] = true
	s.mu.Unlock()
	s.signal()
}

// suspect has all tables of a partition looked at soon.
func (s *scrubber) suspect(part uint16) {
	s.mu.Lock()
	s.parts[part] = true
	s.mu.Unlock()
	s.signal()
}

// run scrubs until ctx is done.
func (s *scrubber) run(ctx context.Context) {
	s.mu.Lock()
	s.state, s.loaded = s.n.store.LoadScrub(), true
	if now := time.Now(); s.state.Began.After(now) {
		s.state.Began = now // the clock was set back: the next round is not to wait for that time
	}
	if s.state.Began.IsZero() {
		// The first round is due an interval from now, not at once: what was just written is the least likely to have decayed.
		s.state.Began, s.state.Ended = time.Now(), time.Now()
	}
	st := s.state
	s.mu.Unlock()
	if err := s.n.store.SaveScrub(st); err != nil && ctx.Err() == nil {
		s.n.log.Info("cannot keep how far scrubbing is", "err", err)
	}
	for {
		if err := s.lookAtSuspects(ctx); err != nil {
			return
		}
		left := s.due()
		if left <= 0 {
			if s.round(ctx) != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(left):
		}
	}
}

// due tells how long it is until a round is to begin, or to go on.
func (s *scrubber) due() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.limit == nil:
		return time.Hour
	case s.asked || s.state.Ended.IsZero():
		return 0
	}
	return time.Until(s.state.Began.Add(s.interval))
}

// start has a round begin now, or the one that is under way hurry. false: there are none.
func (s *scrubber) start() bool {
	if s.limit == nil {
		return false
	}
	s.mu.Lock()
	if s.loaded && s.state.Ended.IsZero() {
		s.hurry = true
	} else {
		s.asked = true
	}
	s.mu.Unlock()
	s.signal()
	return true
}

// round reads the store once, or what an earlier run has left of a round. The error is that of ctx.
func (s *scrubber) round(ctx context.Context) error {
	tables, err := s.n.store.Tables()
	if err != nil {
		s.n.log.Info("cannot scrub now", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(scrubAgain):
		}
		return ctx.Err()
	}
	s.mu.Lock()
	st := &s.state
	if !st.Ended.IsZero() {
		*st = store.ScrubState{Round: st.Round + 1, Began: time.Now()}
		if len(tables) > 0 {
			st.Last = tables[len(tables)-1].File
		}
		s.hurry = false
	}
	s.hurry, s.asked = s.hurry || s.asked, false
	last, done, from := st.Last, st.UpTo, st.Partition
	s.mu.Unlock()
	tables = slices.DeleteFunc(tables, func(t store.Table) bool { return t.File > last })
	left := slices.DeleteFunc(slices.Clone(tables), func(t store.Table) bool { return t.File <= done })
	s.mu.Lock()
	s.tables, s.read, s.compared = len(tables), len(tables)-len(left), from
	s.mu.Unlock()
	began := time.Now()
	s.n.log.Info("scrub begins", "round", st.Round, "tables", len(left))
	saved := time.Now()
	progress := func(change func(*store.ScrubState), whatever bool) {
		s.mu.Lock()
		change(&s.state)
		now := s.state
		s.mu.Unlock()
		if whatever || time.Since(saved) > scrubSave {
			saved = time.Now()
			if err := s.n.store.SaveScrub(now); err != nil && ctx.Err() == nil {
				s.n.log.Info("cannot keep how far scrubbing is", "err", err)
			}
		}
	}
	for i, t := range left {
		if err := s.check(ctx, t, s.wait); err != nil {
			return err
		}
		progress(func(st *store.ScrubState) {
			if i+1 == len(left) || left[i+1].File != t.File {
				st.UpTo = t.File
			}
			s.read++
		}, false)
		if err := s.lookAtSuspects(ctx); err != nil {
			return err
		}
	}
	count := 0
	if err := s.n.onLoop(ctx, func() { count = len(s.n.replicas) }); err != nil {
		return err
	}
	for p := from; p < count; p++ {
		ok, err := s.compare(ctx, uint16(p))
		if err != nil {
			return err
		}
		progress(func(st *store.ScrubState) {
			st.Partition = p + 1
			s.compared = p + 1
			if !ok {
				st.Skipped++
			}
		}, false)
		if err := s.lookAtSuspects(ctx); err != nil {
			return err
		}
	}
	progress(func(st *store.ScrubState) { st.Ended = time.Now(); s.hurry = false }, true)
	s.n.log.Info("scrub ends", "round", st.Round, "took", time.Since(began).Round(time.Second), "found", s.found.Load(), "waiting", s.mends.waiting())
	return nil
}

// check reads a table and has mended what is damaged in it. The error is that of ctx.
func (s *scrubber) check(ctx context.Context, t store.Table, pace store.Pace) error {
	bad, err := s.n.store.CheckTable(ctx, t, pace)
	if err != nil {
		if ctx.Err() == nil && s.n.store.Failed() == nil {
			s.n.log.Info("cannot scrub a table now", "file", t.File, "err", err)
		}
		return ctx.Err()
	}
	for _, span := range bad {
		s.damage(span, t.File)
	}
	return nil
}

// damage takes a span that cannot be read.
func (s *scrubber) damage(span store.Span, file uint64) {
	if !s.mends.add(span) {
		return
	}
	s.found.Add(1)
	s.n.log.Error("the store is damaged: this server gets what cannot be read from another copy, where there is one; look at disk and memory of the machine",
		"store", s.n.store.Path(), "file", file, "damaged", span.String())
}

// differs takes a span of this server's copy of a partition that is not what the others have.
func (s *scrubber) differs(span store.Span) {
	if s.mends.add(span) {
		s.found.Add(1)
	}
}

// lookAtSuspects checks the tables in which somebody met damage. The error is that of ctx.
func (s *scrubber) lookAtSuspects(ctx context.Context) error {
	s.mu.Lock()
	some := len(s.files)+len(s.parts) > 0
	s.mu.Unlock()
	if !some {
		return ctx.Err()
	}
	// Each read that fails asks for this: those that come meanwhile are looked at together.
	if left := time.Until(s.listed.Add(listAgain)); left > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(left):
		}
	}
	s.mu.Lock()
	files, parts := s.files, s.parts
	s.files, s.parts = map[uint64]bool{}, map[uint16]bool{}
	s.mu.Unlock()
	for file, at := range s.looked {
		if time.Since(at) > suspectAgain {
			delete(s.looked, file)
		}
	}
	tables, err := s.n.store.Tables()
	s.listed = time.Now()
	if err != nil {
		return ctx.Err() // the store has failed
	}
	for _, t := range tables {
		wanted := files[t.File]
		for p := range parts {
			wanted = wanted || t.Span.Overlaps(store.PartitionSpan(p, nil, nil))
		}
		if wanted && time.Since(s.looked[t.File]) > suspectAgain {
			s.looked[t.File] = time.Now()
			if err := s.check(ctx, t, s.count); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// count is a store.Pace that does not wait: what clients need is not there until this is done.
func (s *scrubber) count(ctx context.Context, bytes int) error {
	s.bytes.Add(uint64(bytes))
	return ctx.Err()
}

// status is what tools are shown.
func (s *scrubber) status() control.ScrubStatus {
	s.mu.Lock()
	st := control.ScrubStatus{Round: s.state.Round, Running: s.asked || s.limit != nil && s.state.Ended.IsZero(), Began: s.state.Began, Ended: s.state.Ended,
		TablesDone: s.read, Tables: s.tables, PartitionsDone: s.compared, Skipped: s.state.Skipped, Bytes: s.state.Bytes,
		Interval: int64(s.interval / time.Second)}
	if s.limit != nil {
		st.Rate = int64(s.limit.Limit())
	}
	s.mu.Unlock()
	if m := s.n.shown.Load(); m != nil {
		st.Partitions = len(m.Partitions)
	}
	st.Found, st.Mended, st.Damaged = s.found.Load(), s.mends.done.Load(), s.mends.list()
	return st
}

func (n *node) serveScrub(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPost && !n.scrub.start() {
		httpError(w, http.StatusConflict, "this server does not scrub: it was started with --scrub-rate 0")
		return
	}
	writeJSON(w, http.StatusOK, n.scrub.status())
}

// serverName is a server's address for the log, by the map m.
func serverName(m *clustermap.Map, id clustermap.ServerID) string {
	if m != nil {
		if s := m.Server(id); s != nil {
			return s.Addr
		}
	}
	return id.String()
}
