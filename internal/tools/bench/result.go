package bench

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is one measurement.
type Result struct {
	Operations int64   `json:"operations"` // that have ended, whatever their end
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`

	All Latency  `json:"latency"`
	Get *Latency `json:"get,omitempty"` // where there were any
	Set *Latency `json:"set,omitempty"`
	// Wait is how long operations of an open loop waited after they were due, until
	// they were sent: for a connection that is free, or for this process. It is part of
	// their latency.
	Wait *Latency `json:"wait,omitempty"`

	Hits       int64            `json:"hits"` // keys, not operations
	Misses     int64            `json:"misses"`
	Wrong      int64            `json:"wrong"`
	FirstWrong string           `json:"first_wrong,omitempty"`
	Errors     map[string]int64 `json:"errors"` // failed operations by reason
	Lost       int64            `json:"connections_lost"`

	CPU    *float64 `json:"cpu_us,omitempty"` // per operation, of the processes named
	OwnCPU *float64 `json:"own_cpu_us,omitempty"`
}

// Failed is how many operations failed.
func (r *Result) Failed() (n int64) {
	for _, count := range r.Errors {
		n += count
	}
	return n
}

// Check is an error unless every operation was answered, with the right value.
func (r *Result) Check() error {
	if r.Wrong > 0 || r.Misses > 0 || r.Failed() > 0 || r.Lost > 0 {
		return fmt.Errorf("%d wrong values %s, %d misses, %d connections lost, errors %v", r.Wrong, r.FirstWrong, r.Misses, r.Lost, r.Errors)
	}
	if r.Operations == 0 {
		return errors.New("no operation was done")
	}
	return nil
}

// Latency is how long operations took, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// record is what one worker, or all of them, saw of one phase.
type record struct {
	tally
	ops  int64
	lost int64
	end  int64
	get  *hdrhistogram.Histogram
	set  *hdrhistogram.Histogram
	wait *hdrhistogram.Histogram
}

// longest is the longest latency that a histogram tells from longer ones.
const longest = time.Hour

func newRecord() *record {
	h := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(100, int64(longest), 3) // nanoseconds, to a thousandth
	}
	return &record{get: h(), set: h(), wait: h()}
}

func observe(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), int64(longest))) // within its bounds
}

// add merges another worker's.
func (r *record) add(o *record) {
	r.hits += o.hits
	r.misses += o.misses
	r.wrong += o.wrong
	r.ops += o.ops
	r.lost += o.lost
	r.end = max(r.end, o.end)
	if r.firstWrong == "" {
		r.firstWrong = o.firstWrong
	}
	if r.errors == nil {
		r.errors = map[string]int64{}
	}
	for reason, n := range o.errors {
		r.errors[reason] += n
	}
	r.get.Merge(o.get)
	r.set.Merge(o.set)
	r.wait.Merge(o.wait)
}

// result makes the figures of a phase that took so long.
func (r *record) result(took time.Duration, open bool) *Result {
	s := &Result{
		Operations: r.ops, Seconds: took.Seconds(),
		Hits: r.hits, Misses: r.misses, Wrong: r.wrong, FirstWrong: r.firstWrong, Lost: r.lost,
		Errors: map[string]int64{}, Get: latency(r.get), Set: latency(r.set),
	}
	maps.Copy(s.Errors, r.errors)
	if took > 0 {
		s.PerSecond = float64(r.ops) / took.Seconds()
	}
	switch {
	case s.Set == nil && s.Get != nil:
		s.All = *s.Get
	case s.Get == nil && s.Set != nil:
		s.All = *s.Set
	case s.Get != nil:
		all := newRecord().get
		all.Merge(r.get)
		all.Merge(r.set)
		s.All = *latency(all)
	}
	if open {
		s.Wait = latency(r.wait)
	}
	return s
}

// latency is a histogram's figures; nil if there is nothing in it.
func latency(h *hdrhistogram.Histogram) *Latency {
	if h.TotalCount() == 0 {
		return nil
	}
	ms := func(ns int64) float64 { return float64(ns) / 1e6 }
	at := func(p float64) float64 { return ms(h.ValueAtPercentile(p)) }
	return &Latency{
		Count: h.TotalCount(), Mean: h.Mean() / 1e6,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(h.Max()),
	}
}
