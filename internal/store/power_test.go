package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Power loss with Fsync: every acknowledged write is there, whatever of the
// unsynced the disk kept.
func TestPowerLossFsync(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, "/s", Options{FS: mem, Fsync: true, MemTableSize: 64 << 10, BootID: "one"})
		acked := writeSome(t, s, rng, 50+rng.IntN(400))
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		_ = s.Close()
		s = mustOpen(t, "/s", Options{FS: crashed, Fsync: true, BootID: "two"})
		if id := s.Identity(); id.CleanStop || id.UncertainTail || id.Created {
			t.Fatalf("%+v", id)
		}
		if got := have(t, s, acked); got != acked {
			t.Fatalf("seed %d: %d of %d", seed, got, acked)
		}
		mustClose(t, s)
	}
}

// Power loss without Fsync: the store opens, knows that its tail is uncertain,
// and has the writes up to some moment and none after; its position says so.
func TestPowerLossWithoutFsync(t *testing.T) {
	lost := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, "/s", Options{FS: mem, MemTableSize: 64 << 10, BootID: "one"})
		acked := writeSome(t, s, rng, 50+rng.IntN(400))
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		_ = s.Close()
		s = mustOpen(t, "/s", Options{FS: crashed, BootID: "two"})
		if id := s.Identity(); id.CleanStop || !id.UncertainTail {
			t.Fatalf("%+v", id)
		}
		got := have(t, s, acked)
		pos, err := s.Position(1)
		if err != nil || pos.Version != uint64(got) {
			t.Fatalf("seed %d: has %d, position %v, %v", seed, got, pos, err)
		}
		lost += acked - got
		// The uncertainty outlives another crash on the same boot.
		again := crashed
		_ = s.Close()
		s = mustOpen(t, "/s", Options{FS: again, BootID: "two"})
		if !s.Identity().UncertainTail {
			t.Fatal("forgot that the tail is uncertain")
		}
		if err := s.ClearUncertainTail(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		s = mustOpen(t, "/s", Options{FS: again, BootID: "three"})
		if id := s.Identity(); id.UncertainTail || !id.CleanStop {
			t.Fatalf("%+v", id)
		}
		mustClose(t, s)
	}
	if lost == 0 {
		t.Fatal("no crash lost anything: the test tests nothing")
	}
}

// writeSome commits n writes of key i at version i in partition 1, one by one.
func writeSome(t *testing.T, s *Store, rng *rand.Rand, n int) int {
	t.Helper()
	b := s.NewBatch()
	for i := 1; i <= n; i++ {
		b.Reset()
		b.PutItem(1, fmt.Appendf(nil, "k%06d", i), testItem(uint64(i), string(make([]byte, rng.IntN(1000)))))
		b.SetPosition(1, Position{Version: uint64(i)})
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// have is how many of the writes 1..n there are; a gap fails the test.
func have(t *testing.T, s *Store, n int) int {
	t.Helper()
	got := 0
	for i := 1; i <= n; i++ {
		_, found, err := s.Get(1, fmt.Appendf(nil, "k%06d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if found && got != i-1 {
			t.Fatalf("write %d is there, write %d is not", i, got+1)
		}
		if found {
			got = i
		}
	}
	return got
}
