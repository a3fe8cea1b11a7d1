package sim

import (
	"strings"

	"github.com/kumofs/kumofs/internal/item"
)

// counter is a number that a gateway's clients count up together, and nobody
// else touches: each increment that is answered must have happened once (R8).
type counter struct {
	key     string
	made    bool
	done    uint64 // increments that were answered
	unsure  uint64
	changed int64 // when something was last acknowledged
}

// request is the next thing to do with the counter.
func (n *counter) request() item.Request {
	if !n.made {
		return item.Request{Op: item.OpAdd, Key: []byte(n.key), Value: []byte("0")}
	}
	return item.Request{Op: item.OpIncr, Key: []byte(n.key), Delta: 1}
}

func (n *counter) ended(w *World, c *call, res item.Result, how outcome) {
	w.traceEnd(c, res, how)
	w.checkAnswered(c, res, how)
	switch {
	case c.req.Op == item.OpGet && how == answered:
		n.read(w, c, res)
	case c.req.Op == item.OpAdd:
		if how == answered && !n.made {
			n.made, n.changed = true, w.now
		}
	case how == unknown:
		n.unsure++
	case how == answered && res.Status != item.OK:
		w.fail(exactlyOnce, "counter %s, which nobody removes: incr is answered %s", n.key, result(res, how))
	case how == answered:
		n.done++
		n.changed = w.now
		w.stats["increments"]++
		if res.Number > n.done+n.unsure+uint64(w.incrementsOut(n.key)) {
			w.fail(exactlyOnce, "counter %s is %d after %d increments, %d unsure ones and those under way", n.key, res.Number, n.done, n.unsure)
		}
	}
}

// read is what the counter is when nobody counts any more.
func (n *counter) read(w *World, c *call, res item.Result) {
	v := uint64(0)
	for _, d := range strings.TrimSpace(string(res.Item.Value)) {
		v = v*10 + uint64(d-'0')
	}
	switch {
	case !n.made || c.began < n.changed:
	case res.Status != item.OK || v < n.done:
		w.fail(nothingLost, "counter %s: %s after %d acknowledged increments", n.key, result(res, answered), n.done)
	case v > n.done+n.unsure+uint64(w.incrementsOut(n.key)):
		w.fail(exactlyOnce, "counter %s is %d after %d increments and %d unsure ones", n.key, v, n.done, n.unsure)
	}
}

// incrementsOut counts increments under way.
func (w *World) incrementsOut(key string) int {
	out := 0
	for _, g := range w.gates {
		for _, c := range g.calls {
			if string(c.req.Key) == key {
				out++
			}
		}
	}
	return out
}
