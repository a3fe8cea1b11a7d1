package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/item"
)

func mustOpen(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustCommit(t testing.TB, s *Store, fill func(b *Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func version(epoch, seq uint64) uint64 { return epoch<<40 | seq }

func testItem(v uint64, value string) *item.Item { return &item.Item{Version: v, Value: []byte(value)} }

// keysOf lists the items of a partition as key=version.
func keysOf(t testing.TB, s *Store, part uint16) (keys []string) {
	t.Helper()
	sn := s.Snapshot()
	defer sn.Close()
	if err := sn.Versions(part, nil, nil, func(key []byte, v uint64, _ int) error {
		keys = append(keys, fmt.Sprintf("%s=%x", key, v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestBasics(t *testing.T) {
	for name, o := range map[string]Options{"disk": {}, "mem": {FS: vfs.NewMem()}, "fsync": {Fsync: true}} {
		t.Run(name, func(t *testing.T) { testBasics(t, t.TempDir()+"/s", o) })
	}
}

func testBasics(t *testing.T, path string, o Options) {
	if o.FS != nil {
		if err := o.FS.MkdirAll(path[:len(path)-2], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, path, o)
	id := s.Identity()
	if !id.Created || !id.CleanStop || id.UncertainTail || id.FromCheckpoint || id.ID == 0 {
		t.Fatalf("%+v", id)
	}
	if n, err := s.StartIncarnation(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.SetCluster(77); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveMap([]byte("map")); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, func(b *Batch) {
		b.Put(5, []byte("a"), item.AppendRecord(nil, testItem(version(1, 1), "one")))
		b.PutItem(5, []byte("b"), testItem(version(1, 2), "two"))
		b.PutItem(6, []byte("c"), testItem(version(1, 1), "three"))
		b.Delete(6, []byte("nothing"))
		b.SetPosition(5, Position{Version: version(1, 2)})
		b.SetFlushed(6, 9, -3)
		b.SetPosition(7, Position{Version: version(3, 2), Unfinished: true})
		if b.Len() != 7 {
			t.Errorf("Len = %d", b.Len())
		}
	})
	check := func() {
		t.Helper()
		rec, found, err := s.Get(5, []byte("b"), []byte("x"))
		if want := item.AppendRecord([]byte("x"), testItem(version(1, 2), "two")); !found || err != nil || !bytes.Equal(rec, want) {
			t.Fatal(rec, found, err)
		}
		if _, found, err := s.Get(6, []byte("b"), nil); found || err != nil {
			t.Fatal(found, err)
		}
		parts, err := s.Partitions()
		want := map[uint16]Bookkeeping{
			5: {Position: Position{Version: version(1, 2)}},
			6: {Flushed: Flushed{9, -3}},
			7: {Position: Position{version(3, 2), true}},
		}
		if err != nil || fmt.Sprint(parts) != fmt.Sprint(want) {
			t.Fatal(parts, err)
		}
		if p, err := s.Position(5); p != want[5].Position || err != nil {
			t.Fatal(p, err)
		}
		if n, err := s.Items(t.Context()); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		if b, err := s.LoadMap(); string(b) != "map" || err != nil {
			t.Fatal(b, err)
		}
	}
	check()
	mustClose(t, s)
	s = mustOpen(t, path, o)
	if got := s.Identity(); got.Created || !got.CleanStop || got.ID != id.ID || got.ClusterID != 77 || got.Incarnation != 1 || got.RunID == id.RunID {
		t.Fatalf("%+v", got)
	}
	check()
	mustCommit(t, s, func(b *Batch) {
		b.DeletePartition(5)
		b.PutItem(5, []byte("z"), testItem(version(2, 1), "new"))
		b.Delete(6, []byte("c"))
	})
	if got := fmt.Sprint(keysOf(t, s, 5), keysOf(t, s, 6)); got != "[z=20000000001] []" {
		t.Fatal(got)
	}
	if p, err := s.Position(5); p != (Position{}) || err != nil {
		t.Fatal(p, err)
	}
	if n, err := s.Items(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.Health(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}

// What reads a whole partition ends with who asked for it, and is done again for the next.
func TestScansEndWithContext(t *testing.T) {
	s := mustOpen(t, "/s", Options{FS: vfs.NewMem()})
	mustCommit(t, s, func(b *Batch) {
		for i := range 10 {
			b.PutItem(1, fmt.Append(nil, i), testItem(1, "v"))
			b.PutItem(2, fmt.Append(nil, i), testItem(1, "v"))
		}
	})
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.Items(gone); !errors.Is(err, context.Canceled) || errors.Is(err, ErrIO) {
		t.Error(err)
	}
	if _, _, err := s.Checksum(gone, 1); !errors.Is(err, context.Canceled) || errors.Is(err, ErrIO) {
		t.Error(err)
	}
	if n, err := s.Items(t.Context()); n != 20 || err != nil {
		t.Error(n, err)
	}
	mustClose(t, s)
}
