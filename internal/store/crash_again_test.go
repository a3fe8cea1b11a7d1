package store

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCrashInRecovery stops the machine a second time, while the store is
// being opened after a crash, before each change that this makes to the disk.
// The second run may be with Fsync where the first was without: what the first
// left uncertain must not become certain by it.
func TestCrashInRecovery(t *testing.T) {
	for _, fsync := range [][2]bool{{true, true}, {false, false}, {false, true}} {
		t.Run(fmt.Sprintf("fsync=%v then %v", fsync[0], fsync[1]), func(t *testing.T) {
			began := time.Now()
			disk := vfs.NewCrashableMem()
			fs := &pointFS{FS: disk}
			sc := newScript(t, fs, disk, Options{Fsync: fsync[0]})
			var c crashes
			var twice atomic.Int64
			c.judge(t, func(im *image) (int64, error) {
				lost, n, err := sc.judgeTwice(im, fsync)
				twice.Add(int64(n))
				return lost, err
			})
			c.run(t, sc, fs, disk, sample(120), []int{0, 50, 100})
			if twice.Load() < 3*int64(c.judged) || fsync[0] && c.lost > 0 {
				t.Errorf("%d crashes, %d during recovery, %d batches lost: the test tests nothing", c.judged, twice.Load(), c.lost)
			}
			t.Logf("%d crashes, and %d during the recovery from them, judged in %v; %d batches lost", c.judged, twice.Load(), time.Since(began).Round(time.Millisecond), c.lost)
		})
	}
}

// judgeTwice crashes the opening of an image, and judges what that leaves.
func (sc *script) judgeTwice(im *image, fsync [2]bool) (lost int64, crashes int, err error) {
	fs := &pointFS{FS: im.disk}
	points := 0
	fs.point = func(op, name string) error {
		points++
		if err != nil {
			return nil // said already
		}
		for _, percent := range []int{0, 50, 100} {
			crashes++
			again := *im
			again.disk = crash(im.disk, percent, uint64(points))
			// What the recovery itself begins.
			again.known.incarnation[1]++
			o := sc.o
			o.FS, o.Fsync, o.BootID = again.disk, fsync[1], "one"
			if im.percent < 100 {
				o.BootID = "two"
			}
			if percent < 100 {
				o.BootID += " and another"
			}
			certain := fsync[0] || im.percent == 100 && percent == 100
			n, jerr := sc.judgeStore(&again, o, certain)
			lost += n
			if jerr != nil {
				err = fmt.Errorf("and again at point %d of recovery (%s %s), %d %% left: %w", points, op, name, percent, jerr)
				return nil
			}
		}
		return nil
	}
	o := sc.o
	o.FS, o.Fsync, o.BootID = fs, fsync[1], "one"
	if im.percent < 100 {
		o.BootID = "two"
	}
	s, oerr := Open(scriptPath, o)
	if oerr != nil {
		return lost, crashes, oerr
	}
	_, ierr := s.StartIncarnation()
	fs.mu.Lock()
	fs.point = func(string, string) error { return nil }
	fs.mu.Unlock()
	if cerr := s.Close(); ierr == nil {
		ierr = cerr
	}
	if err == nil {
		err = ierr
	}
	return lost, crashes, err
}
