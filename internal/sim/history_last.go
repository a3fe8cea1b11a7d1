package sim

import (
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// checkLast looks at what each key holds in the end, where that is clear without
// a search: after a set or delete that was answered, and that nothing else that
// changes the key overlaps or follows. Porcupine finds the same and more; this
// says in plain words what was lost or came back.
func (h *history) checkLast() {
	w := h.w
	for _, k := range h.names() {
		part := clustermap.PartitionOf([]byte(k), len(w.served))
		if k[0] == 't' || slices.ContainsFunc(h.flushes, func(f flushed) bool { return f.part == part }) {
			continue // it may have expired, or been flushed
		}
		ops := h.keys[k]
		// The probe's: an answer to another may come later still, and tell of before.
		n := len(ops) - 1
		for n > 0 && ops[n].ClientId != prober {
			n--
		}
		last := ops[n]
		in, out := last.Input.(input), last.Output.(output)
		if in.req.Op != item.OpGet || out.unknown {
			continue
		}
		clear := decisive(ops)
		// It must come after what is clear; the probe's own set goes before its gets.
		if clear == nil || last.Call < clear.Call || last.Call < clear.Return && clear.ClientId != prober {
			continue
		}
		w.stats["keys with a clear end"]++
		req := clear.Input.(input).req
		switch {
		case req.Op == item.OpSet && out.res.Status != item.OK:
			w.fail(nothingLost, "key %s: %s was acknowledged at %.3f, and it is gone", k, describe(&req), float64(clear.Return)/1e6)
		case req.Op == item.OpSet && string(out.res.Item.Value) != string(req.Value):
			w.fail(noReturn, "key %s: %s was acknowledged at %.3f, and it holds %q", k, describe(&req), float64(clear.Return)/1e6, out.res.Item.Value)
		case req.Op == item.OpDelete && out.res.Status == item.OK:
			w.fail(noReturn, "key %s was deleted at %.3f, and it holds %q", k, float64(clear.Return)/1e6, out.res.Item.Value)
		}
		if len(w.failures) > 0 {
			return
		}
	}
}

// decisive is the last set or delete of a key, if nothing that may change the
// key is under way at the same time or comes after it.
func decisive(ops []porcupine.Operation) *porcupine.Operation {
	var last *porcupine.Operation
	for i := range ops {
		o := &ops[i]
		in, out := o.Input.(input), o.Output.(output)
		if (in.req.Op == item.OpSet || in.req.Op == item.OpDelete && in.req.Options == 0) && !out.unknown && out.res.Status == item.OK &&
			(last == nil || o.Call > last.Call) {
			last = o
		}
	}
	if last == nil {
		return nil
	}
	if slices.ContainsFunc(ops, func(o porcupine.Operation) bool {
		in, out := o.Input.(input), o.Output.(output)
		if in.req.Op == item.OpGet || o.Return < last.Call || o.Call == last.Call && o.ClientId == last.ClientId {
			return false
		}
		return out.unknown || out.res.Status == item.OK
	}) {
		return nil
	}
	return last
}
