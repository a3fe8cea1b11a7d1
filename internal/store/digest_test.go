package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func memStore(t testing.TB) *Store {
	t.Helper()
	s := mustOpen(t, "/s", Options{FS: vfs.NewMem()})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Two stores that differ in some keys are mended by comparing ranges, as R7
// does; what is sent is near what differs.
func TestDigestMend(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		from, to := memStore(t), memStore(t)
		n := rng.IntN(3000)
		fill := func(s *Store, skip, change func(i int) bool) {
			mustCommit(t, s, func(b *Batch) {
				for i := range n {
					v := uint64(i + 1)
					if change(i) {
						v += 1 << 20
					}
					if !skip(i) {
						b.PutItem(3, fmt.Appendf(nil, "key%05d", i), testItem(v, "v"))
					}
				}
				b.PutItem(2, []byte("before"), testItem(1, ""))
				b.PutItem(4, []byte("after"), testItem(1, ""))
			})
		}
		never := func(int) bool { return false }
		a, b, c := rng.IntN(n+1), rng.IntN(n+1), rng.IntN(n+1)
		fill(from, func(i int) bool { return i == a }, never)
		fill(to, func(i int) bool { return i == b }, func(i int) bool { return i == c })

		src, dst := from.Snapshot(), to.Snapshot()
		batch := to.NewBatch()
		ranges, sent, total := 0, 0, int64(0)
		var last []byte
		err := src.Digest(3, 100, func(r RangeDigest) error {
			ranges++
			if !bytes.Equal(r.Start, last) {
				t.Fatalf("range begins at %q, the last ended at %q", r.Start, last)
			}
			last = append(last[:0], r.End...)
			total += r.Count
			if count, hash, err := dst.DigestRange(3, r.Start, r.End); err != nil || count == r.Count && hash == r.Hash {
				return err
			}
			var gone [][]byte
			if err := dst.Versions(3, r.Start, r.End, func(key []byte, _ uint64, _ int) error {
				gone = append(gone, bytes.Clone(key))
				return nil
			}); err != nil {
				return err
			}
			for _, key := range gone {
				batch.Delete(3, key)
			}
			it := src.iter(3, r.Start, r.End)
			for it.Next() {
				rec, err := it.Record()
				if err != nil {
					return err
				}
				batch.Put(3, it.Key(), rec)
				sent++
			}
			return it.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := from.Count(3); total != want || last != nil && len(last) != 0 {
			t.Fatalf("ranges hold %d of %d keys; the last ends at %q", total, want, last)
		}
		if want := max(1, (int(total)+99)/100); ranges != want || sent > 300 {
			t.Fatalf("%d ranges for %d keys, %d sent", ranges, total, sent)
		}
		if err := to.Commit(batch); err != nil {
			t.Fatal(err)
		}
		_, _ = src.Close(), dst.Close()
		for part := uint16(2); part <= 4; part++ {
			n1, s1, err1 := from.Checksum(t.Context(), part)
			n2, s2, err2 := to.Checksum(t.Context(), part)
			if n1 != n2 || s1 != s2 || err1 != nil || err2 != nil {
				t.Fatalf("seed %d: %d %x %v, %d %x %v", seed, n1, s1, err1, n2, s2, err2)
			}
		}
	}
}

func TestDigestStopsAtError(t *testing.T) {
	s := memStore(t)
	mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("a"), testItem(1, "x")) })
	sn := s.Snapshot()
	defer sn.Close()
	mine := errors.New("mine")
	if err := sn.Digest(1, 1, func(RangeDigest) error { return mine }); err != mine {
		t.Fatal(err)
	}
}

func TestSnapshotIsFrozen(t *testing.T) {
	s := memStore(t)
	mustCommit(t, s, func(b *Batch) {
		b.PutItem(1, []byte("a"), testItem(1, "x"))
		b.PutItem(1, []byte("b"), testItem(2, "x"))
		b.SetPosition(1, Position{Version: 2})
	})
	sn := s.Snapshot()
	mustCommit(t, s, func(b *Batch) { b.DeletePartition(1); b.PutItem(1, []byte("c"), testItem(3, "x")) })
	var keys []string
	it := sn.Iter(1, []byte("aa"))
	for it.Next() {
		keys = append(keys, string(it.Key()))
	}
	if err := it.Close(); err != nil || fmt.Sprint(keys) != "[b]" {
		t.Fatal(keys, err)
	}
	if _, found, err := sn.Get(1, []byte("a"), nil); !found || err != nil {
		t.Fatal(found, err)
	}
	if b, err := sn.Bookkeeping(1); b.Position.Version != 2 || err != nil {
		t.Fatal(b, err)
	}
	if err := sn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(keysOf(t, s, 1)); got != "[c=3]" {
		t.Fatal(got)
	}
}

// A damaged record is an error, not an item that is not there.
func TestDamagedRecord(t *testing.T) {
	s := memStore(t)
	mustCommit(t, s, func(b *Batch) { b.Put(1, []byte("a"), []byte{1, 2}) })
	if _, _, err := s.Checksum(t.Context(), 1); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	sn := s.Snapshot()
	defer sn.Close()
	if _, _, err := sn.DigestRange(1, nil, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}
