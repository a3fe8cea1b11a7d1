package replica

import (
	"bytes"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Large values at the primary (package item, large.go): a manifest is taken only
// while the marker of the upload that it lists is there, and a marker is removed
// only while its key's item does not list the upload. Both are decided here in the
// order of the partition's stream. A marker was stored before any of the chunks, so
// what removes one of them removes it too, and once removed it is never made again,
// as its write's number is over (R8). So no item lists what is not there.

// checkUpload tells whether a request with a manifest may be executed. If not, it
// is dealt with: refused, or it waits for the marker to be read.
func (r *Replica) checkUpload(req *wire.Request, t Token, fx *Effects) bool {
	segs, err := item.ParseManifest(req.Value)
	if err != nil || len(segs) != 1 || segs[0].Inline != nil {
		r.fail(req, t, "the manifest of a value does not list one upload", fx)
		return false
	}
	var buf [600]byte
	marker := item.AppendMarkerKey(buf[:0], req.Key, segs[0].ID)
	switch it, _, known := r.current(marker); {
	case !known:
		r.read(string(marker), park(req, t), fx)
		return false
	case it == nil && !planted.Is(planted.ManifestUnchecked):
		r.failUpload(req, t, fx)
		return false
	}
	return true
}

// failUpload answers a request whose chunks were collected: it came minutes late.
// What is known of it is that it was not done now.
func (r *Replica) failUpload(req *wire.Request, t Token, fx *Effects) {
	if req.Session != 0 {
		if s := r.sessions.find(req.Session); s != nil && s.result(req.Number) != nil {
			r.onceMore(req, t, nil, nil, 0, fx) // an earlier try of it was done
			return
		}
	}
	r.fail(req, t, "the value came too late: what was sent of it before was given up", fx)
}

// unpin lets go of the marker that p has pinned, if it has, for p goes on now or ends.
func (r *Replica) unpin(p *parked) bool {
	if p.marker == "" {
		return false
	}
	if r.pri.pinned[p.marker]--; r.pri.pinned[p.marker] == 0 {
		delete(r.pri.pinned, p.marker)
	}
	p.marker = ""
	return true
}

// markerRead goes on with a request that waited for the marker key to be read.
func (r *Replica) markerRead(p *parked, key string, there bool, fx *Effects) {
	if f, ok := r.pri.newest.of(&r.log, []byte(key)); ok {
		there = f.item != nil // since then it was written
	}
	if !there && !planted.Is(planted.ManifestUnchecked) {
		r.failUpload(&p.req, p.token, fx)
		return
	}
	cur, depends, known := r.current(p.req.Key)
	_, reading := r.pri.loading[string(p.req.Key)]
	switch {
	case known && !reading:
	case p.req.Op == item.OpSet && !reading:
		cur = nil
	default: // behind those that wait for the same item, the marker pinned meanwhile
		p.marker = key
		r.pri.pinned[key]++
		r.read(string(p.req.Key), *p, fx)
		return
	}
	r.apply(&p.req, p.token, cur, depends, fx)
}

// noteListed has the marker of an upload say that an item has listed it, so that
// whoever collects later need not wait for one that never did.
func (r *Replica) noteListed(req *wire.Request, fx *Effects) {
	segs, err := item.ParseManifest(req.Value)
	version, ok := r.nextVersion()
	if err != nil || !ok {
		return
	}
	key := item.AppendMarkerKey(nil, req.Key, segs[0].ID)
	it := &item.Item{Version: version, Value: []byte(item.MarkerListed)}
	r.order(entry{version: version, key: string(key), effect: wire.EffectPut, item: it}, nil, nil, fx)
}

// orderChunks orders what a command makes besides its item, from version on.
func (r *Replica) orderChunks(chunks []item.Chunk, version uint64, fx *Effects) bool {
	if !r.enough(len(chunks) + 1) {
		return false
	}
	for i := range chunks {
		c := &chunks[i]
		it := &item.Item{Version: version + uint64(i), Value: bytes.Clone(c.Value)}
		r.order(entry{version: it.Version, key: string(c.Key), effect: wire.EffectPut, item: it}, nil, nil, fx)
	}
	return true
}

// MaxCollect is how many chunks one OpCollect removes at the most.
const MaxCollect = 256

// collect removes chunks of an upload that cur does not list (item.OpCollect), the
// marker before all others, unless somebody is about to list it. gone: the key's
// item is expired or flushed; it goes first, as another primary's clock may think
// otherwise.
func (r *Replica) collect(req *wire.Request, t Token, cur *item.Item, gone bool, depends uint64, fx *Effects) {
	if len(req.Value) != len(item.UploadID{}) || req.Initial > MaxCollect {
		r.fail(req, t, "no upload, or too much of it, to be collected", fx)
		return
	}
	id := item.UploadID(req.Value)
	if cur != nil && cur.Lists(id) && !planted.Is(planted.ListedCollected) {
		r.answer(t, &item.Result{Status: item.NotStored}, depends, true, fx)
		return
	}
	marker := item.AppendMarkerKey(nil, req.Key, id)
	if _, reading := r.pri.loading[string(marker)]; reading || r.pri.pinned[string(marker)] > 0 {
		// A manifest waits for it, and what is being read may be older than its
		// removal would be; or waits for its key's item. Another time.
		r.answer(t, &item.Result{Status: item.NotStored}, depends, true, fx)
		return
	}
	if !r.enough(int(req.Initial) + 2) {
		r.fail(req, t, r.usedUp(), fx)
		return
	}
	if gone {
		r.deleteGone(req.Key, fx)
	}
	r.remove(marker, fx)
	for i := range int(req.Initial) {
		r.remove(item.AppendChunkKey(nil, req.Key, id, int(req.Delta)+i), fx)
	}
	r.answer(t, &item.Result{Status: item.OK}, r.last, false, fx)
}

func (r *Replica) remove(key []byte, fx *Effects) {
	version, _ := r.nextVersion()
	r.order(entry{version: version, key: string(key), effect: wire.EffectRemove}, nil, nil, fx)
}

// enough tells whether n more operations can be ordered in this epoch.
func (r *Replica) enough(n int) bool { return seqOf(r.last)+uint64(n) < 1<<clustermap.SeqBits-1 }
