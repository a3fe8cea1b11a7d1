package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/item"
)

// Scrubbing is reading what nobody reads, before it is needed: a disk that loses a
// block does not say so until then, and until then there is a copy less than one
// thinks. Tables are read past pebble, block by block, so that its cache keeps what clients
// want; the log is not read, for it is a few segments, and Open does.

// Span is a range of keys as the store has them: Start <= key < End.
type Span struct{ Start, End []byte }

// Partitions are the first and the last partition that the span has a part of.
func (sp Span) Partitions() (first, last uint16) {
	first, last = partitionOf(sp.Start), partitionOf(sp.End)
	if start, _ := partitionRange(last); last > first && bytes.Compare(sp.End, start) <= 0 {
		last--
	}
	return first, last
}

// PartitionSpan is the span of a partition's items with from <= key < to; a nil to is the end of the partition.
func PartitionSpan(part uint16, from, to []byte) Span {
	lower, upper := itemRange(part, from, to)
	return Span{lower, upper}
}

// String names it for people.
func (sp Span) String() string {
	first, last := sp.Partitions()
	from, to := placeText(first, sp.Start), placeText(last, sp.End)
	if first == last {
		return fmt.Sprintf("partition %d from %s to %s", first, from, to)
	}
	return fmt.Sprintf("partition %d from %s to partition %d %s", first, from, last, to)
}

// placeText is where in a partition a key of the store's is.
func placeText(part uint16, key []byte) string {
	start, end := partitionRange(part)
	switch {
	case bytes.Compare(key, start) <= 0:
		return "its beginning"
	case bytes.Compare(key, end) >= 0:
		return "its end"
	case len(key) <= prefixLen || key[2] == kindBook:
		return "its bookkeeping"
	}
	user := key[prefixLen:]
	if owner, _, _, ok := item.ParseChunkKey(user); ok {
		return "the chunks of " + strconv.Quote(string(owner))
	}
	return strconv.Quote(string(user))
}

func partitionOf(key []byte) uint16 {
	var b [2]byte
	copy(b[:], key)
	return binary.BigEndian.Uint16(b[:])
}

func (sp Span) contains(o Span) bool {
	return bytes.Compare(sp.Start, o.Start) <= 0 && bytes.Compare(o.End, sp.End) <= 0
}

func (sp Span) overlaps(o Span) bool {
	return bytes.Compare(sp.Start, o.End) < 0 && bytes.Compare(o.Start, sp.End) < 0
}

// Contains tells whether all of o is in it, Overlaps whether a part is.
func (sp Span) Contains(o Span) bool { return sp.contains(o) }

// Overlaps tells whether a part of o is in it.
func (sp Span) Overlaps(o Span) bool { return sp.overlaps(o) }

// Union is the least span with both in it.
func (sp Span) Union(o Span) Span {
	if bytes.Compare(o.Start, sp.Start) < 0 {
		sp.Start = o.Start
	}
	if bytes.Compare(sp.End, o.End) < 0 {
		sp.End = o.End
	}
	return sp
}

// Table is one of the store's files as it was when Tables was called, or a part of one
// whose other parts have been removed.
type Table struct {
	File  uint64 // its number; later files have higher ones
	Bytes int64
	Span  Span
	part  bool
}

// Tables are the store's tables, in the order of their files' numbers.
func (s *Store) Tables() ([]Table, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, ioError(err, "cannot list the store's tables")
	}
	var list []Table
	for _, level := range levels {
		for i := range level {
			t := &level[i]
			end := slices.Clone(t.Largest.UserKey)
			if !t.Largest.IsExclusiveSentinel() {
				end = append(end, 0)
			}
			list = append(list, Table{uint64(t.BackingSSTNum), int64(t.Size), Span{slices.Clone(t.Smallest.UserKey), end}, t.Virtual})
		}
	}
	slices.SortFunc(list, func(a, b Table) int {
		if a.File != b.File {
			if a.File < b.File {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.Span.Start, b.Span.Start)
	})
	return list, nil
}

// Pace is called before each read with its length in bytes, and waits as long as it
// should. Its error ends the check.
type Pace func(ctx context.Context, bytes int) error

// confirmAfter is when a table is read again in which something could not be read.
const confirmAfter = 200 * time.Millisecond

// CheckTable reads all of a table and returns the spans in it that cannot be read, or hold
// records that are none. What is found is read again before it is believed. A table that is gone, because it was
// compacted meanwhile, has none. The error is that of ctx or pace, or the file cannot be opened, which is no
// damage. It blocks for reading.
func (s *Store) CheckTable(ctx context.Context, t Table, pace Pace) (bad []Span, err error) {
	if bad, err = s.checkTable(ctx, t, pace); err != nil || len(bad) == 0 {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(confirmAfter):
	}
	return s.checkTable(ctx, t, pace)
}

// scrubFile is a table that is read at a pace.
type scrubFile struct {
	vfs.File
	ctx  context.Context
	pace Pace
	err  error // of pace
}

// ReadAt implements io.ReaderAt.
func (f *scrubFile) ReadAt(p []byte, off int64) (int, error) {
	if f.err = f.pace(f.ctx, len(p)); f.err != nil {
		return 0, f.err
	}
	return f.File.ReadAt(p, off)
}

// openTable opens a table's file past pebble. gone: there is no such file any more. An error without f: it
// cannot be opened now.
func (s *Store) openTable(ctx context.Context, t Table, pace Pace) (r *sstable.Reader, f *scrubFile, gone bool, err error) {
	name := s.fs.PathJoin(s.path, dataName, fmt.Sprintf("%06d.sst", t.File))
	file, err := s.fs.Open(name)
	if err != nil {
		return nil, nil, errors.Is(err, fs.ErrNotExist), err
	}
	f = &scrubFile{File: file, ctx: ctx, pace: pace}
	readable, err := sstable.NewSimpleReadable(f)
	if err == nil {
		r, err = sstable.NewReader(ctx, readable, sstable.ReaderOptions{})
	}
	if err != nil {
		_ = file.Close() // it was read only
		return nil, f, false, err
	}
	return r, f, false, nil
}

func (s *Store) checkTable(ctx context.Context, t Table, pace Pace) (bad []Span, err error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	r, f, gone, err := s.openTable(ctx, t, pace)
	if gone {
		return nil, nil
	}
	switch {
	case err == nil:
	case f == nil: // too many open files, say: nothing is known of the table
		return nil, ioError(err, "cannot open a table")
	case f.err != nil:
		return nil, f.err
	default:
		return []Span{t.Span}, nil
	}
	defer func() { _ = r.Close() }() // it was read only
	if !t.part {                     // else its file may have been cut for just that
		err = checkMeta(ctx, r)
		if f.err != nil {
			return nil, f.err
		}
		if err != nil {
			return []Span{t.Span}, nil
		}
	}
	bad = checkKeys(r, t.Span)
	if f.err != nil {
		return nil, f.err
	}
	return bad, nil
}

// checkMeta reads what a table has beside its keys and their index. NewReader has read some.
func checkMeta(ctx context.Context, r *sstable.Reader) error {
	l, err := r.Layout()
	if err != nil {
		return err
	}
	handles := []block.Handle{l.RangeDel, l.RangeKey}
	for _, f := range l.Filter {
		handles = append(handles, f.Handle)
	}
	for _, h := range handles {
		if h.Length == 0 {
			continue
		}
		b, err := r.BlockReader().Read(ctx, block.NoReadEnv, nil, h, blockkind.Metadata, func(*block.Metadata, []byte) error { return nil })
		if err != nil {
			return err
		}
		b.Release()
	}
	return nil
}

// checkKeys reads the keys of a span and their values.
func checkKeys(r *sstable.Reader, in Span) (bad []Span) {
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return []Span{in}
	}
	defer func() { _ = it.Close() }()
	var last []byte
	kv := it.SeekGE(in.Start, 0)
	for ; kv != nil && bytes.Compare(kv.K.UserKey, in.End) < 0; kv = it.Next() {
		last = append(last[:0], kv.K.UserKey...)
		if kv.Kind() != pebble.InternalKeyKindSet {
			continue
		}
		v, _, err := kv.Value(nil)
		if err != nil {
			break
		}
		if !sound(last, v) {
			bad = append(bad, Span{slices.Clone(last), append(slices.Clone(last), 0)})
		}
	}
	if it.Error() == nil {
		return bad
	}
	// From behind, up to the last block that is bad. Between are others, perhaps; one
	// bad block is what there mostly is. The last key before it is given up too, and the first one behind it is
	// where the span ends: so whoever cuts the table there need not read the bad block.
	hole := in
	if last != nil {
		hole.Start = slices.Clone(last)
	}
	var first []byte
	for kv := it.SeekLT(in.End, 0); kv != nil && bytes.Compare(kv.K.UserKey, in.Start) >= 0; kv = it.Prev() {
		first = append(first[:0], kv.K.UserKey...)
	}
	if it.Error() == nil {
		return bad // it can be read now
	}
	if first != nil {
		hole.End = slices.Clone(first)
	}
	if bytes.Compare(hole.Start, hole.End) >= 0 {
		hole = in
	}
	return append(bad, hole)
}

// sound tells whether a key's value is what such a key has.
func sound(key, value []byte) bool {
	if len(key) < prefixLen || partitionOf(key) >= FirstOwnPartition {
		return true
	}
	switch key[2] {
	case kindItem:
		_, err := item.ParseRecord(value)
		return err == nil
	case kindBook:
		var b Bookkeeping
		return len(key) != prefixLen+1 || b.set(key[prefixLen], value) == nil
	}
	return true
}

func atOnce(ctx context.Context, _ int) error { return ctx.Err() }

// Widen returns the least span with sp in it at whose ends all tables can be read, so that
// Remove can cut them there. It blocks for reading a few blocks.
func (s *Store) Widen(ctx context.Context, sp Span) (Span, error) {
	for again := true; again; {
		again = false
		tables, err := s.Tables()
		if err != nil {
			return sp, err
		}
		for _, t := range tables {
			if !sp.overlaps(t.Span) || sp.contains(t.Span) {
				continue
			}
			if cuts, err := s.cuts(ctx, t, sp); err != nil {
				return sp, err
			} else if !cuts {
				sp, again = sp.Union(t.Span), true
			}
		}
	}
	return sp, nil
}

// cuts tells whether table t can be read at the ends of sp.
func (s *Store) cuts(ctx context.Context, t Table, sp Span) (bool, error) {
	r, f, gone, err := s.openTable(ctx, t, atOnce)
	switch {
	case ctx.Err() != nil:
		if r != nil {
			_ = r.Close() // it was read only
		}
		return false, ctx.Err()
	case gone:
		return true, nil
	case err != nil && f == nil:
		return false, ioError(err, "cannot open a table")
	case err != nil:
		return false, nil
	}
	defer func() { _ = r.Close() }()
	dels, err := r.NewRawRangeDelIter(ctx, sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil {
		return false, nil
	}
	if dels != nil {
		dels.Close()
	}
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return false, nil
	}
	defer func() { _ = it.Close() }()
	if bytes.Compare(t.Span.Start, sp.Start) < 0 && it.SeekLT(sp.Start, 0) == nil && it.Error() != nil {
		return false, nil
	}
	if bytes.Compare(sp.End, t.Span.End) < 0 && it.SeekGE(sp.End, 0) == nil && it.Error() != nil {
		return false, nil
	}
	return true, nil
}

// ErrWider: what Remove was asked to remove cannot be cut out there; Widen tells where it can.
var ErrWider = errors.New("the span has to be wider")

// Remove removes everything in a span that Widen returned, and the blocks that it lay in are
// not looked at any more, whether they can be read or not. Bookkeeping in it goes too. It
// must be nobody's only copy, and nothing must be written there meanwhile. It blocks for a flush. After an error it
// may have been removed or not.
func (s *Store) Remove(ctx context.Context, sp Span) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.Full() {
		return s.diskFull()
	}
	// In the log too: else what was written before would be there again after a crash, and
	// a comparison of what is left (R7) would not have seen it.
	b := s.NewBatch()
	first, last := sp.Partitions()
	for part := int(first); part <= int(last); part++ {
		b.touch(uint16(part))
	}
	_ = b.b.DeleteRange(sp.Start, sp.End, nil) // fails only on an indexed batch
	if err := s.Commit(b); err != nil {
		return err
	}
	if err := s.flushAll(ctx.Done()); err != nil {
		return err
	}
	// Pebble takes what it cannot read there for what is not there.
	w, err := s.Widen(ctx, sp)
	if err != nil {
		return err
	}
	if !sp.contains(w) {
		return ErrWider
	}
	err = s.db.Excise(ctx, pebble.KeyRange{Start: sp.Start, End: sp.End})
	if ferr := s.guard.err(); ferr != nil {
		err = ferr
	}
	s.counts.touch(b.parts)
	return ioError(err, "cannot remove what is damaged")
}

// bookCut names a bookkeeping entry that is never there.
const bookCut = 0

// Rewrite has the tables that Remove has cut written anew, so that what it took out of
// them is gone from the disk. It blocks for a compaction of those.
func (s *Store) Rewrite(ctx context.Context) error {
	tables, err := s.Tables()
	if err != nil {
		return err
	}
	tables = slices.DeleteFunc(tables, func(t Table) bool { return !t.part })
	var spans []Span
	for i, t := range tables {
		switch {
		case i > 0 && tables[i-1].File == t.File:
			spans[len(spans)-1] = spans[len(spans)-1].Union(t.Span)
		default:
			spans = append(spans, t.Span)
		}
	}
	for _, sp := range spans {
		// A compaction goes from a level to the next, and leaves the last one as it is where there
		// is nothing above: so something is put there, around all of it.
		first, last := sp.Partitions()
		from, to := bookKey(first, bookCut), bookKey(last+1, bookCut)
		b := s.NewBatch()
		_ = b.b.Delete(from, nil)
		_ = b.b.Delete(to, nil)
		err := s.Commit(b)
		if err == nil {
			err = s.flushAll(ctx.Done())
		}
		if err == nil {
			err = s.compactRange(ctx, from, append(to, 0))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Mended forgets the damage that was met, for all of it was removed: Health speaks of it no more.
func (s *Store) Mended() {
	s.events.corrupt.Store(nil)
	s.events.lastCause.Store(nil)
}

// damaged has whoever opened the store told of a damaged file.
func (s *Store) damaged(path string) {
	if s.opts.OnDamage == nil {
		return
	}
	name, ok := strings.CutSuffix(s.fs.PathBase(path), ".sst")
	if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil {
		s.opts.OnDamage(n)
	}
}

// ScrubState is how far the rounds of a store's scrubbing are. It is kept over restarts.
type ScrubState struct {
	Round uint64    `json:"round"` // of that number
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"` // zero while it is under way
	// Last is the newest file that there was when it began, UpTo the last that was read.
	Last uint64 `json:"last_file"`
	UpTo uint64 `json:"up_to_file"`
	// Partition is the next one to be compared with other copies.
	Partition int    `json:"partition"`
	Skipped   int    `json:"partitions_skipped"`
	Bytes     uint64 `json:"bytes"`
}

const scrubName = "scrub.json"

// LoadScrub is what SaveScrub kept last; zero if there is nothing that can be read: the worst that comes of
// that is a round more.
func (s *Store) LoadScrub() (st ScrubState) {
	b, err := readFile(s.fs, s.fs.PathJoin(s.path, scrubName))
	if err != nil || json.Unmarshal(b, &st) != nil {
		return ScrubState{}
	}
	return st
}

// SaveScrub keeps how far scrubbing is. It blocks for a sync.
func (s *Store) SaveScrub(st ScrubState) error {
	if err := s.usable(); err != nil {
		return err
	}
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeFileAtomic(s.fs, s.path, scrubName, append(b, '\n'))
}
