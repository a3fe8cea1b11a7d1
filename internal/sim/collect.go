package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// Chunks that no item lists are collected as internal/server does, but with graces
// that are shorter than some uploads and reads.

// replacedGrace is how long chunks are kept after they were found to be listed no more.
const replacedGrace = second

// upSeen is what a primary knows of an upload. Times are of its running time.
type upSeen struct {
	used     int64 // when one of its chunks was written or read last
	unlisted int64 // when it was found to be in no item; 0: it was not
	listed   bool  // some item has listed it, at some time
}

func (u *upSeen) ripe(now int64, o *Options) bool {
	grace := o.unlistedGrace
	if u.listed {
		grace = replacedGrace
	}
	return u.unlisted != 0 && now-max(u.unlisted, u.used) >= grace
}

// upload is what this server knows of one, from when it looks at the partition as
// its primary; nil: nothing.
func (s *Server) upload(part uint16, id item.UploadID, add bool) *upSeen {
	list := s.uploads[part]
	if list == nil {
		return nil
	}
	if list[id] == nil && add {
		list[id] = &upSeen{}
	}
	return list[id]
}

// noteWrite notes what the partition's primary wrote of an upload.
func (s *Server) noteWrite(wr *replica.Write) {
	if s.uploads[wr.Partition] == nil {
		return
	}
	if !s.replicas[wr.Partition].Serving() {
		delete(s.uploads, wr.Partition)
		return
	}
	if _, id, _, ok := item.ParseChunkKey([]byte(wr.Key)); ok {
		s.upload(wr.Partition, id, true).used = s.node.Awake()
	}
}

func (s *Server) noteRead(part uint16, key []byte) {
	if _, id, _, ok := item.ParseChunkKey(key); ok {
		if u := s.upload(part, id, false); u != nil {
			u.used = s.node.Awake()
		}
	}
}

// upFound is an upload that a look came by.
type upFound struct {
	user   string
	id     item.UploadID
	chunks []int // -1 for the marker
	listed bool  // by the present item
	before bool  // by an item at some time
}

// uploads are all those of which something is there.
func (ps *partStore) uploads() (list []upFound) {
	for _, k := range slices.Sorted(maps.Keys(ps.records)) {
		user, id, n, ok := item.ParseChunkKey([]byte(k))
		if !ok {
			continue
		}
		if len(list) == 0 || list[len(list)-1].id != id {
			it := ps.item(string(user))
			list = append(list, upFound{user: string(user), id: id, listed: it != nil && it.Lists(id),
				before: id.OfCommand() || n < 0 && string(ps.item(k).Value) == item.MarkerListed})
		}
		f := &list[len(list)-1]
		f.chunks = append(f.chunks, n)
	}
	return list
}

// ripe are uploads of a partition that can be collected, when a look begins.
func (s *Server) ripe(part uint16) map[item.UploadID]bool {
	if s.uploads[part] == nil {
		s.uploads[part] = map[item.UploadID]*upSeen{}
	}
	ripe := map[item.UploadID]bool{}
	for id, u := range s.uploads[part] {
		ripe[id] = u.ripe(s.node.Awake(), &s.w.opt)
	}
	return ripe
}

// collect takes what a look found: what is unlisted ripens, what was ripe goes.
func (s *Server) collect(r *replica.Replica, list []upFound, ripe map[item.UploadID]bool) {
	part := r.Part()
	if s.uploads[part] == nil {
		return // it has ceased to lead since
	}
	now := s.node.Awake()
	for i := range list {
		f := &list[i]
		u := s.upload(part, f.id, true)
		u.listed = u.listed || f.before
		switch {
		case f.listed:
			u.unlisted = 0
		case s.w.opt.Hasty, ripe[f.id] && u.ripe(now, &s.w.opt):
			s.w.stats["uploads collected"]++
			// Sometimes not all at once, as values of many chunks.
			last := f.chunks[len(f.chunks)-1]
			first := 0
			if last > 0 && s.w.chance(0.3) {
				first = int(s.w.between(0, int64(last)))
			}
			req := wire.Request{Partition: part, Epoch: r.Config().Epoch, Request: item.Request{Op: item.OpCollect,
				Key: []byte(f.user), Value: f.id[:], Delta: uint64(first), Initial: uint64(last + 1 - first)}}
			s.w.tracef("%s collects p%d %s/%x from chunk %d on", s.name, part, f.user, f.id[:8], first)
			r.Request(&req, replica.Token{}, &s.fx)
		case u.unlisted == 0:
			u.unlisted = now
		}
	}
}

// checkUploads has the primaries sweep until nothing is left that no item lists,
// and looks whether all that is listed is there, in every copy.
func (w *World) checkUploads() {
	w.runWhile(func() bool { return w.storing > 0 }, w.now+patience)
	w.opt.unlistedGrace = min(w.opt.unlistedGrace, second) // nobody stores any more
	for until := w.now + collectBound; len(w.failures) == 0; {
		left := w.lookForUnlisted()
		if left == "" && w.atRest() {
			break
		}
		if w.now > until {
			w.fail(unlistedGoes, "%v after all was at rest: %s", time.Duration(collectBound), cmp.Or(left, "it is not any more"))
		}
		w.runUntil(w.now + 400*millisecond)
	}
	for p := range w.agreed.m.Partitions {
		for _, id := range w.agreed.m.Partitions[p].Replicas {
			w.checkListed(w.server(id), uint16(p))
		}
	}
}

// lookForUnlisted has those primaries sweep that have chunks that no item lists,
// and names such chunks.
func (w *World) lookForUnlisted() (left string) {
	for p := range w.agreed.m.Partitions {
		s := w.server(w.agreed.m.Partitions[p].Primary())
		if s == nil || !s.up || s.replicas == nil {
			continue
		}
		list := s.disk.part(uint16(p)).uploads()
		if n := slices.IndexFunc(list, func(f upFound) bool { return !f.listed }); n >= 0 {
			left = fmt.Sprintf("%s has chunks %v of an upload for key %s, which no item lists", s.name, list[n].chunks, list[n].user)
			s.look(p)
		}
	}
	return left
}

func (w *World) checkListed(s *Server, p uint16) {
	ps := s.disk.part(p)
	for _, k := range slices.Sorted(maps.Keys(ps.records)) {
		it := ps.item(k)
		if !it.Large {
			continue
		}
		w.stats["large values at rest"]++
		if q := clustermap.PartitionOf([]byte(k), len(w.served)); q != p {
			w.fail(listedThere, "key %s of p%d is in p%d", k, q, p)
		}
		segs, err := item.ParseManifest(it.Value)
		if err != nil {
			w.fail(codec, "the manifest of key %s: %v", k, err)
		}
		for i := range segs {
			seg, value := &segs[i], ""
			for n := range seg.Chunks() {
				if c := ps.item(string(item.AppendChunkKey(nil, []byte(k), seg.ID, n))); c != nil {
					value += string(c.Value)
				}
			}
			whole, known := w.uploads[seg.ID]
			if seg.Inline == nil && (len(value) != seg.Size || known && value != whole) {
				w.fail(listedThere, "key %s at %s lists %d bytes in %d chunks, which hold %q", k, s.name, seg.Size, seg.Chunks(), value)
			}
		}
	}
}
