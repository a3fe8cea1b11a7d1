package bench

import (
	"slices"
)

// Spread is a figure over all rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// A Summary is all rounds of one system.
type Summary struct {
	PerSecond Spread  `json:"per_second"`
	Mean      Spread  `json:"mean_ms"`
	P50       Spread  `json:"p50_ms"`
	P99       Spread  `json:"p99_ms"`
	P999      Spread  `json:"p999_ms"`
	CPU       *Spread `json:"cpu_us,omitempty"`
	OwnCPU    *Spread `json:"own_cpu_us,omitempty"`
}

// figures are what a summary has; ok is false where a result lacks it.
var figures = []struct {
	of func(*Result) (v float64, ok bool)
	in func(*Summary, *Spread)
}{
	{func(r *Result) (float64, bool) { return r.PerSecond, true }, func(s *Summary, v *Spread) { s.PerSecond = *v }},
	{func(r *Result) (float64, bool) { return r.All.Mean, true }, func(s *Summary, v *Spread) { s.Mean = *v }},
	{func(r *Result) (float64, bool) { return r.All.P50, true }, func(s *Summary, v *Spread) { s.P50 = *v }},
	{func(r *Result) (float64, bool) { return r.All.P99, true }, func(s *Summary, v *Spread) { s.P99 = *v }},
	{func(r *Result) (float64, bool) { return r.All.P999, true }, func(s *Summary, v *Spread) { s.P999 = *v }},
	{func(r *Result) (float64, bool) { return orZero(r.CPU), r.CPU != nil }, func(s *Summary, v *Spread) { s.CPU = v }},
	{func(r *Result) (float64, bool) { return orZero(r.OwnCPU), r.OwnCPU != nil }, func(s *Summary, v *Spread) { s.OwnCPU = v }},
}

// Summarize is the figures of all rounds.
func Summarize(rounds []*Result) *Summary {
	s := &Summary{}
	for _, f := range figures {
		var values []float64
		for _, r := range rounds {
			if v, ok := f.of(r); ok {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			f.in(s, SpreadOf(values))
		}
	}
	return s
}

// Ratios compares two systems round by round: what disturbs the machine for a while
// disturbs both, so the ratio within a round varies less than the figures do.
func Ratios(rounds, base []*Result) *Summary {
	s := &Summary{}
	for _, f := range figures {
		var ratios []float64
		for i := range min(len(rounds), len(base)) {
			v, ok := f.of(rounds[i])
			b, okBase := f.of(base[i])
			if ok && okBase && b > 0 {
				ratios = append(ratios, v/b)
			}
		}
		if len(ratios) > 0 {
			f.in(s, SpreadOf(ratios))
		}
	}
	return s
}

// SpreadOf is the spread of some figures, one at least.
func SpreadOf(values []float64) *Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return &Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// order is in which order n systems take their turns in a round: each of them is
// first, and follows each other one, as often as can be.
func order(n, round int) []int {
	turn := make([]int, n)
	for i := range turn {
		turn[i] = (i + round/2) % n
	}
	if round%2 == 1 {
		slices.Reverse(turn)
	}
	return turn
}

func orZero(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}
