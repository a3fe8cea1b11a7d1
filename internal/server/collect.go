package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// Collecting gives back the space of chunks that no item lists any more, or ever
// did (package item, large.go). The primary of a partition looks for them when
// something was written that may have left some; the replica decides, in the order
// of the partition's stream, whether an upload is still listed.
const (
	// replacedGrace is for how long the chunks of a value that was replaced or
	// removed are kept after they were read last: for those who are reading it.
	replacedGrace = 15 * time.Second
	// unlistedGrace is the same for chunks that no item was seen to list: whoever
	// stores them writes the next in less time, or has given up.
	unlistedGrace = 10 * time.Minute
	// collectKeys bounds the chunks that one look collects.
	collectKeys = 1000
)

// uploads is what a primary knows of the chunks in one partition. It belongs to the loop.
type uploads struct {
	byID map[item.UploadID]*upload
	// users are the keys whose values lie, or lay, in chunks.
	users map[string]struct{}
	// due: a look may find something.
	due mark
	// asked is how many collections are not answered: until they are, a look would
	// find the same chunks again.
	asked int
}

// upload is what is known of one. Times are the server's running time (replica.Node.Awake).
type upload struct {
	used     int64 // when one of its chunks was written or read last
	unlisted int64 // when it was found to be in no item; 0: it was not
	listed   bool  // some item has listed it, at some time
}

// ripe tells whether it can be collected.
func (u *upload) ripe(now int64) bool {
	grace := unlistedGrace
	if u.listed {
		grace = replacedGrace
	}
	return u.unlisted != 0 && now-max(u.unlisted, u.used) >= int64(grace)
}

// collector belongs to the loop but for look.
type collector struct {
	n     *node
	parts []*uploads // by partition; nil: not tracked, as this server does not lead there, or nobody looked yet
	large bool       // there was a chunk, or an item that lists some, in some partition
}

// wrote notes what may leave chunks behind, or is one. Where this server does not
// lead it knows nothing, and begins anew when it does.
func (c *collector) wrote(w *replica.Write) {
	if !c.large && len(w.Key) <= item.MaxKey {
		return
	}
	if int(w.Partition) >= len(c.parts) || c.parts[w.Partition] == nil {
		return
	}
	u := c.parts[w.Partition]
	if !c.n.rn.Serves(w.Partition) {
		c.parts[w.Partition] = nil
		return
	}
	if w.IsFlush {
		if len(u.users) > 0 {
			u.due = c.n.sweep.mark()
		}
		return
	}
	key := []byte(w.Key)
	if user, id, _, ok := item.ParseChunkKey(key); ok {
		u.due = c.n.sweep.mark()
		if w.Item != nil { // what is being collected stays ripe
			u.of(id).used = c.n.rn.Awake()
			u.users[string(user)] = struct{}{}
			c.large = true
		}
		return
	}
	if len(u.users) > 0 {
		if _, ok := u.users[w.Key]; ok {
			u.due = c.n.sweep.mark()
		}
	}
}

// used notes that a chunk was asked for.
func (c *collector) used(part uint16, key []byte) {
	if int(part) >= len(c.parts) || c.parts[part] == nil {
		return
	}
	if _, id, _, ok := item.ParseChunkKey(key); ok {
		if up := c.parts[part].byID[id]; up != nil {
			up.used = c.n.rn.Awake()
		}
	}
}

func (u *uploads) of(id item.UploadID) *upload {
	up := u.byID[id]
	if up == nil {
		up = &upload{}
		u.byID[id] = up
	}
	return up
}

// wants tells whether there may be something to collect in a partition that this server leads.
func (c *collector) wants(part uint16) bool {
	if len(c.parts) != len(c.n.replicas) {
		c.parts = make([]*uploads, len(c.n.replicas))
	}
	u := c.parts[part]
	if u == nil {
		u = &uploads{byID: map[item.UploadID]*upload{}, users: map[string]struct{}{}, due: c.n.sweep.mark()}
		c.parts[part] = u
	}
	return u.due != 0 && u.asked == 0
}

// pick has job look for chunks.
func (c *collector) pick(job *sweepJob) {
	u := c.parts[job.part]
	u.due = u.due.seenBy(c.n.sweep.views) // marked again by what the look finds
	job.chunks, job.ripe = u, map[item.UploadID]bool{}
	now := c.n.rn.Awake()
	for id, up := range u.byID {
		if up.ripe(now) {
			job.ripe[id] = true
		}
	}
}

// rest forgets a partition that this server does not lead.
func (c *collector) rest(part int) {
	if part < len(c.parts) {
		c.parts[part] = nil
	}
}

// found is an upload that a look came by.
type found struct {
	user   string
	id     item.UploadID
	listed bool // by the present item
	before bool // by an item at some time
}

// lookForChunks is the part of look that is about chunks: which uploads there are,
// whether the items of their keys list them, and which chunks those have that are
// to go.
func lookForChunks(sn *store.Snapshot, job *sweepJob) (uploads []found, gone []item.Request, more bool, err error) {
	it := sn.Iter(job.part, nil)
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	left := collectKeys
	var buf []byte
	for ok := it.Seek(item.ChunkPrefix()); ok; {
		user, id, number, isChunk := item.ParseChunkKey(it.Key())
		if !isChunk { // nothing of ours: leave it alone
			ok = it.Next()
			continue
		}
		f := found{user: string(user), id: id, before: id.OfCommand()}
		var rec []byte
		var there bool
		if number < 0 {
			if rec, err = it.Record(); err != nil {
				return nil, nil, false, err
			}
			var marker item.Item
			if marker, err = item.ParseRecord(rec); err != nil {
				return nil, nil, false, err
			}
			f.before = string(marker.Value) == item.MarkerListed
		}
		if rec, there, err = sn.Get(job.part, user, buf[:0]); err != nil {
			return nil, nil, false, err
		}
		buf = rec
		if there {
			var i item.Item
			if i, err = item.ParseRecord(rec); err != nil {
				return nil, nil, false, err
			}
			f.listed = i.Lists(id)
		}
		uploads = append(uploads, f)
		if f.listed || !job.ripe[id] {
			ok = it.Seek(item.AfterUpload(nil, []byte(f.user), id))
			continue
		}
		if left <= 0 {
			return uploads, gone, true, nil
		}
		ok = chunksOf(it, &f, &gone, &left)
	}
	return uploads, gone, false, nil
}

// chunksOf asks for the removal of f, as far as left allows; it is at the first of
// its keys, and behind them at the end.
func chunksOf(it *store.Iter, f *found, gone *[]item.Request, left *int) (ok bool) {
	collect := item.Request{Op: item.OpCollect, Key: []byte(f.user), Value: f.id[:]}
	for ok = true; ok; ok = it.Next() {
		_, id, i, isChunk := item.ParseChunkKey(it.Key())
		if !isChunk || id != f.id || *left <= 0 {
			break
		}
		if i < 0 {
			continue // the marker goes in any case
		}
		if collect.Initial == replica.MaxCollect || collect.Initial > 0 && uint64(i) != collect.Delta+collect.Initial {
			*gone = append(*gone, collect)
			collect.Initial = 0
		}
		if collect.Initial == 0 {
			collect.Delta = uint64(i)
		}
		collect.Initial++
		*left--
	}
	*gone = append(*gone, collect)
	return ok
}

// collection is told how the collection of some chunks ended.
type collection struct {
	n      *node
	u      *uploads
	chunks uint64
}

func (c collection) Reply(r *wire.Reply) {
	c.u.asked--
	if r.Status == item.OK {
		c.n.counters.collected.Add(c.chunks)
	}
}

func (c collection) Nak(*wire.Nak) { c.u.asked-- }

// collect takes what a look found: what is unlisted ripens, what was ripe goes. It
// tells whether there is or will be more to do.
func (c *collector) collect(job *sweepJob) (more bool) {
	n, u := c.n, job.chunks
	if c.parts[job.part] != u {
		return false // this server has ceased to lead there since
	}
	now := n.rn.Awake()
	seen := make(map[item.UploadID]struct{}, len(job.uploads))
	for i := range job.uploads {
		f := &job.uploads[i]
		seen[f.id] = struct{}{}
		if _, known := u.users[f.user]; !known {
			u.users[f.user] = struct{}{}
			c.large = true
			more = true // a write of it since the look was not noticed
		}
		up := u.of(f.id)
		up.listed = up.listed || f.before
		if f.listed {
			up.unlisted = 0
			continue
		}
		if up.unlisted == 0 {
			up.unlisted = now
		}
		more = true
	}
	r := n.replicas[job.part]
	for i := range job.gone {
		if id := item.UploadID(job.gone[i].Value); u.of(id).ripe(now) {
			req := wire.Request{Partition: job.part, Epoch: r.Config().Epoch, Request: job.gone[i]}
			u.asked++
			r.Request(&req, replica.Token{Owner: collection{n, u, job.gone[i].Initial}}, &n.fx)
		}
	}
	if job.moreChunks {
		return true // not all were seen
	}
	// What is gone is forgotten, and so are keys without chunks.
	for id, up := range u.byID {
		if _, ok := seen[id]; !ok && now-up.used >= int64(unlistedGrace) {
			delete(u.byID, id)
		}
	}
	if len(u.users) > 2*len(job.uploads)+16 {
		clear(u.users)
		for i := range job.uploads {
			u.users[job.uploads[i].user] = struct{}{}
		}
		u.due = n.sweep.mark() // as a key that was written since the look is not among them
	}
	return more
}
