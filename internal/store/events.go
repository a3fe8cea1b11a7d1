package store

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/kumofs/kumofs/internal/latency"
)

// eventState is what pebble told of itself.
type eventState struct {
	flushErrors atomic.Int32 // in a row
	stalls      atomic.Int64
	stallBegan  atomic.Int64 // Unix ns, 0 when writes are not stalled
	stallTime   atomic.Int64 // ns
	// lastError is when a background operation failed last, Unix ns.
	lastError atomic.Int64
	lastCause atomic.Pointer[failure]
	corrupt   atomic.Pointer[failure]
}

// maxFlushErrors is how many flushes in a row may fail (the guard makes a few
// seconds of it) before the store counts as failed: writes wait meanwhile, and
// must not wait for ever. A full disk is not counted, for it passes.
const maxFlushErrors = 20

// emptyFlush is what pebble says when there was nothing to flush.
const emptyFlush = "pebble: empty table"

// pebbleLog is pebble's logger.
type pebbleLog struct {
	Logger
	s *Store
}

func (s *Store) pebbleLogger() pebble.Logger { return pebbleLog{s.opts.Logger, s} }

// Infof drops what pebble says in the normal course of things: it is a lot.
func (pebbleLog) Infof(string, ...any) {}

// Fatalf is called where pebble believes it cannot go on. The guard keeps the
// disk's errors from it, so what comes here is a table that somebody removed,
// or a bug. The store has failed; pebble does go on, without reaching the disk.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.s.guard.fail(errorf(ErrIO, nil, "the store has failed and must be opened again: "+format, args...))
}

func (s *Store) listener() *pebble.EventListener {
	e := &s.events
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			e.lastCause.Store(&failure{ioError(err, "writing tables")})
			e.lastError.Store(time.Now().UnixNano())
			s.opts.Logger.Errorf("store %s: background error: %v", s.path, err)
		},
		FlushEnd: func(info pebble.FlushInfo) {
			switch {
			case info.Err == nil, info.Err.Error() == emptyFlush:
				e.flushErrors.Store(0)
				s.guard.tableFull.Store(0)
			case isNoSpace(info.Err):
			case e.flushErrors.Add(1) >= maxFlushErrors:
				s.guard.fail(info.Err)
			}
		},
		// Damage in one table does not stop the store: what is intact is served,
		// reading what is not gives ErrCorrupt, and Health tells.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			err := errorf(ErrCorrupt, nil, "the store %s is damaged in %s", s.path, info.Path)
			if e.corrupt.CompareAndSwap(nil, &failure{err}) {
				s.opts.Logger.Errorf("%v: %s", err, info.String())
			}
			s.damaged(info.Path)
		},
		WriteStallBegin: func(pebble.WriteStallBeginInfo) {
			e.stalls.Add(1)
			e.stallBegan.Store(time.Now().UnixNano())
		},
		WriteStallEnd: func() {
			if t := e.stallBegan.Swap(0); t != 0 {
				e.stallTime.Add(time.Now().UnixNano() - t)
			}
		},
	}
}

// recentError is how long Health remembers an error of a background operation.
const recentError = 10 * time.Second

// Health is nil when the store works. Otherwise it is what is wrong, by kind:
// ErrDiskFull (puts are refused, reads go on, it heals by itself), ErrCorrupt
// (some keys cannot be read), ErrIO (tables could not be written within the
// last seconds, or the store has failed for good: then Failed is not nil). It
// does not block; it may be called often.
func (s *Store) Health() error {
	if err := s.usable(); err != nil {
		return err
	}
	if f := s.events.corrupt.Load(); f != nil {
		return f.err
	}
	if s.guard.full() || s.space.room(0) != roomy {
		return s.diskFull()
	}
	if f := s.events.lastCause.Load(); f != nil && time.Since(time.Unix(0, s.events.lastError.Load())) < recentError {
		return f.err
	}
	return nil
}

// Failed is the error after which nothing works any more, or nil.
func (s *Store) Failed() error { return s.guard.err() }

// Metrics are figures for monitoring. Counters count since Open.
type Metrics struct {
	DiskUsage       uint64 // bytes of the store's files
	DiskAvail       uint64 // bytes free for it; 0 when the disk cannot tell
	DiskTotal       uint64
	MemTables       uint64 // bytes held in memory, not yet in tables
	LogSize         uint64 // bytes
	L0Files         int64
	L0Sublevels     int64 // writes stall at 20
	ReadAmp         int   // tables that a get may have to look into
	CompactionDebt  uint64
	Garbage         uint64 // bytes, about, that compactions of what was deleted will give back
	Compactions     int64
	Flushes         int64
	FailedTables    int64 // compactions that failed
	WriteStalls     int64
	WriteStallTime  time.Duration
	CacheSize       int64 // block cache, bytes in use
	CacheHits       int64
	CacheMisses     int64
	FilterHits      int64 // gets of absent keys answered by a bloom filter
	OpenTables      int64
	OpenIterators   int64
	Snapshots       int
	LogBytesWritten uint64
}

// SyncTimes tells how long syncs of the log took: of each commit with Options.Fsync,
// else of those made aside.
func (s *Store) SyncTimes() (h latency.Histogram) {
	if w := s.wal; w != nil {
		w.timesMu.Lock()
		defer w.timesMu.Unlock()
		h = w.times
	}
	return h
}

// Metrics takes a few microseconds, and pebble's main lock. ok is false once
// the store has failed or is closed, and of one that is only read.
func (s *Store) Metrics() (m Metrics, ok bool) {
	if s.usable() != nil || s.wal == nil {
		return m, false
	}
	p := s.db.Metrics()
	u := s.space.ask(true)
	m = Metrics{
		DiskUsage: p.DiskSpaceUsage() + uint64(s.wal.live.Load()), DiskAvail: u.AvailBytes, DiskTotal: u.TotalBytes,
		MemTables: p.MemTable.Size, LogSize: uint64(s.wal.live.Load()),
		L0Files: p.Levels[0].TablesCount, L0Sublevels: int64(p.Levels[0].Sublevels), ReadAmp: p.ReadAmp(),
		Garbage:        p.Table.Garbage.PointDeletionsBytesEstimate + p.Table.Garbage.RangeDeletionsBytesEstimate,
		CompactionDebt: p.Compact.EstimatedDebt, Compactions: p.Compact.Count, FailedTables: p.Compact.FailedCount,
		Flushes: p.Flush.Count, WriteStalls: s.events.stalls.Load(), WriteStallTime: time.Duration(s.events.stallTime.Load()),
		CacheSize: p.BlockCache.Size, CacheHits: p.BlockCache.Hits, CacheMisses: p.BlockCache.Misses,
		FilterHits: p.Filter.Hits, OpenTables: p.FileCache.TableCount, OpenIterators: p.TableIters, Snapshots: p.Snapshots.Count,
		LogBytesWritten: s.wal.bytes.Load(),
	}
	if s.guard.err() != nil {
		return Metrics{}, false
	}
	return m, true
}
