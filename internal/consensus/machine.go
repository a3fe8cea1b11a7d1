package consensus

import (
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// machine is the state machine: the map, moved on by deltas. Whether a delta is
// taken depends on the map alone, so every node decides the same.
type machine struct {
	now     atomic.Pointer[clustermap.Map]
	onApply func(*clustermap.Map, *clustermap.Delta)
}

// Apply returns the new map, or the error with which the delta was refused.
func (f *machine) Apply(l *raft.Log) any {
	d, err := clustermap.DecodeDelta(l.Data)
	if err != nil {
		return err
	}
	m, err := f.now.Load().Apply(d)
	if err != nil {
		return err
	}
	f.publish(m, d)
	return m
}

func (f *machine) publish(m *clustermap.Map, d *clustermap.Delta) {
	f.now.Store(m)
	if f.onApply != nil {
		f.onApply(m, d)
	}
}

// Snapshot is free: maps do not change.
func (f *machine) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.now.Load()}, nil }

// Restore replaces the map by a snapshot's.
func (f *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := clustermap.DecodeMap(b)
	if err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return err
	}
	f.publish(m, nil)
	return nil
}

type snapshot struct{ m *clustermap.Map }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(clustermap.AppendMap(nil, s.m)); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}
