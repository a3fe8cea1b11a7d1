package store

import (
	"github.com/cockroachdb/pebble/v2"
)

// Snapshot is the store as it was at one moment. It may be used from any
// goroutine. While it is open, what was overwritten since is kept on disk; it
// holds no memory to speak of. Close it before the store.
type Snapshot struct {
	s  *Store
	sn pebble.Reader
}

// Snapshot takes one. Everything committed before is in it.
func (s *Store) Snapshot() *Snapshot {
	if s.wal == nil {
		return &Snapshot{s: s, sn: s.view} // nobody changes it
	}
	s.wal.applyMu.Lock()
	defer s.wal.applyMu.Unlock()
	_ = s.wal.settleLocked(true) // the guard has the error, and whoever reads asks it
	return &Snapshot{s: s, sn: s.db.NewSnapshot()}
}

// Close gives the snapshot up. Its iterators must be closed before.
func (sn *Snapshot) Close() error {
	if sn.s.wal == nil {
		return nil
	}
	return ioError(sn.sn.Close(), "cannot close a snapshot")
}

// Get is Store.Get on the snapshot.
func (sn *Snapshot) Get(part uint16, key, dst []byte) (record []byte, found bool, err error) {
	if err := sn.s.usable(); err != nil {
		return dst, false, err
	}
	return getFrom(sn.sn, sn.s.guard, part, key, dst)
}

// Bookkeeping is the partition's bookkeeping in the snapshot.
func (sn *Snapshot) Bookkeeping(part uint16) (Bookkeeping, error) {
	if err := sn.s.usable(); err != nil {
		return Bookkeeping{}, err
	}
	b, err := bookkeepingFrom(sn.sn, part)
	if ferr := sn.s.guard.err(); ferr != nil {
		err = ferr
	}
	return b, err
}

// Iter iterates over the items of a partition with a key not below from, in
// the order of keys (bytes.Compare):
//
//	it := sn.Iter(part, nil)
//	for it.Next() {
//		use(it.Key(), it.Record())
//	}
//	err := it.Close()
func (sn *Snapshot) Iter(part uint16, from []byte) *Iter { return sn.iter(part, from, nil) }

// iter stops before the key end; nil is the end of the partition.
func (sn *Snapshot) iter(part uint16, from, end []byte) *Iter {
	if err := sn.s.usable(); err != nil {
		return &Iter{err: err}
	}
	return newIter(sn.sn, sn.s.guard, part, from, end)
}

func newIter(r pebble.Reader, g *guard, part uint16, from, end []byte) *Iter {
	lower, upper := itemRange(part, from, end)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	return &Iter{it: it, g: g, part: part, err: err}
}

// Iter is an iterator. It belongs to one goroutine.
type Iter struct {
	it      *pebble.Iterator
	g       *guard
	part    uint16
	started bool
	err     error
}

// Next goes to the first item, then to the next, and tells whether there is
// one. It may block for disk reads.
func (it *Iter) Next() bool {
	switch {
	case it.err != nil:
		return false
	case !it.started:
		it.started = true
		return it.it.First()
	default:
		return it.it.Next()
	}
}

// Seek goes to the first item whose key is not below key, and tells whether there
// is one. Next goes on from there. It may block for disk reads.
func (it *Iter) Seek(key []byte) bool {
	if it.err != nil {
		return false
	}
	it.started = true
	return it.it.SeekGE(itemKey(nil, it.part, key))
}

// Err is why the last Next or Seek was false; nil: there are no more keys. The next Seek
// forgets it.
func (it *Iter) Err() error {
	if it.err != nil {
		return it.err
	}
	return ioError(it.it.Error(), "cannot read a partition")
}

// Key is the user's key. It is valid until the next call of Next or Close.
func (it *Iter) Key() []byte { return it.it.Key()[prefixLen:] }

// Record is the item's record. It is valid until the next call of Next or Close.
func (it *Iter) Record() ([]byte, error) {
	v, err := it.it.ValueAndErr()
	return v, ioError(err, "cannot read a value")
}

// Close ends the iteration. Its error tells that Next stopped before the end.
func (it *Iter) Close() error {
	err := it.err
	if it.it != nil {
		if cerr := it.it.Close(); err == nil {
			err = cerr // includes errors of reading
		}
		it.it = nil
	}
	if it.g != nil && it.g.err() != nil {
		err = it.g.err()
	}
	return ioError(err, "cannot read a partition")
}
