package bench

import "math"

// schedule says when the operations of an open loop are due, in nanoseconds of the
// worker's clock: evenly spaced, whatever becomes of those before. Operations are
// timed from then, so one that had to wait because others were slow shows that wait
// (no coordinated omission).
type schedule struct {
	first    int64
	interval float64
}

// due is when operation i is due.
func (s schedule) due(i int64) int64 { return s.first + int64(math.Round(float64(i)*s.interval)) }

// after is the first time after now at which an operation is due.
func (s schedule) after(now int64) int64 {
	if now < s.first {
		return s.first
	}
	i := int64(float64(now-s.first) / s.interval)
	for s.due(i) <= now {
		i++
	}
	return s.due(i)
}
