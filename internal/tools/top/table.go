package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

var titles = []string{"address", "state", "get/s", "set/s", "delete/s", "items", "copies left", "uptime"}

// table draws the servers' lines, columns aligned: the first two to the left,
// numbers to the right.
func table(rows []Row) string {
	cells := [][]string{titles}
	for _, r := range rows {
		state := r.State
		if r.Error != "" && state != "no answer" {
			state += ", no answer"
		}
		cells = append(cells, []string{
			r.Addr, state, rate(r.Get), rate(r.Set), rate(r.Delete), count(r.Items), count(r.CopiesLeft), uptime(r.Uptime),
		})
	}
	widths := make([]int, len(titles))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for _, line := range cells {
		var out strings.Builder
		for i, cell := range line {
			if i < 2 {
				fmt.Fprintf(&out, "%-*s  ", widths[i], cell)
			} else {
				fmt.Fprintf(&out, "%*s  ", widths[i], cell)
			}
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
	return b.String()
}

// unknown stands for what is not known.
const unknown = "-"

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

// headline is the line above the table.
func headline(s *Sample) string {
	line := "kumofs  " + s.Time.Format(time.TimeOnly)
	if s.Err != nil {
		line += "  " + s.Err.Error()
	}
	if st := s.Status; st != nil {
		active := 0
		for _, n := range st.Attached {
			if n.State == "active" {
				active++
			}
		}
		line += fmt.Sprintf("  clock %d  servers %d of %d active  not attached %d  copies to make %d",
			st.Clock, active, len(st.Attached), len(st.NotAttached), st.Moving)
		if st.Unavailable > 0 {
			line += fmt.Sprintf("  PARTITIONS UNAVAILABLE %d", st.Unavailable)
		}
	}
	return line
}
