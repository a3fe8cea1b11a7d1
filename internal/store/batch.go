package store

import (
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/kumofs/kumofs/internal/item"
)

// Batch is a set of changes that take effect together, in the order in which
// they were added. It belongs to one goroutine and one store at a time; use it
// again after Reset. The methods copy what they are given.
type Batch struct {
	b *pebble.Batch
	// parts are the partitions whose number of items may change, each once if
	// it was added in a row.
	parts []uint16
	puts  int
	// positions are not in b: see wal. dropped are partitions that were removed
	// before those were set.
	positions []partPosition
	dropped   []uint16
}

type partPosition struct {
	part uint16
	pos  Position
}

// MaxBatch bounds a batch in bytes: Commit refuses a larger one. The largest value
// (1 GiB) fits, behind others. Batches larger than half a memtable cost more than
// their parts: keep them below a few MiB.
const MaxBatch = 3 << 30

// NewBatch makes an empty batch for this store.
func (s *Store) NewBatch() *Batch { return &Batch{b: s.db.NewBatch()} }

// Put stores a record.
func (b *Batch) Put(part uint16, key, record []byte) {
	op := b.put(part, key, len(record))
	copy(op.Value, record)
	_ = op.Finish() // fails only on an indexed batch
}

// PutItem stores an item, encoded in place.
func (b *Batch) PutItem(part uint16, key []byte, it *item.Item) {
	op := b.put(part, key, recordSize(it))
	encodeRecord(op.Value, it)
	_ = op.Finish()
}

func (b *Batch) put(part uint16, key []byte, size int) *pebble.DeferredBatchOp {
	b.touch(part)
	b.puts++
	op := b.b.SetDeferred(prefixLen+len(key), size)
	itemKey(op.Key[:0], part, key)
	return op
}

// Delete removes a key, if it is there.
func (b *Batch) Delete(part uint16, key []byte) {
	b.touch(part)
	op := b.b.DeleteDeferred(prefixLen + len(key))
	itemKey(op.Key[:0], part, key)
	_ = op.Finish()
}

// SetPosition records how far the store has the partition once the batch is
// committed.
func (b *Batch) SetPosition(part uint16, pos Position) {
	b.positions = append(b.positions, partPosition{part, pos})
}

// SetFlushed records the partition's flush; version and at as in Flushed.
func (b *Batch) SetFlushed(part uint16, version uint64, at int64) {
	var buf [16]byte
	b.book(part, bookFlushed, appendFlushed(buf[:0], Flushed{Version: version, At: at}))
}

func (b *Batch) book(part uint16, name byte, value []byte) { setBook(b.b, part, name, value) }

func setBook(b *pebble.Batch, part uint16, name byte, value []byte) {
	op := b.SetDeferred(prefixLen+1, len(value))
	op.Key = append(appendPrefix(op.Key[:0], part, kindBook), name)
	copy(op.Value, value)
	_ = op.Finish() // fails only on an indexed batch whose index is broken
}

// DeletePartition removes all of a partition, its bookkeeping included. What
// is added to the batch afterwards stays.
func (b *Batch) DeletePartition(part uint16) {
	b.touch(part)
	start, end := partitionRange(part)
	_ = b.b.DeleteRange(start, end, nil) // fails only on an indexed batch
	b.positions = slices.DeleteFunc(b.positions, func(p partPosition) bool { return p.part == part })
	b.dropped = append(b.dropped, part)
}

func (b *Batch) touch(part uint16) {
	if n := len(b.parts); n == 0 || b.parts[n-1] != part {
		b.parts = append(b.parts, part)
	}
}

// Len is the number of changes.
func (b *Batch) Len() int { return int(b.b.Count()) + len(b.positions) }

// Bytes is the size of the batch in bytes, encoded.
func (b *Batch) Bytes() int { return b.b.Len() + len(b.positions)*(2+positionSize) }

// Reset empties the batch, after Commit or instead of it.
func (b *Batch) Reset() {
	b.b.Reset()
	b.parts, b.puts, b.positions, b.dropped = b.parts[:0], 0, b.positions[:0], b.dropped[:0]
}

// Commit applies a batch. On nil it is visible and durable: against kill -9,
// and with Options.Fsync against power loss. It blocks until then; many at a
// time share one write. The batch may be Reset afterwards.
//
// ErrDiskFull with Store.Failed() == nil means that nothing was done. After any
// error with Store.Failed() != nil nothing may be assumed: the batch may be there, now or after the
// store is opened again. When the disk fills up within the reserve (other users
// of the disk took it), a Commit in flight blocks until there is space again or
// the store is closed.
func (s *Store) Commit(b *Batch) error { return s.commit(b, false) }

// CommitReserve is Commit that puts into the reserve too, down to half of it;
// deletes need the rest: for what has been promised and nobody else can take.
func (s *Store) CommitReserve(b *Batch) error { return s.commit(b, true) }

// Full tells whether puts are refused for want of space. It may ask the disk.
// As long as it is asked, what was deleted gives its space back.
func (s *Store) Full() bool {
	room := s.space.room(0)
	if room != roomy {
		s.reclaim()
	}
	return room != roomy || s.guard.full()
}

func (s *Store) commit(b *Batch, reserve bool) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if b.Len() == 0 {
		return nil
	}
	if b.b.Len() > MaxBatch {
		return fmt.Errorf("a batch of %d bytes is too large (the limit is %d)", b.b.Len(), MaxBatch)
	}
	room := s.space.room(b.b.Len())
	if room == nearly || room == low && b.puts > 0 && !(reserve && s.space.fits(b.b.Len())) || s.guard.full() {
		s.reclaim()
		return s.diskFull()
	}
	err := s.wal.commit(b)
	// After it can be seen: see counts.
	s.counts.touch(b.parts)
	if room != roomy {
		s.space.deleted.Store(true)
		s.reclaim()
	}
	// The guard tells pebble that all is well even when it is not.
	if ferr := s.guard.err(); ferr != nil {
		return ferr
	}
	return ioError(err, "cannot write")
}

// Prompt tells whether Commit of b would be as quick as a write of a few KiB into the
// kernel's memory: no sync, no wait for space on the disk or for pebble. It is a
// guess: a disk that hangs can make any write wait.
func (s *Store) Prompt(b *Batch) bool {
	n := int64(b.Bytes())
	return !s.opts.Fsync && n <= promptBytes && n+tornBytes <= s.wal.room.Load() && len(b.dropped) == 0 &&
		s.wal.waiting.Load() < s.wal.maxWaiting/2 &&
		s.space.level.Load() == roomy && !s.guard.full()
}

func (s *Store) diskFull() error {
	return errorf(ErrDiskFull, nil, "disk full: the store %s takes no puts until there is space", s.path)
}
