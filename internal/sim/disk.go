package sim

import (
	"errors"
	"maps"
	"math/rand/v2"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

var errDisk = errors.New("the disk fails")

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
	// Until then a commit takes long, or is not done; finds no room; fails.
	slowUntil, stalledUntil, fullUntil, failsUntil int64
	// readsFail: what fails are reads alone.
	readsFail bool
	// stalled is what waits for a stalled disk.
	stalled []func()
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
	if w.opt.Fsync || w.chance(0.1) {
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
func (d *disk) losePower(w *World, rng *rand.Rand) {
	n := rng.IntN(len(d.unsynced) + 1)
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
	d.uncertain = d.uncertain || !w.opt.Fsync
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
	d.writing, d.filling, d.stalled = nil, &batch{}, nil
}

// whenMoving calls do, or has it wait for a stalled disk.
func (d *disk) whenMoving(w *World, do func()) {
	if d.stalledUntil > w.now {
		d.stalled = append(d.stalled, do)
	} else {
		do()
	}
}

// move goes on with what waits, if the disk is not stalled any more.
func (d *disk) move(w *World) {
	if d.stalledUntil <= w.now {
		list := d.stalled
		d.stalled = nil
		for _, do := range list {
			do()
		}
	}
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
	s.commits.Began(s.node.Awake())
	s.write(b)
}

// write has a batch stored, which takes its time. The disk works while the
// process is paused: the commit is done in time, the process hears of it later.
func (s *Server) write(b *batch) {
	d, w := s.disk, s.w
	took := w.often(50*microsecond, 2*millisecond, 20*millisecond, 0.05)
	if d.slowUntil > w.now {
		took += w.between(20*millisecond, 600*millisecond)
	}
	done := func() {
		if d.writing != b {
			return // crashed meanwhile
		}
		switch {
		case d.failsUntil > w.now && !d.readsFail:
			w.stats["stores failed"]++
			w.tracef("%s: its store fails", s.name)
			s.crash(false)
		case d.fullUntil > w.now && !s.isFullAlone():
			s.after(w.between(0, 200*microsecond), s.noteFull)
			w.after(diskFullRetry, func() {
				if d.writing == b {
					s.write(b)
				}
			})
		default:
			d.apply(w, b)
			b.changes = nil
			s.after(w.between(0, 200*microsecond), func() { s.stored(b) })
		}
	}
	w.after(took, func() { d.whenMoving(w, done) })
}

// stored tells the replicas that their writes are in the store.
func (s *Server) stored(b *batch) {
	s.checkSpace()
	s.disk.writing = nil
	s.turn(func() {
		s.commits.Ended(s.node.Awake())
		for _, r := range b.refs {
			r.r.Persisted(r.ticket, &s.fx)
		}
	})
	s.commit()
}

const (
	diskFullRetry = 200 * millisecond
	// diskFullAlone: by then others have taken the partitions over, or nobody can,
	// and the reserve is used.
	diskFullAlone = 2 * second
	stepDownEvery = 500 * millisecond
)

func (s *Server) noteFull() {
	s.touchClock()
	s.commits.Began(s.node.Awake())
	if s.fullSince == 0 {
		s.fullSince = s.w.now
		s.w.stats["stores full"]++
		s.w.tracef("%s: its disk is full", s.name)
	}
}

func (s *Server) checkSpace() {
	if s.fullSince != 0 && s.disk.fullUntil <= s.w.now {
		s.fullSince = 0
		s.w.tracef("%s: its disk has space again", s.name)
	}
}

// isFull tells whether puts would wait for space.
func (s *Server) isFull() bool { return s.fullSince != 0 }

func (s *Server) isFullAlone() bool { return s.isFull() && s.w.now-s.fullSince >= diskFullAlone }

// lookAtCommits notices that the disk hangs, or works again.
func (s *Server) lookAtCommits() {
	hangs := s.commits.Hang(s.node.Awake())
	if hangs && !s.hangs {
		s.w.stats["stores hung"]++
	}
	if hangs != s.hangs {
		s.w.tracef("%s: its disk hangs: %v", s.name, hangs)
	}
	s.hangs = hangs
}

// stepDown is what a server gives to others (R9): where it has no space, unless it
// said so a moment ago, and where it cannot read. ill: it has to say that it has
// no space or that its disk hangs.
func (s *Server) stepDown() (list []control.PartitionEpoch, ill bool) {
	if s.disk.writing == nil {
		s.checkSpace()
	}
	for _, p := range s.unreadable {
		if r := s.replicas[p]; r.IsPrimary() {
			list = append(list, control.PartitionEpoch{P: p, E: r.Config().Epoch})
		}
	}
	s.unreadable = nil
	if !s.isFull() && !s.hangs || s.w.now-s.stepDownAt <= stepDownEvery {
		return list, false
	}
	s.stepDownAt = s.w.now
	if !s.isFull() {
		return list, true
	}
	for _, r := range s.replicas {
		if c := r.Config(); clustermap.Contains(c.Replicas, s.id) || clustermap.Contains(c.Joining, s.id) {
			list = append(list, control.PartitionEpoch{P: r.Part(), E: c.Epoch})
		}
	}
	return list, true
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
	s.after(wait(), func() {
		s.disk.whenMoving(w, func() {
			items := make([]*item.Item, len(rd.Keys))
			for i, k := range rd.Keys {
				items[i] = s.disk.part(part).item(k)
			}
			s.after(wait(), func() {
				var err error
				if s.disk.failsUntil > w.now && w.chance(0.5) {
					items, err = nil, errDisk
					s.unreadable = append(s.unreadable, part)
					w.stats["reads failed"]++
				}
				s.turn(func() { rd.Replica.ReadDone(&rd, items, err, &s.fx) })
			})
		})
	})
}
