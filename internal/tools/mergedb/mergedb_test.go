package mergedb

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// makeStore makes a stopped store with keys in partition 7 at a position.
func makeStore(t *testing.T, path string, version uint64, keys ...string) {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for _, key := range keys {
		b.PutItem(7, []byte(key), &item.Item{Version: version, Value: []byte(key)})
	}
	b.SetPosition(7, store.Position{Version: version})
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	old, recent, dst := filepath.Join(dir, "old"), filepath.Join(dir, "recent"), filepath.Join(dir, "dst")
	makeStore(t, old, 1<<40|1, "a", "b", "c")
	makeStore(t, recent, 1<<40|9, "a", "b")
	var out bytes.Buffer
	if err := Run(t.Context(), []string{dst, old, recent}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "merged 2 items of 1 partitions into " + dst + "\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	// What is there is not overwritten.
	if err := Run(t.Context(), []string{dst, old}, &out); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Error(err)
	}
	out.Reset()
	if err := Run(t.Context(), []string{dst + "2", old, "--json"}, &out); err != nil || !strings.Contains(out.String(), `"items": 3`) {
		t.Error(err, out.String())
	}
	if _, err := os.Stat(dst + "2"); err != nil {
		t.Error(err)
	}
	var usage *cli.UsageError
	if err := Run(t.Context(), []string{dst}, &out); !errors.As(err, &usage) {
		t.Error(err)
	}
}
