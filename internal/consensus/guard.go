package consensus

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// guard stands between raft and its file. Raft panics where a term or a vote
// cannot be stored, which would take a whole server with it because of its
// witness. Here the node is cut off from all others instead, before raft can
// act on what is not on the disk, and its owner is told.
type guard struct {
	*raftboltdb.BoltStore
	once   sync.Once
	failed chan error
	cut    func() error
}

func (g *guard) fail(err error) {
	g.once.Do(func() {
		_ = g.cut() // the first error is the one that matters
		g.failed <- fmt.Errorf("its state cannot be written: %w", err)
	})
}

// Set is raft.StableStore's.
func (g *guard) Set(k, v []byte) error {
	err := g.BoltStore.Set(k, v)
	if err != nil {
		g.fail(err)
	}
	return err
}

// SetUint64 is raft.StableStore's. It never fails: nobody hears of what raft
// does next.
func (g *guard) SetUint64(k []byte, v uint64) error {
	if err := g.BoltStore.SetUint64(k, v); err != nil {
		g.fail(err)
	}
	return nil
}

// StoreLog is raft.LogStore's.
func (g *guard) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs is raft.LogStore's.
func (g *guard) StoreLogs(l []*raft.Log) error {
	err := g.BoltStore.StoreLogs(l)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		g.fail(err)
	}
	return err
}
