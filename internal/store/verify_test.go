package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

func verifyAll(t *testing.T, path string) (VerifyStats, []*Damage) {
	t.Helper()
	var damages []*Damage
	v, err := Verify(t.Context(), path, Options{}, func(d *Damage) { damages = append(damages, d) })
	if err != nil {
		t.Fatal(err)
	}
	return v, damages
}

// TestVerify: a checkpoint, a stopped store and one that was killed are well; a flipped bit in a table is
// found, and the table and keys are named.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir+"/s", Options{})
	value := strings.Repeat("value", 20)
	for i := range 2000 {
		mustCommit(t, s, func(b *Batch) {
			b.PutItem(uint16(i%3), fmt.Appendf(nil, "k%04d", i), testItem(uint64(i+1), value))
			b.SetPosition(uint16(i%3), Position{Version: uint64(i + 1)})
		})
	}
	if err := s.Checkpoint(dir + "/c"); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir+"/s", Options{}, func(d *Damage) { t.Error(d) }); err == nil {
		t.Error("a store that is in use was verified")
	}
	mustCommit(t, s, func(b *Batch) {
		b.PutItem(1, []byte("later"), testItem(3000, value))
		b.SetPosition(1, Position{Version: 3000})
	})
	// As kill -9 would leave it: with a log.
	if err := os.CopyFS(dir+"/killed", os.DirFS(dir+"/s")); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for path, items := range map[string]int64{"c": 2000, "s": 2001, "killed": 2001} {
		if v, damages := verifyAll(t, filepath.Join(dir, path)); v.Items != items || v.Partitions != 3 || len(damages) > 0 {
			t.Errorf("%s: %+v, wanted %d items; %v", path, v, items, damages)
		}
	}
	if _, err := Verify(t.Context(), dir+"/none", Options{}, nil); err == nil {
		t.Error("what is not there was verified")
	}

	tables, err := filepath.Glob(dir + "/c/data/*.sst")
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, path := range tables {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const footer = 100 // is under no checksum
		for range 40 {
			b := append([]byte{}, whole...)
			at := rnd.IntN(len(b) - footer)
			b[at] ^= 1 << rnd.IntN(8)
			// Another file, as tables are linked.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			_, damages := verifyAll(t, dir+"/c")
			if len(damages) != 1 || damages[0].File != path || !damages[0].Ranged || !strings.Contains(damages[0].Error(), "partition 0, key") {
				t.Fatalf("byte %d of %s is damaged, and found was %v", at, path, damages)
			}
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVerifyRecords: what is under good checksums and cannot be so.
func TestVerifyRecords(t *testing.T) {
	manifest := item.AppendManifest(nil, []item.Segment{{ID: item.UploadID{7}, Size: 10, Chunk: 5}})
	large := func(b *Batch) {
		b.PutItem(4, []byte("large"), &item.Item{Version: 8, Large: true, Value: manifest})
		b.PutItem(4, item.AppendChunkKey(nil, []byte("large"), item.UploadID{7}, 0), testItem(6, "12345"))
		b.SetPosition(4, Position{Version: 8})
	}
	for says, fill := range map[string]func(*Batch){
		`partition 4, key "large": its value has 1 of 2 pieces`: large,
		"": func(b *Batch) {
			large(b)
			b.PutItem(4, item.AppendChunkKey(nil, []byte("large"), item.UploadID{7}, 1), testItem(7, "67890"))
		},
		`partition 5, key "new": its version is 9, and the partition's is 8`: func(b *Batch) {
			b.PutItem(5, []byte("new"), testItem(9, "v"))
			b.SetPosition(5, Position{Version: 8})
		},
		`partition 6, key "bad": item record has layout 99`: func(b *Batch) { b.Put(6, []byte("bad"), []byte{99, 1, 2}) },
	} {
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{})
		mustCommit(t, s, fill)
		mustClose(t, s)
		_, damages := verifyAll(t, dir)
		if (says == "") != (len(damages) == 0) || len(damages) > 0 && !strings.Contains(damages[0].Error(), says) {
			t.Errorf("found was %v, wanted %q", damages, says)
		}
	}
}
