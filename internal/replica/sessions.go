package replica

import (
	"slices"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// sessions is a partition's session table (R8): what every session's
// unacknowledged writes were answered. It is changed by operations of the
// stream and by nothing else (order, stepAppend), or replaced by the primary's
// (stepReconcile, stepJoinStart); so all replicas of one position have the same.
// It lives in memory: after a restart it is empty.
type sessions struct {
	byID   map[uint64]*session
	latest *session // what find found last
}

// session is one gateway's in this partition.
type session struct {
	id      uint64
	seen    int64 // by this server while primary
	lowest  uint32
	highest uint32
	// results of numbers from lowest to highest; a number's place is its
	// remainder by the length, a power of two, which is never less than their
	// count. So nothing need be removed when lowest moves on.
	results []wire.SessionResult
}

// minResults is the length that a session's results begin with.
const minResults = 8

func (t *sessions) find(id uint64) *session {
	if s := t.latest; s != nil && s.id == id {
		return s
	}
	s := t.byID[id]
	if s != nil {
		t.latest = s
	}
	return s
}

func (t *sessions) open(id uint64, now int64) *session {
	if t.byID == nil {
		t.byID = map[uint64]*session{}
	}
	s := &session{id: id, seen: now, lowest: 1}
	t.byID[id] = s
	t.latest = nil
	return s
}

func (t *sessions) end(id uint64) {
	delete(t.byID, id)
	t.latest = nil
}

// take is what an operation of the stream does to the table.
func (t *sessions) take(e *entry, now int64) {
	if e.session == 0 {
		return
	}
	switch e.effect {
	case wire.EffectOpen:
		t.open(e.session, now)
		return
	case wire.EffectEnd:
		t.end(e.session)
		return
	}
	s := t.find(e.session)
	if s == nil {
		return
	}
	res := wire.SessionResult{Version: e.version, Answer: e.answer, Number: e.number, Status: e.status, Won: e.won}
	if e.item != nil {
		res.Flags, res.Exptime = e.item.Flags, e.item.Exptime
	}
	s.keep(e.lowest, res)
}

// keep notes a result and lets go of those below lowest.
func (s *session) keep(lowest uint32, res wire.SessionResult) {
	s.lowest = max(s.lowest, lowest)
	if res.Number < s.lowest || res.Number-s.lowest >= wire.MaxOutstanding {
		return // no primary orders such a write
	}
	s.highest = max(s.highest, res.Number)
	need, have := int(s.highest-s.lowest)+1, len(s.results)
	switch {
	case need > have:
		n := max(have, minResults)
		for n < need {
			n *= 2
		}
		s.resize(n)
	case have > minResults && need <= have/8 && int(res.Number)%have == 0:
		s.resize(have / 4) // a burst is over
	}
	s.results[int(res.Number)&(len(s.results)-1)] = res
}

func (s *session) resize(n int) {
	old := s.results
	s.results = make([]wire.SessionResult, n)
	for i := range old {
		if r := &old[i]; r.Status != 0 && r.Number >= s.lowest {
			s.results[int(r.Number)&(n-1)] = *r
		}
	}
}

// result is what the write of this number was answered, or nil.
func (s *session) result(number uint32) *wire.SessionResult {
	if len(s.results) == 0 {
		return nil
	}
	if r := &s.results[int(number)&(len(s.results)-1)]; r.Number == number && r.Status != 0 {
		return r
	}
	return nil
}

// state is the session for a message: results of unacknowledged writes only.
func (s *session) state() wire.Session {
	out := wire.Session{ID: s.id, Lowest: s.lowest}
	for n := s.lowest; n != 0 && n <= s.highest; n++ {
		if r := s.result(n); r != nil {
			out.Results = append(out.Results, *r)
		}
	}
	return out
}

// ids are all sessions, in order.
func (t *sessions) ids() []uint64 {
	list := make([]uint64, 0, len(t.byID))
	for id := range t.byID {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// states are sessions for a message (R4, R6).
func (t *sessions) states(ids []uint64) []wire.Session {
	var list []wire.Session
	for _, id := range ids {
		if s := t.byID[id]; s != nil {
			list = append(list, s.state())
		} else {
			list = append(list, wire.Session{ID: id, Gone: true})
		}
	}
	return list
}

// replace makes sessions as the primary has them.
func (t *sessions) replace(list []wire.Session) {
	for i := range list {
		w := &list[i]
		t.end(w.ID)
		if w.Gone {
			continue
		}
		s := t.open(w.ID, 0)
		s.lowest = max(s.lowest, w.Lowest)
		for _, r := range w.Results {
			s.keep(w.Lowest, r)
		}
	}
}

// answerOf is what a session keeps of a result as its Answer.
func answerOf(op item.Op, res *item.Result) uint64 {
	switch op {
	case item.OpIncr, item.OpDecr:
		return res.Number
	case item.OpAppend, item.OpPrepend:
		return uint64(res.Size)
	}
	return res.Item.Unique
}

// resultOf makes the result of a write again. now is the primary's clock in Unix seconds.
func resultOf(req *item.Request, r *wire.SessionResult, now int64) item.Result {
	res := item.Result{Status: r.Status}
	if r.Status != item.OK {
		return res
	}
	res.Item = item.Item{Version: r.Version, Flags: r.Flags, Exptime: r.Exptime}
	res.Won, res.Now = r.Won && !planted.Is(planted.TokenForgotten), now
	if req.Has(item.Explicit) {
		res.Item.Unique = req.Unique
	}
	switch req.Op {
	case item.OpIncr, item.OpDecr:
		res.Number = r.Answer
	case item.OpAppend, item.OpPrepend:
		res.Size = uint32(r.Answer)
	default:
		res.Item.Unique = r.Answer
		stored := item.Item{Value: req.Value, Large: req.Has(item.Large)}
		res.Size = stored.Size() // by those that store a value
	}
	return res
}
