package nemesis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/test/e2e/load"
)

// kind sums up the cycles of one name.
type kind struct {
	name    string
	bar     time.Duration
	stalls  []time.Duration // the longest of each cycle
	healed  time.Duration   // the longest
	ops     int
	slow    [2]int
	unknown int
	errors  map[string]int
	direct  map[string]int
	slowest string
}

// at is the share p of values, which are sorted.
func at(values []time.Duration, p float64) time.Duration {
	return values[min(len(values)-1, int(p*float64(len(values))))]
}

func (k *kind) add(cy *cycle) {
	w := cy.window
	if w.Stall > slices.Max(append(k.stalls, -1)) {
		k.slowest = w.Slowest
	}
	k.stalls = append(k.stalls, w.Stall)
	k.healed = max(k.healed, cy.healed)
	k.ops += w.Ops
	k.unknown += w.Unknown
	for i := range k.slow {
		k.slow[i] += w.Slow[i]
	}
	for e, n := range w.Errors {
		k.errors[e] += n
	}
	for e, n := range w.Direct {
		k.direct[e] += n
	}
}

// finish ends the load, and tells and judges what it came to.
func (n *nemesis) finish(took time.Duration) {
	v := n.load.Stop()
	for _, violation := range v.Violations {
		n.t.Errorf("%s", violation)
	}
	if v.Unjudged > 0 {
		n.t.Errorf("%d histories were not judged in time", v.Unjudged)
	}
	kinds := map[string]*kind{}
	together := &kind{name: "two together", errors: map[string]int{}, direct: map[string]int{}}
	get := func(cy *cycle) *kind {
		if len(cy.faults) > 0 && !cy.alone() {
			return together
		}
		k := kinds[cy.name()]
		if k == nil {
			k = &kind{name: cy.name(), errors: map[string]int{}, direct: map[string]int{}}
			if len(cy.faults) == 1 {
				k.bar = cy.faults[0].bar
			}
			kinds[cy.name()] = k
		}
		return k
	}
	ops := 0
	for _, cy := range n.log {
		k := get(cy)
		k.add(cy)
		ops += cy.window.Ops
	}
	list := slices.SortedFunc(maps.Values(kinds), func(a, b *kind) int { return strings.Compare(a.name, b.name) })
	if len(together.stalls) > 0 {
		list = append(list, together)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "nemesis: seed %d, %v, %d cycles\n", n.opt.Seed, took.Round(time.Second), len(n.log))
	fmt.Fprintf(&b, "%-32s %5s %8s | longest wait of a client: %s | %6s %6s %7s %7s\n", "alone", "times", "answers", "median    99 %   worst", ">1 s", ">4 s", "healed", "unknown")
	for _, k := range list {
		slices.Sort(k.stalls)
		ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Fprintf(&b, "%-32s %5d %8d | %25s  %7v %7v %7v | %6d %6d %7v %7d\n", k.name, len(k.stalls), k.ops, "",
			ms(at(k.stalls, 0.5)), ms(at(k.stalls, 0.99)), ms(at(k.stalls, 1)), k.slow[0], k.slow[1], ms(k.healed), k.unknown)
		if k.bar > 0 && at(k.stalls, 0.99) > k.bar {
			fmt.Fprintf(&b, "    more than %v: %s\n", k.bar, k.slowest)
			if !n.opt.Lenient {
				n.t.Errorf("%s: clients waited %v, more than %v", k.name, at(k.stalls, 0.99), k.bar)
			}
		}
		for _, list := range []struct {
			who  string
			errs map[string]int
		}{{"", k.errors}, {"a server's own port: ", k.direct}} {
			for _, e := range slices.Sorted(maps.Keys(list.errs)) {
				fmt.Fprintf(&b, "    %6d x %s%s\n", list.errs[e], list.who, e)
			}
		}
	}
	b.WriteString("faults, alone or together:\n")
	for _, name := range slices.Sorted(maps.Keys(n.hits)) {
		fmt.Fprintf(&b, "    %4d x %s\n", n.hits[name], name)
	}
	fmt.Fprintf(&b, "checked: %d operations on %d keys (%s), %d values read again\n", v.Ops, v.Keys, byKind(&v), v.Reread)
	fmt.Fprintf(&b, "verdict: %d violations, %d histories not judged", len(v.Violations), v.Unjudged)
	n.t.Log(b.String())
	if v.Ops == 0 || ops == 0 {
		n.t.Error("nothing was checked")
	}
}

func byKind(v *load.Verdict) string {
	var out []string
	for k, count := range v.Kinds {
		if count > 0 {
			out = append(out, fmt.Sprintf("%v %d", load.Kind(k), count))
		}
	}
	return strings.Join(out, ", ")
}
