package store

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDiskErrors makes every operation on the disk fail in turn, reads too, and
// with it the later ones or not. Nothing panics or hangs; what was acknowledged
// is there when the store is opened again, a batch that failed is there whole or
// not at all; a key that cannot be read is an error, never a miss; and a store
// that says it has not failed goes on.
func TestDiskErrors(t *testing.T) {
	points := scriptPoints(t)
	for _, sticky := range []bool{false, true} {
		t.Run(fmt.Sprintf("sticky=%v", sticky), func(t *testing.T) {
			began := time.Now()
			jobs := make(chan int)
			var runs, failed, wentOn atomic.Int64
			var wg sync.WaitGroup
			for range 2 * runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					for at := range jobs {
						f := newFailingRun(t, at, sticky)
						f.run()
						runs.Add(1)
						if f.storeFailed {
							failed.Add(1)
						} else {
							wentOn.Add(1)
						}
					}
				})
			}
			for at := 1; at <= points && !t.Failed(); at += sample(3) {
				jobs <- at
			}
			close(jobs)
			wg.Wait()
			if failed.Load() == 0 || wentOn.Load() == 0 {
				t.Error("the test tests nothing")
			}
			t.Logf("%d of %d operations failed in turn, in %v: the store failed of %d, went on or was not opened with %d",
				runs.Load(), points, time.Since(began).Round(time.Millisecond), failed.Load(), wentOn.Load())
		})
	}
}

// scriptPoints counts the operations of a script without errors.
func scriptPoints(t *testing.T) (n int) {
	disk := vfs.NewMem()
	fs := &pointFS{FS: disk, reads: true, point: func(string, string) error { n++; return nil }}
	sc := newScript(t, fs, disk, Options{Fsync: true})
	sc.batch = 5
	sc.run()
	if n < 300 {
		t.Fatalf("a script of %d operations", n)
	}
	return n
}

// failingRun is a script on a disk that fails.
type failingRun struct {
	t           *testing.T
	sc          *script
	fs          *pointFS
	disk        *vfs.MemFS
	at, n       int
	sticky, off bool
	where       string
	storeFailed bool
}

func newFailingRun(t *testing.T, at int, sticky bool) *failingRun {
	f := &failingRun{t: t, at: at, sticky: sticky, disk: vfs.NewMem()}
	f.fs = &pointFS{FS: f.disk, reads: true, point: f.point}
	f.sc = newScript(t, f.fs, f.disk, Options{Fsync: true})
	f.sc.batch, f.sc.errors = 5, true
	return f
}

// point fails operation at, or all from there on.
func (f *failingRun) point(op, name string) error {
	f.n++
	if f.off || f.n != f.at && !(f.sticky && f.n > f.at) {
		return nil
	}
	if f.where == "" {
		f.where = op + " " + name
	}
	return syscall.EIO
}

// heal ends the errors.
func (f *failingRun) heal() {
	f.fs.mu.Lock()
	f.off = true
	f.fs.mu.Unlock()
}

func (f *failingRun) errorf(format string, args ...any) {
	f.t.Helper()
	f.t.Errorf("operation %d (%s) fails, sticky %v: %s", f.at, f.where, f.sticky, fmt.Sprintf(format, args...))
}

func (f *failingRun) run() {
	hung := time.AfterFunc(time.Minute, func() {
		buf := make([]byte, 1<<20)
		panic(fmt.Sprintf("operation %d (%s) fails, sticky %v: the store hangs\n%s", f.at, f.where, f.sticky, buf[:runtime.Stack(buf, true)]))
	})
	defer hung.Stop()
	sc := f.sc
	sc.look = f.look
	sc.run()
	var kind *kindError
	if sc.failed != nil && !errors.As(sc.failed, &kind) {
		f.errorf("an error without a kind: %v", sc.failed)
	}
	if sc.s != nil {
		f.storeFailed = sc.s.Failed() != nil
	}
	if sc.failed == nil && f.sticky {
		f.errorf("nobody was told")
	}
	f.heal()
	if sc.s != nil && !f.storeFailed {
		// The disk is well again, and so must the store be.
		if err := f.sc.goesOnAfter(); err != nil {
			f.errorf("after %v: %v", sc.failed, err)
		}
		f.storeFailed = sc.s.Failed() != nil
	}
	if sc.s != nil {
		began := time.Now()
		err := sc.s.Close()
		f.storeFailed = f.storeFailed || sc.s.Failed() != nil // in the background, meanwhile
		if err != nil && !f.storeFailed {
			f.errorf("Close: %v", err)
		}
		if d := time.Since(began); d > closeLimit+time.Second {
			f.errorf("Close took %v", d)
		}
	}
	f.reopen()
}

// look reads everything that the store holds, key by key.
func (f *failingRun) look() {
	sc := f.sc
	if sc.failed != nil || f.t.Failed() {
		return
	}
	want := sc.state(sc.at.batches.acked.Load())
	for part := uint16(1); part < scriptParts; part++ {
		for i := range 20 {
			key := fmt.Appendf(nil, "key%02d", i)
			rec, found, err := sc.s.Get(part, key, nil)
			if err != nil {
				if !f.sticky && sc.s.Failed() == nil { // the same again, without the error
					rec, found, err = sc.s.Get(part, key, nil)
				}
				if err != nil {
					sc.step("Get", func() error { return err })
					return
				}
			}
			w, ok := want[string(itemKey(nil, part, key))]
			if found != ok || string(rec) != w {
				f.errorf("Get gives %d bytes, found %v; want %d bytes, %v", len(rec), found, len(w), ok)
				return
			}
		}
	}
	if n, err := sc.check(sc.s); err == nil && n != sc.at.batches.acked.Load() {
		f.errorf("it has %d batches of %d", n, sc.at.batches.acked.Load())
	} else if err != nil && strings.HasPrefix(err.Error(), "key ") {
		f.errorf("%v", err)
	}
}

// goesOnAfter: a batch that was refused is written after all.
func (sc *script) goesOnAfter() error {
	sc.failed = nil
	if err := sc.s.Health(); errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("Health: %w", err)
	}
	sc.write(1, false)
	if sc.failed == nil {
		if _, err := sc.check(sc.s); err != nil {
			// It may have shared a table with something in the background that found the
			// disk ill when it opened that.
			_, sc.failed = sc.check(sc.s)
		}
	}
	if sc.s.Failed() != nil {
		sc.failed = nil // it says so
	}
	return sc.failed
}

// reopen opens the store on a disk that is well again.
func (f *failingRun) reopen() {
	sc := f.sc
	o := sc.o
	o.FS = f.disk
	s, err := Open(scriptPath, o)
	if err != nil {
		f.errorf("Open afterwards: %v", err)
		return
	}
	defer s.Close()
	k := sc.at.acked()
	sc.at.begun(&k)
	id := s.Identity()
	if n := int64(id.Incarnation); n < k.incarnation[0] || n > k.incarnation[1] || k.id != 0 && uint64(id.ID) != k.id {
		f.errorf("identity %+v, incarnation not within %v", id, k.incarnation)
	}
	if err := judgeMap(s, k.maps); err != nil {
		f.errorf("%v", err)
	}
	n, err := sc.check(s)
	if err != nil || n < k.batches[0] || n > k.batches[1] {
		f.errorf("it has %d batches, not within %v: %v", n, k.batches, err)
	}
	if n < k.batches[1] && f.storeFailed && id.CleanStop {
		f.errorf("a store that failed says that it stopped cleanly")
	}
}
