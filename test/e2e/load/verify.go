package load

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Report is what a Load came to.
type Report struct {
	Ops     int            // operations answered with success
	Unknown int            // writes whose outcome is unknown
	Errors  map[string]int // by kind, those among them
	Stall   time.Duration  // the longest that an operation with success took
	Gap     time.Duration  // the longest that no operation succeeded at all
	Text    string
}

// all are the records so far, by the time of their call. The clients must have ended.
func (l *Load) all() []record {
	all := slices.Clone(l.extra)
	for _, c := range l.clients {
		all = append(all, c.records...)
	}
	slices.SortFunc(all, func(a, b record) int { return int(a.call - b.call) })
	return all
}

// Observe adds an operation that somebody else did, to be judged with the rest.
// An Unknown or Failed one is not counted as a client's error.
func (l *Load) Observe(op Op, res Result, call, ret time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extra = append(l.extra, record{client: -1, op: op, res: res, call: call, ret: ret})
}

// Quantile is of how long operations took that were called between two times since the
// Load was made, 0 if there were none. The clients must have ended.
func (l *Load) Quantile(q float64, from, to time.Duration) time.Duration {
	var took []time.Duration
	for _, c := range l.clients {
		for i := range c.records {
			if r := &c.records[i]; !r.more && r.call >= from && r.call < to {
				took = append(took, r.ret-r.call)
			}
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)]
}

// Report sums up what the clients saw. They must have ended.
func (l *Load) Report() Report {
	rep := Report{Errors: map[string]int{}}
	var worst *record
	var ends []time.Duration
	all := l.all()
	var lines []string
	for i := range all {
		r := &all[i]
		if r.client < 0 || r.more {
			continue
		}
		if r.res.Status >= Unknown {
			if rep.Errors[kindOf(r)]++; rep.Errors[kindOf(r)] <= 3 {
				lines = append(lines, "  "+r.String())
			}
			if r.res.Status == Unknown && r.op.Kind != Get {
				rep.Unknown++
			}
			continue
		}
		rep.Ops++
		ends = append(ends, r.ret)
		if d := r.ret - r.call; d > rep.Stall {
			rep.Stall, worst = d, r
		}
	}
	slices.Sort(ends)
	for i := 1; i < len(ends); i++ {
		rep.Gap = max(rep.Gap, ends[i]-ends[i-1])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %d writes of unknown outcome, longest stall %v, longest time without any success %v",
		rep.Ops, rep.Unknown, rep.Stall.Round(time.Millisecond), rep.Gap.Round(time.Millisecond))
	if worst != nil {
		fmt.Fprintf(&b, "\n  slowest: %s", worst)
	}
	for _, m := range l.marks {
		fmt.Fprintf(&b, "\n  %8.3fs %s", m.at.Seconds(), m.what)
	}
	kinds := make([]string, 0, len(rep.Errors))
	for k := range rep.Errors {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n  %6d x %s", rep.Errors[k], k)
	}
	for _, s := range lines {
		b.WriteString("\n" + s)
	}
	rep.Text = b.String()
	return rep
}

func (r *record) String() string {
	short := func(s string) string { return strings.TrimRight(s, ".") }
	s := fmt.Sprintf("%8.3fs +%6.3fs c%-2d %s %s", r.call.Seconds(), (r.ret - r.call).Seconds(), r.client, r.op.Kind, r.op.Key)
	if r.op.Value != "" {
		s += " " + short(r.op.Value)
	}
	if r.op.Kind == CAS {
		s += fmt.Sprintf(" if %s (%d)", short(r.op.Expect), r.op.Unique)
	}
	s += fmt.Sprintf(" -> %s %s%s", r.res.Status, short(r.res.Value), r.res.Error)
	if r.res.Unique != 0 {
		s += fmt.Sprintf(" (unique %d: epoch %d, seq %d)", r.res.Unique, r.res.Unique>>40, r.res.Unique&(1<<40-1))
	}
	return s
}

// Verify reads every key that was loaded or used and judges every key's history
// with what was read. The clients must have ended.
func (l *Load) Verify() {
	l.t.Helper()
	start := time.Now()
	all := l.all()
	keys := map[string]bool{}
	for i := range all {
		keys[all[i].op.Key] = true
	}
	used := len(keys)
	for i := range l.opt.Keys {
		keys[Key(i)] = true
	}
	l.readAll(keys)
	all = l.all()
	byKey := map[string][]record{}
	for _, r := range all {
		byKey[r.op.Key] = append(byKey[r.op.Key], r)
	}
	bad, checked := 0, 0
	for key, h := range byKey {
		if err := l.judge(key, h); err != nil {
			if bad++; bad <= 5 {
				l.t.Errorf("%s: %v\n%s", key, err, show(h))
			}
		}
		checked += len(h)
	}
	if bad > 0 {
		l.t.Errorf("%d keys have a history that cannot be", bad)
	}
	l.t.Logf("verified: %d keys (%d used) and %d operations in %v", len(keys), used, checked, time.Since(start).Round(time.Millisecond))
}

// readAll reads keys and adds that to the histories.
func (l *Load) readAll(keys map[string]bool) {
	l.t.Helper()
	c, err := Dial(l.opt.Addr, l.opt.Timeout)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	list := make([]string, 0, len(keys))
	for k := range keys {
		list = append(list, k)
	}
	failed := 0
	for part := range slices.Chunk(list, 200) {
		call := l.Now()
		found, res, err := c.MultiGet(part)
		ret := l.Now()
		if err != nil {
			l.t.Fatalf("reading all keys: %v", err)
		}
		if res.Error != "" {
			if failed++; failed < 4 {
				l.t.Errorf("reading keys: %s", res.Error)
			}
			continue
		}
		for _, k := range part {
			r, hit := found[k]
			if !hit {
				r.Status = Missing
			}
			l.Observe(Op{Kind: Get, Key: k}, r, call, ret)
		}
	}
}

func show(h []record) string {
	var b strings.Builder
	skip := max(0, len(h)-80)
	if skip > 0 {
		fmt.Fprintf(&b, "  (%d earlier operations)\n", skip)
	}
	for i := range h[skip:] {
		fmt.Fprintf(&b, "  %s\n", &h[skip+i])
	}
	return b.String()
}

// judge says what is wrong with one key's history.
func (l *Load) judge(key string, h []record) error {
	v, there := l.initial(key)
	return judge(value{there: there, v: v}, h)
}
