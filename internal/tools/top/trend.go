package top

import "math"

// trendLength is how many looks a sparkline shows at most.
const trendLength = 30

// trend is the rates of the last looks, the newest last; NaN where it was not known.
type trend []float64

// push adds one.
func (t *trend) push(v *float64) {
	if len(*t) == trendLength {
		copy(*t, (*t)[1:])
		*t = (*t)[:trendLength-1]
	}
	if v == nil {
		*t = append(*t, math.NaN())
	} else {
		*t = append(*t, *v)
	}
}

// The levels of a sparkline, lowest first.
var (
	barLevels   = []rune("▁▂▃▄▅▆▇█")
	asciiLevels = []rune("_.-:=+*#")
)

// spark draws the newest of them, as many as width has room for, at the right of it. The
// highest of those shown is the full height.
func (t trend) spark(width int, levels []rune) string {
	shown := t[max(0, len(t)-width):]
	most := 0.0
	for _, v := range shown {
		if v > most {
			most = v
		}
	}
	out := make([]rune, 0, width)
	for range width - len(shown) {
		out = append(out, ' ')
	}
	for _, v := range shown {
		switch {
		case math.IsNaN(v):
			out = append(out, ' ')
		case most == 0:
			out = append(out, levels[0])
		default:
			out = append(out, levels[min(int(v/most*float64(len(levels))), len(levels)-1)])
		}
	}
	return string(out)
}
