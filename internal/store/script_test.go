package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// A script is a run of a store that does a bit of everything. It keeps what the
// store holds after each batch, so that whatever a crash or an error leaves can
// be compared with it: the contents must be those after some batch, all of it.
type script struct {
	t     *testing.T
	fs    vfs.FS
	disk  *vfs.MemFS // below fs
	o     Options
	rng   *rand.Rand
	batch int // batches of a step; 0 is 12

	s      *Store
	mu     sync.Mutex
	states []contents // by number of batches; behind mu
	at     progress
	// failed is the first error that a script with errors met.
	failed error
	errors bool // they are expected
	// look, if not nil, reads everything, where files and not memory are read.
	look func()
}

// contents are pebble's keys and values.
type contents map[string]string

// progress is what a script has begun and what was acknowledged to it. A crash
// leaves something between the two.
type progress struct {
	batches, incarnation, maps atomicRange
	cluster, backups           atomicRange
	// kept is the number of batches that even a power loss without Fsync leaves.
	kept atomic.Int64
	id   atomic.Uint64 // the store's, once it was opened
}

type atomicRange struct{ begun, acked atomic.Int64 }

const (
	scriptPath  = "/s"
	scriptParts = 6
	smallDisk   = 1 << 30
)

func newScript(t *testing.T, fs vfs.FS, disk *vfs.MemFS, o Options) *script {
	o.FS, o.MemTableSize, o.CacheSize, o.Logger = fs, 32<<10, 64<<10, quiet{}
	o.ReserveBytes, o.tablePause = 1<<20, 1
	if o.BootID == "" {
		o.BootID = "one"
	}
	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: smallDisk, TotalBytes: smallDisk})
	return &script{t: t, fs: fs, disk: disk, o: o, rng: rand.New(rand.NewPCG(7, 7)), states: []contents{{}}, batch: 12}
}

// step does one thing, unless one before it has failed.
func (sc *script) step(what string, do func() error) {
	if sc.failed != nil {
		return
	}
	if err := do(); err != nil {
		sc.failed = fmt.Errorf("%s: %w", what, err)
		if !sc.errors {
			sc.t.Error(sc.failed)
		}
	}
}

// run is the whole script.
func (sc *script) run() {
	sc.open()
	sc.step("SetCluster", func() error {
		return sc.ranged(&sc.at.cluster, func(n int64) error { return sc.s.SetCluster(clustermap.ClusterID(n)) })
	})
	sc.saveMap()
	sc.write(2*sc.batch, false)
	sc.flush()
	sc.write(sc.batch, false)
	sc.compact()
	sc.saveMap()
	sc.backup()
	sc.write(sc.batch, false)
	sc.close()

	sc.open()
	sc.write(sc.batch, false)
	sc.reclaim()
	sc.flush()
	sc.step("ClearUncertainTail", func() error { return sc.s.ClearUncertainTail() })
	sc.saveMap()
	sc.write(sc.batch, false)
	sc.close()
}

// ranged does something once more, and keeps count of it.
func (sc *script) ranged(r *atomicRange, do func(n int64) error) error {
	n := r.begun.Add(1)
	err := do(n)
	if err == nil {
		r.acked.Store(n)
	}
	return err
}

func (sc *script) open() {
	sc.step("Open", func() error {
		s, err := Open(scriptPath, sc.o)
		if err != nil {
			return err
		}
		sc.s = s
		id := s.Identity()
		if old := sc.at.id.Swap(uint64(id.ID)); old != 0 && old != uint64(id.ID) {
			sc.t.Errorf("the store %x has become %x", old, id.ID)
		}
		return sc.ranged(&sc.at.incarnation, func(want int64) error {
			n, err := s.StartIncarnation()
			if err == nil && n != uint64(want) {
				sc.t.Errorf("incarnation %d, want %d", n, want)
			}
			return err
		})
	})
}

func (sc *script) close() {
	if sc.failed != nil {
		return
	}
	n := sc.at.batches.acked.Load()
	s := sc.s
	sc.s = nil
	if err := s.Close(); err == nil {
		sc.at.kept.Store(n)
	} else if sc.failed == nil {
		sc.step("Close", func() error { return err })
	}
}

func (sc *script) saveMap() {
	sc.step("SaveMap", func() error {
		return sc.ranged(&sc.at.maps, func(n int64) error { return sc.s.SaveMap(scriptMap(n)) })
	})
}

// scriptMap is the n-th cluster map: longer than a block of the disk.
func scriptMap(n int64) []byte { return bytes.Repeat(fmt.Appendf(nil, "map %03d ", n), 1500) }

func (sc *script) flush() {
	sc.step("Flush", func() error {
		n := sc.at.batches.acked.Load()
		err := sc.s.flushAll(nil)
		if ferr := sc.s.Failed(); ferr != nil {
			err = ferr
		}
		if err == nil {
			sc.at.kept.Store(n)
		}
		return ioError(err, "cannot flush")
	})
	if sc.look != nil {
		sc.look()
	}
}

func (sc *script) compact() {
	sc.step("Compact", func() error { return sc.s.compact(0, scriptParts-1) })
	if sc.look != nil {
		sc.look()
	}
}

func backupPath(n int64) string { return fmt.Sprintf("/backup%d", n) }

func (sc *script) backup() {
	sc.step("Checkpoint", func() error {
		return sc.ranged(&sc.at.backups, func(n int64) error { return sc.s.Checkpoint(backupPath(n)) })
	})
}

// reclaim: the disk is nearly full, deletes are flushed for their space.
func (sc *script) reclaim() {
	sc.step("reclaim", func() error {
		sp := sc.s.space
		full := func(yes bool) {
			u := vfs.DiskUsage{AvailBytes: smallDisk, TotalBytes: smallDisk}
			if yes {
				u.AvailBytes = 1 << 19
			}
			sc.disk.TestingSetDiskUsage(u)
			sp.ask(true)
		}
		full(true)
		sp.flushed.Store(-2 * int64(spaceFlush))
		sc.write(sc.batch, true)
		sc.s.reclaims.Wait()
		full(false)
		return sc.failed
	})
}

// write commits n batches. Each has position i of partition 0, so that the
// position tells how many there are, and changes some other partitions.
func (sc *script) write(n int, deletes bool) {
	b := (*Batch)(nil)
	for range n {
		if sc.failed != nil {
			return
		}
		if b == nil {
			b = sc.s.NewBatch()
		}
		b.Reset()
		i := sc.at.batches.begun.Add(1)
		next := maps.Clone(sc.state(i - 1))
		sc.fill(b, uint64(i), next, deletes)
		sc.mu.Lock()
		sc.states = append(sc.states, next)
		sc.mu.Unlock()
		err := sc.s.Commit(b)
		if err == nil {
			sc.at.batches.acked.Store(i)
		} else if ferr := sc.s.Failed(); ferr == nil && !errors.Is(err, ErrDiskFull) {
			sc.t.Errorf("batch %d: %v, but the store has not failed", i, err)
		}
		sc.step(fmt.Sprintf("batch %d", i), func() error { return err })
	}
}

// fill makes batch i and does to have what it does to the store.
func (sc *script) fill(b *Batch, i uint64, have contents, deletes bool) {
	rng := sc.rng
	for range 1 + rng.IntN(3) {
		part := uint16(1 + rng.IntN(scriptParts-1))
		if rng.IntN(20) == 0 {
			b.DeletePartition(part)
			start, _ := partitionRange(part)
			for k := range have {
				if strings.HasPrefix(k, string(start[:2])) {
					delete(have, k)
				}
			}
		}
		for range 1 + rng.IntN(4) {
			key := fmt.Appendf(nil, "key%02d", rng.IntN(20))
			raw := string(itemKey(nil, part, key))
			if deletes || rng.IntN(4) == 0 {
				b.Delete(part, key)
				delete(have, raw)
				continue
			}
			size := rng.IntN(500)
			if i%10 == 9 {
				size = 20 << 10 // more than half of a memtable: pebble treats such a batch in its own way
			}
			value := make([]byte, size)
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			it := testItem(i, string(value))
			b.PutItem(part, key, it)
			have[raw] = string(item.AppendRecord(nil, it))
		}
		pos := Position{Version: i, Unfinished: rng.IntN(10) == 0}
		b.SetPosition(part, pos)
		have[string(bookKey(part, bookPosition))] = string(appendPosition(nil, pos))
	}
	if i%7 == 0 {
		b.SetFlushed(1, i, int64(i))
		have[string(bookKey(1, bookFlushed))] = string(appendFlushed(nil, Flushed{i, int64(i)}))
	}
	b.SetPosition(0, Position{Version: i})
	have[string(bookKey(0, bookPosition))] = string(appendPosition(nil, Position{Version: i}))
}

// contentsOf reads all that a store holds.
func contentsOf(s *Store) (contents, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		return nil, err
	}
	have := contents{}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			_ = it.Close()
			return nil, err
		}
		have[string(it.Key())] = string(v)
	}
	return have, it.Close()
}

// check compares what a store holds with the script and tells how many batches
// that is.
func (sc *script) check(s *Store) (batches int64, err error) {
	pos, err := s.Position(0)
	if err != nil {
		return 0, err
	}
	batches = int64(pos.Version)
	if batches > sc.at.batches.begun.Load() {
		return 0, fmt.Errorf("it has batch %d, and %d were begun", batches, sc.at.batches.begun.Load())
	}
	have, err := contentsOf(s)
	if err != nil {
		return 0, err
	}
	return batches, have.differ(sc.state(batches))
}

// state is what the store holds after some number of batches.
func (sc *script) state(batches int64) contents {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.states[batches]
}

func (have contents) differ(want contents) error {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return fmt.Errorf("key %q: there (%v) with %d bytes, want %d bytes", k, ok, len(got), len(v))
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("key %q is there and should not be", k)
		}
	}
	return nil
}
