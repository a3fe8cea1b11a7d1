package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/latency"
)

// wal is the store's write-ahead log. Pebble's own is not used: it is written by
// a goroutine, so that every commit would wait for two others to wake up, and it
// knows no positions, so that each would be a key of the memtable beside its item.
//
// A commit is one write by whoever commits. What it holds is in pending then, where
// gets find it, and goes into pebble's memtable later, many commits at a time: when
// pending is full, or when somebody wants to see more than single keys (settle). Of
// a partition's positions only the newest goes there.
//
// The log is segments, numbered without gaps. When one is full the next takes
// over, what is before it is flushed into tables, and then it is removed. So the
// segments hold everything that the tables may lack, and replaying them over
// tables that have some of it already gives the same in the end, as every key,
// and every position, was written last by the last record that has it.
//
// Unless Options.Fsync is set a segment is synced when it is closed, and before a
// table is (guard): so power loss takes a tail of the log and nothing else.
type wal struct {
	s   *Store
	dir string
	fs  vfs.FS // guarded
	// segmentBytes is from which size on a segment is full, applyBytes pending, and
	// maxWaiting is how much may wait when pebble does not keep up: who commits then
	// waits for it.
	segmentBytes, applyBytes, maxWaiting int64

	appendMu sync.Mutex // one commit at a time, from its write until it is in pending
	cur      *segment
	next     atomic.Pointer[segment] // made ahead
	header   []byte
	room     atomic.Int64 // bytes that cur has space for, set aside on the disk

	mu        sync.Mutex // over what is below
	pending   *recent
	applying  *recent             // before that, and not yet in pebble as a whole; or nil
	positions map[uint16]Position // newer than those in pebble

	waiting atomic.Int64 // bytes in pending and applying

	applyMu sync.Mutex // what goes into pebble, in order
	spare   *recent
	out     *pebble.Batch

	filesMu sync.Mutex // over cur, too, where appendMu is not held
	old     []*segment // full, perhaps not synced
	oldest  uint64     // number of the oldest file
	last    uint64     // number of the newest file
	before  int64      // size of the newest file that replay read
	ended   uint64     // number of that file
	syncMu  sync.Mutex

	timesMu sync.Mutex
	times   latency.Histogram // of syncs

	wg       sync.WaitGroup // run, and those who retire segments
	stopping sync.WaitGroup // stop
	closing  chan struct{}
	retireMu sync.Mutex
	due      chan struct{} // there is something for run
	bytes    atomic.Uint64 // written since Open
	live     atomic.Int64  // bytes of all segments
}

const (
	walName = "wal"
	// largeBatch goes into pebble at once.
	largeBatch = 1 << 20
	// applyStep is how much goes into pebble in one batch.
	applyStep = 128 << 10
	// promptBytes bounds a commit that Prompt calls prompt.
	promptBytes = 64 << 10
	// Package record writes blocks of recordBlock bytes, each part of a record behind a
	// header. tornBytes is more than what a process leaves behind the last whole block
	// that was killed while it wrote.
	recordBlock  = 32 << 10
	recordHeader = 7
	tornBytes    = recordBlock + 1<<10
)

// segment is one file of the log.
type segment struct {
	num     uint64
	f       vfs.File
	w       *record.Writer
	written atomic.Int64 // bytes
	synced  int64        // under syncMu
}

func segmentName(num uint64) string { return fmt.Sprintf("%06d.log", num) }

func newWAL(s *Store, dir string, fs vfs.FS) *wal {
	size := int64(s.opts.MemTableSize / 2)
	w := &wal{s: s, dir: dir, fs: fs, segmentBytes: size, applyBytes: size / 2, maxWaiting: 2 * size, positions: map[uint16]Position{},
		oldest: 1, closing: make(chan struct{}), due: make(chan struct{}, 1)}
	w.pending, w.spare, w.out = newRecent(), newRecent(), s.db.NewBatch()
	return w
}

// start makes the log ready for commits, after replay.
func (w *wal) start() error {
	if err := w.fs.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	// Twice: for the directory's name, and for what is in it.
	if err := syncDir(w.s.fs, w.s.path); err != nil {
		return err
	}
	seg, err := w.create(w.last + 1)
	if err != nil {
		return err
	}
	w.use(seg)
	w.s.guard.wal.Store(w)
	w.wg.Go(w.run)
	return nil
}

// create makes a segment's file, with its space.
func (w *wal) create(num uint64) (*segment, error) {
	f, err := w.fs.Create(w.fs.PathJoin(w.dir, segmentName(num)), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	// A disk that cannot set space aside does without; a full one is found by who writes.
	_ = f.Preallocate(0, w.segmentBytes+promptBytes)
	if err := w.s.guard.mustOnce(func() error { return syncDir(w.s.fs, w.dir) }); err != nil {
		_ = f.Close()
		return nil, err
	}
	w.last = num
	return &segment{num: num, f: f, w: record.NewWriter(f)}, nil
}

// use has commits go to seg. appendMu is held, or nobody commits yet.
func (w *wal) use(seg *segment) {
	size := w.before
	w.filesMu.Lock()
	if w.cur != nil {
		size = w.cur.written.Load()
		w.old = append(w.old, w.cur)
	}
	w.cur = seg
	w.filesMu.Unlock()
	// It reaches the disk with the first commit, and tells then whether the segment
	// before it lost its end.
	if to, err := seg.w.Next(); err == nil {
		_, _ = to.Write(appendFirst(nil, size)) // who flushes it gets the error
	}
	w.room.Store(w.segmentBytes + promptBytes)
}

// run takes commits into pebble, and makes segments ahead.
func (w *wal) run() {
	for {
		select {
		case <-w.due:
		case <-w.closing:
			return
		}
		if w.waiting.Load() >= w.applyBytes {
			_ = w.settle(false) // the guard has the error
		}
		if w.room.Load() < w.segmentBytes/2 && w.next.Load() == nil {
			w.makeNext()
		}
	}
}

func (w *wal) makeNext() {
	// On a full disk, or a failing one, the present segment grows.
	if seg, err := w.create(w.last + 1); err == nil {
		w.next.Store(seg)
	}
}

// commit writes b; on return it is durable as Store.Commit says.
func (w *wal) commit(b *Batch) error {
	w.appendMu.Lock()
	defer w.appendMu.Unlock()
	if w.cur.written.Load() >= w.segmentBytes {
		if next := w.next.Swap(nil); next != nil {
			full := w.cur.num
			w.use(next)
			w.wg.Go(func() { w.retire(full) })
		}
	}
	if err := w.append(b); err != nil {
		return err
	}
	if w.room.Load() < w.segmentBytes/2 && w.next.Load() == nil {
		signal(w.due)
	}
	// What a failed store takes in is never read.
	if b.b.Len() >= largeBatch {
		return w.applyLarge(b)
	}
	w.mu.Lock()
	before := w.pending.size()
	if b.b.Count() > 0 && !w.pending.take(b.b) {
		w.mu.Unlock()
		return w.applyLarge(b)
	}
	w.note(b)
	waiting := w.waiting.Add(int64(w.pending.size() - before))
	w.mu.Unlock()
	if waiting >= w.applyBytes {
		signal(w.due)
	}
	if waiting >= w.maxWaiting {
		return w.settle(false)
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// note takes what is not in the batch itself. mu is held.
func (w *wal) note(b *Batch) {
	for _, part := range b.dropped {
		delete(w.positions, part)
	}
	for i := range b.positions {
		p := &b.positions[i]
		w.positions[p.part] = p.pos
	}
}

// append writes b as one record: its positions, then pebble's form of the rest.
func (w *wal) append(b *Batch) error {
	h := append(w.header[:0], 0, 0, 0, 0)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(b.dropped)))
	for _, part := range b.dropped {
		h = binary.LittleEndian.AppendUint16(h, part)
	}
	for i := range b.positions {
		h = appendPosition(binary.LittleEndian.AppendUint16(h, b.positions[i].part), b.positions[i].pos)
	}
	binary.LittleEndian.PutUint32(h, uint32(len(h)))
	w.header = h
	seg := w.cur
	to, err := seg.w.Next()
	if err == nil {
		_, err = to.Write(h)
	}
	if err == nil {
		_, err = to.Write(b.b.Repr())
	}
	if err == nil {
		err = seg.w.Flush()
	}
	size := seg.w.Size()
	w.bytes.Add(uint64(size - seg.written.Load()))
	w.live.Add(size - seg.written.Load())
	seg.written.Store(size)
	w.room.Store(w.segmentBytes + promptBytes - size)
	if err == nil && w.s.opts.Fsync {
		err = w.timed(seg.f.SyncData)
	}
	return err
}

// applyLarge is for a batch that is not worth copying, or that recent does not take.
// appendMu is held.
func (w *wal) applyLarge(b *Batch) error {
	w.applyMu.Lock()
	defer w.applyMu.Unlock()
	if err := w.settleLocked(false); err != nil {
		return err
	}
	err := w.apply(b.b)
	w.mu.Lock()
	w.note(b)
	w.mu.Unlock()
	return err
}

// get looks for a key among what is not in pebble yet. known is false when nothing
// there tells of it. The value is appended to dst.
func (w *wal) get(key, dst []byte) (record []byte, found, known bool) {
	if w.waiting.Load() == 0 {
		return dst, false, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	value, known := w.pending.find(key)
	if !known && w.applying != nil {
		value, known = w.applying.find(key)
	}
	return append(dst, value...), value != nil, known
}

// settle puts everything committed before into pebble, and with positions those too.
func (w *wal) settle(positions bool) error {
	w.applyMu.Lock()
	defer w.applyMu.Unlock()
	return w.settleLocked(positions)
}

func (w *wal) settleLocked(positions bool) error {
	w.mu.Lock()
	r := w.pending
	w.pending, w.applying = w.spare, r
	var newest map[uint16]Position
	if positions && len(w.positions) > 0 {
		newest, w.positions = w.positions, map[uint16]Position{}
	}
	w.mu.Unlock()
	size := r.size()
	// A flush that pebble begins in between takes a part of it: the log has it all.
	var err error
	for _, c := range r.sorted() {
		c.appendTo(w.out, r)
		if w.out.Len() >= applyStep && err == nil {
			err = w.apply(w.out)
			w.out.Reset()
		}
	}
	for part, pos := range newest {
		setPosition(w.out, part, pos)
	}
	if !w.out.Empty() && err == nil {
		err = w.apply(w.out)
	}
	w.out.Reset()
	w.mu.Lock()
	w.applying = nil
	w.mu.Unlock()
	w.waiting.Add(-int64(size))
	r.reset(int(w.applyBytes))
	w.spare = r
	return err
}

func setPosition(b *pebble.Batch, part uint16, pos Position) {
	setBook(b, part, bookPosition, appendPosition(make([]byte, 0, positionSize), pos))
}

// apply puts a batch into the memtable. applyMu is held. It blocks while pebble
// has too much to flush.
func (w *wal) apply(b *pebble.Batch) error {
	err := w.s.db.Apply(b, pebble.NoSync)
	if err != nil {
		w.s.guard.fail(err) // the log has it, pebble has not: only Open can put that right
	}
	return err
}

// timed notes how long a sync takes.
func (w *wal) timed(sync func() error) error {
	began := time.Now()
	err := sync()
	took := time.Since(began)
	w.timesMu.Lock()
	w.times.Add(took, 1)
	w.timesMu.Unlock()
	return err
}

// sync makes everything that was written durable, and closes full segments.
func (w *wal) sync() error {
	w.syncMu.Lock()
	defer w.syncMu.Unlock()
	w.filesMu.Lock()
	old, cur := slices.Clone(w.old), w.cur
	w.filesMu.Unlock()
	for _, seg := range old {
		if err := seg.f.Close(); err != nil { // syncs (guard)
			return err
		}
		w.filesMu.Lock()
		w.old = w.old[1:]
		w.filesMu.Unlock()
	}
	if cur == nil || cur.written.Load() == cur.synced {
		return nil
	}
	n := cur.written.Load()
	if err := w.timed(func() error { return syncNow(cur.f) }); err != nil {
		return err
	}
	cur.synced = n
	return nil
}

// retire has everything up to segment num in tables, and removes the segments.
func (w *wal) retire(num uint64) {
	w.retireMu.Lock()
	defer w.retireMu.Unlock()
	if w.sync() == nil && w.settle(true) == nil && w.flush(w.closing) == nil {
		_ = w.remove(num) // what stays is replayed once more, to no effect
	}
}

var errNotFlushed = errors.New("pebble has not flushed in time")

// flush has pebble put what it has into tables. It blocks until then, or until
// limit.
func (w *wal) flush(limit <-chan struct{}) error {
	flushed, err := w.s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return w.s.guard.err()
	case <-limit:
		return errNotFlushed
	}
}

// remove removes segments up to num, each for good before the next: an old one
// that is there again without those after it would undo what they hold.
func (w *wal) remove(num uint64) error {
	w.filesMu.Lock()
	from := w.oldest
	w.filesMu.Unlock()
	for n := from; n <= num; n++ {
		if err := w.removeOne(n); err != nil {
			return err
		}
		w.filesMu.Lock()
		w.oldest = n + 1
		w.filesMu.Unlock()
	}
	return nil
}

func (w *wal) removeOne(num uint64) error {
	name := w.fs.PathJoin(w.dir, segmentName(num))
	size := int64(0)
	if st, err := w.fs.Stat(name); err == nil {
		size = st.Size()
	}
	err := w.fs.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = w.s.guard.mustOnce(func() error { return syncDir(w.s.fs, w.dir) })
	}
	if err == nil {
		w.live.Add(-size)
	}
	return err
}

// stop ends the log's goroutines and puts everything into tables, if limit allows
// and the store works. What could not be flushed is replayed by the next Open.
func (w *wal) stop(limit <-chan struct{}) {
	close(w.closing)
	if w.s.guard.err() != nil {
		return
	}
	done := make(chan struct{})
	w.stopping.Go(func() {
		defer close(done)
		w.wg.Wait()
		if w.settle(true) == nil && w.sync() == nil && w.flush(limit) == nil {
			_ = w.remove(w.last)
		}
	})
	select {
	case <-done:
	case <-limit: // pebble waits for space, say
	}
}

// close closes the segments.
func (w *wal) close() error {
	w.wg.Wait()
	w.stopping.Wait()
	err := w.sync()
	if cerr := w.cur.f.Close(); err == nil {
		err = cerr
	}
	if next := w.next.Load(); next != nil {
		if cerr := next.f.Close(); err == nil {
			err = cerr
		}
	}
	return err
}
