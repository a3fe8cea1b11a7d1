package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/loop"
)

// System is what is put under load.
type System struct {
	Name     string
	Addrs    []string // ip:port; connections are spread over them evenly
	Protocol string   // one of Protocols
	PIDs     []int    // processes whose CPU time is counted
}

// Load is what to put a system under.
type Load struct {
	Connections int
	Pipeline    int // operations in flight on a connection
	Threads     int // loops that the connections are divided among
	Keys        uint64
	Distribution
	MinValue, MaxValue int
	Operations         int64         // of one measurement, or:
	Time               time.Duration // for how long operations are begun
	Rate               int           // operations a second, whatever the answers; 0: each connection waits for its answers
	Sets               int           // per cent of the operations
	Multiget           int           // keys of a get
	WarmUp             int64         // operations before a measurement
	Seed               uint64
	Timeout            time.Duration // after which an operation has failed
}

// Session is the connections to one system.
type Session struct {
	sys     System
	load    Load
	workers []*worker
}

// fillPipeline is how many operations of a fill are in flight on a connection at least.
const fillPipeline = 4

// Open connects.
func Open(ctx context.Context, sys System, load Load) (*Session, error) {
	proto, err := protocolOf(sys.Protocol)
	if err != nil {
		return nil, err
	}
	if len(sys.Addrs) == 0 || len(sys.Addrs) > load.Connections {
		return nil, fmt.Errorf("%d connections to %d addresses", load.Connections, len(sys.Addrs))
	}
	if _, err := CPU(sys.PIDs...); err != nil {
		return nil, err
	}
	s := &Session{sys: sys, load: load}
	zero := time.Now()
	tried := make(chan error, load.Connections)
	threads := min(max(load.Threads, 1), load.Connections)
	made := 0
	for i := range threads {
		l, err := loop.New()
		if err != nil {
			s.Close()
			return nil, err
		}
		w := &worker{
			load: &s.load, proto: proto, loop: l, zero: zero,
			rng: rand.New(rand.NewPCG(load.Seed, uint64(i))), picker: newPicker(load.Distribution, load.Keys),
			count: uint32(i) << 24, opened: func(err error) { tried <- err }, ended: make(chan struct{}),
		}
		for range share(int64(load.Connections), threads, i) {
			c := &conn{w: w, addr: sys.Addrs[made%len(sys.Addrs)], ops: make([]op, max(load.Pipeline, fillPipeline)), room: load.Pipeline, first: true}
			for j := range c.ops {
				c.ops[j].keys = make([]uint64, 0, load.Multiget)
			}
			w.conns = append(w.conns, c)
			made++
		}
		w.tick = func() { w.ticked.Store(false) } // the turn's end does what there is to do
		w.ready.list = make([]*conn, len(w.conns))
		l.OnTurnEnd(w.turnEnd)
		l.Post(w.connect)
		var loopCtx context.Context
		loopCtx, w.stop = context.WithCancel(context.Background())
		go func() {
			defer close(w.ended)
			_ = l.Run(loopCtx) // nil always
		}()
		s.workers = append(s.workers, w)
	}
	for range load.Connections {
		select {
		case err := <-tried:
			if err != nil {
				s.Close()
				return nil, err
			}
		case <-ctx.Done():
			s.Close()
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// Close closes all connections.
func (s *Session) Close() {
	for _, w := range s.workers {
		w.stop()
		<-w.ended
	}
}

// Fill stores every key once.
func (s *Session) Fill(ctx context.Context) error {
	r, _, err := s.run(ctx, func(i int) *phase {
		n := len(s.workers)
		var before int64
		for j := range i {
			before += share(int64(s.load.Keys), n, j)
		}
		return &phase{left: share(int64(s.load.Keys), n, i), sets: 100, ordered: true, next: uint64(before)}
	})
	if err != nil {
		return fmt.Errorf("filling it: %w", err)
	}
	for reason, n := range r.errors {
		return fmt.Errorf("filling it: %d of %d writes failed, of these %d: %s", (&Result{Errors: r.errors}).Failed(), r.ops, n, reason)
	}
	return ctx.Err()
}

// Measure warms up, then measures, until ctx is done at the longest.
func (s *Session) Measure(ctx context.Context) (*Result, error) {
	if s.load.WarmUp > 0 {
		if _, _, err := s.run(ctx, s.part(s.load.WarmUp, 0)); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	n, limit := s.load.Operations, s.load.Time
	if limit > 0 {
		n = 1 << 60
		if s.load.Rate > 0 { // all that are due by then
			n, limit = max(1, int64(limit.Seconds()*float64(s.load.Rate))), 0
		}
	}
	own, ownErr := CPU(os.Getpid())
	before, err := CPU(s.sys.PIDs...)
	if err != nil {
		return nil, err
	}
	r, took, err := s.run(ctx, s.part(n, limit))
	if err != nil {
		return nil, err
	}
	after, err := CPU(s.sys.PIDs...)
	if err != nil {
		return nil, err
	}
	ownAfter, err := CPU(os.Getpid())
	each := func(used time.Duration) *float64 {
		v := float64(used) / float64(time.Microsecond) / float64(max(r.ops, 1))
		return &v
	}
	result := r.result(took, s.load.Rate > 0)
	if len(s.sys.PIDs) > 0 {
		result.CPU = each(after - before)
	}
	if ownErr == nil && err == nil { // not every system tells
		result.OwnCPU = each(ownAfter - own)
	}
	return result, nil
}

// part is a worker's share of n operations of the load, or of limit's time.
func (s *Session) part(n int64, limit time.Duration) func(i int) *phase {
	return func(i int) *phase {
		p := &phase{left: share(n, len(s.workers), i), sets: s.load.Sets, until: int64(limit)}
		if s.load.Rate > 0 {
			each := float64(time.Second) / float64(s.load.Rate)
			p.paced = true
			p.schedule = schedule{first: int64(float64(i) * each), interval: each * float64(len(s.workers))}
		}
		return p
	}
}

// run has every worker do its phase, times in it counting from its start. When ctx is
// done no more operations are begun.
func (s *Session) run(ctx context.Context, part func(i int) *phase) (*record, time.Duration, error) {
	done := make(chan error, len(s.workers))
	phases := make([]*phase, len(s.workers))
	for i := range phases {
		p := part(i)
		p.record, p.done = newRecord(), done
		phases[i] = p
	}
	var stop atomic.Bool
	var pacers sync.WaitGroup
	begin := s.workers[0].now()
	for i, w := range s.workers {
		p := phases[i]
		p.schedule.first += begin
		if p.until > 0 {
			p.until += begin
		}
		room := s.load.Pipeline
		if p.ordered {
			room = max(room, fillPipeline)
		}
		schedule, paced := p.schedule, p.paced
		w.loop.Post(func() {
			for _, c := range w.conns {
				c.room = room
				c.enqueue()
			}
			w.start(p)
		})
		if paced {
			pacers.Go(func() { w.pace(schedule, &stop) })
		}
	}
	var errs []error
	interrupted := ctx.Done()
	for left := len(s.workers); left > 0; {
		select {
		case err := <-done:
			left--
			if err != nil && !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
				errs = append(errs, err)
			}
		case <-interrupted:
			interrupted = nil
			for _, w := range s.workers {
				w.loop.Post(w.cut)
			}
		}
	}
	stop.Store(true)
	pacers.Wait()
	if len(errs) > 0 {
		return nil, 0, errors.Join(errs...)
	}
	all := newRecord()
	for _, p := range phases {
		all.add(p.record)
	}
	return all, time.Duration(all.end - begin), nil
}

// share is part i of n things divided among parts.
func share(n int64, parts, i int) int64 {
	s := n / int64(parts)
	if int64(i) < n%int64(parts) {
		s++
	}
	return s
}

// Compare measures systems in turns, in another order each round, and gives each
// one's results by round. fill stores every key first. When ctx is done the results so
// far are given with its error.
func Compare(ctx context.Context, systems []System, load Load, rounds int, fill bool) ([][]*Result, error) {
	sessions := make([]*Session, len(systems))
	for i, sys := range systems {
		s, err := Open(ctx, sys, load)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sys.Name, err)
		}
		defer s.Close()
		sessions[i] = s
	}
	for i, s := range sessions {
		if !fill {
			break
		}
		if err := s.Fill(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", systems[i].Name, err)
		}
	}
	results := make([][]*Result, len(systems))
	for round := range rounds {
		for _, i := range order(len(systems), round) {
			r, err := sessions[i].Measure(ctx)
			if err != nil {
				return results, fmt.Errorf("%s: %w", systems[i].Name, err)
			}
			results[i] = append(results[i], r)
			if ctx.Err() != nil {
				return results, ctx.Err()
			}
		}
	}
	return results, nil
}
