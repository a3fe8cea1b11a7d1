package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faults makes operations that change the disk fail, by choice.
type faults struct {
	hits   atomic.Int64
	choose atomic.Pointer[func(op errorfs.Op) error]
}

func (f *faults) set(choose func(op errorfs.Op) error) { f.choose.Store(&choose) }

func (f *faults) MaybeError(op errorfs.Op) error {
	c := f.choose.Load()
	if c == nil || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFilePreallocate {
		return nil
	}
	err := (*c)(op)
	if err != nil {
		f.hits.Add(1)
	}
	return err
}

func (f *faults) String() string { return "faults" }

// quiet keeps expected errors out of the tests' output.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Random errors of the disk while eight goroutines write. Whatever fails, each
// acknowledged write is there afterwards, nobody hangs, the process lives, and
// a store that failed says so.
func TestRandomErrors(t *testing.T) {
	var hits int64
	failed := 0
	for seed := range uint64(40) {
		mem := vfs.NewMem()
		f := &faults{}
		fatal := make(chan error, 1)
		s := mustOpen(t, "/s", Options{FS: errorfs.Wrap(mem, f), MemTableSize: 64 << 10, Logger: quiet{}, tablePause: 10 * time.Millisecond, OnFatal: func(err error) { fatal <- err }})
		var n atomic.Int64
		at := 20 + rand.New(rand.NewPCG(seed, 3)).Int64N(200)
		sticky := seed%2 == 0
		kind := []string{".log", "MANIFEST", ".sst", ""}[seed/2%4]
		f.set(func(op errorfs.Op) error {
			if !strings.Contains(op.Path, kind) || !strings.Contains(op.Path, "data") && !strings.Contains(op.Path, "wal") {
				return nil
			}
			i := n.Add(1)
			if kind == ".sst" || kind == "MANIFEST" {
				i *= 20 // there are fewer of these
			}
			if i == at || i > at && sticky {
				return syscall.EIO
			}
			return nil
		})
		acked := make([]int, 8)
		done := make(chan int)
		stop := time.Now().Add(250 * time.Millisecond)
		for w := range acked {
			go func() {
				defer func() { done <- w }()
				b := s.NewBatch()
				for i := 1; i < 2000 && time.Now().Before(stop); i++ {
					b.Reset()
					b.PutItem(uint16(w), fmt.Appendf(nil, "k%06d", i), testItem(uint64(i), string(make([]byte, 300))))
					if err := s.Commit(b); err != nil {
						if s.Failed() == nil {
							t.Errorf("seed %d: Commit: %v, but the store has not failed", seed, err)
						}
						return
					}
					acked[w] = i
				}
			}()
		}
		for range acked {
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatalf("seed %d: a writer hangs", seed)
			}
		}
		ferr := s.Failed()
		if ferr != nil {
			failed++
			if err := <-fatal; err != ferr {
				t.Fatalf("OnFatal got %v, Failed is %v", err, ferr)
			}
			if _, _, err := s.Get(0, []byte("k000001"), nil); !errors.Is(err, ErrIO) {
				t.Fatalf("Get after failure: %v", err)
			}
			if err := s.Commit(s.NewBatch()); !errors.Is(err, ErrIO) {
				t.Fatalf("Commit after failure: %v", err)
			}
		}
		hits += f.hits.Load()
		f.set(func(errorfs.Op) error { return nil })
		began := time.Now()
		if err := s.Close(); (err != nil) != (ferr != nil) && s.Failed() == nil {
			t.Fatalf("seed %d: Close: %v after failure %v", seed, err, ferr)
		}
		if d := time.Since(began); d > closeLimit+time.Second {
			t.Fatalf("Close took %v", d)
		}
		s = mustOpen(t, "/s", Options{FS: mem})
		if ferr != nil && s.Identity().CleanStop {
			t.Fatalf("seed %d: a failed store says that it stopped cleanly", seed)
		}
		for w, n := range acked {
			for i := 1; i <= n; i++ {
				if _, found, err := s.Get(uint16(w), fmt.Appendf(nil, "k%06d", i), nil); !found || err != nil {
					t.Fatalf("seed %d (%s): acknowledged write %d of %d: %v %v; failed of %v", seed, kind, i, n, found, err, ferr)
				}
			}
		}
		mustClose(t, s)
	}
	if hits == 0 || failed == 0 {
		t.Fatalf("%d hits, %d failures: the test tests nothing", hits, failed)
	}
	t.Logf("%d errors injected, %d of 40 stores failed", hits, failed)
}

// The disk is full for the log and for tables: writes wait, reads go on, new
// writes are refused, and all goes on when there is space again.
func TestNoSpaceStalls(t *testing.T) {
	for _, kind := range []string{".log", "MANIFEST", ".sst", ""} {
		t.Run(kind, func(t *testing.T) {
			mem := vfs.NewMem()
			f := &faults{}
			s := mustOpen(t, "/s", Options{FS: errorfs.Wrap(mem, f), MemTableSize: 64 << 10, Logger: quiet{}, tablePause: 10 * time.Millisecond})
			mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("a"), testItem(1, "x")) })
			f.set(func(op errorfs.Op) error {
				if strings.Contains(op.Path, kind) && (strings.Contains(op.Path, "data") || strings.Contains(op.Path, "wal")) {
					return syscall.ENOSPC
				}
				return nil
			})
			acked := make(chan int, 1)
			go func() {
				b := s.NewBatch()
				n := 0
				for i := range 2000 {
					b.Reset()
					b.PutItem(2, fmt.Appendf(nil, "k%06d", i), testItem(uint64(i+1), string(make([]byte, 300))))
					for {
						err := s.Commit(b)
						if err == nil {
							n++
							break
						}
						if !errors.Is(err, ErrDiskFull) {
							t.Errorf("Commit: %v", err)
						}
						time.Sleep(10 * time.Millisecond)
					}
				}
				acked <- n
			}()
			for f.hits.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			{
				if err := s.Health(); !errors.Is(err, ErrDiskFull) {
					t.Fatalf("Health: %v", err)
				}
				b := s.NewBatch()
				b.PutItem(3, []byte("refused"), testItem(1, ""))
				if err := s.Commit(b); !errors.Is(err, ErrDiskFull) || s.Failed() != nil {
					t.Fatalf("Commit on a full disk: %v, %v", err, s.Failed())
				}
			}
			if _, found, err := s.Get(1, []byte("a"), nil); !found || err != nil {
				t.Fatal(found, err)
			}
			f.set(func(errorfs.Op) error { return nil })
			if n := <-acked; n != 2000 {
				t.Fatalf("%d of 2000", n)
			}
			mustClose(t, s)
			s = mustOpen(t, "/s", Options{FS: mem})
			if n, err := s.Items(t.Context()); n != 2001 || err != nil {
				t.Fatal(n, err)
			}
			mustClose(t, s)
		})
	}
}

// A store that waits for space can be closed; what it acknowledged is there.
func TestCloseWhileFull(t *testing.T) {
	mem := vfs.NewMem()
	f := &faults{}
	s := mustOpen(t, "/s", Options{FS: errorfs.Wrap(mem, f), Logger: quiet{}})
	mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("a"), testItem(1, "x")) })
	f.set(func(errorfs.Op) error { return syscall.ENOSPC })
	res := make(chan error)
	go func() {
		b := s.NewBatch()
		b.PutItem(1, []byte("b"), testItem(2, "x"))
		res <- s.Commit(b)
	}()
	for s.guard.stalled.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.guard.stop() // what Close does first
	if err := <-res; !errors.Is(err, ErrDiskFull) {
		t.Fatalf("the Commit in flight: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("Close: %v", err)
	}
	s = mustOpen(t, "/s", Options{FS: mem})
	if _, found, err := s.Get(1, []byte("a"), nil); !found || err != nil || s.Identity().CleanStop {
		t.Fatal(found, err)
	}
	mustClose(t, s)
}

// A store whose disk has no space for tables can be closed, and opened again when it has.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	f := &faults{}
	s := mustOpen(t, "/s", Options{FS: errorfs.Wrap(mem, f), MemTableSize: 64 << 10, Logger: quiet{}, tablePause: 10 * time.Millisecond, BootID: "one"})
	f.set(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	})
	stop, stopped := make(chan struct{}), make(chan struct{})
	var done atomic.Int64
	go func() { // until pebble has no room in memory either
		defer close(stopped)
		b := s.NewBatch()
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := done.Load()
			b.Reset()
			b.PutItem(1, fmt.Appendf(nil, "k%06d", n), testItem(uint64(n+1), string(make([]byte, 300))))
			switch err := s.Commit(b); {
			case err == nil:
				done.Add(1)
			case !errors.Is(err, ErrDiskFull):
				t.Errorf("Commit: %v", err)
			}
		}
	}()
	time.Sleep(500 * time.Millisecond)
	close(stop)
	select {
	case <-stopped:
	case <-time.After(5 * time.Second): // it waits for pebble, with a batch that is in the log
	}
	began := time.Now()
	_ = s.Close() // an error, unless it got by
	if d := time.Since(began); d > 4*closeLimit {
		t.Errorf("Close took %v", d)
	}
	n := done.Load()
	f.set(func(errorfs.Op) error { return nil })
	s = mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	defer mustClose(t, s)
	if got, err := s.Count(1); err != nil || got < n || n == 0 {
		t.Errorf("%d of %d, %v", got, n, err)
	}
}
