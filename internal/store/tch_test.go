package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// testdata/*.tch were written by libtokyocabinet 1.4.48 as the original kumofs
// would: a.tch has keys 00-59 with clocktime 1000+i, of which every seventh was
// written again, longer, and 05, 11 and 59 were removed from the file. b.tch
// (64-bit offsets) has later values of 20-29, deletions of 30-34, stale values
// of 00, 07 and 14, and a key of its own.
func TestImportTokyoCabinet(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		b, err := os.ReadFile("testdata/" + name + ".tch")
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/"+name+".tch", string(swapTch(t, b)))
	}
	for _, srcs := range [][]string{
		{"testdata/a.tch", "testdata/b.tch"},
		{"testdata/b.tch", "testdata/a.tch"},
		{dir + "/a.tch", "testdata/b.tch"},
		{dir + "/a.tch", dir + "/b.tch"},
	} {
		dst := t.TempDir() + "/new"
		stats, err := Merge(dst, srcs, Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"only b": strings.Repeat("x", 300)}
		for i := range 60 {
			v := strings.Repeat(fmt.Sprintf("a%d", i), i%40)
			switch {
			case i == 5 || i == 11 || i == 59 || i >= 30 && i < 35:
				continue
			case i >= 20 && i < 30:
				v = fmt.Sprintf("b%d", i)
			case i%7 == 0:
				v = strings.Repeat("A", 200+i)
			}
			want[fmt.Sprintf("key%02d", i)] = v
		}
		if stats.Items != int64(len(want)) || stats.Partitions != clustermap.DefaultPartitions || len(stats.Unfinished) != 0 || stats.Dropped != 23 {
			t.Fatalf("%+v, want %d items", stats, len(want))
		}
		s := mustOpen(t, dst, Options{})
		if id := s.Identity(); !id.FromCheckpoint || id.BackupOf != 0 {
			t.Fatalf("%+v", id)
		}
		if n, err := s.Items(t.Context()); n != int64(len(want)) || err != nil {
			t.Fatal(n, err)
		}
		for key, value := range want {
			part := clustermap.PartitionOf([]byte(key), clustermap.DefaultPartitions)
			rec, found, err := s.Get(part, []byte(key), nil)
			if !found || err != nil {
				t.Fatalf("%s: %v %v", key, found, err)
			}
			it, err := item.ParseRecord(rec)
			pos, perr := s.Position(part)
			if err != nil || perr != nil || string(it.Value) != value || it.Version>>40 != 1 || it.Version > pos.Version || pos.Unfinished {
				t.Fatalf("%s: %+v at %v, %v %v", key, it, pos, err, perr)
			}
		}
		mustClose(t, s)
	}
}

// swapTch makes a big endian file little endian.
func swapTch(t *testing.T, b []byte) []byte {
	t.Helper()
	off, end := binary.BigEndian.Uint64(b[64:]), binary.BigEndian.Uint64(b[56:])
	width := 4
	if b[36]&tchOptLarge != 0 {
		width = 8
	}
	for _, i := range []int{40, 48, 56, 64} {
		slices.Reverse(b[i : i+8])
	}
	kinds := map[byte]int{}
	for off < end {
		r := b[off:]
		kinds[r[0]]++
		if r[0] == tchFree {
			off += uint64(binary.BigEndian.Uint32(r[1:]))
			slices.Reverse(r[1:5])
			continue
		}
		p := 2 + 2*width
		padding := uint64(binary.BigEndian.Uint16(r[p:]))
		slices.Reverse(r[2 : 2+width])
		slices.Reverse(r[2+width : p])
		slices.Reverse(r[p : p+2])
		p += 2
		for range 2 { // key and value sizes are below 128, or two bytes
			n := uint64(r[p])
			p++
			if n >= 128 {
				n = uint64(^int8(n)) + uint64(r[p])<<7
				p++
			}
			off += n
		}
		off += uint64(p) + padding
	}
	if kinds[tchRecord] == 0 || len(kinds) > 2 {
		t.Fatalf("%v", kinds)
	}
	t.Log(kinds)
	return b
}

func TestImportErrors(t *testing.T) {
	good, err := os.ReadFile("testdata/b.tch")
	if err != nil {
		t.Fatal(err)
	}
	frec := binary.BigEndian.Uint64(good[64:])
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
		text   string
	}{
		"open":       {func(b []byte) []byte { b[33] |= 1; return b }, ErrInUse, "stop that server"},
		"compressed": {func(b []byte) []byte { b[36] |= 2; return b }, ErrTokyoCabinet, "compressed"},
		"b+ tree":    {func(b []byte) []byte { b[32] = 1; return b }, ErrTokyoCabinet, "another kind"},
		"short":      {func(b []byte) []byte { return b[:100] }, ErrCorrupt, "too short"},
		"truncated":  {func(b []byte) []byte { return b[:len(b)-100] }, ErrCorrupt, "its header says"},
		"rubbish":    {func(b []byte) []byte { b[frec] = 7; return b }, ErrCorrupt, "neither a record nor"},
		"size":       {func(b []byte) []byte { copy(b[frec+20:], "\x80\x80\x80\x80\x80\x80"); return b }, ErrCorrupt, "absurd"},
		"beyond":     {func(b []byte) []byte { copy(b[frec+20:], "\x80\x80\x7f"); return b }, ErrCorrupt, "beyond the end"},
		"missing":    {func(b []byte) []byte { b[55]++; return b }, ErrCorrupt, "but there are"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/x.tch", string(c.change(append([]byte(nil), good...))))
			_, err := Merge(dir+"/new", []string{dir + "/x.tch"}, Options{Logger: quiet{}}, nil)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatal(err)
			}
			if list := listing(t, dir); list != " /x.tch" {
				t.Fatalf("left behind: %s", list)
			}
		})
	}
	dir := t.TempDir()
	mustClose(t, mustOpen(t, dir+"/s", Options{}))
	if _, err := Merge(dir+"/new", []string{dir + "/s", "testdata/a.tch"}, Options{}, nil); !errors.Is(err, ErrTokyoCabinet) {
		t.Fatal(err)
	}
}

// Whatever is in a .tch file, reading it ends, without a panic.
func TestDamagedTch(t *testing.T) {
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(1, 5))
	for _, name := range []string{"a", "b"} {
		good, err := os.ReadFile("testdata/" + name + ".tch")
		if err != nil {
			t.Fatal(err)
		}
		frec := int(binary.BigEndian.Uint64(good[64:]))
		damaged := 0
		for range 2000 {
			b := slices.Clone(good)
			for range 1 + rng.IntN(4) {
				i := frec + rng.IntN(len(b)-frec)
				if rng.IntN(8) == 0 {
					i = 32 + rng.IntN(40)
				}
				b[i] = byte(rng.Uint32())
			}
			f, err := mem.Create("x", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = f.Write(b)
			_ = f.Close()
			r, err := openTch(mem, "x")
			if err == nil {
				for ok := true; ok && err == nil; {
					ok, err = r.next()
				}
				r.close()
			}
			if err != nil {
				damaged++
			}
		}
		if damaged == 0 {
			t.Fatal("no damage was found: the test tests nothing")
		}
	}
}
