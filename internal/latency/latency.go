// Package latency counts how long things took: histograms of fixed size, with what the last
// seconds had of them. Pure: no I/O, no clock; times come in.
//
// Nothing here is locked. A Window belongs to the goroutine that writes it; who else wants
// to know gets copies made there.
package latency

import (
	"math/bits"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

const (
	subBits = 2 // 4 buckets per octave: a quantile is at most a quarter too high
	octaves = 24
	// finite is how many buckets have an upper bound: the last one's is 2^26 us, 67 s.
	finite = (octaves + 1) << subBits
	// Buckets is how many there are: the last one has all that took longer.
	Buckets = finite + 1
)

// Histogram counts durations from 1 us to 67 s. The zero value is empty.
type Histogram struct {
	counts [Buckets]uint64
	sum    time.Duration
}

// bucket is where d belongs: the first bucket with d <= Bound.
func bucket(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	us := uint64(d-1) / 1000
	if us < 1<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - 1 - subBits
	return min((shift+1)<<subBits+int(us>>shift)-1<<subBits, finite)
}

// Bound is the longest duration of bucket i, which is less than Buckets-1: the last one has none.
func Bound(i int) time.Duration {
	us := uint64(i + 1)
	if i >= 1<<subBits {
		shift := i>>subBits - 1
		us = uint64(i&(1<<subBits-1)+1<<subBits+1) << shift
	}
	return time.Duration(us) * time.Microsecond
}

// Add counts n things that took d each.
func (h *Histogram) Add(d time.Duration, n uint64) {
	h.counts[bucket(d)] += n
	h.sum += d * time.Duration(n)
}

// Merge adds all that o has.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.sum += o.sum
}

// take removes what o has, an earlier state of h.
func (h *Histogram) take(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] -= n
	}
	h.sum -= o.sum
}

// Count is how many were counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum is how long they took together.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Bucket is how many there are in bucket i.
func (h *Histogram) Bucket(i int) uint64 { return h.counts[i] }

// Quantile is a bound that the part q (0 to 1) of them did not exceed, at most a quarter higher than
// the lowest one; beyond 67 s it says 67 s. Without any it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	all := h.Count()
	if all == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(all)+0.999999))
	seen := uint64(0)
	for i := range finite {
		if seen += h.counts[i]; seen >= rank {
			return Bound(i)
		}
	}
	return Bound(finite - 1)
}

// WindowStep is how often a Window notes what there was; Recent tells of one to three of these.
const WindowStep = 5 * time.Second

// Window is a Histogram of all that there was, and knows what was added of late. It needs
// nobody who looks at it: what is done is done by who adds, or asks.
type Window struct {
	all         Histogram
	older, last Histogram // all, as it was at two times
	lastAt      int64     // the time of last
}

// Add counts n things that took d each and were done at now, in ns of a clock that
// does not go back. It costs a few nanoseconds, and now and then a microsecond.
func (w *Window) Add(now int64, d time.Duration, n uint64) {
	if now-w.lastAt >= int64(WindowStep) {
		w.step(now)
	}
	w.all.Add(d, n)
}

// step notes what there is. What was added since last was noted came within a step of that: a
// later Add had noted it. So after two steps all of it is old.
func (w *Window) step(now int64) {
	if now-w.lastAt >= 2*int64(WindowStep) {
		w.older = w.all
	} else {
		w.older = w.last
	}
	w.last, w.lastAt = w.all, now
}

// All is what was added ever.
func (w *Window) All() *Histogram { return &w.all }

// Recent is what was added within the last 10 s, about: in the last 5 to 15 s.
func (w *Window) Recent(now int64) Histogram {
	if now-w.lastAt >= int64(WindowStep) {
		w.step(now)
	}
	h := w.all
	h.take(&w.older)
	return h
}

// Kind is a kind of commands that take alike long.
type Kind uint8

// The kinds.
const (
	Get    Kind = iota // gets, one for each key, and meta gets
	Set                // all that store a value
	Delete             // and meta invalidation
	Touch              // touch, get-and-touch
	Incr               // incr, decr
	Other              // flush_all
	Kinds  = 6
)

var kindNames = [Kinds]string{"get", "set", "delete", "touch", "incr", "other"}

// String is the kind's name in metrics.
func (k Kind) String() string { return kindNames[k] }

// kindOf is by item.Op.
var kindOf = func() (of [256]Kind) {
	for op := range of {
		of[op] = Other
	}
	for op, k := range map[item.Op]Kind{
		item.OpGet: Get, item.OpMetaGet: Get,
		item.OpSet: Set, item.OpAdd: Set, item.OpReplace: Set, item.OpAppend: Set, item.OpPrepend: Set, item.OpCAS: Set,
		item.OpDelete: Delete, item.OpTouch: Touch, item.OpGetAndTouch: Touch,
		item.OpIncr: Incr, item.OpDecr: Incr,
	} {
		of[op] = k
	}
	return of
}()

// KindOf is the kind of a command.
func KindOf(op item.Op) Kind { return kindOf[op] }

// Summary is what there is to tell of the kinds of commands.
type Summary struct {
	All    [Kinds]Histogram // since the start
	Recent [Kinds]Histogram // Window.Recent
}

// Merge adds what another loop, or server, has.
func (s *Summary) Merge(o *Summary) {
	for k := range Kinds {
		s.All[k].Merge(&o.All[k])
		s.Recent[k].Merge(&o.Recent[k])
	}
}

// Windows are one Window for each kind.
type Windows [Kinds]Window

// Summary is a copy.
func (w *Windows) Summary(now int64) *Summary {
	s := new(Summary)
	for k := range w {
		s.All[k], s.Recent[k] = *w[k].All(), w[k].Recent(now)
	}
	return s
}

// AddValues adds get_p50_us, get_p99_us, set_p50_us and set_p99_us to values: microseconds that
// half of the last seconds' commands took at most, and 99 of 100; 0 where there was none.
func (s *Summary) AddValues(values map[string]any) {
	for _, k := range []Kind{Get, Set} {
		h := &s.Recent[k]
		values[k.String()+"_p50_us"] = h.Quantile(0.5).Microseconds()
		values[k.String()+"_p99_us"] = h.Quantile(0.99).Microseconds()
	}
}
