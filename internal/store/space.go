package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space knows whether there is room for more writes. What pebble writes in the
// background (flushes, compactions, its log) needs room too, so puts are
// refused while a reserve is still free, and taken again when a quarter more
// than that is.
type space struct {
	fs      vfs.FS
	path    string
	reserve uint64 // bytes; 0 is 64 MiB or 5 % of the file system
	// full is where puts are refused, low where Disk tells of it; the reserve at least.
	full, low Share

	start time.Time
	// checked is when the disk was asked last, in ns after start; bytes is what
	// was committed since.
	checked atomic.Int64
	bytes   atomic.Int64
	// large is the size above which a batch is looked at by itself.
	large atomic.Int64

	flushed atomic.Int64 // when flushDue said yes last, in ns after start
	deleted atomic.Bool  // something was committed since, while room was short
	// reclaiming: compactions for space are under way.
	reclaiming atomic.Bool
	level      atomic.Int32 // one of the levels below
	mu         sync.Mutex   // held by who asks the disk
	usage      vfs.DiskUsage
}

// How much room there is.
const (
	roomy  int32 = iota
	low          // puts are refused (Options.Full); deletes and bookkeeping are taken, for they give space back
	nearly       // a quarter of the reserve is left: nothing is taken
)

const (
	defaultReserve = 64 << 20
	// spaceInterval and spaceBytes: the disk is asked again when that much time
	// has passed, or that much was committed.
	spaceInterval = 100 * time.Millisecond
	spaceBytes    = 4 << 20
	// largeShare: a batch larger than this part of the reserve is a large one.
	largeShare = 8
	// spaceFlush is how often deletes are flushed while the disk is full.
	spaceFlush = time.Second
	// maxAgain bounds how much more than Options.Full has to be free before puts are taken again.
	maxAgain = 1 << 30
)

func newSpace(fsys vfs.FS, path string, o *Options) *space {
	sp := &space{fs: fsys, path: path, reserve: o.ReserveBytes, full: o.Full, low: o.Low, start: time.Now()}
	sp.ask(true)
	return sp
}

// room tells the level for a batch of size bytes. It costs a clock reading, and
// now and then a statfs; for a large batch always one.
func (sp *space) room(size int) int32 {
	sum := sp.bytes.Add(int64(size))
	if int64(size) > sp.large.Load() {
		// Room above the reserve is not room for a batch of any size, and pebble must
		// not be the one to find out (guard). It takes its size twice: see fits.
		if u := sp.ask(true); u.TotalBytes != 0 {
			return sp.levelOf(u, 2*uint64(size))
		}
	} else if sum >= spaceBytes || time.Since(sp.start)-time.Duration(sp.checked.Load()) >= spaceInterval {
		sp.ask(false)
	}
	return sp.level.Load()
}

// ask asks the disk. Whoever finds another one asking goes by the last answer,
// unless it must.
func (sp *space) ask(must bool) vfs.DiskUsage {
	if must {
		sp.mu.Lock()
	} else if !sp.mu.TryLock() {
		return vfs.DiskUsage{}
	}
	defer sp.mu.Unlock()
	sp.bytes.Store(0)
	sp.checked.Store(int64(time.Since(sp.start)))
	u, err := sp.fs.GetDiskUsage(sp.path)
	if err != nil {
		// A disk that cannot tell is taken to be roomy: a write finds out.
		sp.level.Store(roomy)
		return vfs.DiskUsage{}
	}
	sp.usage = u
	sp.large.Store(int64(sp.reserved(u) / largeShare))
	sp.level.Store(sp.levelOf(u, 0))
	return u
}

// levelOf is the level when taken more bytes of u are used.
func (sp *space) levelOf(u vfs.DiskUsage, taken uint64) int32 {
	reserve := sp.reserved(u)
	enough := max(reserve, sp.full.of(u.TotalBytes))
	if sp.level.Load() != roomy {
		enough += max(reserve/4, min(enough/4, maxAgain))
	}
	switch {
	case u.AvailBytes >= enough+taken:
		return roomy
	case u.AvailBytes >= reserve/4+taken:
		return low
	default:
		return nearly
	}
}

func (sp *space) reserved(u vfs.DiskUsage) uint64 {
	if sp.reserve != 0 {
		return sp.reserve
	}
	return min(defaultReserve, u.TotalBytes/20)
}

// Disk is how much of its disk a store has, in bytes.
type Disk struct {
	Avail, Total uint64
	// Low: less is free than Options.Low. Full: puts are refused.
	Low, Full bool
}

// Disk asks the disk; all is zero if it cannot tell.
func (s *Store) Disk() (d Disk) {
	u := s.space.ask(true)
	if u.TotalBytes == 0 {
		return d
	}
	d = Disk{Avail: u.AvailBytes, Total: u.TotalBytes, Full: s.space.level.Load() != roomy || s.guard.full()}
	d.Low = d.Full || u.AvailBytes < s.space.low.of(u.TotalBytes)
	return d
}

// fits tells whether a batch leaves half of the reserve, when it is in the log
// and in a table.
func (sp *space) fits(size int) bool {
	u := sp.ask(true)
	return u.AvailBytes >= sp.reserved(u)/2+2*uint64(size)
}

// flushDue says yes once in spaceFlush.
func (sp *space) flushDue() bool {
	last, now := sp.flushed.Load(), int64(time.Since(sp.start))
	return now-last >= int64(spaceFlush) && sp.flushed.CompareAndSwap(last, now)
}
