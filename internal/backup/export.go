package backup

import (
	"bytes"
	"context"
	"fmt"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// Export gives out the entries of a partition in a snapshot: all pairs that visible lets
// through, or, of a request with ranges, those ranges that differ. It returns how many
// pairs there are in all, and their digest. It reads the whole partition, and holds one
// value of 1 MiB at the most, or a piece of a larger one.
//
// Entries are lent for the call; an error of emit ends it and is returned as it is.
func Export(ctx context.Context, sn *store.Snapshot, part uint16, visible func(*item.Item) bool, req *Request, emit func(*Entry) error) (pairs int64, digest uint64, err error) {
	x := &export{ctx: ctx, sn: sn, part: part, visible: visible, emit: emit}
	if len(req.Ranges) == 0 {
		err = x.each(nil, nil, func(key []byte, it *item.Item) error {
			x.all.Add(key, it.Version)
			return x.pair(key, it)
		})
		pairs, digest = x.all.Sum()
		return pairs, digest, err
	}
	for i := range req.Ranges {
		s, end := &req.Ranges[i], req.end(i)
		var d Digest
		err := x.each(s.Start, end, func(key []byte, it *item.Item) error {
			x.all.Add(key, it.Version)
			d.Add(key, it.Version)
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
		if n, hash := d.Sum(); n == s.Pairs && hash == s.Hash {
			continue
		}
		if err := emit(&Entry{Kind: Range, Key: s.Start, End: end}); err != nil {
			return 0, 0, err
		}
		err = x.each(s.Start, end, func(key []byte, it *item.Item) error {
			if it.Version > req.Since {
				return x.pair(key, it)
			}
			return emit(&Entry{Kind: Same, Key: key, Version: it.Version})
		})
		if err != nil {
			return 0, 0, err
		}
	}
	pairs, digest = x.all.Sum()
	return pairs, digest, nil
}

type export struct {
	ctx     context.Context
	sn      *store.Snapshot
	part    uint16
	visible func(*item.Item) bool
	emit    func(*Entry) error
	all     Digest
	read    int
	key     []byte
	chunk   []byte
}

// each gives fn the visible items with start <= key < end; a nil end is the end of the partition.
func (x *export) each(start, end []byte, fn func(key []byte, it *item.Item) error) error {
	it := x.sn.Iter(x.part, start)
	for it.Next() {
		key := it.Key()
		if item.IsChunk(key) || end != nil && bytes.Compare(key, end) >= 0 {
			break
		}
		err := x.look(it, key, fn)
		if err != nil {
			_ = it.Close() // the first error says more
			return err
		}
	}
	return it.Close()
}

func (x *export) look(it *store.Iter, key []byte, fn func(key []byte, it *item.Item) error) error {
	if x.read++; x.read%256 == 0 && x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	rec, err := it.Record()
	if err != nil {
		return err
	}
	i, err := item.ParseRecord(rec)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	if !x.visible(&i) {
		return nil
	}
	return fn(key, &i)
}

// pair gives out a pair with its value.
func (x *export) pair(key []byte, it *item.Item) error {
	e := Entry{Kind: Pair, Key: key, Version: it.Version, Unique: it.Unique, Flags: it.Flags, Exptime: it.Exptime,
		Stale: it.Stale, TokenSent: it.TokenSent, Length: it.Size(), Value: it.Value}
	if !it.Large && len(it.Value) <= maxPair {
		return x.emit(&e)
	}
	segs := []item.Segment{{Inline: it.Value}} // of an import: a whole value may be of any size
	if it.Large {
		var err error
		if segs, err = item.ParseManifest(it.Value); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	e.Kind, e.Value = Large, nil
	if e.Length == 0 {
		e.Kind, e.Value = Pair, []byte{}
	}
	if err := x.emit(&e); err != nil {
		return err
	}
	for i := range segs {
		if err := x.segment(key, &segs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (x *export) segment(key []byte, s *item.Segment) error {
	if s.Inline != nil {
		return x.parts(s.Inline)
	}
	left := s.Size
	for i := range s.Chunks() {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		x.key = item.AppendChunkKey(x.key[:0], key, s.ID, i)
		rec, found, err := x.sn.Get(x.part, x.key, x.chunk[:0])
		if err != nil {
			return err
		}
		x.chunk = rec
		if !found {
			return fmt.Errorf("key %q: part %d of its value is not there", key, i)
		}
		c, err := item.ParseRecord(rec)
		if err != nil {
			return fmt.Errorf("key %q, part %d of its value: %w", key, i, err)
		}
		if len(c.Value) != min(s.Chunk, left) {
			return fmt.Errorf("key %q: part %d of its value has %d bytes, not %d", key, i, len(c.Value), min(s.Chunk, left))
		}
		left -= len(c.Value)
		if err := x.parts(c.Value); err != nil {
			return err
		}
	}
	return nil
}

// parts gives out a piece of a value.
func (x *export) parts(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), MaxPart)
		if err := x.emit(&Entry{Kind: Part, Value: b[:n]}); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
