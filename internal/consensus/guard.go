package consensus

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// guard stands between raft and its file. Raft panics where a term or a vote
// cannot be stored, which would take a whole server with it because of its
// witness. Here the node is cut off from all others instead, before raft can
// act on what is not on the disk, and its owner is told.
//
// A leader whose disk hangs would go on to lead, for raft sends heartbeats
// meanwhile: it is cut off too, so that others elect one that can record.
type guard struct {
	stores
	once   sync.Once
	failed chan error
	cut    func() error
	// leads tells whether the node leads others.
	leads func() bool
}

// stores are where raft keeps its state.
type stores interface {
	raft.LogStore
	raft.StableStore
}

// A write that has not ended after hangSteps times hangStep hangs. It is counted in
// steps, so that the time in which this process stood still counts as one.
const (
	hangStep  = 500 * time.Millisecond
	hangSteps = 6
)

// watch looks after one write, until ended is called.
func (g *guard) watch() (ended func()) {
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer
	over, left := false, hangSteps
	timer = time.AfterFunc(hangStep, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if left--; left > 0 || !g.leads() {
			timer.Reset(hangStep)
			return
		}
		g.fail(fmt.Errorf("the disk has not answered for %v", hangSteps*hangStep))
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

func (g *guard) fail(err error) {
	g.once.Do(func() {
		_ = g.cut() // the first error is the one that matters
		g.failed <- fmt.Errorf("its state cannot be written: %w", err)
	})
}

// Set is raft.StableStore's.
func (g *guard) Set(k, v []byte) error {
	defer g.watch()()
	err := g.stores.Set(k, v)
	if err != nil {
		g.fail(err)
	}
	return err
}

// SetUint64 is raft.StableStore's. It never fails: nobody hears of what raft
// does next.
func (g *guard) SetUint64(k []byte, v uint64) error {
	defer g.watch()()
	if err := g.stores.SetUint64(k, v); err != nil {
		g.fail(err)
	}
	return nil
}

// StoreLog is raft.LogStore's.
func (g *guard) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs is raft.LogStore's.
func (g *guard) StoreLogs(l []*raft.Log) error {
	defer g.watch()()
	err := g.stores.StoreLogs(l)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		g.fail(err)
	}
	return err
}
