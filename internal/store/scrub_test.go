package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// flip alters a byte of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (at % 8)
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// checkAll is what is damaged in the whole store.
func checkAll(t *testing.T, s *Store) (bad []Span) {
	t.Helper()
	tables, err := s.Tables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		spans, err := s.CheckTable(context.Background(), table, atOnce)
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, spans...)
	}
	return bad
}

// Bits flip in tables. Checking finds where; removing that takes no key with it that lies elsewhere, whatever
// of a table was hit; and then there is nothing damaged on the disk any more.
func TestScrubRemovesDamage(t *testing.T) {
	const parts, perPart = 30, 60
	found := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 11))
		dir := filepath.Join(t.TempDir(), "s")
		s := mustOpen(t, dir, Options{Logger: quiet{}})
		value := func(p, i int) string {
			r := rand.New(rand.NewPCG(uint64(p), uint64(i)))
			b := make([]byte, 500+r.IntN(500))
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			return string(b)
		}
		key := func(i int) []byte { return fmt.Appendf(nil, "key%05d", i) }
		want := map[string]string{}
		for round := range 3 { // so that there are several levels
			mustCommit(t, s, func(b *Batch) {
				for p := range parts {
					for i := range perPart {
						if rng.IntN(3) > 0 {
							continue
						}
						b.PutItem(uint16(p), key(i), testItem(version(1, uint64(p*1000+i+1)), value(p, i)))
						want[fmt.Sprintf("%d %s", p, key(i))] = value(p, i)
					}
					b.SetPosition(uint16(p), Position{Version: version(1, uint64(p*1000+perPart+round))})
				}
			})
			if err := s.flushAll(nil); err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				if err := s.compact(0, parts); err != nil {
					t.Fatal(err)
				}
			}
		}
		if bad := checkAll(t, s); len(bad) > 0 {
			t.Fatalf("seed %d: damaged before anything was: %v", seed, bad)
		}
		mustClose(t, s)
		names, err := filepath.Glob(filepath.Join(dir, dataName, "*.sst"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for range 1 + rng.IntN(3) {
			name := names[rng.IntN(len(names))]
			st, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.Int64N(st.Size())
			if rng.IntN(4) == 0 { // index, filter, properties, footer
				at = st.Size() - 1 - rng.Int64N(min(st.Size(), 3000))
			}
			flip(t, name, at)
		}

		s = mustOpen(t, dir, Options{Logger: quiet{}})
		held, err := s.Partitions()
		if err != nil || len(held) < parts {
			t.Fatalf("seed %d: %d partitions, %v", seed, len(held), err)
		}
		bad := checkAll(t, s)
		found += len(bad)
		removed := []Span{}
		for len(bad) > 0 {
			for _, sp := range bad {
				w, err := s.Widen(context.Background(), sp)
				if err == nil {
					err = s.Remove(context.Background(), w)
				}
				if err != nil && !errors.Is(err, ErrWider) {
					t.Fatalf("seed %d: %v: %v", seed, sp, err)
				}
				removed = append(removed, w)
			}
			bad = checkAll(t, s)
		}
		if err := s.Rewrite(context.Background()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		tables, err := s.Tables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			if table.part {
				t.Errorf("seed %d: table %d is still cut, %v", seed, table.File, table.Span)
			}
		}
		if bad := checkAll(t, s); len(bad) > 0 {
			t.Errorf("seed %d: damaged after it was removed: %v", seed, bad)
		}
		s.Mended()
		if err := s.Health(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		look := func(when string) {
			t.Helper()
			for p := range parts {
				for i := range perPart {
					raw := itemKey(nil, uint16(p), key(i))
					gone := false
					for _, sp := range removed {
						gone = gone || bytes.Compare(sp.Start, raw) <= 0 && bytes.Compare(raw, sp.End) < 0
					}
					rec, ok, err := s.Get(uint16(p), key(i), nil)
					v, had := want[fmt.Sprintf("%d %s", p, key(i))]
					switch {
					case err != nil:
						t.Fatalf("seed %d, %s: %d %s: %v", seed, when, p, key(i), err)
					case ok != (had && !gone):
						t.Fatalf("seed %d, %s: %d %s: there %v, was there %v, removed %v", seed, when, p, key(i), ok, had, gone)
					case ok && !bytes.HasSuffix(rec, []byte(v)):
						t.Fatalf("seed %d, %s: %d %s has another value", seed, when, p, key(i))
					}
				}
			}
		}
		look("removed")
		mustClose(t, s)
		s = mustOpen(t, dir, Options{Logger: quiet{}})
		look("opened again")
		mustClose(t, s)
	}
	if found < 6 {
		t.Errorf("only %d damaged spans were found in 12 stores", found)
	}
	t.Logf("%d damaged spans", found)
}

// reopenKilled opens a copy of the store's files as they are now, as after kill -9.
func reopenKilled(t *testing.T, s *Store, dir string) *Store {
	t.Helper()
	var to string
	for err := errors.New("not yet"); err != nil; {
		to = filepath.Join(t.TempDir(), "copy") // anew: tables may go while they are copied
		if err = os.CopyFS(to, os.DirFS(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	return mustOpen(t, to, Options{Logger: quiet{}})
}

// What was written to a span before it was removed does not come back from the log, even where
// the tables never had it.
func TestRemoveIsInTheLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := mustOpen(t, dir, Options{Logger: quiet{}})
	mustCommit(t, s, func(b *Batch) {
		b.PutItem(3, []byte("in"), testItem(version(1, 1), "x"))
		b.PutItem(3, []byte("out"), testItem(version(1, 2), "x"))
		b.SetPosition(3, Position{Version: version(1, 2)})
	})
	if err := s.Remove(context.Background(), PartitionSpan(3, []byte("a"), []byte("m"))); err != nil {
		t.Fatal(err)
	}
	s = reopenKilled(t, s, dir)
	defer mustClose(t, s)
	if got := keysOf(t, s, 3); len(got) != 1 || got[0] != "out=10000000002" {
		t.Errorf("%q", got)
	}
	if pos, err := s.Position(3); err != nil || pos.Version != version(1, 2) {
		t.Errorf("%v %v", pos, err)
	}
}

// A store whose bookkeeping is damaged opens, and what cannot be told counts as unfinished.
func TestDamagedBookkeeping(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := mustOpen(t, dir, Options{Logger: quiet{}})
	mustCommit(t, s, func(b *Batch) {
		for p := range uint16(100) {
			b.PutItem(p, []byte("key"), testItem(version(1, 1), string(bytes.Repeat([]byte{byte(p)}, 400))))
			b.SetPosition(p, Position{Version: version(1, 1)})
		}
	})
	mustClose(t, s)
	names, err := filepath.Glob(filepath.Join(dir, dataName, "*.sst"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	flip(t, names[0], 12_000)
	met := make(chan uint64, 1000)
	s = mustOpen(t, dir, Options{Logger: quiet{}, OnDamage: func(file uint64) { met <- file }})
	defer mustClose(t, s)
	held, err := s.Partitions()
	if err != nil || len(held) != 100 {
		t.Fatalf("%d partitions, %v", len(held), err)
	}
	unfinished := 0
	for p, b := range held {
		switch {
		case b.Position.Unfinished:
			unfinished++
		case b.Position.Version != version(1, 1):
			t.Errorf("partition %d: %+v", p, b)
		}
	}
	if unfinished == 0 || unfinished > 60 {
		t.Errorf("%d partitions are unfinished", unfinished)
	}
	if len(met) == 0 {
		t.Error("nobody was told")
	}
	bad := checkAll(t, s)
	if len(bad) != 1 {
		t.Fatal(bad)
	}
	t.Logf("%d unfinished; %v", unfinished, bad[0])
}

func TestSpanText(t *testing.T) {
	for _, test := range []struct {
		span        Span
		first, last uint16
		text        string
	}{
		{PartitionSpan(7, nil, nil), 7, 7, `partition 7 from its bookkeeping to its end`},
		{PartitionSpan(7, []byte("a"), []byte("b")), 7, 7, `partition 7 from "a" to "b"`},
		{Span{itemKey(nil, 7, []byte("x")), appendPrefix(nil, 9, kindBook)}, 7, 8, `partition 7 from "x" to partition 8 its end`},
		{Span{appendPrefix(nil, 7, kindBook), bookKey(9, bookPosition)}, 7, 9, `partition 7 from its beginning to partition 9 its bookkeeping`},
	} {
		first, last := test.span.Partitions()
		if first != test.first || last != test.last || test.span.String() != test.text {
			t.Errorf("%d-%d %s, want %d-%d %s", first, last, test.span, test.first, test.last, test.text)
		}
	}
}

// A process without file descriptors left cannot open tables. That says nothing of what is in them.
func TestScrubWithoutDescriptors(t *testing.T) {
	var none atomic.Bool
	disk := &pointFS{FS: vfs.NewMem(), reads: true, point: func(op, name string) error {
		if none.Load() && op == "open" && strings.HasSuffix(name, ".sst") {
			return syscall.EMFILE
		}
		return nil
	}}
	s := mustOpen(t, "/s", Options{Logger: quiet{}, FS: disk})
	defer mustClose(t, s)
	mustCommit(t, s, func(b *Batch) {
		for p := range uint16(3) {
			b.PutItem(p, []byte("key"), testItem(version(1, 1), "x"))
			b.SetPosition(p, Position{Version: version(1, 1)})
		}
	})
	if err := s.flushAll(nil); err != nil {
		t.Fatal(err)
	}
	tables, err := s.Tables()
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	none.Store(true)
	for _, table := range tables {
		if bad, err := s.CheckTable(context.Background(), table, atOnce); len(bad) > 0 || !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%v, %v", bad, err)
		}
	}
	sp := PartitionSpan(1, []byte("a"), []byte("z"))
	if w, err := s.Widen(context.Background(), sp); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("%v became %v, %v", sp, w, err)
	}
	none.Store(false)
	if w, err := s.Widen(context.Background(), sp); err != nil || !sp.Contains(w) {
		t.Errorf("%v became %v, %v", sp, w, err)
	}
	if bad := checkAll(t, s); len(bad) > 0 {
		t.Error(bad)
	}
}
