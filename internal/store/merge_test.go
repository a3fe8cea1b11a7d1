package store

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// A checkpoint is whole, has no identity, and becomes another store when opened.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir+"/s", Options{})
	if err := s.SetCluster(42); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveMap([]byte("map")); err != nil {
		t.Fatal(err)
	}
	put := func(i uint64) {
		mustCommit(t, s, func(b *Batch) {
			b.PutItem(1, fmt.Appendf(nil, "k%03d", i), testItem(i, "v"))
			b.SetPosition(1, Position{Version: i})
		})
	}
	for i := uint64(1); i <= 100; i++ {
		put(i)
	}
	if err := s.Checkpoint(dir + "/s-backup"); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(dir + "/s-backup"); err == nil {
		t.Fatal("a backup was overwritten")
	}
	if err := s.Checkpoint(dir + "/none/x"); err == nil {
		t.Fatal("made the directories above")
	}
	put(101)
	id := s.Identity()
	mustClose(t, s)
	for _, name := range []string{identityName, mapName} {
		if _, err := os.Stat(dir + "/s-backup/" + name); err == nil {
			t.Fatalf("the checkpoint has %s", name)
		}
	}
	for round := range 2 {
		c := mustOpen(t, dir+"/s-backup", Options{})
		got := c.Identity()
		if got.FromCheckpoint != (round == 0) || got.ID == id.ID || got.ClusterID != 0 || got.Created || got.UncertainTail || got.Incarnation != 0 {
			t.Fatalf("%+v", got)
		}
		if round == 0 && got.BackupOf != 42 {
			t.Fatalf("%+v", got)
		}
		if n, err := c.Items(t.Context()); n != 100 || err != nil {
			t.Fatal(n, err)
		}
		if p, err := c.Position(1); p.Version != 100 || err != nil {
			t.Fatal(p, err)
		}
		if b, err := c.LoadMap(); b != nil || err != nil {
			t.Fatal(b, err)
		}
		mustClose(t, c)
	}
}

// Chunks of large values are taken along with the items that list them, and are not
// counted as items.
func TestMergeOfLargeValues(t *testing.T) {
	dir := t.TempDir()
	id := item.UploadID{1}
	fill := func(name string, last uint64) {
		s := mustOpen(t, dir+"/"+name, Options{})
		mustCommit(t, s, func(b *Batch) {
			b.PutItem(1, []byte("k"), testItem(1, "v"))
			b.PutItem(1, item.AppendMarkerKey(nil, []byte("k"), id), testItem(1, ""))
			for i := range 3 {
				b.PutItem(1, item.AppendChunkKey(nil, []byte("k"), id, i), testItem(1, "chunk"))
			}
			b.SetPosition(1, Position{Version: last})
		})
		mustClose(t, s)
	}
	fill("a", 5)
	fill("b", 6)
	stats, err := Merge(dir+"/out", []string{dir + "/a", dir + "/b"}, Options{}, nil)
	if err != nil || stats.Items != 1 || stats.Dropped != 1 {
		t.Fatalf("%+v, %v", stats, err)
	}
	s := mustOpen(t, dir+"/out", Options{})
	if n := len(keysOf(t, s, 1)); n != 5 {
		t.Errorf("%d keys", n)
	}
	if n, err := s.Items(t.Context()); n != stats.Items || err != nil {
		t.Errorf("%d items, %v", n, err)
	}
	mustClose(t, s)
}

// A source is never taken for what a merge that was cut short has left.
func TestMergeOfWhatWouldBeCleared(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir+"/out.part", Options{})
	mustCommit(t, s, func(b *Batch) {
		b.PutItem(1, []byte("k"), testItem(1, "v"))
		b.SetPosition(1, Position{Version: 1})
	})
	mustClose(t, s)
	if _, err := Merge(dir+"/out", []string{dir + "/./out.part"}, Options{}, nil); !errors.Is(err, ErrNotStore) {
		t.Fatal(err)
	}
	s = mustOpen(t, dir+"/out.part", Options{})
	defer mustClose(t, s)
	if n, err := s.Items(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, fill func(b *Batch)) string {
		s := mustOpen(t, dir+"/"+name, Options{})
		if err := s.SetCluster(9); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, fill)
		mustClose(t, s)
		return dir + "/" + name
	}
	put := func(b *Batch, part uint16, key string, v uint64) {
		b.PutItem(part, []byte(key), testItem(v, key))
	}
	a := make("a", func(b *Batch) {
		// 1: an older epoch, with a key that was deleted since.
		put(b, 1, "deleted", version(1, 5))
		put(b, 1, "kept", version(1, 1))
		b.SetPosition(1, Position{Version: version(1, 9)})
		// 2: the same epoch, but further.
		put(b, 2, "x", version(4, 7))
		b.SetPosition(2, Position{Version: version(4, 8)})
		b.SetFlushed(2, 3, 99)
		// 3: unfinished everywhere.
		put(b, 3, "both", version(2, 1))
		put(b, 3, "only a", version(2, 2))
		b.SetPosition(3, Position{version(2, 9), true})
		// 4: unfinished here, finished there, though older.
		put(b, 4, "rubbish", version(9, 1))
		b.SetPosition(4, Position{version(9, 1), true})
		// 5: equal.
		put(b, 5, "same", version(1, 1))
		b.SetPosition(5, Position{Version: version(1, 1)})
		put(b, FirstOwnPartition+3, "own", 1)
	})
	b := make("b", func(b *Batch) {
		put(b, 1, "kept", version(1, 1))
		put(b, 1, "new", version(2, 11))
		b.SetPosition(1, Position{Version: version(2, 11)})
		put(b, 2, "x", version(4, 2))
		put(b, 2, "y", version(4, 3))
		b.SetPosition(2, Position{Version: version(4, 3)})
		put(b, 3, "both", version(3, 1))
		put(b, 3, "only b", version(1, 1))
		b.SetPosition(3, Position{version(3, 9), true})
		put(b, 4, "good", version(3, 1))
		b.SetPosition(4, Position{Version: version(3, 1)})
		put(b, 5, "same", version(1, 1))
		b.SetPosition(5, Position{Version: version(1, 1)})
		put(b, 6, "unknown", version(1, 1)) // no position at all
	})

	calls := 0
	stats, err := Merge(dir+"/out", []string{a, b}, Options{}, func(done, of int) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if calls != 6 || stats.Partitions != 6 || fmt.Sprint(stats.Unfinished) != "[3 6]" || stats.Items != 9 || stats.Dropped != 2+2+1 {
		t.Fatalf("%d calls, %+v", calls, stats)
	}
	s := mustOpen(t, dir+"/out", Options{})
	if id := s.Identity(); !id.FromCheckpoint || id.BackupOf != 9 || id.ClusterID != 0 {
		t.Fatalf("%+v", id)
	}
	got := ""
	for part := uint16(1); part <= 6; part++ {
		bk, err := s.Bookkeeping(part)
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%d %x %v %v %v\n", part, bk.Position.Version, bk.Position.Unfinished, bk.Flushed, keysOf(t, s, part))
	}
	if want := `1 2000000000b false {0 0} [kept=10000000001 new=2000000000b]
2 40000000008 false {3 99} [x=40000000007]
3 30000000009 true {0 0} [both=30000000001 only a=20000000002 only b=10000000001]
4 30000000001 false {0 0} [good=30000000001]
5 10000000001 false {0 0} [same=10000000001]
6 0 true {0 0} [unknown=10000000001]
`; got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	if n, err := s.Count(FirstOwnPartition + 3); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	mustClose(t, s)

	// What cannot be merged.
	if _, err := Merge(dir+"/out", []string{a}, Options{}, nil); err == nil {
		t.Fatal("overwrote a store")
	}
	s = mustOpen(t, a, Options{})
	if _, err := Merge(dir+"/out2", []string{b, a}, Options{}, nil); !errors.Is(err, ErrInUse) {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := Merge(dir+"/out2", []string{b, dir + "/absent"}, Options{}, nil); !errors.Is(err, ErrNotStore) {
		t.Fatal(err)
	}
	if _, err := Merge(dir+"/out2", nil, Options{}, nil); err == nil {
		t.Fatal("merged nothing")
	}
	for _, left := range []string{"/out2", "/out2.part", "/out.part", "/absent"} {
		if _, err := os.Stat(dir + left); err == nil {
			t.Fatalf("%s was left behind", left)
		}
	}
	// The sources are as they were.
	s = mustOpen(t, a, Options{})
	if id := s.Identity(); !id.CleanStop {
		t.Fatalf("%+v", id)
	}
	mustClose(t, s)
}
