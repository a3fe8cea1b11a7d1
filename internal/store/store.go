package store

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
)

type closer = io.Closer

// Store is an open store. All methods may be called from any goroutine, but
// none may be running when Close is called, nor be called after it; Snapshots
// must be closed before.
type Store struct {
	path  string
	fs    vfs.FS
	opts  Options
	found Identity // what Open found; ID, ClusterID and Incarnation are in id
	lock  closer

	db *pebble.DB
	// view is db, or of a store that is only read, db and what its log holds.
	view   pebble.Reader
	wal    *wal // nil when the store is only read
	guard  *guard
	space  *space
	counts *counts
	events eventState
	// reclaims are goroutines that Close waits for.
	reclaims sync.WaitGroup

	mu     sync.Mutex // over id and the files identity.json and map
	id     identityFile
	closed atomic.Bool
}

const (
	// flushDelay: a removed partition's space is given back this much later.
	flushDelay = 10 * time.Second
	// closeLimit bounds how long Close waits for a store that has failed.
	closeLimit = 5 * time.Second
)

// Path is the path that the store was opened with.
func (s *Store) Path() string { return s.path }

// Identity is who the store is.
func (s *Store) Identity() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.found
	id.ID = clustermap.ServerID(s.id.ID)
	id.ClusterID = clustermap.ClusterID(s.id.Cluster)
	id.Incarnation = s.id.Incarnation
	if !s.opts.ReadOnly {
		id.UncertainTail = s.id.Uncertain
	}
	return id
}

// setIdentity changes identity.json durably.
func (s *Store) setIdentity(change func(*identityFile)) error {
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if err := s.usable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.id
	change(&id)
	if err := writeIdentity(s.fs, s.path, &id); err != nil {
		return err
	}
	s.id = id
	return nil
}

// StartIncarnation raises the incarnation by one and returns it when it is
// really on disk (R10). It blocks for a sync.
func (s *Store) StartIncarnation() (uint64, error) {
	var n uint64
	err := s.setIdentity(func(f *identityFile) { f.Incarnation++; n = f.Incarnation })
	return n, err
}

// SetCluster makes the store belong to a cluster, durably. It blocks for a sync.
func (s *Store) SetCluster(id clustermap.ClusterID) error {
	return s.setIdentity(func(f *identityFile) { f.Cluster = hexID(id) })
}

// ClearUncertainTail says that what a power loss may have taken is there again
// (every partition was joined or resumed). It blocks for a sync.
func (s *Store) ClearUncertainTail() error {
	return s.setIdentity(func(f *identityFile) { f.Uncertain = false })
}

// SaveMap keeps the newest cluster map, durably. It blocks for a sync.
func (s *Store) SaveMap(b []byte) error {
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if err := s.usable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeFileAtomic(s.fs, s.path, mapName, b)
}

// LoadMap returns what SaveMap kept last; nil when there is none.
func (s *Store) LoadMap() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.fs.PathJoin(s.path, mapName)
	b, err := readFile(s.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, ioError(err, "cannot read "+name)
}

// usable is nil while the store works: the check before and after every use of
// pebble (guard).
func (s *Store) usable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return s.guard.err()
}

// Get appends the record of a key to dst. It blocks for a disk read when the
// block is not cached.
func (s *Store) Get(part uint16, key, dst []byte) (record []byte, found bool, err error) {
	if err := s.usable(); err != nil {
		return dst, false, err
	}
	if s.wal != nil {
		buf := keyBuffers.Get().(*[]byte)
		*buf = itemKey((*buf)[:0], part, key)
		record, found, known := s.wal.get(*buf, dst)
		keyBuffers.Put(buf)
		if known {
			return record, found, s.guard.err()
		}
	}
	return getFrom(s.view, s.guard, part, key, dst)
}

// settle makes everything that was committed visible in view, positions included.
func (s *Store) settle() error {
	if s.wal == nil {
		return nil
	}
	err := s.wal.settle(true)
	if ferr := s.guard.err(); ferr != nil {
		err = ferr
	}
	return ioError(err, "cannot read the store")
}

// getFrom gets from the store itself or from a snapshot of it.
func getFrom(r pebble.Reader, g *guard, part uint16, key, dst []byte) ([]byte, bool, error) {
	buf := keyBuffers.Get().(*[]byte)
	*buf = itemKey((*buf)[:0], part, key)
	v, c, err := r.Get(*buf)
	if err == nil {
		dst = append(dst, v...)
		err = c.Close() // also an error of reading v
	}
	keyBuffers.Put(buf)
	// A store that failed meanwhile reads what may never have reached the disk.
	if ferr := g.err(); ferr != nil {
		return dst, false, ferr
	}
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, ioError(err, "cannot read a key")
	}
	return dst, true, nil
}

// Close closes the store and marks it cleanly stopped, unless it has failed.
// It blocks until what is in flight is on disk, a few seconds at most once the
// store has failed or when the disk is full.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	err := s.closeData()
	if err == nil && !s.opts.ReadOnly {
		s.mu.Lock()
		s.id.Clean, s.id.Boot = true, s.opts.BootID
		err = writeIdentity(s.fs, s.path, &s.id)
		s.mu.Unlock()
	}
	if lerr := s.lock.Close(); err == nil {
		err = ioError(lerr, "cannot unlock the store "+s.path)
	}
	return err
}

// closeData closes pebble. A store that has failed may have goroutines that
// never come back, so it is given up after closeLimit.
func (s *Store) closeData() error {
	if s.wal != nil {
		limit := make(chan struct{})
		timer := time.AfterFunc(closeLimit, func() { close(limit) })
		s.wal.stop(limit)
		timer.Stop()
	}
	s.guard.stop()
	done := make(chan error, 1)
	go func() {
		s.reclaims.Wait()
		var err error
		if s.wal != nil {
			err = s.wal.close()
		}
		if b, ok := s.view.(*pebble.Batch); ok {
			_ = b.Close() // it was never to be committed
		}
		if cerr := s.db.Close(); err == nil {
			err = cerr
		}
		done <- err
	}()
	var limit <-chan time.Time
	stuck := time.After(closeLimit)
	for {
		if s.guard.err() != nil && limit == nil {
			limit = time.After(closeLimit)
		}
		select {
		case err := <-done:
			if ferr := s.guard.err(); ferr != nil {
				return ferr
			}
			return ioError(err, "cannot close the store "+s.path)
		case <-limit:
			return s.guard.err()
		case <-stuck:
			// Without space tables cannot be written, and pebble would wait for that. The
			// log has everything.
			if s.guard.full() {
				s.guard.fail(errorf(ErrDiskFull, nil, "cannot close the store %s: disk full", s.path))
			}
		case <-time.After(stallPoll):
			// The store may fail while it is being closed: look again.
		}
	}
}
