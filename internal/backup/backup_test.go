package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

const testPartitions = 4

// world is a store of one cluster and what is known to be in it.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	store *store.Store
	pairs [testPartitions]map[string]item.Item // whole values
	seq   [testPartitions]uint64
	flush [testPartitions]uint64
	now   int64
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), store: s, now: 1_800_000_000}
	for i := range w.pairs {
		w.pairs[i] = map[string]item.Item{}
		w.seq[i] = 1<<clustermap.SeqBits | uint64(i)<<20
	}
	return w
}

func partOf(key string) uint16 { return clustermap.PartitionOf([]byte(key), testPartitions) }

// write does n random writes of keys below keys.
func (w *world) write(n, keys int) {
	w.t.Helper()
	b := w.store.NewBatch()
	for range n {
		key := fmt.Sprintf("key %d", w.rnd.IntN(keys))
		part := partOf(key)
		w.seq[part]++
		if w.rnd.IntN(4) == 0 {
			delete(w.pairs[part], key)
			b.Delete(part, []byte(key))
			continue
		}
		it := item.Item{Version: w.seq[part], Flags: w.rnd.Uint32(), Value: bytes.Repeat([]byte{byte(w.rnd.Uint32())}, w.rnd.IntN(300))}
		switch w.rnd.IntN(8) {
		case 0:
			it.Unique = w.rnd.Uint64() | 1
		case 1:
			it.Exptime = w.now + int64(w.rnd.IntN(3)) - 1
		case 2:
			it.Stale = true
		case 3:
			it.TokenSent = true
		}
		w.pairs[part][key] = it
		if w.rnd.IntN(20) == 0 {
			it = w.large(b, part, key, it)
		}
		b.PutItem(part, []byte(key), &it)
	}
	for i := range w.seq {
		b.SetPosition(uint16(i), store.Position{Version: w.seq[i]})
	}
	if err := w.store.Commit(b); err != nil {
		w.t.Fatal(err)
	}
}

// large stores a value in chunks, beside chunks that no item lists.
func (w *world) large(b *store.Batch, part uint16, key string, it item.Item) item.Item {
	value := make([]byte, 1000+w.rnd.IntN(200_000))
	for i := range value {
		value[i] = byte(w.rnd.Uint32())
	}
	whole := it
	whole.Value = value
	w.pairs[part][key] = whole
	seg := item.Segment{Size: len(value), Chunk: item.ChunkSize}
	lost := seg.ID
	for i := range seg.ID {
		seg.ID[i], lost[i] = byte(w.rnd.Uint32()), byte(w.rnd.Uint32())
	}
	for i := range seg.Chunks() {
		chunk := item.Item{Version: it.Version, Value: value[i*item.ChunkSize : min((i+1)*item.ChunkSize, len(value))]}
		b.PutItem(part, item.AppendChunkKey(nil, []byte(key), seg.ID, i), &chunk)
		b.PutItem(part, item.AppendChunkKey(nil, []byte(key), lost, i), &chunk)
	}
	it.Large, it.Value = true, item.AppendManifest(nil, []item.Segment{{Inline: []byte{}}, seg}[1:])
	return it
}

// flushAll has all that a partition holds be flushed.
func (w *world) flushAll(part uint16) {
	w.seq[part]++
	w.flush[part] = w.seq[part]
	clear(w.pairs[part])
}

func (w *world) visible(part uint16) func(*item.Item) bool {
	return func(it *item.Item) bool { return it.Version >= w.flush[part] && !it.Expired(w.now) }
}

// want is what a backup made now must have.
func (w *world) want() map[string]item.Item {
	all := map[string]item.Item{}
	for part, pairs := range w.pairs {
		for key, it := range pairs {
			if w.visible(uint16(part))(&it) {
				all[key] = it
			}
		}
	}
	return all
}

// backup makes one in dir, on base if that is not nil.
func (w *world) backup(dir string, base *Reader, compress bool) *Reader {
	w.t.Helper()
	m := Manifest{Cluster: "00000000000000aa", Partitions: testPartitions, Began: time.Unix(w.now, 0).UTC()}
	if base != nil {
		rel, err := filepath.Rel(dir, base.Dir)
		if err != nil {
			w.t.Fatal(err)
		}
		m.Base = &Base{ID: base.Manifest.ID, Checksum: base.Manifest.Checksum, Path: rel}
	}
	out, err := Create(dir, m)
	if err != nil {
		w.t.Fatal(err)
	}
	seg := out.Segment(compress)
	for part := range uint16(testPartitions) {
		w.section(seg, part, base)
	}
	if err := seg.Close(); err != nil {
		w.t.Fatal(err)
	}
	if err := out.Complete(time.Unix(w.now, 0)); err != nil {
		w.t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// section is what kumoctl does with what a server sends, over the bytes of the wire.
func (w *world) section(seg *Segment, part uint16, base *Reader) {
	w.t.Helper()
	err := w.try(seg, part, base)
	if errors.Is(err, ErrRewound) {
		err = w.try(seg, part, nil)
	}
	if err != nil {
		w.t.Fatalf("partition %d: %v", part, err)
	}
}

func (w *world) try(seg *Segment, part uint16, base *Reader) error {
	req := &Request{}
	take := seg.Add
	var delta *Delta
	if base != nil {
		known, err := base.Known(part)
		if err != nil {
			w.t.Fatal(err)
		}
		var begins []int
		req, begins = known.Request(base.Part(part).Version)
		if req, err = DecodeRequest(AppendRequest(nil, req)); err != nil {
			w.t.Fatal(err)
		}
		delta = NewDelta(known, req, begins, seg.Add)
		take = delta.Take
	}
	var wire []byte
	b := NewBuilder(func(kind BlockKind, payload []byte) error {
		wire = AppendBlock(wire, kind, payload, nil)
		return nil
	})
	sn := w.store.Snapshot()
	defer sn.Close()
	err := b.Begin(&Section{Partition: part, Version: w.seq[part], Since: req.Since, Whole: base == nil, Taken: time.Unix(w.now, 0)})
	if err == nil {
		b.Sums.Pairs, b.Sums.Digest, err = Export(context.Background(), sn, part, w.visible(part), req, b.Add)
	}
	if err == nil {
		err = b.End()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	in := NewBlockReader(bytes.NewReader(wire))
	for {
		kind, payload, _, err := in.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		switch kind {
		case BlockBegin:
			s, err := DecodeSection(payload)
			if err == nil {
				err = seg.Begin(s)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		case BlockEntries:
			if err := Entries(payload, take); err != nil {
				return err
			}
		case BlockEnd:
			sums, err := DecodeSums(payload)
			if err == nil && delta != nil {
				err = delta.End(&sums)
			}
			if err == nil {
				err = seg.End(sums.Pairs, sums.Digest)
			}
			return err
		}
	}
}

// pairs reads everything that a backup gives.
func pairs(t *testing.T, r *Reader) map[string]item.Item {
	t.Helper()
	all := map[string]item.Item{}
	for part := range r.Manifest.Partitions {
		p, err := r.Pairs(uint16(part))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		last := ""
		for {
			var e Entry
			err := p.Next(&e)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == Part {
				it := all[last]
				it.Value = append(it.Value, e.Value...)
				all[last] = it
				continue
			}
			last = string(e.Key)
			if _, ok := all[last]; ok {
				t.Fatalf("key %q comes twice", last)
			}
			all[last] = item.Item{Version: e.Version, Unique: e.Unique, Flags: e.Flags, Exptime: e.Exptime, Stale: e.Stale, TokenSent: e.TokenSent, Value: bytes.Clone(e.Value)}
		}
	}
	return all
}

func compare(t *testing.T, what string, got, want map[string]item.Item) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d pairs, wanted %d", what, len(got), len(want))
	}
	for key, w := range want {
		g, ok := got[key]
		if !ok || !bytes.Equal(g.Value, w.Value) {
			t.Errorf("%s: key %q: there %v, %d bytes, wanted %d", what, key, ok, len(g.Value), len(w.Value))
			continue
		}
		g.Value, w.Value, w.Large = nil, nil, false
		if fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("%s: key %q is %+v, wanted %+v", what, key, g, w)
		}
	}
}

func verified(t *testing.T, dir string) (Verified, []*Damage) {
	t.Helper()
	var damages []*Damage
	v, err := Verify(context.Background(), dir, func(d *Damage) { damages = append(damages, d) }, nil)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return v, damages
}

// TestChain: a whole backup and incremental ones on it give what there was, whatever was written,
// deleted, expired, flushed or given up meanwhile.
func TestChain(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		w := newWorld(t, seed)
		dir := t.TempDir()
		var chain []*Reader
		var base *Reader
		var wants []map[string]item.Item
		for i := range 4 {
			switch i {
			case 0:
				w.write(600, 300)
			case 1:
				w.write(60, 300)
				w.now++ // some expire
			case 2:
				w.flushAll(1)
				w.write(20, 1000)
			case 3:
				w.rewind(2)
				w.write(30, 300)
			}
			base = w.backup(filepath.Join(dir, fmt.Sprint(i)), base, i%2 == 0)
			chain, wants = append(chain, base), append(wants, w.want())
		}
		for i, r := range chain {
			compare(t, fmt.Sprintf("seed %d, backup %d", seed, i), pairs(t, r), wants[i])
			if v, damages := verified(t, r.Dir); len(damages) > 0 || len(v.Backups) != i+1 {
				t.Errorf("seed %d, backup %d: %d backups, damages %v", seed, i, len(v.Backups), damages)
			}
		}
		if m := chain[1].Manifest; m.Stored >= chain[0].Manifest.Stored/2 || m.Deleted == 0 {
			t.Errorf("seed %d: after a few writes the incremental backup has %d pairs and %d deletions, and the whole one %d pairs", seed, m.Stored, m.Deleted, chain[0].Manifest.Stored)
		}
		if !chain[3].Part(2).Whole || chain[3].Part(0).Whole {
			t.Errorf("seed %d: the partition that was given up is whole: %v, another: %v", seed, chain[3].Part(2).Whole, chain[3].Part(0).Whole)
		}
		// The base lies elsewhere, but beside it.
		if err := os.Rename(chain[0].Dir, chain[0].Dir+"-moved"); err != nil {
			t.Fatal(err)
		}
		r, err := Open(chain[1].Dir)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "with its base moved", pairs(t, r), wants[1])
		if seed == 0 {
			throughStore(t, w, chain[3], wants[3])
		}
	}
}

// throughStore makes a store of a backup, and a backup of that.
func throughStore(t *testing.T, w *world, r *Reader, want map[string]item.Item) {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "store")
	stats, err := ToStore(t.Context(), dst, r.Dir, store.Options{}, nil)
	if err != nil || stats.Items != int64(len(want)) {
		t.Fatalf("%+v, wanted %d pairs: %v", stats, len(want), err)
	}
	if _, err := ToStore(t.Context(), dst, r.Dir, store.Options{}, nil); err == nil {
		t.Error("a store was made where there is one")
	}
	v, err := store.Verify(t.Context(), dst, store.Options{}, func(d *store.Damage) { t.Error(d) })
	if err != nil || v.Items != stats.Items || v.Chunks == 0 {
		t.Errorf("verify: %+v: %v", v, err)
	}
	w2 := *w
	if w2.store, err = store.Open(dst, store.Options{}); err != nil {
		t.Fatal(err)
	}
	defer w2.store.Close()
	if id := w2.store.Identity(); id.BackupOf != 0xaa {
		t.Errorf("the store is %+v", id)
	}
	for part := range uint16(testPartitions) {
		if pos, err := w2.store.Position(part); err != nil || pos.Version != r.Part(part).Version || pos.Unfinished {
			t.Errorf("partition %d is at %+v, wanted %d: %v", part, pos, r.Part(part).Version, err)
		}
	}
	compare(t, "through a store", pairs(t, w2.backup(filepath.Join(t.TempDir(), "b"), nil, true)), want)
}

// rewind has a partition be as an older store had it: a pair of a lower version that the base lacks.
func (w *world) rewind(part uint16) {
	w.t.Helper()
	b := w.store.NewBatch()
	for i := range 1000 {
		key := fmt.Sprintf("old %d", i)
		if partOf(key) == part {
			it := item.Item{Version: 1<<clustermap.SeqBits | uint64(part)<<20 | 1, Value: []byte("old")}
			if w.flush[part] > it.Version {
				w.t.Fatal("the partition was flushed")
			}
			w.pairs[part][key] = it
			b.PutItem(part, []byte(key), &it)
			break
		}
	}
	if err := w.store.Commit(b); err != nil {
		w.t.Fatal(err)
	}
}

// TestFlippedBits: each bit of a backup is as it was, or the file is named, and the partition and the
// keys in which the damage is.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		w := newWorld(t, 7)
		w.write(60, 40)
		dir := t.TempDir()
		r := w.backup(filepath.Join(dir, "b1"), nil, compress)
		w.write(10, 40)
		r = w.backup(filepath.Join(dir, "b2"), r, compress)
		if _, damages := verified(t, r.Dir); len(damages) > 0 {
			t.Fatal(damages)
		}
		flips := 0
		for _, back := range r.Chain() {
			for _, name := range []string{ManifestName, back.Manifest.Files[0].Name} {
				path := filepath.Join(back.Dir, name)
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(whole); at += 1 + len(whole)/150 {
					flips++
					bit := byte(1) << w.rnd.IntN(8)
					if _, err := f.WriteAt([]byte{whole[at] ^ bit}, int64(at)); err != nil {
						t.Fatal(err)
					}
					named(t, back, r.Dir, path, at)
					if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Logf("%d flipped bits, all found", flips)
	}
}

// named verifies dir, in which the byte at a place in the file path of back is damaged.
func named(t *testing.T, back *Reader, dir, path string, at int) {
	t.Helper()
	_, damages := verified(t, dir)
	if len(damages) == 0 {
		t.Errorf("byte %d of %s is damaged, and it was not found", at, path)
		return
	}
	for _, d := range damages {
		if d.File != path {
			t.Errorf("byte %d of %s is damaged, and found was %v", at, path, d)
		}
	}
	for i := range back.Manifest.Parts {
		p := &back.Manifest.Parts[i]
		if filepath.Base(path) == ManifestName || int64(at) < p.Offset || int64(at) >= p.Offset+p.Size {
			continue
		}
		if d := damages[0]; !d.Ranged || d.Partition != int(p.Partition) || !strings.Contains(d.Error(), fmt.Sprintf("partition %d, ", d.Partition)) {
			t.Errorf("byte %d of %s, in partition %d, is damaged, and found was %v", at, path, p.Partition, d)
		}
	}
}

// TestDamagedRange: of a section of many blocks the keys are named between which one is
// damaged, and what is behind it is read.
func TestDamagedRange(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	out, err := Create(dir, Manifest{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	seg := out.Segment(false)
	if err := seg.Begin(Section{Version: 1 << 40, Whole: true}); err != nil {
		t.Fatal(err)
	}
	var d Digest
	for i := range 5000 {
		e := &Entry{Kind: Pair, Key: fmt.Appendf(nil, "key-%06d", i), Version: uint64(i + 1), Value: make([]byte, 1000)}
		d.Add(e.Key, e.Version)
		if err := seg.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	n, hash := d.Sum()
	if err := errors.Join(seg.End(n, hash), seg.Close(), out.Complete(time.Now())); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pairs-0001.kfb")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("key-002500"))
	for _, at := range []int{at, len(b) - 600_000} {
		b[at] ^= 1
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	v, damages := verified(t, dir)
	if len(damages) != 2 || v.Pairs < 3500 || v.Pairs > 4200 {
		t.Fatalf("%d pairs were read, and found was %v", v.Pairs, damages)
	}
	if d := damages[0]; string(d.After) >= "key-002500" || string(d.After) < "key-001500" || string(d.Before) <= "key-002500" || string(d.Before) > "key-003500" {
		t.Errorf("key-002500 is damaged, and found was %v", d)
	}
	// Who reads it for a restore is told as well.
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Pairs(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var e Entry
	for err == nil {
		err = p.Next(&e)
	}
	var damage *Damage
	if !errors.As(err, &damage) {
		t.Errorf("reading ends with %v", err)
	}
}

// TestDamagedFiles: files that are cut, longer, missing or another's, manifests and bases that do not fit.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.write(300, 200)
	home := t.TempDir()
	b1 := w.backup(filepath.Join(home, "b1"), nil, true)
	w.write(50, 200)
	w.backup(filepath.Join(home, "b2"), b1, true)
	w.backup(filepath.Join(home, "other"), nil, true)
	file := func(dir, name string) string { return filepath.Join(dir, name) }
	alter := func(path string, fn func([]byte) []byte) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, fn(b), 0o644)
	}
	const pairsFile = "pairs-0001.kfb"
	for _, row := range []struct {
		what, says string
		do         func(dir string) error // of the copy of home
	}{
		{"a file that is cut", pairsFile + ": it has ", func(d string) error { return os.Truncate(file(d, "b1/"+pairsFile), 5000) }},
		{"a file with something behind", "something was added", func(d string) error {
			return alter(file(d, "b1/"+pairsFile), func(b []byte) []byte { return append(b, 1) })
		}},
		{"a missing file", pairsFile + ": it cannot be read", func(d string) error { return os.Remove(file(d, "b2/"+pairsFile)) }},
		{"a file of another backup", "of another backup", func(d string) error {
			return os.Rename(file(d, "other/"+pairsFile), file(d, "b2/"+pairsFile))
		}},
		{"an empty manifest", "not the manifest of a backup", func(d string) error { return os.Truncate(file(d, "b2/"+ManifestName), 0) }},
		{"an altered manifest", "checksum is another", func(d string) error {
			return alter(file(d, "b2/"+ManifestName), func(b []byte) []byte { return bytes.Replace(b, []byte(`"pairs": `), []byte(`"pairs": 1`), 1) })
		}},
		{"another base in the place of the base", "not as it was when", func(d string) error {
			return alterManifest(file(d, "b1"), func(m *Manifest) { m.Clock++ })
		}},
		{"sums that are wrong", "the manifest", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Parts[2].Pairs++ })
		}},
		{"a digest that is wrong", "digest", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Parts[2].Digest = digestText(5) })
		}},
		{"a section in the place of another", "partition", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) {
				m.Parts[0].Partition, m.Parts[1].Partition = m.Parts[1].Partition, m.Parts[0].Partition
			})
		}},
		{"a hole", "of no partition", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Files[0].Size++ })
		}},
		{"no such partition", "it cannot be read", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Parts[0].Partition = testPartitions })
		}},
		{"a section outside of its file", "it cannot be read", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Parts[0].Offset = 1 << 62 })
		}},
		{"a file elsewhere", "it cannot be read", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Files[0].Name = "../b1/" + pairsFile })
		}},
		{"a newer format", "use a newer kumofs", func(d string) error {
			return alterManifest(file(d, "b2"), func(m *Manifest) { m.Format = 2 })
		}},
	} {
		d := t.TempDir()
		if err := os.CopyFS(d, os.DirFS(home)); err != nil {
			t.Fatal(err)
		}
		if err := row.do(d); err != nil {
			t.Fatal(err)
		}
		_, damages := verified(t, filepath.Join(d, "b2"))
		if !slices.ContainsFunc(damages, func(d *Damage) bool { return strings.Contains(d.Error(), row.says) }) {
			t.Errorf("%s: found was %v, wanted %q", row.what, damages, row.says)
		}
	}
	// Without its base, and unfinished, it is no damage, but it cannot be read.
	for says, do := range map[string]func(d string) error{
		"put it there": func(d string) error { return os.RemoveAll(filepath.Join(d, "b1")) },
		"not complete": func(d string) error {
			return alterManifest(filepath.Join(d, "b2"), func(m *Manifest) { m.Complete = false })
		},
	} {
		d := t.TempDir()
		if err := os.CopyFS(d, os.DirFS(home)); err != nil {
			t.Fatal(err)
		}
		if err := do(d); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(context.Background(), filepath.Join(d, "b2"), func(*Damage) {}, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, wanted %q", err, says)
		}
	}
}

// alterManifest alters a manifest, whose checksum is then right.
func alterManifest(dir string, fn func(*Manifest)) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	fn(m)
	return writeManifest(dir, m)
}

// TestResume: a backup that was cut short goes on; what the manifest does not know is made anew.
func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.write(300, 200)
	dir := filepath.Join(t.TempDir(), "b")
	out, err := Create(dir, Manifest{Partitions: testPartitions})
	if err != nil {
		t.Fatal(err)
	}
	seg, more := out.Segment(true), out.Segment(true)
	w.section(seg, 2, nil)
	w.section(more, 0, nil)
	if err := out.Save(); err != nil {
		t.Fatal(err)
	}
	w.section(seg, 1, nil) // not saved
	if err := seg.Begin(Section{Partition: 3, Version: 1 << 60, Whole: true}); err != nil {
		t.Fatal(err)
	}
	if err := seg.Add(&Entry{Kind: Large, Key: []byte("half"), Version: 1, Length: 10}); err != nil {
		t.Fatal(err)
	}
	if err := seg.End(1, 1); err == nil {
		t.Error("a section ends within a value")
	}
	if err := errors.Join(seg.Close(), more.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pairs-0009.kfb"), []byte("left"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, Manifest{Partitions: testPartitions}); err == nil {
		t.Error("a backup was begun where one is")
	}
	if err := out.Complete(time.Now()); err == nil {
		t.Error("a backup without a partition is complete")
	}
	out.Close()
	if out, err = Resume(dir); err != nil {
		t.Fatal(err)
	}
	missing := out.Missing()
	if !slices.Equal(missing, []uint16{1, 3}) {
		t.Fatalf("missing are %v", missing)
	}
	seg = out.Segment(true)
	for _, part := range missing {
		w.section(seg, part, nil)
	}
	if err := errors.Join(seg.Close(), out.Complete(time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, damages := verified(t, dir); len(damages) > 0 {
		t.Error(damages)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "resumed", pairs(t, r), w.want())
	if _, err := Resume(dir); err == nil {
		t.Error("a complete backup is gone on with")
	}
}

// TestMissingChunk: a value of which a piece is missing is no value.
func TestMissingChunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 9)
	b := w.store.NewBatch()
	it := w.large(b, 0, "k", item.Item{Version: 5})
	b.PutItem(0, []byte("k"), &it)
	segs, err := item.ParseManifest(it.Value)
	if err != nil {
		t.Fatal(err)
	}
	b.Delete(0, item.AppendChunkKey(nil, []byte("k"), segs[0].ID, 0))
	if err := w.store.Commit(b); err != nil {
		t.Fatal(err)
	}
	sn := w.store.Snapshot()
	defer sn.Close()
	_, _, err = Export(context.Background(), sn, 0, func(*item.Item) bool { return true }, &Request{}, func(*Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `key "k": part 0 of its value is not there`) {
		t.Error(err)
	}
}
