package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var allPoints = flag.Bool("store.all", false, "crash and error tests: every point, not a sample")

// sample is how far apart the points are that a test looks at.
func sample(everyday int) int {
	switch {
	case *allPoints:
		return 1
	case testing.Short() || raceDetector:
		return 10 * everyday
	default:
		return everyday
	}
}

// survives are the shares of unsynced data and names that a crash leaves, in
// percent, chosen at random and in no order. With 100 it is the process that
// dies; the machine goes on.
var survives = []int{0, 20, 50, 80, 100}

// crash is what a crash at this moment leaves of a disk.
func crash(disk *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	rng := rand.New(rand.NewPCG(seed, uint64(percent)))
	clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	// CrashClone undoes every removal that was not synced.
	var remove func(dir string)
	remove = func(dir string) {
		names, _ := clone.List(dir)
		slices.Sort(names)
		for _, name := range names {
			name = clone.PathJoin(dir, name)
			if _, err := disk.Stat(name); err != nil && rng.IntN(100) < percent {
				_ = clone.RemoveAll(name)
			} else if st, err := clone.Stat(name); err == nil && st.IsDir() {
				remove(name)
			}
		}
		_ = syncDir(clone, dir)
	}
	remove("/")
	return clone
}

// image is a disk after a crash, and what the script knew at that moment.
type image struct {
	disk    *vfs.MemFS
	point   int
	where   string
	percent int
	known   known
}

// known are bounds of what may be found: acknowledged before the crash, and
// begun by the time of it.
type known struct {
	batches, incarnation, maps, cluster, backups [2]int64
	kept                                         int64
	id                                           uint64
}

func (p *progress) acked() (k known) {
	k.kept, k.id = p.kept.Load(), p.id.Load()
	p.each(&k, func(r *atomicRange, v *[2]int64) { v[0] = r.acked.Load() })
	return k
}

func (p *progress) begun(k *known) {
	p.each(k, func(r *atomicRange, v *[2]int64) { v[1] = r.begun.Load() })
}

func (p *progress) each(k *known, do func(*atomicRange, *[2]int64)) {
	do(&p.batches, &k.batches)
	do(&p.incarnation, &k.incarnation)
	do(&p.maps, &k.maps)
	do(&p.cluster, &k.cluster)
	do(&p.backups, &k.backups)
}

// crashes takes images at the points of a run and has them judged.
type crashes struct {
	images chan image
	wg     sync.WaitGroup
	points int
	judged int
	mu     sync.Mutex
	bad    int
	lost   int64
}

func (c *crashes) judge(t *testing.T, judge func(im *image) (lost int64, err error)) {
	c.images = make(chan image, 2)
	for range runtime.GOMAXPROCS(0) {
		c.wg.Go(func() {
			for im := range c.images {
				lost, err := judge(&im)
				c.mu.Lock()
				c.judged++
				c.lost += lost
				if err != nil {
					if c.bad++; c.bad <= 5 {
						t.Errorf("crash at point %d (%s), %d %% of the unsynced left: %v", im.point, im.where, im.percent, err)
					}
				}
				c.mu.Unlock()
			}
		})
	}
}

// run runs the script on a disk of which, before every so many changes, images are
// taken, one for each percentage of the unsynced that survives; until all are judged.
func (c *crashes) run(t *testing.T, sc *script, fs *pointFS, disk *vfs.MemFS, every int, survives []int) {
	t.Helper()
	fs.point = func(op, name string) error {
		c.points++
		if c.points%every != 0 {
			return nil
		}
		for _, percent := range survives {
			k := sc.at.acked()
			clone := crash(disk, percent, uint64(c.points))
			sc.at.begun(&k)
			c.images <- image{clone, c.points, op + " " + name, percent, k}
		}
		return nil
	}
	sc.run()
	close(c.images)
	c.wg.Wait()
	if c.bad > 0 {
		t.Errorf("%d of %d crashes left what must not be", c.bad, c.judged)
	}
}

// TestCrashPoints stops the machine before every change that a script makes to
// the disk, in turn, and opens what is left.
func TestCrashPoints(t *testing.T) {
	for _, fsync := range []bool{true, false} {
		t.Run(fmt.Sprintf("fsync=%v", fsync), func(t *testing.T) {
			began := time.Now()
			disk := vfs.NewCrashableMem()
			fs := &pointFS{FS: disk}
			sc := newScript(t, fs, disk, Options{Fsync: fsync})
			var c crashes
			c.judge(t, func(im *image) (int64, error) { return sc.judge(im, fsync) })
			c.run(t, sc, fs, disk, sample(3), survives)
			if n := sc.at.batches.acked.Load(); n < 50 || c.judged < 50 || fsync == (c.lost > 0) {
				t.Errorf("%d batches, %d crashes, %d batches lost: the test tests nothing", n, c.judged, c.lost)
			}
			t.Logf("%d points, %d crashes judged in %v; %d batches of %d lost in all of them",
				c.points, c.judged, time.Since(began).Round(time.Millisecond), c.lost, sc.at.batches.acked.Load())
		})
	}
}

// judge opens a store after a crash and checks what it has.
func (sc *script) judge(im *image, fsync bool) (lost int64, err error) {
	o := sc.o
	o.FS = im.disk
	if im.percent < 100 {
		o.BootID = "two"
	}
	if lost, err = sc.judgeStore(im, o, fsync || im.percent == 100); err != nil {
		return lost, err
	}
	return lost, sc.judgeBackup(im, o)
}

// judgeStore: everything acknowledged must be there if certain, and else the
// batches up to some one, and a word of doubt if that is not the last.
func (sc *script) judgeStore(im *image, o Options, certain bool) (lost int64, err error) {
	s, err := Open(scriptPath, o)
	if err != nil {
		return 0, fmt.Errorf("Open: %w", err)
	}
	defer func() {
		if cerr := s.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("Close: %w", cerr)
		}
	}()
	k := &im.known
	id := s.Identity()
	if k.id != 0 && uint64(id.ID) != k.id {
		return 0, fmt.Errorf("it is %v, and was %x", id.ID, k.id)
	}
	if n := int64(id.Incarnation); n < k.incarnation[0] || n > k.incarnation[1] {
		return 0, fmt.Errorf("incarnation %d, not within %v", n, k.incarnation)
	}
	if n := int64(id.ClusterID); n < k.cluster[0] || n > k.cluster[1] {
		return 0, fmt.Errorf("cluster %d, not within %v", n, k.cluster)
	}
	if err := judgeMap(s, k.maps); err != nil {
		return 0, err
	}
	n, err := sc.check(s)
	if err != nil {
		return 0, fmt.Errorf("with %d batches: %w", n, err)
	}
	lost = max(0, k.batches[0]-n)
	least := k.kept
	if certain {
		least = k.batches[0]
	}
	switch {
	case n < least || n > k.batches[1]:
		return lost, fmt.Errorf("it has %d batches; at least %d, at most %d", n, least, k.batches[1])
	case lost > 0 && !id.UncertainTail:
		return lost, fmt.Errorf("%d batches are missing, and the store does not say that its tail is uncertain: %+v", lost, id)
	case lost > 0 && id.CleanStop:
		return lost, fmt.Errorf("%d batches are missing after a clean stop", lost)
	case id.UncertainTail && certain:
		return lost, errors.New("nothing can be missing, and the store says that its tail is uncertain")
	}
	return lost, sc.goesOn(s, n)
}

func judgeMap(s *Store, maps [2]int64) error {
	b, err := s.LoadMap()
	if err != nil {
		return err
	}
	for n := maps[0]; n <= maps[1]; n++ {
		if n == 0 && b == nil || n > 0 && bytes.Equal(b, scriptMap(n)) {
			return nil
		}
	}
	return fmt.Errorf("the map (%d bytes) is none of %v", len(b), maps)
}

// goesOn: a store that was opened after a crash takes writes.
func (sc *script) goesOn(s *Store, n int64) error {
	b := s.NewBatch()
	b.SetPosition(0, Position{Version: uint64(n + 1)})
	if err := s.Commit(b); err != nil {
		return fmt.Errorf("a commit after the crash: %w", err)
	}
	if p, err := s.Position(0); err != nil || p.Version != uint64(n+1) {
		return fmt.Errorf("position %v after a commit: %w", p, err)
	}
	if want, err := s.StartIncarnation(); err != nil || want == 0 {
		return fmt.Errorf("StartIncarnation: %d, %w", want, err)
	}
	return nil
}

// judgeBackup: a backup is there whole or not at all, and one that was cut
// short is not in the way of the next.
func (sc *script) judgeBackup(im *image, o Options) error {
	backups := im.known.backups
	if backups[1] == 0 {
		return nil
	}
	path := backupPath(backups[1])
	_, err := im.disk.Stat(path)
	if err != nil {
		if backups[0] == backups[1] {
			return fmt.Errorf("the backup %s is gone: %w", path, err)
		}
		s, err := Open(scriptPath, o)
		if err != nil {
			return err
		}
		err = s.Checkpoint(path)
		return errors.Join(err, s.Close())
	}
	o.ReadOnly = true
	s, err := Open(path, o)
	if err != nil {
		return fmt.Errorf("the backup: %w", err)
	}
	defer s.Close()
	n, err := sc.check(s)
	if err == nil && n < 4*int64(sc.batch)-int64(sc.batch) {
		err = errors.New("too few batches")
	}
	if err != nil {
		return fmt.Errorf("the backup, with %d batches: %w", n, err)
	}
	return nil
}
