package replica

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// newest finds a key's newest operation that this primary has ordered and that is
// not committed. There are few, so it looks through them; while there are many it has
// an index.
type newest struct {
	n     int // how many operations may be found; 0: none
	index map[string]inflight
}

// inflight is a key's newest uncommitted operation.
type inflight struct {
	version uint64
	item    *item.Item // nil: removed
}

// maxScan is how many operations are looked through without an index.
const maxScan = 16

func (e *entry) inflight() inflight { return inflight{e.version, e.item} }

// writes tells whether e is an operation on its key that this server ordered.
func (e *entry) writes() bool {
	return e.ordered && (e.effect == wire.EffectPut || e.effect == wire.EffectRemove)
}

// note is told of e, the last operation of the log, which writes a key.
func (q *newest) note(l *oplog, e *entry) {
	q.n++
	switch open := l.entries[l.open:]; {
	case q.index != nil:
		q.index[e.key] = e.inflight()
	case len(open) > maxScan:
		q.index = make(map[string]inflight, 2*maxScan)
		for i := range open {
			if e := &open[i]; e.writes() {
				q.index[e.key] = e.inflight()
			}
		}
	}
}

// of is the key's newest one.
func (q *newest) of(l *oplog, key []byte) (f inflight, ok bool) {
	if q.index != nil {
		f, ok = q.index[string(key)]
		return f, ok
	}
	for i := len(l.entries) - 1; i >= l.open; i-- {
		if e := &l.entries[i]; e.writes() && e.key == string(key) {
			return e.inflight(), true
		}
	}
	return f, false
}

// committed is told of e before the log is.
func (q *newest) committed(e *entry) {
	if !e.writes() {
		return
	}
	q.n = max(0, q.n-1) // it may be of an earlier time as primary
	if q.index != nil {
		if f, ok := q.index[e.key]; ok && f.version == e.version {
			delete(q.index, e.key)
		}
	}
}

// shrink drops the index when everything is committed.
func (q *newest) shrink(l *oplog) {
	if l.open == len(l.entries) {
		q.n, q.index = 0, nil
	}
}
