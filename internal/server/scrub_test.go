package server

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// A blank copy of partition 0 has the zero position and is whole; pairs with that position are an unfinished copy.
func TestPartitionZeroAtItsBeginning(t *testing.T) {
	s, err := store.Open("/s", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	look := func(unfinished bool) {
		t.Helper()
		stored, err := storedPartitions(s)
		if b, ok := stored[0]; err != nil || !ok || b.Position.Unfinished != unfinished {
			t.Errorf("%+v, there %v, %v, want unfinished %v", b, ok, err, unfinished)
		}
	}
	commit := func(change func(b *store.Batch)) {
		t.Helper()
		b := s.NewBatch()
		change(b)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	commit(func(b *store.Batch) { b.SetPosition(0, store.Position{}) })
	look(false)
	commit(func(b *store.Batch) { b.PutItem(0, []byte("key"), &item.Item{Value: []byte("x"), Version: 1}) })
	look(true)
}
