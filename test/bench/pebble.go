package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// pebbleCommand as first argument makes this program one that has nothing but a pebble
// database in it: a process of its own can be given a limit of memory.
const pebbleCommand = "pebble-alone"

// pebbleAlone is that process.
type pebbleAlone struct {
	*system
	in  io.Writer
	out *bufio.Scanner
}

// pebble starts it, with every key stored.
func (r *run) pebble(prefix []string, keys uint64, cache int64) (*pebbleAlone, error) {
	s, err := r.system("pebble alone", "")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(prefix, self, pebbleCommand, filepath.Join(s.dir, "db"), strconv.FormatUint(keys, 10), strconv.FormatInt(cache, 10))
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: that one is closed as soon as the process has ended, though its
	// last words were not read.
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	_, err = s.start(cmd)
	w.Close()
	if err != nil {
		return nil, err
	}
	a := &pebbleAlone{system: s, in: in, out: bufio.NewScanner(out)}
	_, err = a.answer(r.ctx)
	return a, err
}

// read has it read values and tells how fast that was.
func (a *pebbleAlone) read(ctx context.Context, n int64, goroutines int) (*bench.Result, error) {
	before, err := bench.CPU(a.PIDs...)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(a.in, n, goroutines); err != nil {
		return nil, fmt.Errorf("%s: %w%s", a.Name, err, a.logs())
	}
	took, err := a.answer(ctx)
	if err != nil {
		return nil, err
	}
	after, err := bench.CPU(a.PIDs...)
	if err != nil {
		return nil, err
	}
	cpu := float64(after-before) / 1e3 / float64(n)
	return &bench.Result{Operations: n, Seconds: took.Seconds(), PerSecond: float64(n) / took.Seconds(), CPU: &cpu}, nil
}

// answer is a line of nanoseconds.
func (a *pebbleAlone) answer(ctx context.Context) (time.Duration, error) {
	type line struct {
		ns  int64
		err error
	}
	got := make(chan line, 1)
	go func() {
		if !a.out.Scan() {
			got <- line{err: errors.Join(errors.New("it has ended"), a.out.Err())}
			return
		}
		ns, err := strconv.ParseInt(a.out.Text(), 10, 64)
		got <- line{ns, err}
	}()
	select {
	case l := <-got:
		if l.err != nil {
			return 0, fmt.Errorf("%s: %w%s", a.Name, l.err, a.logs())
		}
		return time.Duration(l.ns), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// servePebble is the process: DIR KEYS CACHE. It stores every key and says how long that
// took; then it reads so many as each line says and how many goroutines do it, and says
// how long that took.
func servePebble(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 3 {
		return errors.New("needs DIR KEYS CACHE")
	}
	keys, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	cacheSize, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	db, err := pebble.Open(args[0], likeStore(cache))
	if err != nil {
		return err
	}
	defer db.Close()
	begin := time.Now()
	if err := storeAll(db, keys); err != nil {
		return err
	}
	fmt.Fprintln(out, time.Since(begin).Nanoseconds())
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var n int64
		var goroutines int
		if _, err := fmt.Sscan(lines.Text(), &n, &goroutines); err != nil {
			return err
		}
		begin := time.Now()
		if err := readRandomly(db, keys, n, goroutines); err != nil {
			return err
		}
		fmt.Fprintln(out, time.Since(begin).Nanoseconds())
	}
	return nil
}

// likeStore are the options of internal/store, as far as they matter to reads.
func likeStore(cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		Cache: cache, FormatMajorVersion: pebble.FormatColumnarBlocks, MaxOpenFiles: 500, MemTableSize: 32 << 20,
		MemTableStopWritesThreshold: 4, L0CompactionThreshold: 6, L0StopWritesThreshold: 20,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		Logger:                     quiet{},
	}
	o.TargetFileSizes[0] = 4 << 20
	for i := range o.Levels {
		o.Levels[i] = pebble.LevelOptions{BlockSize: 8 << 10, IndexBlockSize: 8 << 10, FilterPolicy: bloom.FilterPolicy(10)}
	}
	return o
}

// quiet drops what pebble tells of its work.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// pebbleKey is a key as kumofs has it: in the order of its hash.
func pebbleKey(b []byte, key uint64) []byte {
	name := bench.AppendKey(nil, key)
	b = binary.BigEndian.AppendUint16(b, uint16(xxhash.Sum64(name)>>52))
	return append(append(b, 1), name...)
}

// storeAll stores every key and waits until nothing is compacted any more.
func storeAll(db *pebble.DB, keys uint64) error {
	batch := db.NewBatch()
	var key, value []byte
	for i := range keys {
		key = pebbleKey(key[:0], i)
		value = bench.AppendValue(value[:0], i, valueSize, 1)
		if err := batch.Set(key, value, nil); err != nil {
			return err
		}
		if batch.Len() > 1<<20 || i == keys-1 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				return err
			}
			batch = db.NewBatch()
		}
	}
	if err := db.Flush(); err != nil {
		return err
	}
	for db.Metrics().Compact.NumInProgress > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	return batch.Close()
}

// readRandomly reads n values with so many goroutines and looks at each.
func readRandomly(db *pebble.DB, keys uint64, n int64, goroutines int) error {
	var left atomic.Int64
	left.Store(n)
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			var name []byte
			for left.Add(-1) >= 0 && errs[g] == nil {
				key := rand.Uint64N(keys)
				name = pebbleKey(name[:0], key)
				v, c, err := db.Get(name)
				if err != nil {
					errs[g] = fmt.Errorf("key %d: %w", key, err)
					return
				}
				if !bench.ValidValue(key, v) {
					errs[g] = fmt.Errorf("key %d has a wrong value", key)
				}
				errs[g] = errors.Join(errs[g], c.Close())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
