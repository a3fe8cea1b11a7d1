package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/kumofs/kumofs/internal/item"
)

// Damage is something in a store that cannot be what was written.
type Damage struct {
	File string
	// First and Last are between which keys it is; nil where that is not known. They are of
	// FirstPartition and LastPartition.
	First, Last                   []byte
	FirstPartition, LastPartition uint16
	Ranged                        bool
	Why                           string
}

// Error names the file and the keys.
func (d *Damage) Error() string {
	var b strings.Builder
	b.WriteString(d.File)
	switch {
	case !d.Ranged:
	case d.FirstPartition == d.LastPartition && bytes.Equal(d.First, d.Last) && len(d.First) > 0:
		fmt.Fprintf(&b, ": partition %d, key %q", d.FirstPartition, d.First)
	case d.FirstPartition == d.LastPartition && d.Last == nil:
		fmt.Fprintf(&b, ": partition %d, keys from %q on", d.FirstPartition, d.First)
	case d.FirstPartition == d.LastPartition:
		fmt.Fprintf(&b, ": partition %d, keys %q to %q", d.FirstPartition, d.First, d.Last)
	default:
		fmt.Fprintf(&b, ": partition %d, key %q, to partition %d, key %q", d.FirstPartition, d.First, d.LastPartition, d.Last)
	}
	return b.String() + ": " + d.Why
}

// bounds has d be about the LSM's keys from first to last.
func (d *Damage) bounds(first, last []byte) *Damage {
	d.Ranged = true
	d.FirstPartition, d.First = plainKey(first)
	d.LastPartition, d.Last = plainKey(last)
	return d
}

// plainKey is the partition and the user's key of a key of the LSM; of bookkeeping it is empty.
func plainKey(k []byte) (part uint16, key []byte) {
	if len(k) < prefixLen {
		return 0, []byte{}
	}
	part = binary.BigEndian.Uint16(k)
	if k[2] != kindItem {
		return part, []byte{}
	}
	return part, append([]byte{}, item.RoutingKey(k[prefixLen:])...)
}

// VerifyStats is what Verify has read.
type VerifyStats struct {
	Files, Partitions int
	Items, Chunks     int64
	Bytes             int64 // of files
}

// Verify reads all of a store that nobody has open, or of a checkpoint: every block of every
// table, the log, every record, and whether large values have all their pieces. found is told of each damage.
// The error says why it could not be read, other than for damage. It changes nothing.
func Verify(ctx context.Context, path string, o Options, found func(*Damage)) (v VerifyStats, err error) {
	o.ReadOnly = true
	o.setDefaults()
	o.Logger = noLogger{} // damage is what is being looked for
	s, err := Open(path, o)
	if errors.Is(err, ErrCorrupt) {
		found(&Damage{File: path, Why: err.Error()})
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer s.Close() // it was only read
	files := map[string]bool{}
	report := func(d *Damage) {
		files[d.File] = true
		found(d)
	}
	if err := s.verifyTables(ctx, &v, report); err != nil {
		return v, err
	}
	parts, err := s.Partitions()
	if err != nil {
		if len(files) == 0 {
			found(&Damage{File: path, Why: err.Error()})
		}
		return v, nil
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		v.Partitions++
		d := s.verifyPartition(ctx, part, parts[part], &v)
		// What cannot be read because of a damaged table was told.
		if d != nil && len(files) == 0 {
			found(d)
		}
	}
	return v, ctx.Err()
}

type noLogger struct{}

func (noLogger) Infof(string, ...any)  {}
func (noLogger) Errorf(string, ...any) {}

// verifyTables reads every block of every table.
func (s *Store) verifyTables(ctx context.Context, v *VerifyStats, report func(*Damage)) error {
	levels, err := s.db.SSTables()
	if err != nil {
		return ioError(err, "cannot list the tables")
	}
	for _, level := range levels {
		for i := range level {
			if err := ctx.Err(); err != nil {
				return err
			}
			t := &level[i]
			path := s.fs.PathJoin(s.path, dataName, t.BackingSSTNum.String()+".sst")
			v.Files++
			v.Bytes += int64(t.Size)
			if err := s.verifyTable(ctx, path); err != nil {
				report((&Damage{File: path, Why: err.Error()}).bounds(t.Smallest.UserKey, t.Largest.UserKey))
			}
		}
	}
	return nil
}

func (s *Store) verifyTable(ctx context.Context, path string) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	r, err := sstable.NewReader(ctx, readable, s.opts.pebbleOptions(s.fs, nil).MakeReaderOptions())
	if err != nil {
		_ = readable.Close() // the first error says more
		return err
	}
	err = r.ValidateBlockChecksums()
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// verifyPartition reads the records of a partition; nil: all is well.
func (s *Store) verifyPartition(ctx context.Context, part uint16, b Bookkeeping, v *VerifyStats) *Damage {
	type value struct {
		key         []byte
		want, found int
	}
	listed := map[item.UploadID]*value{}
	var last []byte
	bad := func(key []byte, last []byte, why string) *Damage {
		return &Damage{File: s.path, Ranged: true, FirstPartition: part, LastPartition: part, First: key, Last: last, Why: why}
	}
	it := newIter(s.view, s.guard, part, nil, nil)
	defer it.Close() // a second Close does nothing
	for it.Next() {
		if ctx.Err() != nil {
			return nil
		}
		key := it.Key()
		last = append(last[:0], key...)
		user := append([]byte{}, item.RoutingKey(key)...)
		rec, err := it.Record()
		var i item.Item
		if err == nil {
			i, err = item.ParseRecord(rec)
		}
		if err != nil {
			return bad(user, user, err.Error())
		}
		if item.IsChunk(key) {
			v.Chunks++
			if _, id, n, ok := item.ParseChunkKey(key); ok && n >= 0 && listed[id] != nil {
				listed[id].found++
			}
			continue
		}
		v.Items++
		if part < FirstOwnPartition && !b.Position.Unfinished && i.Version > b.Position.Version {
			return bad(user, user, fmt.Sprintf("its version is %d, and the partition's is %d", i.Version, b.Position.Version))
		}
		if !i.Large {
			continue
		}
		segs, err := item.ParseManifest(i.Value)
		if err != nil {
			return bad(user, user, err.Error())
		}
		for j := range segs {
			if n := segs[j].Chunks(); n > 0 {
				listed[segs[j].ID] = &value{user, n, 0}
			}
		}
	}
	if err := it.Close(); err != nil {
		return bad(item.RoutingKey(last), nil, err.Error())
	}
	for _, l := range listed {
		if l.found != l.want && !b.Position.Unfinished {
			return bad(l.key, l.key, fmt.Sprintf("its value has %d of %d pieces", l.found, l.want))
		}
	}
	return nil
}
