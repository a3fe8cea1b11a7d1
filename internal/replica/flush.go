package replica

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// executeFlush orders a flush of the partition (R11): a write of one record.
// Items of a version below it are misses from then on.
func (r *Replica) executeFlush(req *wire.Request, t Token, fx *Effects) {
	if req.Session != 0 && r.onceMore(req, t, nil, nil, 0, fx) {
		return
	}
	at := int64(0)
	if req.Exptime > 0 {
		at = item.ResolveExptime(req.Exptime, r.node.Unix)
	}
	version, ok := r.orderFlush(at, req, fx)
	if !ok {
		r.fail(req, t, r.usedUp(), fx)
		return
	}
	r.answer(t, &item.Result{Status: item.OK, Item: item.Item{Version: version}}, version, false, fx)
}

// orderFlush orders the record of a flush that is due at at (Unix seconds), or
// at once when at is 0. What was flushed before stays flushed.
func (r *Replica) orderFlush(at int64, req *wire.Request, fx *Effects) (uint64, bool) {
	version, ok := r.nextVersion()
	if !ok {
		return 0, false
	}
	f := wire.Flush{Version: version}
	if at != 0 {
		f = wire.Flush{Version: r.flush.Version, At: at}
	}
	r.flush = f
	r.order(entry{version: version, effect: wire.EffectFlush, flush: f}, req, &item.Result{Status: item.OK}, fx)
	return version, true
}

// startDueFlush starts a delayed flush whose time has come: the primary of that moment does.
func (r *Replica) startDueFlush(fx *Effects) {
	if r.flush.At != 0 && r.flush.At <= r.node.Unix && r.Serving() {
		r.orderFlush(0, nil, fx)
	}
}

// Flush is the partition's flush record.
func (r *Replica) Flush() wire.Flush { return r.flush }
