package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/tools"
)

// Kumobench is the program kumobench.
func Kumobench(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args, out)
	if err != nil {
		return err
	}
	results, err := Compare(ctx, o.systems, o.load, o.rounds, o.fill)
	// Whoever interrupts it is shown what there is.
	if o.interrupted = err != nil && errors.Is(err, ctx.Err()); o.interrupted && whole(results) {
		err = nil
	}
	if err != nil {
		return err
	}
	if o.json {
		if err := tools.WriteJSON(out, asJSON(o, results)); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, asText(o, results)); err != nil {
		return err
	}
	return verdict(o, results)
}

// whole reports whether every system was measured.
func whole(results [][]*Result) bool {
	for _, rounds := range results {
		if len(rounds) == 0 {
			return false
		}
	}
	return len(results) > 0
}

// verdict is the exit status.
func verdict(o *options, results [][]*Result) error {
	var wrong, failed int64
	for _, rounds := range results {
		for _, r := range rounds {
			wrong += r.Wrong
			failed += r.Failed()
		}
	}
	switch {
	case wrong > 0:
		return &cli.Exit{Code: 1, Msg: fmt.Sprintf("%d wrong values", wrong)}
	case failed > 0 && !o.tolerate:
		return &cli.Exit{Code: 1, Msg: fmt.Sprintf("%d operations failed", failed)}
	}
	return nil
}

// asText is the report for people.
func asText(o *options, results [][]*Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", describe(o))
	if len(results) == 1 && len(results[0]) == 1 {
		b.WriteString(single(results[0][0]))
	} else {
		b.WriteString(several(o, results))
	}
	for i, rounds := range results {
		name := ""
		if len(results) > 1 {
			name = o.systems[i].Name + ": "
		}
		b.WriteString(troubles(name, rounds))
	}
	return b.String()
}

// describe is the load in one line.
func describe(o *options) string {
	l := o.load
	size := strconv.Itoa(l.MinValue)
	if l.MaxValue > l.MinValue {
		size += "-" + strconv.Itoa(l.MaxValue)
	}
	loop := "closed loop"
	if l.Rate > 0 {
		loop = fmt.Sprintf("open loop of %d/s", l.Rate)
	}
	gets := ""
	if l.Multiget > 1 {
		gets = fmt.Sprintf(", gets of %d keys", l.Multiget)
	}
	what := ""
	if !o.compare {
		what = fmt.Sprintf("%s, %s: ", o.systems[0].Name, o.systems[0].Protocol)
	}
	rounds := ""
	if o.interrupted {
		rounds = ", interrupted"
	} else if o.rounds > 1 {
		rounds = fmt.Sprintf(", medians of %d rounds", o.rounds)
	}
	return fmt.Sprintf("%s%s, %d connections, pipeline %d, %d keys (%s), values of %s bytes, %d %% sets%s%s",
		what, loop, l.Connections, l.Pipeline, l.Keys, l.Distribution, size, l.Sets, gets, rounds)
}

// single is one measurement.
func single(r *Result) string {
	rows := [][]string{{"", "operations", "per second", "mean ms", "p50", "p90", "p99", "p99.9", "max"}}
	add := func(name string, l *Latency) {
		if l != nil {
			rows = append(rows, []string{name, strconv.FormatInt(l.Count, 10), rounded(float64(l.Count) / r.Seconds),
				ms(l.Mean), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max)})
		}
	}
	add("get", r.Get)
	add("set", r.Set)
	if r.Get != nil && r.Set != nil {
		add("both", &r.All)
	}
	if w := r.Wait; w != nil {
		rows = append(rows, []string{"wait", "", "", ms(w.Mean), ms(w.P50), ms(w.P90), ms(w.P99), ms(w.P999), ms(w.Max)})
	}
	s := columns(rows)
	s += fmt.Sprintf("\n%d hits, %d misses, %d wrong values, %d operations failed, %d connections lost\n", r.Hits, r.Misses, r.Wrong, r.Failed(), r.Lost)
	if r.CPU != nil {
		s += fmt.Sprintf("CPU of the processes: %.1f us an operation\n", *r.CPU)
	}
	if r.OwnCPU != nil {
		s += fmt.Sprintf("CPU of kumobench: %.1f us an operation\n", *r.OwnCPU)
	}
	return s
}

// several is a table of systems, or of one in several rounds.
func several(o *options, results [][]*Result) string {
	rows := [][]string{{"", "per second", "min-max"}}
	if o.compare {
		rows[0] = append(rows[0], "ratio", "min-max")
	}
	rows[0] = append(rows[0], "CPU us")
	if o.compare {
		rows[0] = append(rows[0], "ratio", "min-max")
	}
	rows[0] = append(rows[0], "p50 ms", "p99 ms")
	if o.compare {
		rows[0] = append(rows[0], "ratio", "min-max")
	}
	rows[0] = append(rows[0], "p99.9 ms", "own CPU us", "misses", "wrong", "failed", "lost")
	for i, rounds := range results {
		s, ratio := Summarize(rounds), Ratios(rounds, results[0])
		row := []string{o.systems[i].Name, rounded(s.PerSecond.Median), rounded(s.PerSecond.Min) + "-" + rounded(s.PerSecond.Max)}
		compared := func(v *Spread) {
			if o.compare {
				row = append(row, v.ratio()...)
			}
		}
		compared(&ratio.PerSecond)
		row = append(row, us(s.CPU))
		compared(ratio.CPU)
		row = append(row, ms(s.P50.Median), ms(s.P99.Median))
		compared(&ratio.P99)
		row = append(row, ms(s.P999.Median), us(s.OwnCPU))
		var misses, wrong, failed, lost int64
		for _, r := range rounds {
			misses, wrong, failed, lost = misses+r.Misses, wrong+r.Wrong, failed+r.Failed(), lost+r.Lost
		}
		for _, n := range []int64{misses, wrong, failed, lost} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	return columns(rows)
}

// troubles says what went wrong, and how often.
func troubles(name string, rounds []*Result) string {
	s, errors := "", map[string]int64{}
	for _, r := range rounds {
		if r.FirstWrong != "" && s == "" {
			s = fmt.Sprintf("%swrong value: %s\n", name, r.FirstWrong)
		}
		for reason, n := range r.Errors {
			errors[reason] += n
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(errors)) {
		s += fmt.Sprintf("%s%d failed: %s\n", name, errors[reason], reason)
	}
	return s
}

// ratio is a ratio's two columns.
func (v *Spread) ratio() []string {
	if v == nil {
		return []string{"-", "-"}
	}
	return []string{fmt.Sprintf("%.2f", v.Median), fmt.Sprintf("%.2f-%.2f", v.Min, v.Max)}
}

func us(v *Spread) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", v.Median)
}

func ms(v float64) string { return fmt.Sprintf("%.3f", v) }

func rounded(v float64) string { return fmt.Sprintf("%.0f", v) }

// columns aligns a table: the first column to the left, numbers to the right.
func columns(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// report is what --json prints.
type report struct {
	Load    loadJSON     `json:"load"`
	Systems []systemJSON `json:"systems"`
}

type loadJSON struct {
	Connections  int     `json:"connections"`
	Pipeline     int     `json:"pipeline"`
	Threads      int     `json:"threads"`
	Keys         uint64  `json:"keys"`
	Distribution string  `json:"distribution"`
	MinValue     int     `json:"min_value_size"`
	MaxValue     int     `json:"max_value_size"`
	Rate         int     `json:"rate,omitempty"` // of an open loop
	Seconds      float64 `json:"seconds,omitempty"`
	Operations   int64   `json:"operations,omitempty"`
	Sets         int     `json:"set_percent"`
	Multiget     int     `json:"multiget"`
	WarmUp       int64   `json:"warm_up"`
	Seed         uint64  `json:"seed"`
}

type systemJSON struct {
	Name     string    `json:"name"`
	Addr     string    `json:"addr"`
	Protocol string    `json:"protocol"`
	Rounds   []*Result `json:"rounds"`
	Summary  *Summary  `json:"summary"`
	Ratio    *Summary  `json:"ratio,omitempty"` // to the first system
}

func asJSON(o *options, results [][]*Result) report {
	l := o.load
	r := report{Load: loadJSON{
		Connections: l.Connections, Pipeline: l.Pipeline, Threads: l.Threads, Keys: l.Keys, Distribution: l.Distribution.String(),
		MinValue: l.MinValue, MaxValue: l.MaxValue, Rate: l.Rate, Sets: l.Sets, Multiget: l.Multiget, WarmUp: l.WarmUp, Seed: l.Seed,
	}}
	if r.Load.Seconds = l.Time.Seconds(); l.Time == 0 {
		r.Load.Operations = l.Operations
	}
	for i, rounds := range results {
		s := systemJSON{Name: o.systems[i].Name, Addr: strings.Join(o.systems[i].Addrs, "+"), Protocol: o.systems[i].Protocol, Rounds: rounds, Summary: Summarize(rounds)}
		if o.compare {
			s.Ratio = Ratios(rounds, results[0])
		}
		r.Systems = append(r.Systems, s)
	}
	return r
}
