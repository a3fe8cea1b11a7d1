package sim

import (
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/kumofs/kumofs/internal/item"
)

// thin leaves out gets that say nothing that the others do not say, for
// porcupine's search grows with what overlaps. A key holds an item of one unique
// from one moment to another and never again, so of the gets that found it the
// one that ended first and the one that began last tell all. Of two misses of
// which one lies within the other's time, the inner one does. Where items expire
// the gets' times matter, and nothing is left out.
func thin(ops []porcupine.Operation) []porcupine.Operation {
	type bounds struct{ first, last int }
	hits := map[string]bounds{}
	var misses []int
	for n, o := range ops {
		in, out := o.Input.(input), o.Output.(output)
		switch {
		case in.req.Exptime != 0 || in.req.VivifyExptime != 0:
			return ops
		case in.req.Op != item.OpGet || out.unknown:
		case out.res.Status == item.NotFound:
			misses = append(misses, n)
		case out.res.Status == item.OK:
			k := result(out.res, answered)
			b, ok := hits[k]
			if !ok {
				b = bounds{n, n}
			}
			if o.Return < ops[b.first].Return {
				b.first = n
			}
			if o.Call > ops[b.last].Call {
				b.last = n
			}
			hits[k] = b
		}
	}
	drop := make([]bool, len(ops))
	for n, o := range ops {
		if in, out := o.Input.(input), o.Output.(output); in.req.Op == item.OpGet && !out.unknown && out.res.Status == item.OK {
			b := hits[result(out.res, answered)]
			drop[n] = n != b.first && n != b.last
		}
	}
	// Of misses that begin at the same time the shortest comes first.
	slices.SortStableFunc(misses, func(a, b int) int {
		if ops[a].Call != ops[b].Call {
			return int(ops[b].Call - ops[a].Call)
		}
		return int(ops[a].Return - ops[b].Return)
	})
	var ends int64 = -1 // the earliest end of those that begin later
	for _, n := range misses {
		if drop[n] = ends >= 0 && ops[n].Return >= ends; !drop[n] {
			ends = ops[n].Return
		}
	}
	var out []porcupine.Operation
	for n, o := range ops {
		if !drop[n] {
			out = append(out, o)
		}
	}
	return out
}
