package sim

import (
	"math"

	"github.com/anishathalye/porcupine"

	"github.com/kumofs/kumofs/internal/item"
)

// state is what one key holds.
type state struct {
	present bool
	value   string
	// unique is 0 where the operation that made the item was never answered.
	unique uint64
	// The item may be gone from early on and must be from late on, in seconds
	// of virtual time; early 0: it does not expire.
	early, late float64
	// What meta commands see (item.Item).
	stale, token bool
}

// keyModel is memcached's semantics of one key. What an operation does is
// item.Execute's business, which has its own tests; this model is about order.
var keyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(st, in, out any) []any {
		s, i, o := st.(state), in.(input), out.(output)
		var next []any
		expires := s.present && s.early != 0
		if !expires || i.call <= s.late {
			next = steps(next, s, &i, &o)
		}
		if expires && i.ret >= s.early {
			next = steps(next, state{}, &i, &o)
		}
		return next
	},
}

// steps appends what may come of an operation on state s.
func steps(next []any, s state, i *input, o *output) []any {
	if i.req.Op == item.OpFlush {
		return append(next, state{})
	}
	var cur *item.Item
	if s.present {
		cur = &item.Item{Value: []byte(s.value), Version: s.unique, Stale: s.stale, TokenSent: s.token}
	}
	req := i.req
	if req.Op != item.OpCAS || !s.present || s.unique != 0 {
		return step(next, s, cur, &req, i, o)
	}
	// A cas on an item whose unique nobody was told: it may or may not have been that.
	if o.unknown || o.res.Status == item.OK {
		cur.Version = max(req.CAS, 1)
		req.CAS = cur.Version
		next = step(next, s, cur, &req, i, o)
	}
	if o.unknown || o.res.Status == item.Exists {
		cur.Version = req.CAS + 1
		next = step(next, s, cur, &req, i, o)
	}
	return next
}

func step(next []any, s state, cur *item.Item, req *item.Request, i *input, o *output) []any {
	const wall = 1_000_000 // any time: expiry is the model's own business
	out := item.Execute(req, cur, wall, 0)
	res := &o.res
	if !o.unknown {
		if out.Result.Status != res.Status || out.Result.Number != res.Number || out.Result.Won != res.Won {
			return next
		}
		if !o.anew && (string(out.Result.Item.Value) != string(res.Item.Value) || req.Op.Retrieves() && res.Status == item.OK && !sameMarks(&out.Result.Item, &res.Item)) {
			return next
		}
	}
	seen := res.Item.CAS() // 0 where the answer does not tell it
	if o.anew {
		seen = 0
	}
	switch out.Effect {
	case item.Remove:
		return append(next, state{})
	case item.None:
		if !o.unknown && !o.anew && res.Status == item.OK {
			if s.unique != 0 && s.unique != seen {
				return next
			}
			s.unique = seen
		}
		return append(next, s)
	}
	n := state{present: true, value: string(out.New.Value), unique: seen, early: s.early, late: s.late, stale: out.New.Stale, token: out.New.TokenSent}
	switch req.Op {
	case item.OpTouch, item.OpGetAndTouch, item.OpMetaGet:
		if req.Op == item.OpMetaGet && cur == nil {
			n.early, n.late = expiry(req.VivifyExptime, i)
			break
		}
		if s.unique != 0 {
			if seen != 0 && seen != s.unique {
				return next
			}
			n.unique = s.unique
		}
		if req.Op != item.OpMetaGet {
			n.early, n.late = expiry(req.Exptime, i)
		}
	case item.OpAppend, item.OpPrepend, item.OpIncr, item.OpDecr, item.OpDelete:
	default:
		n.early, n.late = expiry(req.Exptime, i)
	}
	return append(next, n)
}

func sameMarks(a, b *item.Item) bool { return a.Stale == b.Stale && a.TokenSent == b.TokenSent }

// expiry bounds when an item stored by an operation expires at a primary, whose
// clock and the clock that fixed the time may both be wrong.
func expiry(exptime int64, i *input) (early, late float64) {
	if exptime == 0 {
		return 0, 0
	}
	early = math.Max(i.call+math.Max(0, float64(exptime)-2*i.skew-2), 1e-9)
	return early, i.ret + float64(exptime) + 2*i.skew + 2
}
