package sim

import (
	"maps"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

// disk is one store: what survives a crash of the server, and batches that are
// on their way to it.
type disk struct {
	id          clustermap.ServerID
	cluster     clustermap.ClusterID
	incarnation uint64
	parts       map[uint16]*partStore
	destroyed   bool

	// synced is what survives the loss of power, unsynced what came since.
	synced   map[uint16]*partStore
	unsynced []change
	// uncertain: power was lost, and the tail with it (R9), until mended.
	uncertain bool

	filling, writing *batch
	// slowUntil: until then a commit takes long.
	slowUntil int64
}

// partStore is one partition's key range. Items are kept as records, as in the
// real store, so that no memory is shared with the core.
type partStore struct {
	records map[string][]byte
	stored  replica.Stored
}

type batch struct {
	changes []change
	refs    []ref
}

// change is one write of a batch, in the batch's order.
type change struct {
	part   uint16
	key    string
	record []byte // nil: removed
	wipe   bool   // all of the partition
	stored *replica.Stored
	ends   bool // the last of its batch
}

type ref struct {
	r      *replica.Replica
	ticket uint64
}

func newDisk(id clustermap.ServerID) *disk {
	return &disk{id: id, parts: map[uint16]*partStore{}, synced: map[uint16]*partStore{}, filling: &batch{}}
}

func (d *disk) part(p uint16) *partStore { return partOf(d.parts, p) }

func partOf(parts map[uint16]*partStore, p uint16) *partStore {
	s := parts[p]
	if s == nil {
		s = &partStore{records: map[string][]byte{}}
		parts[p] = s
	}
	return s
}

// apply commits a batch. It is synced some time later.
func (d *disk) apply(w *World, b *batch) {
	applyTo(d.parts, b.changes)
	d.unsynced = append(d.unsynced, b.changes...)
	if w.chance(0.1) {
		applyTo(d.synced, d.unsynced)
		d.unsynced = nil
	}
}

func applyTo(parts map[uint16]*partStore, list []change) {
	for _, c := range list {
		s := partOf(parts, c.part)
		switch {
		case c.wipe:
			delete(parts, c.part)
		case c.stored != nil:
			s.stored = *c.stored
		case c.record == nil:
			delete(s.records, c.key)
		default:
			s.records[c.key] = c.record
		}
	}
}

// losePower loses what was not synced: all batches after some point.
func (d *disk) losePower(w *World) {
	n := w.rng.IntN(len(d.unsynced) + 1)
	for n > 0 && n < len(d.unsynced) && !d.unsynced[n-1].ends {
		n-- // a batch is there as a whole or not at all
	}
	applyTo(d.synced, d.unsynced[:n])
	if n < len(d.unsynced) {
		w.stats["batches' changes lost with power"] += len(d.unsynced) - n
	}
	d.unsynced = nil
	d.parts = map[uint16]*partStore{}
	for p, s := range d.synced {
		d.parts[p] = &partStore{records: maps.Clone(s.records), stored: s.stored}
	}
	d.uncertain = true
}

// item reads one key.
func (s *partStore) item(key string) *item.Item {
	b, ok := s.records[key]
	if !ok {
		return nil
	}
	it, err := item.ParseRecord(append([]byte(nil), b...))
	if err != nil {
		panic(err)
	}
	return &it
}

// snapshot is the partition as it is now.
func (d *disk) snapshot(p uint16) *partStore {
	s := d.part(p)
	return &partStore{records: maps.Clone(s.records), stored: s.stored}
}

func (d *disk) empty() bool {
	for _, s := range d.parts {
		if len(s.records) > 0 {
			return false
		}
	}
	return true
}

// crash loses what was not committed. A commit that was under way may have come
// through, without anyone having been told.
func (d *disk) crash(w *World) {
	if d.writing != nil && w.chance(0.5) {
		d.apply(w, d.writing)
	}
	d.writing, d.filling = nil, &batch{}
}

// commit starts the next batch if the last one is done.
func (s *Server) commit() {
	d := s.disk
	if d.writing != nil || len(d.filling.changes) == 0 && len(d.filling.refs) == 0 {
		return
	}
	b := d.filling
	if n := len(b.changes); n > 0 {
		b.changes[n-1].ends = true
	}
	d.writing, d.filling = b, &batch{}
	took := s.w.often(50*microsecond, 2*millisecond, 20*millisecond, 0.05)
	if d.slowUntil > s.w.now {
		took += s.w.between(20*millisecond, 600*millisecond)
	}
	// The disk works while the process is paused: the commit is done in time,
	// the process hears of it later.
	s.w.after(took, func() {
		if d.writing != b {
			return // crashed meanwhile
		}
		d.apply(s.w, b)
		b.changes = nil
		s.w.afterOn(s, s.w.between(0, 200*microsecond), func() {
			d.writing = nil
			s.turn(func() {
				for _, r := range b.refs {
					r.r.Persisted(r.ticket, &s.fx)
				}
			})
			s.commit()
		})
	})
}

// read answers a Read: the state is looked at some time after it was asked for,
// the answer comes some time after that.
func (s *Server) read(rd replica.Read) {
	w, part := s.w, rd.Replica.Part()
	wait := func() int64 {
		if s.disk.slowUntil > w.now && w.chance(0.3) {
			return w.between(10*millisecond, 2*second)
		}
		return w.often(0, 2*millisecond, 300*millisecond, 0.03)
	}
	w.afterOn(s, wait(), func() {
		items := make([]*item.Item, len(rd.Keys))
		for i, k := range rd.Keys {
			items[i] = s.disk.part(part).item(k)
		}
		w.afterOn(s, wait(), func() {
			s.turn(func() { rd.Replica.ReadDone(&rd, items, nil, &s.fx) })
		})
	})
}
