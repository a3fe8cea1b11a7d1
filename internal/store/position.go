package store

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/kumofs/kumofs/internal/clustermap"
)

// Position is how far a store has a partition (R1): the version of the last
// operation it stored. Position{} is: nothing known.
type Position struct {
	// Version is epoch<<40 | seq.
	Version uint64
	// Unfinished: a join began and did not end, so there may be gaps and keys
	// that were deleted. Such a store "has no position" (R7); Version says only
	// what the join was at.
	Unfinished bool
}

// Epoch is the epoch of the position's version.
func (p Position) Epoch() uint32 { return uint32(p.Version >> clustermap.SeqBits) }

// Flushed is a partition's flush (R11): items with a version below Version are
// misses. At is the time of a delayed flush that has not begun, in Unix
// seconds; 0 when there is none.
type Flushed struct {
	Version uint64
	At      int64
}

// Bookkeeping is what a store knows of one partition besides items.
type Bookkeeping struct {
	Position Position
	Flushed  Flushed
}

// positionSize is the length of a position on disk, in bytes.
const positionSize = 9

func appendPosition(dst []byte, p Position) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.Version)
	if p.Unfinished {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func parsePosition(b []byte) (Position, error) {
	if len(b) != positionSize || b[8] > 1 {
		return Position{}, errorf(ErrCorrupt, nil, "a partition's position is damaged (%x)", b)
	}
	return Position{Version: binary.BigEndian.Uint64(b), Unfinished: b[8] == 1}, nil
}

func appendFlushed(dst []byte, f Flushed) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, f.Version), uint64(f.At))
}

func parseFlushed(b []byte) (Flushed, error) {
	if len(b) != 16 {
		return Flushed{}, errorf(ErrCorrupt, nil, "a partition's flush entry is damaged (%x)", b)
	}
	return Flushed{Version: binary.BigEndian.Uint64(b), At: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// Position is the partition's position as committed last.
func (s *Store) Position(part uint16) (Position, error) {
	b, err := s.Bookkeeping(part)
	return b.Position, err
}

// Bookkeeping is the partition's bookkeeping as committed last; zero when there
// is none.
func (s *Store) Bookkeeping(part uint16) (b Bookkeeping, err error) {
	if err := s.usable(); err != nil {
		return b, err
	}
	if err := s.settle(); err != nil {
		return b, err
	}
	b, err = bookkeepingFrom(s.view, part)
	if ferr := s.usable(); ferr != nil {
		err = ferr
	}
	return b, err
}

func bookkeepingFrom(r pebble.Reader, part uint16) (b Bookkeeping, err error) {
	for _, name := range []byte{bookPosition, bookFlushed} {
		v, c, err := r.Get(bookKey(part, name))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err == nil {
			err = b.set(name, v)
			if cerr := c.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return Bookkeeping{}, ioError(err, "cannot read a partition's bookkeeping")
		}
	}
	return b, nil
}

// set parses an entry. Names that it does not know are a newer version's.
func (b *Bookkeeping) set(name byte, v []byte) (err error) {
	switch name {
	case bookPosition:
		b.Position, err = parsePosition(v)
	case bookFlushed:
		b.Flushed, err = parseFlushed(v)
	}
	return err
}

// Partitions is the bookkeeping of every partition of which the store holds
// anything, items without bookkeeping included. A partition whose bookkeeping cannot be
// read, for its table is damaged, is an unfinished copy: it may lack anything. It takes two seeks a partition
// and does not scan items.
func (s *Store) Partitions() (map[uint16]Bookkeeping, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	found, err := readPartitions(s.view)
	if ferr := s.usable(); ferr != nil {
		err = ferr
	}
	return found, ioError(err, "cannot read the partitions' bookkeeping")
}

// Positions is the position of every partition of which the store holds anything.
func (s *Store) Positions() (map[uint16]Position, error) {
	found, err := s.Partitions()
	if err != nil {
		return nil, err
	}
	positions := make(map[uint16]Position, len(found))
	for part, b := range found {
		positions[part] = b.Position
	}
	return positions, nil
}

func readPartitions(r pebble.Reader) (map[uint16]Bookkeeping, error) {
	it, err := r.NewIter(&pebble.IterOptions{UpperBound: appendPrefix(nil, FirstOwnPartition, 0)})
	if err != nil {
		return nil, err
	}
	found := make(map[uint16]Bookkeeping)
	next := uint16(0) // the partition that is looked for
	bad := -1         // the last one whose bookkeeping makes no sense
	for ok := it.First(); ; {
		if err := it.Error(); !ok && err != nil && pebble.IsCorruptionError(err) {
			// What follows may be readable.
			found[next] = Bookkeeping{Position: Position{Unfinished: true}}
			if next++; next == FirstOwnPartition {
				break
			}
			ok = it.SeekGE(appendPrefix(nil, next, kindBook))
			continue
		}
		if !ok {
			break
		}
		key := it.Key()
		part := binary.BigEndian.Uint16(key)
		b := found[part]
		next = part
		if len(key) == prefixLen+1 && key[2] == kindBook {
			if b.set(key[prefixLen], it.Value()) != nil {
				bad = int(part)
			}
			if bad == int(part) {
				b = Bookkeeping{Position: Position{Unfinished: true}} // it cannot be told how far it is
			}
			found[part] = b
			ok = it.Next()
			continue
		}
		found[part] = b
		next = part + 1
		ok = it.SeekGE(appendPrefix(nil, next, kindBook))
	}
	if err := it.Error(); err != nil && !pebble.IsCorruptionError(err) {
		_ = it.Close()
		return nil, err
	}
	_ = it.Close() // its error has been looked at
	return found, nil
}
