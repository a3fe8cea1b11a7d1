package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// MergeStats is what Merge did.
type MergeStats struct {
	Partitions int
	Items      int64 // without the chunks of large values
	Bytes      int64 // of the records
	// Unfinished are the partitions for which no source had a finished copy.
	// They hold the newest version of every key of any source; what was deleted
	// may be there again.
	Unfinished []uint16
	// Dropped is the number of items of sources that lost their partition to a
	// source with a later position, counted in those sources. Most are copies
	// of what was kept.
	Dropped int64
}

// Merge makes the store dst, which must not exist, of several: checkpoints or
// stopped stores, which are only read. Partition by partition:
//
//   - Finished copies (with a position, no join under way): the one with the
//     latest position wins whole. It has seen every operation that the others
//     have, so what it does not have was deleted. Equal positions are equal
//     data, and the first source is taken.
//   - No finished copy: the newest version of each key of any source wins, and
//     the partition stays unfinished, at the latest position known.
//
// The result has no identity, like a checkpoint. It appears whole or not at
// all. progress, if not nil, is called after each partition.
//
// Sources may also all be .tch files of the original kumofs (importTch); name
// those of all its servers, for each has only a part of the keys.
func Merge(dst string, srcs []string, o Options, progress func(done, of int)) (stats MergeStats, err error) {
	o.setDefaults()
	if len(srcs) == 0 {
		return stats, errors.New("nothing to merge: name at least one source")
	}
	if _, err := o.FS.Stat(dst); err == nil {
		return stats, errorf(ErrNotStore, nil, "cannot merge into %s: it exists already", dst)
	}
	tmp := dst + ".part"
	for _, path := range srcs {
		if filepath.Clean(path) == filepath.Clean(tmp) { // it is cleared before anything is read
			return stats, errorf(ErrNotStore, nil, "cannot merge %s into %s: that name is used for what is half made; rename it", path, dst)
		}
	}
	m := &merger{stats: &stats}
	defer func() {
		for _, s := range m.srcs {
			_ = s.store.Close() // read-only: nothing to lose
		}
	}()
	files, err := onlyTch(o, srcs)
	if err != nil {
		return stats, err
	}
	fill := func() error { return m.importTch(srcs, progress) }
	if !files {
		fill = func() error { return m.mergeStores(progress) }
		for _, path := range srcs {
			if err := m.addSource(path, o); err != nil {
				return stats, err
			}
		}
	}
	if err := o.FS.RemoveAll(tmp); err != nil { // of a merge that was cut short
		return stats, ioError(err, "cannot merge into "+dst)
	}
	if err := m.run(tmp, o, fill); err != nil {
		_ = o.FS.RemoveAll(tmp)
		return stats, err
	}
	err = o.FS.Rename(tmp, dst)
	if err == nil {
		err = syncDir(o.FS, o.FS.PathDir(dst))
	}
	return stats, ioError(err, "cannot merge into "+dst)
}

type merger struct {
	of    clustermap.ClusterID // of what is not of srcs
	srcs  []*mergeSource
	dst   *Store
	batch *Batch
	stats *MergeStats
}

type mergeSource struct {
	store *Store
	parts map[uint16]Bookkeeping
}

// mergeBatch is how many bytes are committed at a time.
const mergeBatch = 1 << 20

func (m *merger) addSource(path string, o Options) error {
	o.ReadOnly = true
	s, err := Open(path, o)
	if err != nil {
		return fmt.Errorf("cannot merge %s: %w", path, err)
	}
	parts, err := s.Partitions()
	m.srcs = append(m.srcs, &mergeSource{s, parts})
	return err
}

// run makes a store at tmp, has it filled, and takes its identity away.
func (m *merger) run(tmp string, o Options, fill func() error) error {
	o.ReadOnly, o.Fsync = false, false // Close syncs
	var err error
	if m.dst, err = Open(tmp, o); err != nil {
		return err
	}
	m.batch = m.dst.NewBatch()
	err = fill()
	if err == nil {
		err = m.dst.flushAll(nil)
	}
	if cerr := m.dst.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	b := backupFile{Cluster: hexID(m.cluster()), Time: time.Now().UTC(), Partitions: m.stats.Partitions}
	if err := writeBackupFile(m.dst, tmp, b); err != nil {
		return err
	}
	err = o.FS.Remove(o.FS.PathJoin(tmp, identityName))
	if err == nil {
		err = syncDir(o.FS, tmp)
	}
	return ioError(err, "cannot merge")
}

// mergeStores fills the store from the sources.
func (m *merger) mergeStores(progress func(done, of int)) error {
	parts := m.partitions()
	m.stats.Partitions = len(parts)
	for i, part := range parts {
		if err := m.partition(part); err != nil {
			return err
		}
		if progress != nil {
			progress(i+1, len(parts))
		}
	}
	return m.flush(0)
}

// cluster is the cluster that the sources agree on, or 0.
func (m *merger) cluster() (id clustermap.ClusterID) {
	if m.of != 0 {
		return m.of
	}
	for _, s := range m.srcs {
		c := s.store.Identity().ClusterID
		if c == 0 {
			c = s.store.found.BackupOf
		}
		if c == 0 || id != 0 && id != c {
			return 0
		}
		id = c
	}
	return id
}

// partitions lists every partition of any source, in order.
func (m *merger) partitions() (parts []uint16) {
	seen := make(map[uint16]bool)
	for _, s := range m.srcs {
		for part := range s.parts {
			if !seen[part] {
				seen[part] = true
				parts = append(parts, part)
			}
		}
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i] < parts[j] })
	return parts
}

func (m *merger) partition(part uint16) error {
	var winner *mergeSource
	var all []*mergeSource
	for _, s := range m.srcs {
		b, ok := s.parts[part]
		if !ok {
			continue
		}
		all = append(all, s)
		pos := b.Position
		if !pos.Unfinished && pos.Version != 0 && (winner == nil || pos.Version > winner.parts[part].Position.Version) {
			winner = s
		}
	}
	if winner == nil {
		return m.mergeUnfinished(part, all)
	}
	for _, s := range all {
		if s != winner && s.parts[part].Position != winner.parts[part].Position {
			n, err := s.store.Count(part)
			if err != nil {
				return err
			}
			m.stats.Dropped += n
		}
	}
	b := winner.parts[part]
	m.batch.SetPosition(part, b.Position)
	if b.Flushed != (Flushed{}) {
		m.batch.SetFlushed(part, b.Flushed.Version, b.Flushed.At)
	}
	return m.copyNewest(part, []*mergeSource{winner})
}

func (m *merger) mergeUnfinished(part uint16, all []*mergeSource) error {
	pos := Position{Unfinished: true}
	var f Flushed
	for _, s := range all {
		b := s.parts[part]
		pos.Version = max(pos.Version, b.Position.Version)
		f.Version = max(f.Version, b.Flushed.Version)
		if b.Flushed.At != 0 && (f.At == 0 || b.Flushed.At < f.At) {
			f.At = b.Flushed.At
		}
	}
	m.stats.Unfinished = append(m.stats.Unfinished, part)
	m.batch.SetPosition(part, pos)
	if f != (Flushed{}) {
		m.batch.SetFlushed(part, f.Version, f.At)
	}
	return m.copyNewest(part, all)
}

// copyNewest copies the items of a partition from sources that are merged by
// key; of one key the newest version is taken.
func (m *merger) copyNewest(part uint16, from []*mergeSource) error {
	heads := make([]*mergeHead, 0, len(from))
	defer func() {
		for _, h := range heads {
			_ = h.it.Close() // a second Close, after an error, does nothing
		}
	}()
	for _, s := range from {
		h := &mergeHead{it: newIter(s.store.view, s.store.guard, part, nil, nil)}
		heads = append(heads, h)
		if err := h.next(); err != nil {
			return err
		}
	}
	for {
		best := newestLeast(heads)
		if best == nil {
			return nil
		}
		m.batch.Put(part, best.key, best.rec)
		if !item.IsChunk(best.key) {
			m.stats.Items++
		}
		m.stats.Bytes += int64(len(best.rec))
		if err := m.flush(mergeBatch); err != nil {
			return err
		}
		key := append([]byte(nil), best.key...)
		for _, h := range heads {
			if h.ok && string(h.key) == string(key) {
				if err := h.next(); err != nil {
					return err
				}
			}
		}
	}
}

// newestLeast is the head with the least key, and of several with that key the
// one with the newest version; nil at the end.
func newestLeast(heads []*mergeHead) (best *mergeHead) {
	for _, h := range heads {
		if !h.ok {
			continue
		}
		if best == nil || string(h.key) < string(best.key) ||
			string(h.key) == string(best.key) && h.version > best.version {
			best = h
		}
	}
	return best
}

// mergeHead is a source's next item.
type mergeHead struct {
	it       *Iter
	ok       bool
	key, rec []byte
	version  uint64
}

func (h *mergeHead) next() (err error) {
	if h.ok = h.it.Next(); !h.ok {
		return h.it.Close()
	}
	h.key = h.it.Key()
	if h.rec, err = h.it.Record(); err == nil {
		h.version, err = recordVersion(h.rec)
	}
	return err
}

// flush commits the batch when it has more than limit bytes.
func (m *merger) flush(limit int) error {
	if m.batch.Len() == 0 || m.batch.Bytes() <= limit {
		return nil
	}
	err := m.dst.Commit(m.batch)
	m.batch.Reset()
	return err
}
