package item

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// chunkStore is where chunks lie in these tests.
type chunkStore map[string][]byte

func (s chunkStore) read(t *testing.T, key []byte, it *Item) []byte {
	t.Helper()
	if !it.Large {
		return it.Value
	}
	segs, err := ParseManifest(it.Value)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i := range segs {
		seg := &segs[i]
		all = append(all, seg.Inline...)
		before := len(all)
		for j := range seg.Chunks() {
			c, ok := s[string(AppendChunkKey(nil, key, seg.ID, j))]
			if !ok {
				t.Fatalf("chunk %d of segment %d is missing", j, i)
			}
			if j < seg.Chunks()-1 && len(c) != seg.Chunk {
				t.Fatalf("chunk %d of segment %d has %d bytes, not %d", j, i, len(c), seg.Chunk)
			}
			all = append(all, c...)
		}
		if seg.Inline == nil && len(all)-before != seg.Size {
			t.Fatalf("segment %d has %d bytes, not %d", i, len(all)-before, seg.Size)
		}
	}
	if int(it.Size()) != len(all) {
		t.Fatalf("size %d of %d bytes", it.Size(), len(all))
	}
	return all
}

// upload stores value as a gateway does.
func (s chunkStore) upload(key, value []byte, id UploadID) (manifest []byte) {
	seg := Segment{ID: id, Size: len(value), Chunk: ChunkSize}
	for i := range seg.Chunks() {
		s[string(AppendChunkKey(nil, key, id, i))] = value[i*ChunkSize : min((i+1)*ChunkSize, len(value))]
	}
	return AppendManifest(nil, []Segment{seg})
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

// Whatever is put before and behind a value, small or large, reads as it was put
// together, and a manifest does not grow with the number of small pieces.
func TestLargeConcat(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		key := []byte("key")
		store := chunkStore{}
		version := uint64(1 << 40)
		want := randomBytes(rng, rng.IntN(3*MaxWhole/2))
		cur := &Item{Version: version, Flags: 7, Exptime: 99, Value: want}
		if len(want) > MaxWhole && rng.IntN(2) == 0 {
			cur.Value, cur.Large = store.upload(key, want, UploadID(randomBytes(rng, 16))), true
		}
		small := 0
		for op := range 150 {
			req := &Request{Op: OpAppend, Key: key, MaxItemSize: 6 << 20}
			if rng.IntN(3) == 0 {
				req.Op = OpPrepend
			}
			var piece []byte
			switch x := rng.IntN(40); {
			case x == 0:
				piece = randomBytes(rng, MaxWhole+1+rng.IntN(MaxWhole))
				req.Value, req.Options = store.upload(key, piece, UploadID(randomBytes(rng, 16))), Large
			case x < 3:
				piece = randomBytes(rng, rng.IntN(MaxWhole))
				req.Value = piece
			default:
				piece = randomBytes(rng, rng.IntN(5000))
				req.Value = piece
				small++
			}
			version++
			out := Execute(req, cur, 1, version)
			if len(want)+len(piece) > 6<<20 {
				if out.Result.Status != TooLarge || out.Effect != None || out.Chunks != nil {
					t.Fatalf("seed %d: %+v", seed, out.Result)
				}
				continue
			}
			if out.Result.Status != OK || out.Effect != Put {
				t.Fatalf("seed %d: %+v", seed, out.Result)
			}
			for _, c := range out.Chunks {
				if len(c.Value) > ChunkSize || store[string(c.Key)] != nil {
					t.Fatalf("seed %d: chunk of %d bytes, there before: %v", seed, len(c.Value), store[string(c.Key)] != nil)
				}
				store[string(c.Key)] = bytes.Clone(c.Value)
				version++
			}
			if out.New.Version != version {
				t.Fatalf("seed %d: version %d, not %d", seed, out.New.Version, version)
			}
			if req.Op == OpAppend {
				want = append(bytes.Clone(want), piece...)
			} else {
				want = append(bytes.Clone(piece), want...)
			}
			it := out.New
			cur = &it
			if int(out.Result.Size) != len(want) || cur.Flags != 7 || cur.Exptime != 99 || len(want) > MaxWhole && !cur.Large {
				t.Fatalf("seed %d: size %d of %d, %+v", seed, out.Result.Size, len(want), out.Result)
			}
			if op%25 == 24 && !bytes.Equal(store.read(t, key, cur), want) {
				t.Fatalf("seed %d: the value is another one", seed)
			}
			if cur.Large && len(cur.Value) > 2*ChunkSize+10000 {
				t.Fatalf("seed %d: a manifest of %d bytes for a value of %d", seed, len(cur.Value), len(want))
			}
		}
		if small == 0 {
			t.Fatal("no small pieces")
		}
	}
}

// A large value is a value to all commands: of its length, not a number, kept by a touch.
func TestLargeCommands(t *testing.T) {
	key := []byte("key")
	value := bytes.Repeat([]byte("0123456789"), MaxWhole/10+1)
	store := chunkStore{}
	manifest := store.upload(key, value, UploadID{1})
	size := uint32(len(value))
	out := Execute(&Request{Op: OpSet, Key: key, Value: manifest, Flags: 3, Options: Large}, nil, 1, 5)
	if out.Effect != Put || !out.New.Large || out.Result.Size != size || out.Result.Item.Value != nil {
		t.Fatalf("%+v", out)
	}
	cur := out.New
	for _, c := range []struct {
		req    Request
		status Status
		effect Effect
		size   uint32
	}{
		{Request{Op: OpGet}, OK, None, size},
		{Request{Op: OpGet, Options: NoValue}, OK, None, size},
		{Request{Op: OpGetAndTouch, Exptime: 100}, OK, Put, size},
		{Request{Op: OpTouch, Exptime: 100}, OK, Put, 0},
		{Request{Op: OpIncr, Delta: 1}, NonNumeric, None, 0},
		{Request{Op: OpDecr, Delta: 1}, NonNumeric, None, 0},
		{Request{Op: OpDelete, Options: Invalidate}, OK, Put, 0},
		{Request{Op: OpCAS, CAS: 5, Value: manifest, Options: Large}, OK, Put, size},
		{Request{Op: OpCAS, CAS: 6, Value: manifest, Options: Large}, Exists, None, 0},
		{Request{Op: OpAdd, Value: manifest, Options: Large}, NotStored, None, 0},
	} {
		c.req.Key = key
		out := Execute(&c.req, &cur, 1, 6)
		if out.Result.Status != c.status || out.Effect != c.effect || out.Result.Size != c.size {
			t.Errorf("%+v: %+v", c.req.Op, out.Result)
		}
		if out.Effect == Put && (!out.New.Large || !out.New.Lists(UploadID{1}) || out.New.Lists(UploadID{2})) {
			t.Errorf("%+v: stores %v", c.req.Op, out.New)
		}
	}
	if out := Execute(&Request{Op: OpDelete, Key: key, Options: RemoveValue}, &cur, 1, 6); out.New.Large {
		t.Error("an item without value is large")
	}
	if out := Execute(&Request{Op: OpAppend, Key: key, Options: Vivify | Large, Value: manifest}, nil, 1, 6); !out.New.Large || out.Result.Size != size {
		t.Errorf("vivified: %+v", out)
	}
	rec := AppendRecord(nil, &cur)
	if back, err := ParseRecord(rec); err != nil || !back.Large || back.Size() != size {
		t.Errorf("%v %v", back.Large, err)
	}
}

func TestChunkKeys(t *testing.T) {
	id := UploadID{0xff, 1, 2}
	for _, user := range []string{"", "a", "ab", string(bytes.Repeat([]byte{0xff}, 250)), string(bytes.Repeat([]byte("k"), 600))} {
		chunk, marker := AppendChunkKey(nil, []byte(user), id, 7), AppendMarkerKey(nil, []byte(user), id)
		for want, key := range map[int][]byte{7: chunk, -1: marker} {
			got, gotID, i, ok := ParseChunkKey(key)
			if !ok || string(got) != user || gotID != id || i != want || !IsChunk(key) || string(RoutingKey(key)) != user {
				t.Errorf("%q: %q %v %d %v", user, got, gotID, i, ok)
			}
			after := AfterUpload(nil, []byte(user), id)
			if bytes.Compare(key, after) >= 0 || bytes.Compare(key, ChunkPrefix()) <= 0 {
				t.Errorf("%q is not in its place", user)
			}
		}
		if bytes.Compare(marker, AppendChunkKey(nil, []byte(user), id, 0)) >= 0 {
			t.Error("the marker is not the first")
		}
		if string(RoutingKey([]byte(user))) != user {
			t.Errorf("%q is routed by another key", user)
		}
		if _, _, _, ok := ParseChunkKey([]byte(user)); ok || IsChunk([]byte(user)) {
			t.Errorf("%q is taken for a chunk", user)
		}
	}
	for n := range 300 {
		if _, _, _, ok := ParseChunkKey(AppendChunkKey(nil, []byte("key"), id, 7)[:n]); ok && n != len(AppendChunkKey(nil, []byte("key"), id, 7)) {
			t.Errorf("%d bytes are a key", n)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(AppendManifest(nil, []Segment{{Inline: []byte("abc")}, {ID: UploadID{1}, Size: 100, Chunk: 64}}))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		segs, err := ParseManifest(b)
		if err != nil {
			return
		}
		again, err := ParseManifest(AppendManifest(nil, segs))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(segs) {
			t.Fatalf("%v %v: %v", segs, again, err)
		}
		total := 0
		for i := range segs {
			total += segs[i].Bytes()
		}
		it := Item{Value: b, Large: true}
		if int(it.Size()) != total {
			t.Fatalf("size %d of %d", it.Size(), total)
		}
	})
}

// A value that memcached has in pieces is no number before its unique is looked at.
func TestLargeIsNoNumber(t *testing.T) {
	for size, status := range map[int]Status{0: NonNumeric, 1: Exists, maxNumber: Exists, maxNumber + 1: NonNumeric} {
		cur := &Item{Version: 5, Value: bytes.Repeat([]byte("1"), size)}
		if out := Execute(&Request{Op: OpDecr, Options: Compare, CAS: 6, Key: []byte("k")}, cur, 1, 7); out.Result.Status != status {
			t.Errorf("%d bytes: %+v", size, out.Result)
		}
	}
}
