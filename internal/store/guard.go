package store

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard stands between pebble and the disk. It is there for two reasons.
//
// The first is order. Unless Options.Fsync is set the log (wal) is not synced when
// it is written: the data is with the kernel, which kill -9 cannot reach. It is
// synced when a segment is closed, and before a table is that was made of it; so
// power loss takes a tail of the log and nothing else.
//
// The second is what pebble does when the disk fails: an error writing its log
// or its manifest makes it call Fatalf or panic, with its locks held. So such
// an error never reaches it:
//
//   - Space is missing for the log or the manifest: the guard waits and tries
//     again until there is space or the store is closed. Commits in flight
//     wait as long; new ones are refused before they reach pebble (space.go).
//     Nothing is lost and nothing has to be restarted.
//   - Any other error there: the store has failed. From this moment nothing
//     more reaches the disk, neither writes nor removals, so what lies there is
//     what a crash at that moment would have left. Pebble is told that all went
//     well, so that it neither panics nor blocks those who wait for it; the
//     store's callers are told the truth, because every operation looks at the
//     guard after pebble is done.
//   - A table (the output of a flush or a compaction) cannot be written: pebble
//     can handle that, it drops the file and tries again. The guard only slows
//     it down, for it tries again at once, and remembers that space was missing.
//
// While the store is being opened errors are handed to pebble as they are, but
// for those of a sync; and Open fails.
type guard struct {
	dir    string // the directories guarded; what lies elsewhere (a checkpoint) gets plain errors
	logDir string
	wal    atomic.Pointer[wal] // once it is open
	fsync  bool
	log    Logger
	// tablePause is how long an error of writing a table is held back.
	tablePause time.Duration

	running atomic.Bool
	stalled atomic.Int32 // operations waiting for space
	// tableFull is when a table last found no space, Unix ns; 0 once one was flushed.
	tableFull atomic.Int64
	failed    atomic.Pointer[failure]
	onFail    func(error)

	closeOnce sync.Once
	closing   chan struct{}
	broken    chan struct{} // closed when failed is set
}

type failure struct{ err error }

const (
	// stallPoll is how often a write that found the disk full is tried again.
	stallPoll = 50 * time.Millisecond
	// defaultTablePause is how long the guard holds back an error of writing a
	// table, and failedPause one of reading after the store has failed.
	defaultTablePause = 200 * time.Millisecond
	failedPause       = time.Second
	// fullMemory is how long after a table found no space the disk counts as full.
	fullMemory = time.Second
)

var errFenced = errors.New("the store has failed; nothing is written any more")

func newGuard(dir, logDir string, o *Options) *guard {
	return &guard{dir: dir, logDir: logDir, fsync: o.Fsync, log: o.Logger, tablePause: o.tablePause, onFail: o.OnFatal, closing: make(chan struct{}), broken: make(chan struct{})}
}

// err is what the store failed of, or nil.
func (g *guard) err() error {
	if f := g.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

// fail makes the store failed. The first error counts.
func (g *guard) fail(err error) {
	doing := "the store has failed and must be opened again"
	if !g.running.Load() {
		doing = "cannot open the store"
	}
	err = ioError(err, doing)
	if !g.failed.CompareAndSwap(nil, &failure{err}) {
		return
	}
	close(g.broken)
	if !g.running.Load() {
		return // Open returns it
	}
	g.log.Errorf("store %s: %v", g.dir, err)
	if g.onFail != nil {
		go g.onFail(err) // the caller holds pebble's locks: it must not wait
	}
}

// stop ends all waiting, for Close.
func (g *guard) stop() { g.closeOnce.Do(func() { close(g.closing) }) }

func (g *guard) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.closing:
	}
}

// must runs an operation whose failure pebble could not bear: it returns nil
// once op succeeded or the store has failed, and an error only while opening.
// op is tried again after a full disk, so it must be repeatable then.
func (g *guard) must(op func() error) error {
	for waiting := false; ; {
		if g.failed.Load() != nil {
			return nil
		}
		err := op()
		switch {
		case err == nil:
			return nil
		case !g.running.Load():
			return err
		case !isNoSpace(err):
			g.fail(err)
			return nil
		}
		if !waiting {
			waiting = true
			if g.stalled.Add(1) == 1 {
				g.log.Errorf("store %s: disk full: writes wait until there is space", g.dir)
			}
			defer g.stalled.Add(-1)
		}
		select {
		case <-g.closing:
			g.fail(err)
		case <-time.After(stallPoll):
		}
	}
}

// mustOnce is must for operations that may not be repeated: a sync that failed
// may have dropped what it should have written, and would then succeed. Pebble
// panics when its directory cannot be synced, while opening too.
func (g *guard) mustOnce(op func() error) error {
	if g.failed.Load() != nil {
		return nil
	}
	if err := op(); err != nil {
		g.fail(err)
	}
	return nil
}

// table passes an operation on a table file on, slowed down when it fails.
// After the store has failed it does nothing and says that it did: writers that
// wait for a flush must come back.
func (g *guard) table(op func() error) error {
	if g.failed.Load() != nil {
		return nil
	}
	err := op()
	if err != nil {
		if isNoSpace(err) {
			g.tableFull.Store(time.Now().UnixNano())
		}
		g.pause(g.tablePause)
	}
	return err
}

// scrap is for a file that nobody needs: that there is no space for it is no error.
func (g *guard) scrap(op func() error) error {
	return g.must(func() error {
		err := op()
		if isNoSpace(err) && g.running.Load() {
			return nil
		}
		return err
	})
}

// full tells that what pebble writes finds no space: a commit handed to it now
// would wait.
func (g *guard) full() bool {
	if g.stalled.Load() > 0 {
		return true
	}
	t := g.tableFull.Load()
	return t != 0 && time.Since(time.Unix(0, t)) < fullMemory
}

// fileKind says how the guard treats a file.
type fileKind int

const (
	foreign   fileKind = iota // not in the guarded directory
	logFile                   // the write-ahead log (wal)
	tableFile                 // what pebble can write again
	metaFile                  // manifest, options, markers: as vital as the log
	scrapFile                 // pebble's own log, which it makes, and has nothing in (options.go)
)

func (g *guard) kind(fs vfs.FS, name string) fileKind {
	switch {
	case fs.PathDir(name) == g.logDir, name == g.logDir:
		return logFile
	case fs.PathDir(name) != g.dir:
		return foreign
	case strings.HasSuffix(name, ".log"):
		return scrapFile
	case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
		return tableFile
	default:
		return metaFile
	}
}
