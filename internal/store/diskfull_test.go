package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tmpfs mounts a small file system, or skips the test.
func tmpfs(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fillDisk takes what is left of a file system, in small steps.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for buf := make([]byte, 1<<20); len(buf) > 0; {
		if _, err := f.Write(buf); err != nil {
			buf = buf[:len(buf)/2]
		}
	}
}

// A real file system fills up: by the store itself, and then by somebody else,
// who takes the reserve too. Puts are refused or wait, deletes are taken down
// to a quarter of the reserve, reads go on, nothing acknowledged is lost, and
// all goes on by itself when there is space.
func TestDiskFull(t *testing.T) {
	dir := tmpfs(t, 96<<20)
	path := dir + "/s"
	s := mustOpen(t, path, Options{Logger: quiet{}, MemTableSize: 2 << 20, ReserveBytes: 16 << 20, tablePause: 10 * time.Millisecond})
	rng := rand.New(rand.NewPCG(1, 1))
	value := func() string { // does not compress
		b := make([]byte, 4000)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	var acked atomic.Int64
	put := func(i int64) error {
		b := s.NewBatch()
		b.PutItem(1, fmt.Appendf(nil, "k%08d", i), testItem(uint64(i), value()))
		err := s.Commit(b)
		if err == nil {
			acked.Store(i)
		}
		return err
	}
	var err error
	for i := int64(1); err == nil; i++ {
		err = put(i)
	}
	if !errors.Is(err, ErrDiskFull) || s.Failed() != nil {
		t.Fatalf("after %d writes: %v, %v", acked.Load(), err, s.Failed())
	}
	if m, ok := s.Metrics(); !ok || m.DiskAvail == 0 || m.DiskAvail > 20<<20 {
		t.Fatalf("full with %d bytes free", m.DiskAvail)
	}
	if !errors.Is(s.Health(), ErrDiskFull) {
		t.Fatal(s.Health())
	}
	mustCommit(t, s, func(b *Batch) { b.Delete(1, []byte("k00000001")) })
	check := func(s *Store) {
		t.Helper()
		for i := int64(2); i <= acked.Load(); i++ {
			if _, found, err := s.Get(1, fmt.Appendf(nil, "k%08d", i), nil); !found || err != nil {
				t.Fatalf("write %d of %d: %v %v", i, acked.Load(), found, err)
			}
		}
	}
	check(s)
	full := acked.Load()

	// Somebody else takes the rest.
	fillDisk(t, dir+"/filler")
	time.Sleep(spaceInterval)
	b := s.NewBatch()
	b.Delete(1, []byte("k00000002"))
	if err := s.Commit(b); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("a delete with nothing left: %v", err)
	}
	check(s)
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}

	// Space comes back: by removing a partition, here.
	mustCommitSoon(t, s, func(b *Batch) { b.Delete(1, []byte("k00000001")) })
	mustCommitSoon(t, s, func(b *Batch) { b.DeletePartition(1); b.SetPosition(1, Position{Version: 1}) })
	began := time.Now()
	for {
		if err := put(1); err == nil {
			break
		} else if !errors.Is(err, ErrDiskFull) || time.Since(began) > 30*time.Second {
			t.Fatalf("does not heal: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("full after %d writes of 4 KB on 96 MiB, healed in %v", full, time.Since(began).Round(time.Millisecond))
	mustClose(t, s)
}

// mustCommitSoon commits, waiting for space.
func mustCommitSoon(t *testing.T, s *Store, fill func(b *Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	var err error
	for range 100 {
		if err = s.Commit(b); !errors.Is(err, ErrDiskFull) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Without a reserve the store runs into the wall itself: its writes wait in the
// guard until somebody makes room.
func TestDiskFullNoReserve(t *testing.T) {
	dir := tmpfs(t, 48<<20)
	filler := dir + "/filler"
	if err := os.WriteFile(filler, make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := dir + "/s"
	s := mustOpen(t, path, Options{Logger: quiet{}, MemTableSize: 1 << 20, ReserveBytes: 1, tablePause: 10 * time.Millisecond})
	const n = 6000
	done := make(chan error)
	go func() {
		b := s.NewBatch()
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range n {
			v := make([]byte, 4000)
			for j := range v {
				v[j] = byte(rng.Uint32())
			}
			b.Reset()
			b.PutItem(1, fmt.Appendf(nil, "k%08d", i), testItem(uint64(i+1), string(v)))
			for {
				err := s.Commit(b)
				if err == nil {
					break
				}
				if !errors.Is(err, ErrDiskFull) {
					done <- err
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		done <- nil
	}()
	stalled := false
	var err error
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-time.After(10 * time.Millisecond):
			if !stalled && s.guard.full() {
				stalled = true
				time.Sleep(300 * time.Millisecond)
				if s.Failed() != nil || !errors.Is(s.Health(), ErrDiskFull) {
					t.Errorf("stalled: failed %v, health %v", s.Failed(), s.Health())
				}
				if _, found, err := s.Get(1, []byte("k00000000"), nil); !found || err != nil {
					t.Errorf("a read on a full disk: %v %v", found, err)
				}
				if err := os.Remove(filler); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if err != nil || !stalled {
		t.Fatalf("%v; ran into the wall: %v", err, stalled)
	}
	mustClose(t, s)
	s = mustOpen(t, path, Options{})
	if got, err := s.Items(t.Context()); got != n || err != nil {
		t.Fatal(got, err)
	}
	mustClose(t, s)
}

// A disk without space at all cannot get a store: the error says why.
func TestOpenOnFullDisk(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	fillDisk(t, dir+"/filler")
	_, err := Open(dir+"/s", Options{})
	if !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	t.Log(err)
}

// The levels of space, with a disk that says what the test wants.
func TestSpaceLevels(t *testing.T) {
	mem := vfs.NewMem()
	sp := newSpace(mem, "/", &Options{})
	for _, c := range []struct {
		avail, total uint64
		size         int
		want         int32
	}{
		{100 << 20, 10 << 30, 0, roomy}, {60 << 20, 10 << 30, 0, low}, {70 << 20, 10 << 30, 0, low}, {81 << 20, 10 << 30, 0, roomy},
		{10 << 20, 10 << 30, 0, nearly}, {63 << 20, 10 << 30, 0, low}, {6 << 20, 100 << 20, 0, low}, {7 << 20, 100 << 20, 0, roomy}, {4 << 20, 100 << 20, 0, low},
		// Large batches.
		{100 << 20, 10 << 30, 20 << 20, low}, {119 << 20, 10 << 30, 20 << 20, roomy}, {103 << 20, 10 << 30, 20 << 20, low},
		{104 << 20, 10 << 30, 20 << 20, roomy}, {55 << 20, 10 << 30, 20 << 20, nearly}, {57 << 20, 10 << 30, 20 << 20, low},
	} {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.avail, TotalBytes: c.total})
		sp.bytes.Store(spaceBytes) // it is time to ask
		if got := sp.room(c.size); got != c.want {
			t.Errorf("%d of %d bytes free, a batch of %d: level %d, want %d", c.avail, c.total, c.size, got, c.want)
		}
	}
}

// Puts are refused at Options.Full, if that is more than the reserve; deletes are not, down to a quarter of the reserve.
func TestSpaceFull(t *testing.T) {
	mem := vfs.NewMem()
	for _, full := range []Share{{Percent: 10}, {Bytes: 1 << 30, Percent: 1}} {
		sp := newSpace(mem, "/", &Options{Full: full})
		for _, c := range []struct {
			avail uint64
			want  int32
		}{
			{2 << 30, roomy}, {1000 << 20, low}, {1100 << 20, low}, {1281 << 20, roomy}, {30 << 20, low}, {10 << 20, nearly}, {2 << 30, roomy},
		} {
			mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.avail, TotalBytes: 10 << 30})
			sp.bytes.Store(spaceBytes) // it is time to ask
			if got := sp.room(0); got != c.want {
				t.Errorf("%+v: %d bytes free: level %d, want %d", full, c.avail, got, c.want)
			}
		}
	}
}
