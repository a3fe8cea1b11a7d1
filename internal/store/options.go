package store

import (
	"log"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of Open. The zero value is right for a server of middling size.
type Options struct {
	// FS is the disk; nil is the operating system's.
	FS vfs.FS
	// Fsync makes an acknowledged Commit survive power loss, not only kill -9.
	Fsync bool
	// CacheSize is the size of the block cache in bytes; 0 is 32 MiB.
	CacheSize int64
	// MemTableSize is the size in bytes at which writes held in memory go to a
	// table file; 0 is 32 MiB. Half as much makes a segment of the log full. Up to four of them may
	// exist at a time; the store starts with a small one.
	MemTableSize uint64
	// MaxOpenFiles bounds the table files held open; 0 is 500.
	MaxOpenFiles int
	// ReserveBytes of free space are left for flushing and compacting: below it
	// Commit refuses puts. 0 is 64 MiB, or 5 % of the file system if that is less.
	ReserveBytes uint64
	// Full is the free space below which Commit refuses puts although the reserve is there, and Low what Disk
	// tells of before. Zero, or less than the reserve: it is that.
	Full, Low Share
	// Logger gets what pebble says and what goes wrong; nil is the standard logger
	// for errors and nothing for the rest.
	Logger Logger
	// BootID tells one boot of the machine from another; empty reads
	// /proc/sys/kernel/random/boot_id.
	BootID string
	// ReadOnly opens without writing anything but the lock.
	ReadOnly bool
	// OnFatal is called once, on a goroutine of its own, when the store has
	// failed for good (guard.go). Every operation fails from then on.
	OnFatal func(error)
	// OnDamage is called with the number of a table in which pebble met damage, perhaps
	// many times. It must neither block nor call the store.
	OnDamage func(file uint64)

	tablePause time.Duration // guard.tablePause; tests shorten it
}

// Share is an amount of a disk: bytes, or a part of it in percent.
type Share struct {
	Bytes   uint64
	Percent float64
}

// of is how much of a disk of total bytes it is.
func (sh Share) of(total uint64) uint64 {
	return max(sh.Bytes, uint64(float64(total)*sh.Percent/100))
}

// Logger takes lines for the log. Both methods may be called from any goroutine
// and must not call the store.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

type stdLogger struct{}

func (stdLogger) Infof(string, ...any)              {}
func (stdLogger) Errorf(format string, args ...any) { log.Printf(format, args...) }

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheSize == 0 {
		o.CacheSize = 32 << 20
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = 32 << 20
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 500
	}
	if o.tablePause == 0 {
		o.tablePause = defaultTablePause
	}
	if o.Logger == nil {
		o.Logger = stdLogger{}
	}
	if o.BootID == "" {
		b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // absent elsewhere than on Linux: see identity.uncertain
		o.BootID = strings.TrimSpace(string(b))
	}
}

// formatVersion is pebble's on-disk format. Newer ones record in the log how
// far it was synced and refuse a log that ends before that; without Fsync the
// log is not synced where pebble believes it was (guard.go), so after a power
// loss such a store would not open.
const formatVersion = pebble.FormatColumnarBlocks

// pebbleOptions are pebble's options for items of 100 bytes to 10 KB, on a
// machine that also runs other servers. The caller owns the cache.
func (o *Options) pebbleOptions(fs vfs.FS, cache *pebble.Cache) *pebble.Options {
	po := &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		FormatMajorVersion: formatVersion,
		ReadOnly:           o.ReadOnly,
		DisableWAL:         true, // wal is instead
		MaxOpenFiles:       o.MaxOpenFiles,
		MemTableSize:       o.MemTableSize,
		// Four memtables rather than two: a slow flush stalls writers later.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       6,
		L0StopWritesThreshold:       20,
		// A removed partition gives its space back soon, not at the next write burst.
		FlushDelayDeleteRange: flushDelay,
		CompactionConcurrencyRange: func() (lower, upper int) {
			return 1, max(1, runtime.GOMAXPROCS(0)/2)
		},
	}
	po.TargetFileSizes[0] = 4 << 20
	for i := range po.Levels {
		compression := sstable.SnappyCompression
		if i == 0 {
			compression = sstable.NoCompression // tables there are few, and soon merged
		}
		po.Levels[i] = pebble.LevelOptions{
			BlockSize:      8 << 10,
			IndexBlockSize: 8 << 10,
			// Ten bits a key: a get of an absent key reads no block in 99 of 100
			// cases, on the last level too, for caches miss often.
			FilterPolicy: bloom.FilterPolicy(10),
			Compression:  func() *sstable.CompressionProfile { return compression },
		}
	}
	po.Experimental.FileCacheShards = 4
	// Excise would use pebble's log for that.
	po.Experimental.DisableIngestAsFlushable = func() bool { return true }
	return po
}
