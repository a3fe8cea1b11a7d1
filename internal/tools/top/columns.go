package top

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/tools"
)

// column is one of a table of T.
type column[T any] struct {
	title string
	left  bool // its cells stand to the left
	width int  // at least; so that columns stay where they are while numbers grow
	// rank tells which columns stay where the window is narrow: those of the lowest.
	rank   int
	cell   func(*T) string
	number func(*T) *float64 // what it is sorted by, the greatest first; nil: by its cell
	trend  func(*T) trend    // instead of cell: a sparkline
}

// sparkLeast is the least width of a sparkline; it takes what there is, up to trendLength.
const sparkLeast = 10

// unknown stands for what is not known.
const unknown = "-"

// The first columns are those of the original, in its order.
var serverColumns = []column[Row]{
	{title: "address", left: true, rank: 0, cell: func(r *Row) string { return r.Addr }},
	{title: "#Get", width: 9, rank: 14, number: func(r *Row) *float64 { return float(r.Gets) }, cell: func(r *Row) string { return count(r.Gets) }},
	{title: "#Set", width: 9, rank: 15, number: func(r *Row) *float64 { return float(r.Sets) }, cell: func(r *Row) string { return count(r.Sets) }},
	{title: "#Del", width: 9, rank: 16, number: func(r *Row) *float64 { return float(r.Deletes) }, cell: func(r *Row) string { return count(r.Deletes) }},
	{title: "Get/s", width: 7, rank: 3, number: func(r *Row) *float64 { return r.Get }, cell: func(r *Row) string { return rate(r.Get) }},
	{title: "Set/s", width: 7, rank: 4, number: func(r *Row) *float64 { return r.Set }, cell: func(r *Row) string { return rate(r.Set) }},
	{title: "Del/s", width: 7, rank: 6, number: func(r *Row) *float64 { return r.Delete }, cell: func(r *Row) string { return rate(r.Delete) }},
	{title: "QPS", width: 7, rank: 1, number: func(r *Row) *float64 { return r.QPS }, cell: func(r *Row) string { return rate(r.QPS) }},
	{title: "items", width: 9, rank: 7, number: func(r *Row) *float64 { return float(r.Items) }, cell: func(r *Row) string { return count(r.Items) }},
	{title: "time", width: 19, rank: 18, number: func(r *Row) *float64 { return float(r.Time) }, cell: func(r *Row) string { return stamp(r.Time) }},
	{title: "clock", width: 6, rank: 13, number: func(r *Row) *float64 { return float(r.Clock) }, cell: func(r *Row) string { return count(r.Clock) }},
	{title: "status", left: true, width: 9, rank: 2, cell: func(r *Row) string { return r.Status }},
	{title: "QPS-trend", left: true, width: sparkLeast, rank: 5, trend: func(r *Row) trend { return r.trend }},
	{title: "GetP50", width: 6, rank: 10, number: func(r *Row) *float64 { return r.GetP50 }, cell: func(r *Row) string { return latency(r.GetP50) }},
	{title: "GetP99", width: 6, rank: 8, number: func(r *Row) *float64 { return r.GetP99 }, cell: func(r *Row) string { return latency(r.GetP99) }},
	{title: "SetP50", width: 6, rank: 11, number: func(r *Row) *float64 { return r.SetP50 }, cell: func(r *Row) string { return latency(r.SetP50) }},
	{title: "SetP99", width: 6, rank: 9, number: func(r *Row) *float64 { return r.SetP99 }, cell: func(r *Row) string { return latency(r.SetP99) }},
	{title: "copies", width: 6, rank: 12, number: func(r *Row) *float64 { return float(r.CopiesLeft) }, cell: func(r *Row) string { return count(r.CopiesLeft) }},
	{title: "uptime", width: 6, rank: 17, number: func(r *Row) *float64 { return float(r.Uptime) }, cell: func(r *Row) string { return uptime(r.Uptime) }},
}

// originalColumns is how many of them the original has: those of --once.
const originalColumns = 12

var gatewayColumns = []column[Gateway]{
	{title: "gateway", left: true, rank: 0, cell: func(g *Gateway) string { return g.name() }},
	{title: "#Get", width: 9, rank: 13, cell: func(g *Gateway) string { return count(g.Gets) }},
	{title: "#Set", width: 9, rank: 14, cell: func(g *Gateway) string { return count(g.Sets) }},
	{title: "#Del", width: 9, rank: 15, cell: func(g *Gateway) string { return count(g.Deletes) }},
	{title: "Get/s", width: 7, rank: 3, cell: func(g *Gateway) string { return rate(g.Get) }},
	{title: "Set/s", width: 7, rank: 4, cell: func(g *Gateway) string { return rate(g.Set) }},
	{title: "Del/s", width: 7, rank: 6, cell: func(g *Gateway) string { return rate(g.Delete) }},
	{title: "QPS", width: 7, rank: 1, cell: func(g *Gateway) string { return rate(g.QPS) }},
	{title: "conns", width: 6, rank: 7, cell: func(g *Gateway) string { return count(g.Connections) }},
	{title: "status", left: true, width: 9, rank: 2, cell: func(g *Gateway) string { return g.Status }},
	{title: "QPS-trend", left: true, width: sparkLeast, rank: 5, trend: func(g *Gateway) trend { return g.trend }},
	{title: "GetP50", width: 6, rank: 10, cell: func(g *Gateway) string { return latency(g.GetP50) }},
	{title: "GetP99", width: 6, rank: 8, cell: func(g *Gateway) string { return latency(g.GetP99) }},
	{title: "SetP50", width: 6, rank: 11, cell: func(g *Gateway) string { return latency(g.SetP50) }},
	{title: "SetP99", width: 6, rank: 9, cell: func(g *Gateway) string { return latency(g.SetP99) }},
	{title: "uptime", width: 6, rank: 12, cell: func(g *Gateway) string { return uptime(g.Uptime) }},
	{title: "version", left: true, rank: 16, cell: func(g *Gateway) string { return word(g.Version) }},
}

// The key is last: it may be long, and is cut there.
var hotColumns = []column[HotKey]{
	{title: "reads/s", width: 9, rank: 1, cell: func(h *HotKey) string { return rate(&h.Reads) }},
	{title: "writes/s", width: 9, rank: 2, cell: func(h *HotKey) string { return rate(&h.Writes) }},
	{title: "part", width: 5, rank: 4, cell: func(h *HotKey) string { return strconv.Itoa(int(h.Partition)) }},
	{title: "server", left: true, width: 15, rank: 3, cell: func(h *HotKey) string { return h.Server }},
	{title: "key", left: true, rank: 0, cell: func(h *HotKey) string { return h.Key }},
}

// sortColumn finds a column by its name, in whichever case; nil: there is none.
func sortColumn(name string) *column[Row] {
	for i := range serverColumns {
		if c := &serverColumns[i]; c.cell != nil && strings.EqualFold(c.title, name) {
			return c
		}
	}
	return nil
}

// sortNames are the columns by which rows can be sorted.
func sortNames() []string {
	var names []string
	for _, c := range serverColumns {
		if c.cell != nil {
			names = append(names, c.title)
		}
	}
	return names
}

// sortRows sorts by a column: numbers the greatest first, words from a to z; with reverse the other way
// round. What is not known comes last either way, and rows that are equal stay in the order that they have.
func sortRows(rows []Row, by *column[Row], reverse bool) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		order := 0
		if by.number == nil {
			order = tools.CompareAddrs(by.cell(&a), by.cell(&b))
		} else {
			x, y := by.number(&a), by.number(&b)
			switch {
			case x == nil && y == nil:
				return 0
			case x == nil:
				return 1
			case y == nil:
				return -1
			}
			order = cmp.Compare(*y, *x)
		}
		if reverse {
			order = -order
		}
		return order
	})
}

func float[T int | int64](v *T) *float64 {
	if v == nil {
		return nil
	}
	f := float64(*v)
	return &f
}

func rate(v *float64) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatFloat(*v, 'f', 0, 64)
}

func count[T int | int64](v *T) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatInt(int64(*v), 10)
}

// stamp is a time in the form that the original has, in the time zone of who looks.
func stamp(unix *int64) string {
	if unix == nil {
		return unknown
	}
	return time.Unix(*unix, 0).Format(time.DateTime)
}

// latency is "85us", "1.2ms", "140ms" or "3.5s", of microseconds.
func latency(us *float64) string {
	if us == nil {
		return unknown
	}
	v, unit := *us, "us"
	switch {
	case v >= 999_500:
		v, unit = v/1e6, "s"
	case v >= 999.5:
		v, unit = v/1e3, "ms"
	}
	if v < 9.95 && unit != "us" {
		return strconv.FormatFloat(v, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(math.Round(v), 'f', 0, 64) + unit
}

// uptime is "12s", "5m03s", "7h05m" or "12d03h".
func uptime(v *int64) string {
	if v == nil {
		return unknown
	}
	d := time.Duration(*v) * time.Second
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", *v)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}
