package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// sheet is what came of a section.
type sheet struct {
	bars    []bar
	figures []figure
	notes   []string
	others  float64 // processors that others used meanwhile
}

// bar is one that kumofs is to reach.
type bar struct {
	name, wanted, measured string
	met                    bool
}

// figure is a system under a load.
type figure struct {
	load, system string
	*bench.Summary
}

// fail notes that what is missing could not be measured.
func (s *sheet) fail(err error) {
	line, _, _ := strings.Cut(err.Error(), "\n")
	s.bars = append(s.bars, bar{name: "all that is not listed here", wanted: "to be measured", measured: "failed: " + line})
}

func (s *sheet) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// atLeast notes a bar that is a least median.
func (s *sheet) atLeast(name string, v *bench.Spread, least float64, unit string) {
	s.limit(name, ">=", v, least, unit, func() bool { return v.Median >= least })
}

// atMost notes a bar that is a greatest median.
func (s *sheet) atMost(name string, v *bench.Spread, most float64, unit string) {
	s.limit(name, "<=", v, most, unit, func() bool { return v.Median <= most })
}

func (s *sheet) limit(name, sign string, v *bench.Spread, limit float64, unit string, met func() bool) {
	if unit != "" {
		unit = " " + unit
	}
	b := bar{name: name, wanted: fmt.Sprintf("%s %.4g%s", sign, limit, unit), measured: "nothing"}
	if v != nil {
		b.met = met()
		b.measured = fmt.Sprintf("%s%s (%s-%s)", short(v.Median), unit, short(v.Min), short(v.Max))
		if v.Min == v.Max {
			b.measured = short(v.Median) + unit
		}
	}
	s.bars = append(s.bars, b)
}

// short is a figure to three digits at least.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// markdown is the section for BENCHMARKS.md.
func (s *sheet) markdown(title, command string, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n    %s\n\n%s; %s. It took %v; what else ran on the machine used %.2f cores.\n\n", title, command, time.Now().Format(time.DateOnly), machine(), took.Round(time.Second), s.others)
	b.WriteString("| bar | wanted | measured: median (min-max) | |\n|---|---|---|---|\n")
	for _, x := range s.bars {
		met := "**not met**"
		if x.met {
			met = "met"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.name, x.wanted, x.measured, met)
	}
	for _, n := range s.notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	if len(s.figures) == 0 {
		return b.String()
	}
	b.WriteString("\n| load | system | per second (min-max) | CPU us/op | p50, p99 ms | CPU us/op of the load |\n|---|---|---|---|---|---|\n")
	for _, f := range s.figures {
		latency := "-"
		if f.P99.Max > 0 {
			latency = fmt.Sprintf("%.2f, %.2f", f.P50.Median, f.P99.Median)
		}
		fmt.Fprintf(&b, "| %s | %s | %.0f (%.0f-%.0f) | %s | %s | %s |\n", f.load, f.system,
			f.PerSecond.Median, f.PerSecond.Min, f.PerSecond.Max, median(f.CPU), latency, median(f.OwnCPU))
	}
	return b.String()
}

func median(v *bench.Spread) string {
	if v == nil {
		return "-"
	}
	return short(v.Median)
}

// machine is what figures depend on.
func machine() string {
	cpu, kernel := "unknown processor", "unknown kernel"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s, %s, %s", runtime.NumCPU(), cpu, kernel, runtime.Version(), version("memcached"), version("redis-server"))
}

// The generated part of a file is between two marks, and in it each section after its
// own; what a mark of an unknown section begins is kept.
const (
	markBegin = "<!-- bench: begin (written by `make bench`) -->"
	markEnd   = "<!-- bench: end -->"
)

func sectionMark(name string) string { return "<!-- bench: " + name + " -->" }

// replaceSection puts a section's text into a file, in place of its former one.
func replaceSection(file, name, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b, err = withSection(b, name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, b, 0o644)
}

func withSection(b []byte, name, text string) ([]byte, error) {
	begin, end := bytes.Index(b, []byte(markBegin)), bytes.Index(b, []byte(markEnd))
	if begin < 0 || end < begin {
		return nil, errors.New("there are no lines " + markBegin + " and " + markEnd)
	}
	begin += len(markBegin)
	mark := sectionMark(name)
	part := "\n" + mark + "\n\n" + strings.TrimSpace(text) + "\n"
	old := string(b[begin:end])
	if at := strings.Index(old, mark); at >= 0 {
		rest := ""
		if next := strings.Index(old[at+len(mark):], "<!-- bench: "); next >= 0 {
			rest = old[at+len(mark)+next:]
		}
		old = strings.TrimRight(old[:at], "\n") + "\n" + part + "\n" + rest
	} else {
		old = strings.TrimRight(old, "\n") + "\n" + part + "\n"
	}
	return []byte(string(b[:begin]) + old + string(b[end:])), nil
}
