package store

import (
	"encoding/binary"
	"errors"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// The original put before each key its hash (8 bytes), and before each value
// its "clocktime" (8 bytes, big endian: Unix seconds, then a Lamport clock) and
// two bytes that are always 0. A value that ends before those is the mark of a
// deleted key.
const (
	oldKeyMeta   = 8
	oldClocktime = 8
	oldValueMeta = 10

	// importEpoch is the epoch of all that was imported.
	importEpoch = 1
)

// importTch fills the store of several .tch files, of which the same keys may
// be copies: of each key the latest clocktime wins, as it did in the original,
// and a deletion counts as a value. Flags and expiry times, which gateways of
// the original kept in front of the value if they were started with -F or -E,
// stay there: the file does not tell.
//
// It goes over everything twice. First into partitions of the store's own,
// with the clocktime; then, in the order of keys, into the real ones, with
// versions that count up from 1 in each partition.
func (m *merger) importTch(paths []string, progress func(done, of int)) error {
	for _, path := range paths {
		if err := m.stageTch(path); err != nil {
			return err
		}
		// The next file looks at what this one left.
		if err := m.flush(0); err != nil {
			return err
		}
	}
	const partitions = clustermap.DefaultPartitions
	for part := range uint16(partitions) {
		if err := m.publish(part); err != nil {
			return err
		}
		if progress != nil {
			progress(int(part)+1, partitions)
		}
	}
	m.stats.Partitions = partitions
	return m.flush(0)
}

// stageTch puts the pairs of one file into the store's own partitions, where
// they are newer than what is there. A key comes once in a file.
func (m *merger) stageTch(path string) error {
	t, err := openTch(m.dst.fs, path)
	if err != nil {
		return err
	}
	defer t.close()
	records := uint64(0)
	var old []byte
	for {
		ok, err := t.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		records++
		if len(t.key) <= oldKeyMeta || len(t.val) < oldClocktime {
			m.stats.Dropped++ // not a pair: the original skips it too
			continue
		}
		key := t.key[oldKeyMeta:]
		part := FirstOwnPartition + clustermap.PartitionOf(key, clustermap.DefaultPartitions)
		var found bool
		if old, found, err = m.dst.Get(part, key, old[:0]); err != nil {
			return err
		}
		if found {
			m.stats.Dropped++
			if binary.BigEndian.Uint64(old) >= binary.BigEndian.Uint64(t.val) {
				continue
			}
		}
		m.batch.Put(part, key, t.val)
		if err := m.flush(mergeBatch); err != nil {
			return err
		}
	}
	if records != t.records {
		return t.damaged("it says that it has %d records, but there are %d", t.records, records)
	}
	return nil
}

// publish moves what was staged for a partition into it.
func (m *merger) publish(part uint16) error {
	staged := FirstOwnPartition + part
	// Sequence numbers begin where the replication protocol begins them.
	pos := Position{Version: importEpoch<<clustermap.SeqBits | uint64(part)<<20}
	if err := m.dst.settle(); err != nil {
		return err
	}
	it := newIter(m.dst.view, m.dst.guard, staged, nil, nil)
	defer it.Close() // for errors; a second Close does nothing
	for it.Next() {
		val, err := it.Record()
		if err != nil {
			return err
		}
		if len(val) < oldValueMeta {
			m.stats.Dropped++
			continue // deleted
		}
		pos.Version++
		m.batch.PutItem(part, it.Key(), &item.Item{Version: pos.Version, Value: val[oldValueMeta:]})
		m.stats.Items++
		m.stats.Bytes += int64(len(val) - oldValueMeta)
		if err := m.flush(mergeBatch); err != nil {
			return err
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	m.batch.SetPosition(part, pos)
	m.batch.DeletePartition(staged)
	return m.flush(mergeBatch)
}

// onlyTch tells whether the sources are files of the original. Files and
// stores together are refused: versions of the two cannot be compared.
func onlyTch(o Options, srcs []string) (bool, error) {
	files := 0
	for _, path := range srcs {
		_, err := inspect(o.FS, path)
		if errors.Is(err, ErrTokyoCabinet) {
			files++
		}
	}
	if files > 0 && files < len(srcs) {
		return false, errorf(ErrTokyoCabinet, nil,
			"cannot merge files of the original kumofs with stores: import all the files into one store first")
	}
	return files > 0, nil
}
