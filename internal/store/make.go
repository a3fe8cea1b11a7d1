package store

import (
	"github.com/kumofs/kumofs/internal/clustermap"
)

// Maker fills the store that Make makes. Its methods copy what they are given.
type Maker struct{ m *merger }

// Make makes the store dst, which must not exist, with what fill puts into it, as Merge makes
// one of other stores: without an identity, whole or not at all. cluster is where the pairs are from, partitions
// how many of its partitions there are.
func Make(dst string, cluster clustermap.ClusterID, partitions int, o Options, fill func(*Maker) error) error {
	o.setDefaults()
	if _, err := o.FS.Stat(dst); err == nil {
		return errorf(ErrNotStore, nil, "cannot make %s: it exists already", dst)
	}
	tmp := dst + ".part"
	if err := o.FS.RemoveAll(tmp); err != nil { // of one that was cut short
		return ioError(err, "cannot make "+dst)
	}
	m := &merger{stats: &MergeStats{Partitions: partitions}, of: cluster}
	if err := m.run(tmp, o, func() error {
		if err := fill(&Maker{m}); err != nil {
			return err
		}
		return m.flush(0)
	}); err != nil {
		_ = o.FS.RemoveAll(tmp)
		return err
	}
	err := o.FS.Rename(tmp, dst)
	if err == nil {
		err = syncDir(o.FS, o.FS.PathDir(dst))
	}
	return ioError(err, "cannot make "+dst)
}

// Put stores a record.
func (k *Maker) Put(part uint16, key, record []byte) error {
	k.m.batch.Put(part, key, record)
	return k.m.flush(mergeBatch)
}

// SetPosition says how far the store has a partition, all of whose records are there.
func (k *Maker) SetPosition(part uint16, version uint64) error {
	k.m.batch.SetPosition(part, Position{Version: version})
	return k.m.flush(mergeBatch)
}
