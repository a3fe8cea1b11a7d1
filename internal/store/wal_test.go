package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// recent against a map: what it finds, and what it gives in order.
func TestRecent(t *testing.T) {
	db, err := pebble.Open("/db", &pebble.Options{FS: vfs.NewMem(), Logger: pebbleLog{Logger: quiet{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	r := newRecent()
	for round := range 20 {
		want := map[string]*string{} // nil: deleted
		b := db.NewBatch()
		for range rng.IntN(300) {
			b.Reset()
			for range 1 + rng.IntN(5) {
				key := fmt.Sprintf("%0*d", 1+rng.IntN(12), rng.IntN(40))
				if rng.IntN(3) == 0 {
					_ = b.Delete([]byte(key), nil)
					want[key] = nil
				} else {
					value := strings.Repeat("v", rng.IntN(20))
					_ = b.Set([]byte(key), []byte(value), nil)
					want[key] = &value
				}
			}
			if !r.take(b) {
				t.Fatal("not taken")
			}
		}
		b.Reset()
		_ = b.Set([]byte("x"), nil, nil)
		_ = b.DeleteRange([]byte("a"), []byte("b"), nil)
		if r.take(b) {
			t.Fatal("took a range's removal")
		}
		check := func(key string) {
			v, ok := want[key]
			got, known := r.find([]byte(key))
			if known != ok || known && (got == nil) != (v == nil) || v != nil && string(got) != *v {
				t.Fatalf("round %d: %q is %q, %v; want %v, %v", round, key, got, known, v, ok)
			}
		}
		for key := range want {
			check(key)
		}
		check("x")
		check("")
		var keys []string
		for _, c := range r.sorted() {
			key := string(r.keyOf(&c))
			keys = append(keys, key)
			if v := want[key]; (v == nil) != (c.value == deleted) || v != nil && *v != string(r.valueOf(&c)) {
				t.Fatalf("round %d: %q", round, key)
			}
		}
		if !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("round %d: %q, want %q", round, keys, slices.Sorted(maps.Keys(want)))
		}
		for key := range want { // not spoiled by that
			check(key)
		}
		r.reset(100)
	}
}

// Keys whose hashes are equal do not hide each other in recent's index.
func TestRecentWithEqualHashes(t *testing.T) {
	r := newRecent()
	for i, key := range []string{"three", "two", "one", "two"} { // as if their hash were that of "one"
		r.list = append(r.list, change{prefix: keyPrefix([]byte(key)), at: uint32(len(r.data)), key: uint32(len(key)), value: 1, hash: hashOf([]byte("one"))})
		r.data = append(append(r.data, key...), byte('0'+i))
		r.index(i)
	}
	if v, known := r.find([]byte("one")); !known || string(v) != "2" || r.keys != 3 {
		t.Errorf("%q, %v; %d keys", v, known, r.keys)
	}
	db, err := pebble.Open("/db", &pebble.Options{FS: vfs.NewMem(), Logger: pebbleLog{Logger: quiet{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := db.NewBatch()
	_ = b.Set([]byte("one"), []byte("new"), nil)
	if !r.take(b) {
		t.Fatal("not taken")
	}
	if v, known := r.find([]byte("one")); !known || string(v) != "new" || r.keys != 3 {
		t.Errorf("%q, %v; %d keys", v, known, r.keys)
	}
}

// The index grows with what is in it, and stays so for the next, but not after a burst.
func TestRecentGrows(t *testing.T) {
	r := newRecent()
	const keys = 5 * minNewest
	for round := range 2 {
		for i := range keys {
			key := fmt.Appendf(nil, "key%d", i)
			r.list = append(r.list, change{prefix: keyPrefix(key), at: uint32(len(r.data)), key: uint32(len(key)), value: int32(round), hash: hashOf(key)})
			r.data = append(append(r.data, key...), "x"[:round]...)
			r.index(len(r.list) - 1)
		}
	}
	if r.keys != keys || len(r.newest) < 2*keys || len(r.newest) > 4*keys {
		t.Fatalf("%d keys in an index of %d, want %d", r.keys, len(r.newest), keys)
	}
	for i := range keys {
		if v, known := r.find(fmt.Appendf(nil, "key%d", i)); !known || string(v) != "x" {
			t.Fatalf("key%d is %q, %v", i, v, known)
		}
	}
	if _, known := r.find([]byte("key")); known {
		t.Error("a key that is not there was found")
	}
	r.reset(1 << 30)
	if _, known := r.find([]byte("key1")); known || len(r.newest) < 2*keys || r.keys != 0 {
		t.Errorf("an index of %d for %d keys, want one that need not grow again", len(r.newest), r.keys)
	}
	r.reset(0)
	if len(r.newest) != minNewest || r.keys != 0 {
		t.Errorf("an index of %d for %d keys", len(r.newest), r.keys)
	}
}

// A store that was killed is what it was, for those who only read it too; and what
// another process changed of its log is told, not swallowed (P5).
func TestKilledStore(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	for i := range 400 {
		mustCommit(t, s, func(b *Batch) {
			b.PutItem(1, fmt.Appendf(nil, "k%03d", i), testItem(uint64(i+1), strings.Repeat("v", 300)))
			b.SetPosition(1, Position{Version: uint64(i + 1)})
			if i == 200 {
				b.PutItem(2, []byte("gone"), testItem(1, "v"))
				b.SetPosition(2, Position{Version: 1})
			}
			if i == 300 {
				b.DeletePartition(2)
			}
		})
	}
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	killed := func() *vfs.MemFS { return mem.CrashClone(all) }
	judge := func(fs vfs.FS, o Options) {
		t.Helper()
		o.FS, o.BootID, o.Logger = fs, "one", quiet{}
		c := mustOpen(t, "/s", o)
		defer mustClose(t, c)
		if n, err := c.Items(t.Context()); n != 400 || err != nil {
			t.Errorf("%d items, %v", n, err)
		}
		parts, err := c.Partitions()
		if err != nil || len(parts) != 1 || parts[1].Position.Version != 400 {
			t.Errorf("%v, %v", parts, err)
		}
		sn := c.Snapshot()
		defer sn.Close()
		if _, found, err := sn.Get(1, []byte("k399"), nil); !found || err != nil {
			t.Error(found, err)
		}
	}
	disk := killed()
	before, err := disk.List("/s/wal")
	if err != nil {
		t.Fatal(err)
	}
	judge(disk, Options{ReadOnly: true})
	if after, _ := disk.List("/s/wal"); !slices.Equal(before, after) {
		t.Errorf("%v has become %v by reading", before, after)
	}
	judge(disk, Options{})
	if after, _ := disk.List("/s/wal"); len(after) > 0 {
		t.Errorf("after a clean stop %v is left", after)
	}
	judge(disk, Options{ReadOnly: true})

	damage := func(change func(log []byte) []byte) error {
		fs := killed()
		name := "/s/wal/" + segmentName(1)
		rewrite(t, fs, name, change)
		s, err := Open("/s", Options{FS: fs, BootID: "one", Logger: quiet{}})
		if err != nil {
			return err
		}
		defer s.Close()
		pos, err := s.Position(1)
		if err == nil && (pos.Version < 399 || pos.Version >= 400) {
			t.Errorf("a write was cut short, and the position is %d", pos.Version)
		}
		return err
	}
	if err := damage(func(log []byte) []byte { log[len(log)/2] ^= 1; return log }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a bit changed in the middle: %v", err)
	}
	if err := damage(func(log []byte) []byte { return log[:len(log)-7] }); err != nil {
		t.Errorf("the end is missing: %v", err)
	}
	fs := killed()
	if err := fs.Rename("/s/wal/"+segmentName(1), "/s/wal/"+segmentName(7)); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("/s/data"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("/s", Options{FS: fs, BootID: "one", Logger: quiet{}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without data: %v", err)
	}
	_ = s.Close()
}

// rewrite changes what the file called name has.
func rewrite(t *testing.T, fs vfs.FS, name string, change func(old []byte) []byte) {
	t.Helper()
	old, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(change(bytes.Clone(old)))
		_ = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What was damaged is not taken for a write that was cut short, which nobody was told of:
// with what lies behind it the store would lose what was acknowledged.
func TestDamageBeforeTheEnd(t *testing.T) {
	for _, d := range []struct {
		fsync bool
		boot  string
	}{{false, "one"}, {true, "one"}, {true, "two"}} {
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Fsync: d.fsync, Logger: quiet{}})
		for i := range uint64(400) {
			mustCommit(t, s, func(b *Batch) {
				b.PutItem(1, fmt.Appendf(nil, "k%03d", i), testItem(i+1, strings.Repeat("v", 300)))
				b.SetPosition(1, Position{Version: i + 1})
			})
		}
		all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
		name := "/s/wal/" + segmentName(1)
		open := func(change func(log []byte) []byte) (uint64, error) {
			fs := mem.CrashClone(all)
			rewrite(t, fs, name, change)
			s, err := Open("/s", Options{FS: fs, BootID: d.boot, Logger: quiet{}})
			if err != nil {
				return 0, err
			}
			defer s.Close()
			pos, err := s.Position(1)
			return pos.Version, err
		}
		const record = 300 // bytes of one, at least
		for _, behind := range []int{2 * record, 10 * record, 150 * record} {
			for _, n := range []int{1, 50, 3 * record} {
				if behind < 2*n {
					continue
				}
				_, err := open(func(log []byte) []byte {
					for i := range n {
						log[len(log)-behind-i] ^= 0x55
					}
					return log
				})
				if behind > 2*record && n > record && behind < recordBlock {
					continue // nothing tells where the next record of that block begins
				}
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%+v: %d bytes changed %d before the end: %v", d, n, behind, err)
				}
			}
		}
		for _, n := range []int{1, 100, record} {
			for what, change := range map[string]func(log []byte) []byte{
				"missing": func(log []byte) []byte { return log[:len(log)-n] },
				"empty":   func(log []byte) []byte { clear(log[len(log)-n:]); return log },
			} {
				if version, err := open(change); err != nil || version != 399 {
					t.Errorf("%+v: the last %d bytes are %s: %d, %v", d, n, what, version, err)
				}
			}
		}
		_ = s.Close()
	}
}

// A record that was cut short is not behind itself, wherever in a block it begins.
func TestRecordBehindItself(t *testing.T) {
	for before := recordBlock - 2*recordHeader - 2; before <= recordBlock-recordHeader; before++ {
		var log bytes.Buffer
		w := record.NewWriter(&log)
		add := func(n int) (end int64) {
			if _, err := w.WriteRecord(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			return w.Size()
		}
		at := add(before)
		end := add(2 * recordBlock)
		for _, size := range []int64{end - 1, end - recordBlock, at + recordBlock} {
			if behind, err := recordBehind(bytes.NewReader(log.Bytes()), at, size); behind || err != nil {
				t.Errorf("one at %d of %d: %v, %v", at, size, behind, err)
			}
		}
		size := add(10)
		if behind, err := recordBehind(bytes.NewReader(log.Bytes()), at, size); !behind || err != nil {
			t.Errorf("one at %d with another behind it: %v, %v", at, behind, err)
		}
	}
}

// Segments follow each other without a gap, or something is missing.
func TestMissingSegment(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	mustCommit(t, s, func(b *Batch) { b.SetPosition(1, Position{Version: 1}) })
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	fs := mem.CrashClone(all)
	_ = s.Close()
	f, err := fs.Create("/s/wal/"+segmentName(3), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := Open("/s", Options{FS: fs, BootID: "one", Logger: quiet{}}); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// Large batches alone fill segments too, and the log does not grow with them.
func TestLogOfLargeBatches(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/s", Options{FS: mem, Logger: quiet{}, MemTableSize: 8 << 20})
	value := strings.Repeat("v", largeBatch)
	for i := range 60 {
		mustCommit(t, s, func(b *Batch) { b.PutItem(1, fmt.Appendf(nil, "k%d", i), testItem(uint64(i+1), value)) })
	}
	deadline := time.Now().Add(20 * time.Second)
	for s.wal.live.Load() > 20<<20 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if live := s.wal.live.Load(); live > 20<<20 {
		t.Errorf("a log of %d MiB after 60 MiB", live>>20)
	}
	mustClose(t, s)
	if names, _ := mem.List("/s/wal"); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// A large write that was cut short is no damage, wherever it was cut.
func TestTornLargeRecord(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	mustCommit(t, s, func(b *Batch) { b.SetPosition(1, Position{Version: 7}) })
	mustCommit(t, s, func(b *Batch) { b.PutItem(1, []byte("k"), testItem(8, strings.Repeat("v", 40<<20))) })
	disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	log, err := readFile(disk, "/s/wal/"+segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	for _, size := range []int{len(log) - 1, len(log) / 2, 32 << 20, 32<<20 + 4096, 39<<20 + 28672, 32 << 10, 100} {
		fs := vfs.NewMem()
		if _, err := vfs.Clone(disk, fs, "/s", "/s"); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create("/s/wal/"+segmentName(1), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write(bytes.Clone(log[:size]))
			_ = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := Open("/s", Options{FS: fs, BootID: "one", Logger: quiet{}})
		if err != nil {
			t.Errorf("cut at %d of %d: %v", size, len(log), err)
			continue
		}
		if pos, err := c.Position(1); err != nil || pos.Version != 7 {
			t.Errorf("cut at %d: position %v, %v", size, pos, err)
		}
		mustClose(t, c)
	}
}

// A segment that lost its end where a record ends does not show it; the one after it does.
func TestSegmentThatLostItsEnd(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	for _, boot := range []string{"one", "two"} {
		fs := vfs.NewMem()
		if err := fs.MkdirAll("/s/wal", 0o755); err != nil {
			t.Fatal(err)
		}
		first, second := newSegment(t, fs, 1, 0), newSegment(t, fs, 2, 1<<20)
		first.record(t, 1)
		first.end(t)
		second.record(t, 2)
		second.end(t)
		w := &wal{s: s, dir: "/s/wal", fs: fs}
		s.fs = fs
		var got []uint64
		whole, err := w.replay(map[string]ending{"one": killed, "two": lost}[boot], func(_ []byte, _ []uint16, positions []partPosition) error {
			got = append(got, positions[0].pos.Version)
			return nil
		})
		s.fs = mem
		if boot == "one" && !errors.Is(err, ErrCorrupt) {
			t.Errorf("after a kill: %v", err)
		}
		if boot == "two" && (err != nil || whole || len(got) != 1 || got[0] != 1) {
			t.Errorf("after a power loss: %v, %v, %v", got, whole, err)
		}
	}
	mustClose(t, s)
}

// What lies behind the end of a log that lost a part is removed first, from the back: if
// that is cut short, what is left must not look like a log that begins there.
func TestRemovalOfALogWithAHole(t *testing.T) {
	mem := vfs.NewMem()
	mustClose(t, mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}}))
	id, err := readIdentity(mem, "/s")
	if err != nil {
		t.Fatal(err)
	}
	id.Clean = false
	if err := writeIdentity(mem, "/s", id); err != nil {
		t.Fatal(err)
	}
	for num, before := range []int64{0, 0, 1 << 20, 0} {
		if num > 0 {
			seg := newSegment(t, mem, uint64(num), before)
			seg.record(t, uint64(num))
			seg.end(t)
		}
	}
	var removed []string
	opt := Options{BootID: "two", Logger: quiet{}, FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemove && strings.Contains(op.Path, "wal") {
			removed = append(removed, strings.TrimPrefix(op.Path, "/s/wal/"))
		}
		return nil
	}))}
	s := mustOpen(t, "/s", opt)
	if want := []string{segmentName(3), segmentName(2), segmentName(1)}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
	if pos, err := s.Position(1); err != nil || pos.Version != 1 {
		t.Errorf("%v, %v", pos, err)
	}
	mustClose(t, s)

	// One that cannot be removed keeps the store from being opened: its damage would be
	// taken for that of what is written now.
	if err := writeIdentity(mem, "/s", id); err != nil {
		t.Fatal(err)
	}
	for num, before := range []int64{0, 0, 1 << 20} {
		if num > 0 {
			seg := newSegment(t, mem, uint64(num), before)
			seg.record(t, uint64(num))
			seg.end(t)
		}
	}
	opt.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemove && strings.Contains(op.Path, "wal") {
			return syscall.EPERM
		}
		return nil
	}))
	if s, err := Open("/s", opt); err == nil {
		mustClose(t, s)
		t.Error("opened, although the log could not be removed")
	}
}

type testSegment struct {
	f vfs.File
	w *record.Writer
}

func newSegment(t *testing.T, fs vfs.FS, num uint64, before int64) testSegment {
	f, err := fs.Create("/s/wal/"+segmentName(num), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	s := testSegment{f, record.NewWriter(f)}
	if _, err := s.w.WriteRecord(appendFirst(nil, before)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s testSegment) record(t *testing.T, version uint64) {
	h := []byte{8 + 2 + positionSize, 0, 0, 0, 0, 0, 0, 0, 1, 0}
	rec := append(appendPosition(h, Position{Version: version}), make([]byte, 12)...) // and an empty batch
	if _, err := s.w.WriteRecord(rec); err != nil {
		t.Fatal(err)
	}
}

func (s testSegment) end(t *testing.T) {
	if err := s.f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store of the format before had pebble's log, with positions as keys.
func TestStoreOfFormat1(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/s", Options{FS: mem, BootID: "one", Logger: quiet{}})
	mustClose(t, s)
	if err := mem.RemoveAll("/s/wal"); err != nil {
		t.Fatal(err)
	}
	id, err := readIdentity(mem, "/s")
	if err != nil {
		t.Fatal(err)
	}
	id.Format, id.Clean = 1, false
	if err := writeIdentity(mem, "/s", id); err != nil {
		t.Fatal(err)
	}
	o := Options{FS: mem}
	o.setDefaults()
	cache := pebble.NewCache(1 << 20)
	defer cache.Unref()
	po := o.pebbleOptions(mem, cache)
	po.DisableWAL, po.Logger = false, pebbleLog{Logger: quiet{}}
	db, err := pebble.Open("/s/data", po)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		b := db.NewBatch()
		_ = b.Set(itemKey(nil, 1, fmt.Appendf(nil, "k%03d", i)), make([]byte, 40), nil)
		setPosition(b, 1, Position{Version: uint64(i + 1)})
		if err := db.Apply(b, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	fs := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	_ = db.Close()
	s = mustOpen(t, "/s", Options{FS: fs, BootID: "one", Logger: quiet{}})
	defer mustClose(t, s)
	if n, err := s.Count(1); n != 100 || err != nil {
		t.Errorf("%d items, %v", n, err)
	}
	if pos, err := s.Position(1); pos.Version != 100 || err != nil {
		t.Error(pos, err)
	}
}

// FuzzRecord: whatever is in a record of the log, it is parsed or refused.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{8, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{21, 0, 0, 0, 1, 0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1})
	f.Add(append([]byte{10, 0, 0, 0, 1, 0, 0, 0, 7, 0}, make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, rec []byte) {
		repr, dropped, positions, err := parseRecord(rec)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if len(repr)+8+2*len(dropped)+(2+positionSize)*len(positions) != len(rec) {
			t.Errorf("%d bytes, %d, %d of %d", len(repr), len(dropped), len(positions), len(rec))
		}
	})
}
