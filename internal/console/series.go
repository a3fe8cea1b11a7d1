package console

import (
	"math"
	"slices"
	"strconv"
)

// Numbers are figures of which some may be missing (NaN): null in JSON.
type Numbers []float64

// MarshalJSON writes each with a few digits, as a chart needs.
func (n Numbers) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			b = append(b, "null"...)
		case math.Abs(v) >= 100 || v == math.Trunc(v):
			b = strconv.AppendFloat(b, v, 'f', 0, 64)
		default:
			b = strconv.AppendFloat(b, v, 'f', 2, 64)
		}
	}
	return append(b, ']'), nil
}

// Series are figures over time, the oldest first.
type Series struct {
	T []int64 `json:"t"` // Unix ms
	// Get, Set and Delete are operations a second.
	Get    Numbers `json:"get"`
	Set    Numbers `json:"set"`
	Delete Numbers `json:"delete"`
	// Microseconds: in a cluster's the median of its servers' medians, and the
	// slowest server's 99th percentile.
	GetP50 Numbers `json:"get_p50_us"`
	GetP99 Numbers `json:"get_p99_us"`
	SetP50 Numbers `json:"set_p50_us"`
	SetP99 Numbers `json:"set_p99_us"`
	// CopyIn is what copying brings, bytes a second.
	CopyIn Numbers `json:"copy_in"`
	// Answered is how many servers were heard.
	Answered Numbers `json:"answered"`
}

// History is one server's.
type History struct {
	ID string `json:"id"`
	*Series
}

// columns are all that has a value for each time.
func (s *Series) columns() []*Numbers {
	return []*Numbers{&s.Get, &s.Set, &s.Delete, &s.GetP50, &s.GetP99, &s.SetP50, &s.SetP99, &s.CopyIn, &s.Answered}
}

// point is one moment of a Series, in the order of columns.
type point [9]float64

// add appends a point, and drops what is older than keepFor.
func (s *Series) add(t int64, p point) {
	old, _ := slices.BinarySearch(s.T, t-keepFor.Milliseconds())
	s.T = append(slices.Delete(s.T, 0, old), t)
	for i, c := range s.columns() {
		*c = append(slices.Delete(*c, 0, old), p[i])
	}
}

// since is a copy of what is later than t; never nil, and neither are its columns.
func (s *Series) since(t int64) *Series {
	i, _ := slices.BinarySearch(s.T, t+1)
	out := &Series{T: append([]int64{}, s.T[i:]...)}
	cols := out.columns()
	for n, c := range s.columns() {
		*cols[n] = append(Numbers{}, (*c)[i:]...)
	}
	return out
}
