package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Reading the log again: what a store that was not stopped cleanly begins with.

// segments are the numbers of the log's files, in order.
func segments(fsys vfs.FS, dir string) (nums []uint64, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		base, ok := strings.CutSuffix(name, ".log")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(base, 10, 64); err == nil {
			nums = append(nums, n)
		}
	}
	slices.Sort(nums)
	return nums, nil
}

// ending tells what a log may end in.
type ending int

const (
	killed ending = iota // the process ended, at the worst in a write
	synced               // the machine went down; what was committed had been synced
	lost                 // the machine went down; anything may be missing from some point on
)

// errEnds: a segment's predecessor has not the size that it had.
var errEnds = errors.New("the log ends before")

// replay gives what the log holds to take, in order: batches in pebble's form, and
// positions. What lies behind the end that e allows is left out; whole is false then.
func (w *wal) replay(e ending, take func(repr []byte, dropped []uint16, positions []partPosition) error) (whole bool, err error) {
	nums, err := segments(w.s.fs, w.dir)
	if err != nil || len(nums) == 0 {
		return true, err
	}
	w.oldest, w.last = nums[0], nums[len(nums)-1]
	for i, num := range nums {
		name := w.s.fs.PathJoin(w.dir, segmentName(num))
		if i > 0 && num != nums[i-1]+1 {
			if e == lost {
				return false, nil
			}
			return false, errorf(ErrCorrupt, nil, "the log before %s is gone", name)
		}
		first := func(size int64) error {
			if i > 0 && size != w.before {
				return errEnds
			}
			return nil
		}
		valid, size, err := w.replaySegment(name, e, first, take)
		w.live.Add(size)
		switch {
		case err == errEnds && e == lost:
			return false, nil
		case err == errEnds:
			return false, errorf(ErrCorrupt, nil, "the log before %s is shorter than it was", name)
		case err != nil:
			return false, err
		}
		w.before, w.ended = size, num
		if valid == size {
			continue
		}
		last := true // but for segments made ahead
		for _, later := range nums[i+1:] {
			st, err := w.s.fs.Stat(w.s.fs.PathJoin(w.dir, segmentName(later)))
			last = last && err == nil && st.Size() == 0
		}
		if e == lost || last && (e == synced || size-valid <= tornBytes) {
			return false, nil // nobody was told that it is stored, or it counts as uncertain
		}
		return false, errorf(ErrCorrupt, nil, "%s is damaged at byte %d of %d", name, valid, size)
	}
	return true, nil
}

// replaySegment returns up to where a segment is intact, within a block's headers,
// and its size.
func (w *wal) replaySegment(name string, e ending, first func(int64) error, take func([]byte, []uint16, []partPosition) error) (valid, size int64, err error) {
	f, err := w.s.fs.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = st.Size()
	if !w.s.opts.ReadOnly {
		// Tables are made of it, which the power must not take it from.
		if err := f.SyncData(); err != nil {
			return 0, size, err
		}
	}
	r := record.NewReader(f, 0)
	good := int64(0) // where the last whole record ends
	for {
		rd, err := r.Next()
		var rec []byte
		if err == nil {
			rec, err = io.ReadAll(rd)
		}
		switch {
		case err == io.EOF:
			return size, size, nil
		case record.IsInvalidRecord(err):
			if e != lost {
				behind, err := recordBehind(f, good, size)
				if err == nil && behind {
					err = errorf(ErrCorrupt, nil, "%s is damaged behind byte %d of %d", name, good, size)
				}
				if err != nil {
					return 0, size, err
				}
			}
			return min(good+int64(len(rec)+recordHeader*(len(rec)/recordBlock+1)), size-1), size, nil
		case err != nil:
			return 0, size, err
		}
		if good == 0 {
			var before int64
			if before, err = parseFirst(rec); err == nil {
				err = first(before)
			}
		} else {
			var repr []byte
			var dropped []uint16
			var positions []partPosition
			if repr, dropped, positions, err = parseRecord(rec); err == nil {
				err = take(repr, dropped, positions)
			}
		}
		if err != nil {
			return 0, size, err
		}
		good = r.Offset()
	}
}

// recordBehind tells whether a record begins behind the one at the offset at, which is
// not whole. A write that was cut short is the last, so that one was damaged, and
// those behind it may have been acknowledged.
func recordBehind(f io.ReaderAt, at, size int64) (bool, error) {
	// Of the chunks that there are in package record's old form (New Writer, above).
	const full, first = 1, 2
	block := make([]byte, recordBlock)
	if left := recordBlock - at%recordBlock; left < recordHeader {
		at += left // where the record really begins
	}
	for from := at - at%recordBlock; from < size; from += recordBlock {
		b := block[:min(recordBlock, size-from)]
		if _, err := f.ReadAt(b, from); err != nil {
			return false, err
		}
		for i := int(max(at-from, 0)); i+recordHeader <= len(b); {
			sum, length, kind := binary.LittleEndian.Uint32(b[i:]), int(binary.LittleEndian.Uint16(b[i+4:])), b[i+6]
			end := i + recordHeader + length
			if end > len(b) || kind == 0 {
				break // the next block begins with a chunk again
			}
			c := crc32.Checksum(b[i+6:end], castagnoli)
			if (kind == full || kind == first) && from+int64(i) > at && (c>>15|c<<17)+0xa282ead8 == sum {
				return true, nil
			}
			i = end
		}
	}
	return false, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFirst appends a segment's first record: the size of the segment before it.
func appendFirst(dst []byte, size int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(size))
}

func parseFirst(rec []byte) (int64, error) {
	if len(rec) != 8 {
		return 0, errorf(ErrCorrupt, nil, "the first record of a segment of the log is damaged")
	}
	return int64(binary.LittleEndian.Uint64(rec)), nil
}

// parseRecord parses what append wrote. repr lies in rec.
func parseRecord(rec []byte) (repr []byte, dropped []uint16, positions []partPosition, err error) {
	bad := func() ([]byte, []uint16, []partPosition, error) {
		return nil, nil, nil, errorf(ErrCorrupt, nil, "a record of the log is damaged (%d bytes)", len(rec))
	}
	if len(rec) < 8 {
		return bad()
	}
	size, drops := int64(binary.LittleEndian.Uint32(rec)), int64(binary.LittleEndian.Uint32(rec[4:]))
	if size > int64(len(rec)) || size < 8+2*drops || (size-8-2*drops)%(2+positionSize) != 0 {
		return bad()
	}
	h := rec[8:size]
	for range drops {
		dropped = append(dropped, binary.LittleEndian.Uint16(h))
		h = h[2:]
	}
	for ; len(h) > 0; h = h[2+positionSize:] {
		pos, err := parsePosition(h[2 : 2+positionSize])
		if err != nil {
			return nil, nil, nil, err
		}
		positions = append(positions, partPosition{binary.LittleEndian.Uint16(h), pos})
	}
	return rec[size:], dropped, positions, nil
}

// batches returns a take for replay that puts everything into pebble, or into b if
// that is not nil, and what is to be called at the end.
func (w *wal) batches(b *pebble.Batch) (take func([]byte, []uint16, []partPosition) error, end func() error) {
	into := b
	if into == nil {
		into = w.s.db.NewBatch()
	}
	apply := func() error {
		if b != nil || into.Empty() {
			return nil
		}
		err := w.s.db.Apply(into, pebble.NoSync)
		into.Reset()
		return err
	}
	take = func(repr []byte, dropped []uint16, positions []partPosition) error {
		one := w.s.db.NewBatch()
		err := one.SetRepr(repr)
		if err == nil && one.Count() > 0 {
			err = into.Apply(one, nil)
		}
		if err != nil {
			return errorf(ErrCorrupt, err, "a record of the log is damaged")
		}
		for _, part := range dropped {
			delete(w.positions, part)
		}
		for _, p := range positions {
			w.positions[p.part] = p.pos
		}
		if into.Len() < largeBatch {
			return nil
		}
		return apply()
	}
	end = func() error {
		if b == nil {
			return apply() // the positions are written with the next ones
		}
		for part, pos := range w.positions {
			setPosition(b, part, pos)
		}
		return nil
	}
	return take, end
}

// recover replays the log into pebble. It blocks for that.
func (w *wal) recover(e ending) error {
	take, end := w.batches(nil)
	whole, err := w.replay(e, take)
	if err == nil {
		err = end()
	}
	if err != nil || whole { // segments stay until the first one of this run is full
		return err
	}
	w.s.opts.Logger.Infof("store %s: the log ends in a write that was cut short", w.s.path)
	// To the next Open that would look like damage. What lies behind the end goes first,
	// from the back, lest it be taken for what follows when this is cut short too.
	err = w.settle(true)
	if err == nil {
		err = w.flushNow()
	}
	for n := w.last; n > w.ended && err == nil; n-- {
		err = w.removeOne(n)
	}
	if err == nil {
		err = w.remove(w.ended)
	}
	w.oldest, w.before = w.last+1, 0
	return err
}

// flushNow is flush that gives up when the disk is full.
func (w *wal) flushNow() error {
	flushed, err := w.s.db.AsyncFlush()
	if err != nil {
		return err
	}
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-flushed:
			return w.s.guard.err()
		case <-look.C:
			if w.s.guard.full() {
				return errorf(ErrDiskFull, nil, "cannot open the store %s: disk full: there is no space for what its log has", w.s.path)
			}
		}
	}
}

// overlay is what the log holds over db, for a store that is only read.
func (w *wal) overlay(e ending) (pebble.Reader, error) {
	b := w.s.db.NewIndexedBatch()
	take, end := w.batches(b)
	_, err := w.replay(e, take)
	if err == nil {
		err = end()
	}
	if err != nil || b.Empty() {
		return w.s.db, err
	}
	return b, nil
}
