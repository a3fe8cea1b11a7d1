package replica

import (
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Exactly once (R8), at the primary.

const (
	// SessionIdle is after how long without a write a session is ended.
	SessionIdle = 10 * time.Minute
	// idleCheckEvery is how often a primary looks for such sessions.
	idleCheckEvery = int64(SessionIdle / 20)
)

// onceMore decides at the moment of execution whether a write of a session is to
// be executed. If not, it is dealt with and onceMore is true: the write was done
// already, or must not be. found is the key's item; cur is the same, but nil if
// that has expired or was flushed.
func (r *Replica) onceMore(req *wire.Request, t Token, found, cur *item.Item, depends uint64, fx *Effects) bool {
	s := r.sessions.find(req.Session)
	if s == nil {
		r.refuse(t, wire.NakUnknownSession, fx)
		return true
	}
	s.seen = r.node.Now
	lowest := max(s.lowest, req.Lowest)
	if req.Number < lowest && !planted.Is(planted.GivenUpExecuted) {
		// Its gateway has given it up or has its answer: nobody waits for this one.
		r.reply(t, &item.Result{Status: item.FateUnknown}, fx)
		return true
	}
	if req.Number-lowest >= wire.MaxOutstanding {
		r.refuse(t, wire.NakNotReady, fx)
		return true
	}
	done := s.result(req.Number)
	if done == nil || planted.Is(planted.RetryExecutedAgain) {
		return false
	}
	res := resultOf(&req.Request, done, r.node.Unix)
	if !req.Op.Retrieves() || res.Status != item.OK {
		r.answer(t, &res, done.Version, false, fx)
		return true
	}
	// Its value is read anew; as long as the item is the one that it left, it is the same value.
	switch {
	case found != nil && found.Version == done.Version:
		show(&res, found, req)
		r.answer(t, &res, done.Version, false, fx)
	case cur != nil:
		show(&res, cur, req)
		r.answer(t, &res, r.later(done.Version, depends), true, fx)
	case found != nil && r.deleteGone(req.Key, fx):
		r.answer(t, &item.Result{Status: item.NotFound}, r.last, false, fx)
	default:
		r.answer(t, &item.Result{Status: item.NotFound}, r.later(done.Version, depends), true, fx)
	}
	return true
}

// show makes it what a retrieval found.
func show(res *item.Result, it *item.Item, req *wire.Request) {
	res.Item, res.Size = *it, it.Size()
	if req.Has(item.NoValue) {
		res.Item.Value = nil
	}
}

func (r *Replica) later(a, b uint64) uint64 {
	if seqOf(b) > seqOf(a) {
		return b
	}
	return a
}

// deleteGone orders the removal of an item that was found expired or flushed
// (R11), for a request that is not itself in the stream.
func (r *Replica) deleteGone(key []byte, fx *Effects) bool {
	version, ok := r.nextVersion()
	if !ok {
		return false
	}
	r.order(entry{version: version, key: string(key), effect: wire.EffectRemove}, nil, nil, fx)
	return true
}

// fail answers that this server cannot do it. Of a retry that says nothing about
// the tries before it.
func (r *Replica) fail(req *wire.Request, t Token, message string, fx *Effects) {
	if req.Retry && req.Session != 0 {
		r.reply(t, &item.Result{Status: item.FateUnknown}, fx)
		return
	}
	r.answer(t, &item.Result{Status: item.Failed, Message: message}, 0, true, fx)
}

// openSession orders a session's opening; the operation's version is its ID.
func (r *Replica) openSession(req *wire.Request, t Token, fx *Effects) {
	version, ok := r.nextVersion()
	if !ok {
		r.fail(req, t, r.usedUp(), fx)
		return
	}
	r.order(entry{version: version, effect: wire.EffectOpen, session: version}, nil, nil, fx)
	r.answer(t, &item.Result{Status: item.OK, Item: item.Item{Version: version}}, version, false, fx)
}

// endIdleSessions orders the end of sessions that this primary has not seen for
// long, counted at the earliest from when it became primary.
func (r *Replica) endIdleSessions(fx *Effects) {
	q, now := r.pri, r.node.Now
	if !q.active || now < q.idleCheck {
		return
	}
	q.idleCheck = now + idleCheckEvery
	if now-q.began < int64(SessionIdle) || len(r.sessions.byID) == 0 {
		return
	}
	for _, id := range r.sessions.ids() {
		if now-r.sessions.byID[id].seen < int64(SessionIdle) {
			continue
		}
		version, ok := r.nextVersion()
		if !ok {
			return
		}
		r.order(entry{version: version, effect: wire.EffectEnd, session: id}, nil, nil, fx)
	}
}
