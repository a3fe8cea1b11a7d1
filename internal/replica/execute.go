package replica

import (
	"bytes"
	"fmt"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Request takes a command (R10: a write only at equal epoch). req's key and
// value are borrowed for the call.
func (r *Replica) Request(req *wire.Request, t Token, fx *Effects) {
	q := r.pri
	switch {
	case req.Epoch > r.cfg.Epoch:
		r.refuse(t, wire.NakNotReady, fx) // the map that makes us know is on its way
		return
	case q == nil, req.Epoch < r.cfg.Epoch && !(q.active && req.Op == item.OpGet) && !planted.Is(planted.WriteOfOldEpoch):
		r.refuse(t, wire.NakWrongEpoch, fx)
		return
	case !q.active:
		if len(q.parked) >= maxParked {
			r.refuse(t, wire.NakNotReady, fx)
			return
		}
		q.park(park(req, t))
		return
	}
	if len(q.loading) > 0 {
		if list, ok := q.loading[string(req.Key)]; ok {
			// Requests of one key are executed in the order in which they came.
			q.load(string(req.Key), list, park(req, t))
			return
		}
	}
	r.execute(req, t, fx)
}

func (q *primary) park(p parked) {
	q.parked = append(q.parked, p)
	q.held += p.size()
}

// load puts p behind list, what waits for key to be read.
func (q *primary) load(key string, list []parked, p parked) {
	if q.loading == nil {
		q.loading = map[string][]parked{}
	}
	q.loading[key] = append(list, p)
	q.held += p.size()
}

func park(req *wire.Request, t Token) parked {
	p := parked{req: *req, token: t}
	p.req.Key = bytes.Clone(req.Key)
	p.req.Value = bytes.Clone(req.Value)
	return p
}

// execute orders or answers one command at an active primary.
func (r *Replica) execute(req *wire.Request, t Token, fx *Effects) {
	switch req.Op {
	case item.OpFlush:
		r.executeFlush(req, t, fx)
		return
	case item.OpOpenSession:
		r.openSession(req, t, fx)
		return
	}
	r.startDueFlush(fx)
	if req.Has(item.Large) && !r.checkUpload(req, t, fx) {
		return
	}
	cur, depends, known := r.current(req.Key)
	if !known {
		if req.Op != item.OpSet {
			if !r.leased() && planted.Is(planted.LeaseNotRechecked) {
				r.refuse(t, wire.NakNotReady, fx)
				return
			}
			r.read(string(req.Key), park(req, t), fx)
			return
		}
		cur = nil // a set asks for nothing
	}
	r.apply(req, t, cur, depends, fx)
}

// read has the item of key read; p goes on when it is there.
func (r *Replica) read(key string, p parked, fx *Effects) {
	list, reading := r.pri.loading[key]
	r.pri.load(key, list, p)
	if !reading {
		fx.Reads = append(fx.Reads, Read{Replica: r, Epoch: r.cfg.Epoch, Keys: []string{key}, gen: r.gen})
	}
}

// apply executes a command on the key's present item, nil for none.
func (r *Replica) apply(req *wire.Request, t Token, cur *item.Item, depends uint64, fx *Effects) {
	found := cur
	// Flushed or expired: a miss, and whoever finds it deletes it (R11). Asking
	// for such a key is also how the daemon sweeps.
	gone := cur != nil && !item.IsChunk(req.Key) && // a chunk is there as long as it is listed
		(cur.Version < r.flush.Version && !planted.Is(planted.FlushNotVersioned) || cur.Expired(r.node.Unix))
	if gone {
		cur = nil
	}
	if req.Session != 0 && r.onceMore(req, t, found, cur, depends, fx) {
		return
	}
	if req.Op == item.OpCollect {
		r.collect(req, t, cur, gone, depends, fx)
		return
	}
	version, ok := r.nextVersion()
	if !ok {
		r.fail(req, t, r.usedUp(), fx)
		return
	}
	out := item.Execute(&req.Request, cur, r.node.Unix, version)
	switch {
	case out.Effect == item.Put:
		var it *item.Item
		if borrowed(out.New.Value, req.Value) {
			it = out.New.Clone()
		} else {
			it = new(item.Item)
			*it = out.New
		}
		if len(out.Chunks) > 0 && !r.orderChunks(out.Chunks, version, fx) {
			r.fail(req, t, r.usedUp(), fx)
			return
		}
		r.order(entry{version: it.Version, key: string(req.Key), effect: wire.EffectPut, item: it}, req, &out.Result, fx)
		r.answer(t, &out.Result, it.Version, false, fx)
		if req.Has(item.Large) {
			r.noteListed(req, fx)
		}
	case out.Effect == item.Remove:
		r.order(entry{version: version, key: string(req.Key), effect: wire.EffectRemove}, req, &out.Result, fx)
		r.answer(t, &out.Result, version, false, fx)
	case gone && !planted.Is(planted.ExpiredNotDeleted):
		// A delete in flight, answered after it commits: so no clock matters to P1.
		r.order(entry{version: version, key: string(req.Key), effect: wire.EffectRemove}, req, &out.Result, fx)
		r.answer(t, &out.Result, version, false, fx)
	case req.Retry && req.Session != 0 && out.Result.Status != item.Failed && !planted.Is(planted.FailedRetryNotRecorded):
		// R8: an earlier try may come yet, and must then find that the write has failed.
		r.order(entry{version: version}, req, &out.Result, fx)
		r.answer(t, &out.Result, version, false, fx)
	default:
		if out.Result.Status == item.OK && req.Op.Retrieves() && !req.Has(item.NoBump) {
			cur.Bump(r.node.Unix)
		}
		r.answer(t, &out.Result, depends, true, fx)
	}
}

// borrowed tells whether value is the request's, which is only lent.
func borrowed(value, request []byte) bool {
	return len(value) == 0 || len(request) > 0 && &value[0] == &request[0]
}

// current is the key's newest item, committed or not; depends is the version of
// the uncommitted operation that made it so (R2). known is false when it must be read.
func (r *Replica) current(key []byte) (it *item.Item, depends uint64, known bool) {
	q := r.pri
	if q.newest.n > 0 {
		if f, ok := q.newest.of(&r.log, key); ok && !planted.Is(planted.InFlightIgnored) {
			if planted.Is(planted.ReadPastWrites) {
				return f.item, 0, true
			}
			return f.item, f.version, true
		}
	}
	if r.last == uint64(r.part)<<20 {
		return nil, 0, true // nothing was ever written here
	}
	it, known = r.node.Values.Get(r.part, r.gen, key)
	return it, 0, known
}

func (r *Replica) usedUp() string {
	return fmt.Sprintf("partition %d has used up its sequence numbers", r.part)
}

func (r *Replica) nextVersion() (uint64, bool) {
	seq := seqOf(r.last) + 1
	if epochOf(r.last) != r.cfg.Epoch && planted.Is(planted.SeqPerEpoch) {
		seq = uint64(r.part)<<20 + 1
	}
	if seq >= 1<<clustermap.SeqBits-1 {
		return 0, false
	}
	return versionOf(r.cfg.Epoch, seq), true
}

// ReadDone brings what a Read asked for: items in the order of its keys, nil
// for those that do not exist. After an error the requests that waited for it are
// to be sent again: another member takes over, for the daemon accuses itself (R9).
// Where there is none they fail.
func (r *Replica) ReadDone(rd *Read, items []*item.Item, err error, fx *Effects) {
	q := r.pri
	if q == nil || rd.gen != r.gen && !planted.Is(planted.CacheOfEarlierTerm) {
		return // an earlier time as primary asked: others may have written since
	}
	if rd.Peer != 0 {
		r.reconcileRead(rd, items, err, fx)
		return
	}
	key := rd.Keys[0]
	list, ok := q.loading[key]
	if !ok {
		return
	}
	delete(q.loading, key)
	for i := range list {
		q.held -= list[i].size()
	}
	if err != nil {
		for i := range list {
			r.unpin(&list[i])
			if len(r.cfg.Replicas) > 1 {
				r.refuse(list[i].token, wire.NakNotReady, fx) // it was not ordered
			} else {
				r.fail(&list[i].req, list[i].token, "cannot read the store: "+err.Error(), fx)
			}
		}
		return
	}
	if items[0] != nil {
		items[0].Accessed = uint32(r.node.Unix) // when it was before nobody knows
		r.node.Values.Put(r.part, r.gen, key, items[0])
	}
	for i := range list {
		p := &list[i]
		checked := r.unpin(p) // not before: those ahead of it in the list may collect
		if !q.active {
			q.park(*p)
			continue
		}
		if string(p.req.Key) != key { // it asked for a marker
			r.markerRead(p, key, items[0] != nil, fx)
			continue
		}
		if p.req.Has(item.Large) && !checked && !planted.Is(planted.QueuedManifestUnchecked) && !r.checkUpload(&p.req, p.token, fx) {
			continue
		}
		// Only requests of this list can have changed the key since it was read,
		// and their operations are in flight.
		cur, depends := items[0], uint64(0)
		if f, ok := q.newest.of(&r.log, p.req.Key); ok {
			cur, depends = f.item, f.version
		}
		r.apply(&p.req, p.token, cur, depends, fx)
		if w := q.lastWait; w != nil && w.local && planted.Is(planted.LeaseNotRechecked) {
			w.local = false
		}
	}
}
