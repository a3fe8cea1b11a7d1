package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// outcome of a command as its client saw it.
type outcome uint8

const (
	answered outcome = iota
	unknown          // it may have been done, or may yet be
	notDone          // every try was refused before it was ordered
	torn             // it was done, and of the value that it found something was missing
)

// history is what all clients saw.
type history struct {
	w       *World
	keys    map[string][]porcupine.Operation
	flushes []flushed
}

type flushed struct {
	part uint16
	op   porcupine.Operation
}

// input and output of one operation, as the model sees them. Times are in
// seconds of virtual time: items expire by them.
type input struct {
	req       item.Request
	call, ret float64
	// skew is by how much the wall clocks of servers may be wrong, in seconds.
	skew float64
}

type output struct {
	res     item.Result
	unknown bool
	anew    bool // the item that was answered is of another moment than what was done
}

func newHistory(w *World) *history {
	return &history{w: w, keys: map[string][]porcupine.Operation{}}
}

func (h *history) add(c *call, res item.Result, how outcome) {
	w := h.w
	w.traceEnd(c, res, how)
	w.checkAnswered(c, res, how)
	switch {
	case how == notDone:
		w.stats["surely not done"]++
		return
	case how != answered && c.req.Op == item.OpGet:
		return
	case how == unknown:
		w.stats["outcome unknown"]++
	}
	if (c.req.Op == item.OpGetAndTouch || c.req.Op == item.OpMetaGet) && (how == torn || how == answered && c.retry) {
		// It is done once; its value may have been read anew later (R8), or is not known.
		done := *c
		if c.req.Op == item.OpGetAndTouch {
			done.req.Op = item.OpTouch
		}
		if c.req.Op == item.OpMetaGet && res.Status == item.OK {
			h.noteAnew(&done, res)
		} else {
			h.note(&done, item.Result{}, unknown)
		}
		if how == torn {
			return
		}
		res.Won = false
		read := *c
		read.req = item.Request{Op: item.OpGet, Key: c.req.Key}
		h.note(&read, res, answered)
		return
	}
	h.note(c, res, how)
}

// leave notes what is still under way when the run ends: it may have been done.
func (h *history) leave() {
	for _, g := range h.w.gates {
		for _, c := range g.calls {
			if c.isWrite() && !c.piece && string(c.req.Key) != g.counter.key {
				h.note(c, item.Result{}, unknown)
			}
		}
	}
}

// noteAnew notes an answer of which only the status and whether the token was won
// are of the moment of the operation.
func (h *history) noteAnew(c *call, res item.Result) {
	h.note(c, res, answered)
	list := h.keys[string(c.req.Key)]
	o := list[len(list)-1].Output.(output)
	o.anew = true
	list[len(list)-1].Output = o
}

func (h *history) note(c *call, res item.Result, how outcome) {
	w := h.w
	in := input{c.req, float64(c.began) / 1e9, float64(w.now) / 1e9, w.opt.skew()}
	op := porcupine.Operation{ClientId: c.client, Call: c.began, Return: w.now}
	if c.req.Op == item.OpFlush && c.req.Exptime > 0 {
		// The flush itself comes later, or never if another one replaces it (R11).
		how = unknown
		op.Call += max(0, int64((float64(c.req.Exptime)-2*in.skew-2)*1e9))
		in.call = float64(op.Call) / 1e9
	}
	if how == unknown {
		op.Return, in.ret = math.MaxInt64/2, math.Inf(1)
	}
	op.Input, op.Output = in, output{res: res, unknown: how == unknown}
	w.stats["operations"]++
	if c.req.Op == item.OpFlush {
		h.flushes = append(h.flushes, flushed{c.part, op})
		return
	}
	k := string(c.req.Key)
	h.keys[k] = append(h.keys[k], op)
}

func describe(r *item.Request) string {
	names := []string{"", "get", "set", "add", "replace", "append", "prepend", "cas", "incr", "decr", "touch", "gat", "delete", "flush", "open", "mg"}
	name := names[r.Op]
	if r.Options != 0 {
		name += fmt.Sprintf("+%x", r.Options)
	}
	return fmt.Sprintf("%s %s %s exp %d cas %s delta %d", name, showKey(r.Key), r.Value, r.Exptime, version(r.CAS), r.Delta)
}

// showKey is a key as the trace shows it.
func showKey(key []byte) string {
	if user, id, n, ok := item.ParseChunkKey(key); ok {
		return fmt.Sprintf("%s/%x/%d", user, id[:8], n)
	}
	return string(key)
}

func result(r item.Result, how outcome) string {
	switch how {
	case unknown:
		return "unknown"
	case notDone:
		return "not done"
	case torn:
		return "a part is missing"
	}
	marks := ""
	for i, v := range []bool{r.Won, r.Item.Stale, r.Item.TokenSent} {
		if v {
			marks += []string{" won", " stale", " token"}[i]
		}
	}
	return fmt.Sprintf("status %d %q unique %s number %d%s", r.Status, r.Item.Value, version(r.Item.CAS()), r.Number, marks)
}

// traceEnd shows the end of a command.
func (w *World) traceEnd(c *call, res item.Result, how outcome) {
	if w.trace != nil {
		w.tracef("client %d: %s from %.3f: %s", c.client, describe(&c.req), float64(c.began)/1e6, result(res, how))
	}
}

// check runs porcupine on every key.
func (h *history) check(timeout time.Duration) {
	m := keyModel.ToModel()
	for _, k := range h.names() {
		ops := slices.Clone(h.keys[k])
		for _, f := range h.flushes {
			if f.part == clustermap.PartitionOf([]byte(k), len(h.w.served)) {
				ops = append(ops, f.op)
			}
		}
		switch porcupine.CheckOperationsTimeout(m, thin(ops), timeout) {
		case porcupine.Illegal:
			h.w.fail(linearizable, "key %s is not linearizable: %s", k, h.explain(m, ops, timeout))
		case porcupine.Unknown:
			h.w.stats["verdict unknown"]++
			h.w.fail(verdictKnown, "key %s: %d operations could not be checked within %v", k, len(ops), timeout)
		}
	}
}

// explain finds the first answer with which the history is illegal.
func (h *history) explain(m porcupine.Model, ops []porcupine.Operation, timeout time.Duration) string {
	returns := make([]int64, 0, len(ops))
	for _, o := range ops {
		if !o.Output.(output).unknown {
			returns = append(returns, o.Return)
		}
	}
	slices.Sort(returns)
	for _, t := range returns {
		var part []porcupine.Operation
		var last porcupine.Operation
		for _, o := range ops {
			if o.Call > t {
				continue
			}
			if o.Return == t {
				last = o
			}
			if o.Return > t {
				in := o.Input.(input)
				if in.req.Op == item.OpGet {
					continue
				}
				in.ret = math.Inf(1)
				o.Return, o.Input, o.Output = math.MaxInt64/2, in, output{unknown: true}
			}
			part = append(part, o)
		}
		if porcupine.CheckOperationsTimeout(m, part, timeout) == porcupine.Illegal {
			in := last.Input.(input)
			return fmt.Sprintf("first with %s, from %.3f to %.3f: %s", describe(&in.req),
				float64(last.Call)/1e6, float64(last.Return)/1e6, result(last.Output.(output).res, answered))
		}
	}
	return "no single answer shows it"
}

// names are all keys that were ever used, in order.
func (h *history) names() []string {
	names := make([]string, 0, len(h.keys))
	for k := range h.keys {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
