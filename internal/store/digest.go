package store

import (
	"context"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// RangeDigest is what two stores compare of a range of keys (R7). Equal counts
// and hashes mean equal keys and versions, hence equal data.
type RangeDigest struct {
	// Start is the first key of the range, End the first key after it. An empty
	// Start is the partition's beginning and a nil End its end.
	Start, End []byte
	Count      int64
	Hash       uint64
}

// digester hashes (key, version) of items in the order of keys. The key's
// length goes before it, so that no two lists of items look alike.
type digester struct {
	h     xxhash.Digest
	count int64
	buf   []byte
}

func newDigester() *digester {
	d := &digester{}
	d.h.Reset()
	return d
}

func (d *digester) add(key []byte, version uint64) {
	d.buf = binary.BigEndian.AppendUint32(d.buf[:0], uint32(len(key)))
	d.buf = append(d.buf, key...)
	d.buf = binary.BigEndian.AppendUint64(d.buf, version)
	_, _ = d.h.Write(d.buf) // never fails
	d.count++
}

func (d *digester) addContent(content []byte) {
	d.buf = binary.BigEndian.AppendUint64(d.buf[:0], uint64(len(content)))
	_, _ = d.h.Write(d.buf) // neither fails
	_, _ = d.h.Write(content)
	d.count++
}

func (d *digester) sum() (count int64, hash uint64) {
	count, hash = d.count, d.h.Sum64()
	d.h.Reset()
	d.count = 0
	return count, hash
}

// Digest cuts a partition into ranges of perRange keys (the last may have
// fewer) and gives fn their digests in order. The ranges cover the partition
// without gaps, so a key that only the other store has falls into one of them;
// an empty partition is one empty range. Start and End are valid only during
// the call of fn. It reads the whole partition.
func (sn *Snapshot) Digest(part uint16, perRange int, fn func(RangeDigest) error) error {
	d := newDigester()
	var start, end []byte
	err := sn.Versions(part, nil, nil, func(key []byte, version uint64, _ int) error {
		if d.count >= int64(max(perRange, 1)) {
			end = append(end[:0], key...)
			count, hash := d.sum()
			if err := fn(RangeDigest{Start: start, End: end, Count: count, Hash: hash}); err != nil {
				return err
			}
			start, end = end, start
		}
		d.add(key, version)
		return nil
	})
	if err != nil {
		return err
	}
	count, hash := d.sum()
	return fn(RangeDigest{Start: start, Count: count, Hash: hash})
}

// DigestRange is the digest of the keys with start <= key < end; a nil end is
// the end of the partition.
func (sn *Snapshot) DigestRange(part uint16, start, end []byte) (count int64, hash uint64, err error) {
	d := newDigester()
	err = sn.Versions(part, start, end, func(key []byte, version uint64, _ int) error {
		d.add(key, version)
		return nil
	})
	count, hash = d.sum()
	return count, hash, err
}

// Versions gives fn every key with start <= key < end (a nil end is the end of
// the partition), its version, and the size of its record in bytes. key is
// valid only during the call. An error of fn ends it and is returned as it is.
func (sn *Snapshot) Versions(part uint16, start, end []byte, fn func(key []byte, version uint64, size int) error) error {
	it := sn.iter(part, start, end)
	for it.Next() {
		rec, err := it.Record()
		if err == nil {
			var v uint64
			if v, err = recordVersion(rec); err == nil {
				err = fn(it.Key(), v, len(rec))
			}
		}
		if err != nil {
			_ = it.Close()
			return err
		}
	}
	return it.Close()
}

// Content is Digest over all that Checksum covers, so that it tells apart items of one version
// that differ, too. fn is also given the bytes that were read for a range.
func (sn *Snapshot) Content(part uint16, perRange int, fn func(d RangeDigest, bytes int) error) error {
	d := newDigester()
	var start, end []byte
	read := 0
	err := sn.content(part, nil, nil, func(key, content []byte) error {
		if d.count >= int64(max(perRange, 1)) {
			end = append(end[:0], key...)
			count, hash := d.sum()
			if err := fn(RangeDigest{Start: start, End: end, Count: count, Hash: hash}, read); err != nil {
				return err
			}
			start, end, read = end, start, 0
		}
		d.addContent(content)
		read += len(content)
		return nil
	})
	if err != nil {
		return err
	}
	count, hash := d.sum()
	return fn(RangeDigest{Start: start, Count: count, Hash: hash}, read)
}

// ContentRange is Content's digest of the keys with start <= key < end; a nil end is the
// end of the partition.
func (sn *Snapshot) ContentRange(part uint16, start, end []byte) (count int64, hash uint64, err error) {
	d := newDigester()
	err = sn.content(part, start, end, func(_, content []byte) error {
		d.addContent(content)
		return nil
	})
	count, hash = d.sum()
	return count, hash, err
}

// Contents gives fn every key with start <= key < end (a nil end is the end of the partition), its
// version and a hash of all that Checksum covers of it. key is valid only during the call.
func (sn *Snapshot) Contents(part uint16, start, end []byte, fn func(key []byte, version, hash uint64) error) error {
	it := sn.iter(part, start, end)
	var buf []byte
	for it.Next() {
		rec, err := it.Record()
		var v uint64
		if err == nil {
			v, err = recordVersion(rec)
		}
		if err == nil {
			buf, err = appendContent(buf[:0], it.Key(), rec)
		}
		if err == nil {
			err = fn(it.Key(), v, xxhash.Sum64(buf))
		}
		if err != nil {
			_ = it.Close() // the first error says more
			return err
		}
	}
	return it.Close()
}

func (sn *Snapshot) content(part uint16, start, end []byte, fn func(key, content []byte) error) error {
	it := sn.iter(part, start, end)
	var buf []byte
	for it.Next() {
		rec, err := it.Record()
		if err == nil {
			buf, err = appendContent(buf[:0], it.Key(), rec)
		}
		if err == nil {
			err = fn(it.Key(), buf)
		}
		if err != nil {
			_ = it.Close() // the first error says more
			return err
		}
	}
	return it.Close()
}

// Checksum is a sum over all of a partition: key, version, unique, flags,
// expiry and value of each item. It does not depend on order, so sums of
// partitions may be added. It reads the whole partition, or until ctx is done.
func (s *Store) Checksum(ctx context.Context, part uint16) (count int64, sum uint64, err error) {
	if err := s.usable(); err != nil {
		return 0, 0, err
	}
	if err := s.settle(); err != nil {
		return 0, 0, err
	}
	return checksum(ctx, s.view, s.guard, part)
}

func checksum(ctx context.Context, r pebble.Reader, g *guard, part uint16) (count int64, sum uint64, err error) {
	it := newIter(r, g, part, nil, nil)
	var buf []byte
	for it.Next() {
		var rec []byte
		if err = ctx.Err(); err == nil {
			rec, err = it.Record()
		}
		if err == nil {
			buf, err = appendContent(buf[:0], it.Key(), rec)
		}
		if err != nil {
			_ = it.Close()
			return 0, 0, err
		}
		count++
		sum += xxhash.Sum64(buf)
	}
	return count, sum, it.Close()
}
