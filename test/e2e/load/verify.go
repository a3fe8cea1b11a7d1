package load

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
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

// value is a key's state in the model.
type value struct {
	there bool
	v     string
}

// judge says what is wrong with one key's history.
func (l *Load) judge(key string, h []record) error {
	if err := uniques(h); err != nil {
		return err
	}
	v, there := l.initial(key)
	model := porcupine.Model{
		Init: func() any { return value{there, v} },
		Step: func(s, in, out any) (bool, any) { return step(s.(value), in.(*Op), out.(*Result)) },
	}
	var ops []porcupine.Operation
	for i := range h {
		r := &h[i]
		ret := int64(r.ret)
		switch r.res.Status {
		case Failed:
			continue // says that it was not done
		case Unknown:
			if r.op.Kind == Get {
				continue
			}
			ret = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: r.client + 1, Input: &r.op, Output: &r.res, Call: int64(r.call), Return: ret})
	}
	switch porcupine.CheckOperationsTimeout(model, ops, time.Minute) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("history of %d operations not judged within a minute", len(ops))
	}
	return fmt.Errorf("history of %d operations is not linearizable", len(ops))
}

// step is what a command does to a key, and whether it can have been answered so.
func step(s value, op *Op, r *Result) (bool, value) {
	unknown := r.Status == Unknown
	is := func(want Status, next value) (bool, value) { return unknown || r.Status == want, next }
	switch op.Kind {
	case Get:
		if !s.there {
			return r.Status == Missing, s
		}
		return r.Status == Done && r.Value == s.v, s
	case Set:
		return is(Done, value{true, op.Value})
	case Add:
		if s.there {
			return is(Refused, s)
		}
		return is(Done, value{true, op.Value})
	case Append:
		if !s.there {
			return is(Refused, s)
		}
		return is(Done, value{true, s.v + op.Value})
	case CAS:
		// No two writes have the same value, so the unique stands for the value.
		switch {
		case !s.there:
			return is(Missing, s)
		case s.v != op.Expect:
			return is(Refused, s)
		}
		return is(Done, value{true, op.Value})
	case Incr:
		if !s.there {
			return is(Missing, s)
		}
		n, _ := strconv.ParseUint(s.v, 10, 64)
		next := value{true, strconv.FormatUint(n+1, 10)}
		return unknown || r.Status == Done && r.Value == next.v, next
	case Delete:
		if !s.there {
			return is(Missing, s)
		}
		return is(Done, value{})
	}
	panic("no such kind")
}

// uniques checks that uniques grow: a read that begins after another ended sees
// no smaller one, and one unique has one value.
func uniques(h []record) error {
	type seen struct {
		ret    time.Duration
		unique uint64
	}
	byUnique := map[uint64]string{}
	var reads []*record
	for i := range h {
		r := &h[i]
		if r.op.Kind != Get || r.res.Status != Done {
			continue
		}
		if v, ok := byUnique[r.res.Unique]; ok && v != r.res.Value {
			return fmt.Errorf("unique %d had the values %q and %q", r.res.Unique, v, r.res.Value)
		}
		byUnique[r.res.Unique] = r.res.Value
		reads = append(reads, r)
	}
	byRet := slices.Clone(reads)
	slices.SortFunc(byRet, func(a, b *record) int { return int(a.ret - b.ret) })
	var before seen
	n := 0
	for _, r := range reads { // by call
		for n < len(byRet) && byRet[n].ret < r.call {
			if byRet[n].res.Unique > before.unique {
				before = seen{byRet[n].ret, byRet[n].res.Unique}
			}
			n++
		}
		if r.res.Unique < before.unique {
			return fmt.Errorf("a read at %v saw unique %d after one that ended at %v saw %d", r.call, r.res.Unique, before.ret, before.unique)
		}
	}
	return nil
}
