package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// What has been ordered when the disk is found full can go into the reserve,
// and never into its last half.
func TestCommitReserve(t *testing.T) {
	s := mustOpen(t, tmpfs(t, 64<<20)+"/s", Options{Logger: quiet{}, MemTableSize: 1 << 20, ReserveBytes: 16 << 20, tablePause: 10 * time.Millisecond})
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 20_000)
	n := 0
	put := func(commit func(*Batch) error) error {
		for i := range buf {
			buf[i] = byte(rng.Uint32())
		}
		b := s.NewBatch()
		n++
		b.PutItem(1, fmt.Appendf(nil, "k%08d", n), testItem(uint64(n), string(buf)))
		return commit(b)
	}
	var err error
	for err == nil {
		if s.Full() {
			break
		}
		err = put(s.Commit)
	}
	if err != nil && !errors.Is(err, ErrDiskFull) || !s.Full() {
		t.Fatalf("after %d puts: %v, full %v", n, err, s.Full())
	}
	before := n
	for err = nil; err == nil && n < before+10_000; {
		err = put(s.CommitReserve)
	}
	if !errors.Is(err, ErrDiskFull) || s.Failed() != nil {
		t.Fatalf("after %d puts into the reserve: %v, %v", n-before, err, s.Failed())
	}
	if n-before < 10 {
		t.Errorf("only %d puts found room in a reserve of 16 MiB", n-before)
	}
	b := s.NewBatch()
	b.Delete(1, []byte("k00000001"))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// Tables being written may take the rest of the reserve for a moment.
		if err = s.Commit(b); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Errorf("a delete: %v", err)
	}
	t.Logf("%d puts, %d more into the reserve", before, n-before)
	mustClose(t, s)
}

// A batch for which there is no room finds the disk full although there is space
// above the reserve: handed to pebble it would wait there, and nobody would know.
func TestBatchLargerThanTheSpace(t *testing.T) {
	dir := tmpfs(t, 96<<20)
	s := mustOpen(t, dir+"/s", Options{Logger: quiet{}, MemTableSize: 2 << 20, ReserveBytes: 16 << 20, tablePause: 10 * time.Millisecond})
	mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("k"), testItem(1, "v")) })
	free := func() int { return int(s.space.ask(true).AvailBytes) }
	if err := os.WriteFile(dir+"/filler", make([]byte, free()-24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 30<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(large)
	commit := func(do func(*Batch) error, size int) (err error) {
		t.Helper()
		done := make(chan error, 1)
		b := s.NewBatch()
		b.PutItem(1, []byte("large"), testItem(2, string(large[:size])))
		go func() { done <- do(b) }()
		select {
		case err = <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("a batch of %d bytes waits, with %d bytes free", size, free())
			if err := os.Remove(dir + "/filler"); err != nil {
				t.Fatal(err)
			}
			t.FailNow()
		}
		return err
	}
	for _, size := range []int{30 << 20, 5 << 20} { // the second fits into the log and not into a table too
		if err := commit(s.Commit, size); !errors.Is(err, ErrDiskFull) || s.Failed() != nil {
			t.Fatalf("a batch of %d bytes with %d free: %v, %v", size, free(), err, s.Failed())
		}
	}
	mustCommit(t, s, func(b *Batch) { b.Delete(1, []byte("k")) })
	if err := commit(s.Commit, 1<<20); err != nil { // there is room for others
		t.Fatal(err)
	}
	if err := commit(s.CommitReserve, 30<<20); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if err := commit(s.CommitReserve, 5<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	if err := commit(s.Commit, 20<<20); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}

// What was deleted on a full disk gives its space back although nothing more is
// written: pebble would wait for more writes before it compacts.
func TestDeletesGiveSpaceBack(t *testing.T) {
	s := mustOpen(t, tmpfs(t, 192<<20)+"/s", Options{Logger: quiet{}, MemTableSize: 2 << 20, ReserveBytes: 32 << 20, tablePause: 10 * time.Millisecond})
	rng := rand.New(rand.NewPCG(1, 3))
	buf := make([]byte, 20_000)
	n := 0
	where := func(i int) (uint16, []byte) {
		return uint16(uint32(i) * 2654435761 >> 22), fmt.Appendf(nil, "k%08d", i)
	}
	for b := s.NewBatch(); !s.Full(); n++ {
		for i := range buf {
			buf[i] = byte(rng.Uint32())
		}
		b.Reset()
		part, key := where(n)
		b.PutItem(part, key, testItem(uint64(n+1), string(buf)))
		b.SetPosition(part, Position{Version: uint64(n + 1)})
		if err := s.Commit(b); err != nil && !errors.Is(err, ErrDiskFull) {
			t.Fatal(err)
		}
	}
	b := s.NewBatch()
	for i := range n / 2 {
		part, key := where(i)
		b.Delete(part, key)
	}
	began := time.Now()
	for err := s.Commit(b); err != nil; err = s.Commit(b) {
		if !errors.Is(err, ErrDiskFull) || time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for s.Full() {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the space does not come back")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d of %d values of 20 KB deleted: there is space after %v", n/2, n, time.Since(began).Round(time.Millisecond))
	mustClose(t, s)
}

// Flushing nothing is no error: twenty of them made the store fail.
func TestEmptyFlushes(t *testing.T) {
	s := mustOpen(t, t.TempDir()+"/s", Options{Logger: quiet{}})
	for range maxFlushErrors + 5 {
		done, err := s.db.AsyncFlush()
		if err != nil {
			t.Fatal(err)
		}
		<-done
	}
	if err := s.Failed(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}
