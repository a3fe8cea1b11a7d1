package replica

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// uploaded stores a value of n chunks as a gateway does, without the marker, and
// gives the command that would set it.
func (r *rig) uploaded(key string, id byte, n int) (q item.Request, marker item.Request) {
	r.t.Helper()
	up := item.UploadID{id}
	for i := range n {
		c := set(string(item.AppendChunkKey(nil, []byte(key), up, i)), "chunk")
		if res := r.do(A, c); res.Status != item.OK {
			r.t.Fatalf("chunk: %+v", res)
		}
	}
	q = set(key, string(item.AppendManifest(nil, []item.Segment{{ID: up, Size: 5 * n, Chunk: 5}})))
	q.Options = item.Large
	return q, set(string(item.AppendMarkerKey(nil, []byte(key), up)), "")
}

func collect(key string, id byte, first, n int) item.Request {
	up := item.UploadID{id}
	return item.Request{Op: item.OpCollect, Key: []byte(key), Value: up[:], Delta: uint64(first), Initial: uint64(n)}
}

// chunks counts those in a store.
func (h *host) chunks() (n int) {
	for k := range h.store {
		if item.IsChunk([]byte(k)) {
			n++
		}
	}
	return n
}

// A manifest is taken with the marker of its upload alone, and what an item lists
// is not collected, also where nothing of it is in the cache.
func TestManifestNeedsItsMarker(t *testing.T) {
	r := newRig(t, A, B, C).active()
	q, marker := r.uploaded("k", 1, 3)
	r.do(A, set("k", "before"))
	if res := r.do(A, q); res.Status != item.Failed || !strings.Contains(res.Message, "too late") {
		t.Fatalf("without a marker: %+v", res)
	}
	r.expect(A, "k", "before")
	r.do(A, marker)
	if res := r.do(A, q); res.Status != item.OK || res.Size != 15 {
		t.Fatalf("with the marker: %+v", res)
	}
	if it := r.hosts[C].store[string(marker.Key)]; it == nil || string(it.Value) != item.MarkerListed {
		t.Fatalf("the marker does not tell that it was listed: %+v", it)
	}
	if res := r.do(A, collect("k", 1, 0, 3)); res.Status != item.NotStored || r.hosts[A].chunks() != 4 {
		t.Fatalf("what is listed is collected: %+v", res)
	}
	r.failover(B, C)
	if res := r.do(B, collect("k", 1, 0, 3)); res.Status != item.NotStored || r.hosts[B].chunks() != 4 {
		t.Fatalf("what is listed is collected: %+v", res)
	}
	if res := r.do(B, q); res.Status != item.OK {
		t.Fatalf("the marker read from the store: %+v", res)
	}
	q.Op = item.OpAdd
	if res := r.do(B, q); res.Status != item.NotStored {
		t.Fatalf("add: %+v", res)
	}
	r.equal(B, C)
}

// A manifest that waits behind a read of its key's item is looked at when that is
// there: its chunks may have been collected long ago, or by the one before it.
func TestManifestBehindRead(t *testing.T) {
	for _, before := range []bool{false, true} {
		r := newRig(t, A, B, C).active()
		q, marker := r.uploaded("k", 1, 2)
		r.do(A, set("k", "small"))
		r.do(A, marker)
		if before {
			r.do(A, collect("k", 1, 0, 2))
		}
		r.failover(B, C) // nothing is in its cache
		r.hosts[B].slowReads = true
		first := r.ask(B, get("k"))
		r.ask(B, collect("k", 1, 0, 2))
		late := r.ask(B, q)
		r.hosts[B].slowReads = false
		r.run()
		if res := r.answered(B, first); string(res.Item.Value) != "small" {
			t.Errorf("%+v", res)
		}
		if res := r.answered(B, late); res.Status != item.Failed {
			t.Errorf("a manifest of what was collected: %+v", res)
		}
		r.expect(B, "k", "small")
	}
}

// What is read of a marker may be older than its removal: so it is not removed as
// long as a manifest waits for it.
func TestMarkerBeingReadStays(t *testing.T) {
	r := newRig(t, A, B, C).active()
	q, marker := r.uploaded("k", 1, 2)
	r.do(A, set("k", "small"))
	r.do(A, marker)
	r.failover(B, C)
	h := r.hosts[B]
	r.expect(B, "k", "small")
	h.slowReads = true
	late := r.ask(B, q)
	r.run()
	if len(h.reads) != 1 {
		t.Fatalf("%d reads", len(h.reads))
	}
	rd := h.reads[0]
	h.reads = nil
	there := []*item.Item{h.store[rd.Keys[0]]}
	if res := r.do(B, collect("k", 1, 0, 2)); res.Status != item.NotStored || h.chunks() != 3 {
		t.Errorf("collected while a manifest waits: %+v, %d keys are left", res, h.chunks())
	}
	h.r.ReadDone(&rd, there, nil, &h.fx)
	r.run()
	if res := r.answered(B, late); res.Status != item.OK {
		t.Errorf("%+v", res)
	}
	if res := r.do(B, collect("k", 1, 0, 2)); res.Status != item.NotStored || h.chunks() != 3 {
		t.Errorf("what is listed is collected: %+v", res)
	}
}

// Chunks that no item lists are collected, with the marker, which ends the upload:
// its manifest comes too late then.
func TestCollect(t *testing.T) {
	for _, failover := range []bool{false, true} {
		r := newRig(t, A, B, C).active()
		primary := A
		q, marker := r.uploaded("k", 1, 3)
		r.do(A, marker)
		r.do(A, q)
		r.do(A, set("k", "small"))
		if failover {
			r.failover(B, C)
			primary = B
		}
		if res := r.do(primary, collect("k", 1, 0, 2)); res.Status != item.OK {
			t.Fatalf("%+v", res)
		}
		if n := r.hosts[primary].chunks(); n != 1 {
			t.Fatalf("%d keys are left", n)
		}
		if res := r.do(primary, q); res.Status != item.Failed {
			t.Fatalf("a manifest of what was collected: %+v", res)
		}
		r.do(primary, collect("k", 1, 2, 1))
		if n := r.hosts[C].chunks(); n != 0 {
			t.Fatalf("%d keys are left at a backup", n)
		}
		r.expect(primary, "k", "small")
		r.equal(primary, C)
	}
}

// A manifest that was done and is sent again is answered as it was, although its
// marker has gone meanwhile.
func TestRetryOfCollectedManifest(t *testing.T) {
	r := newRig(t, A, B, C).active()
	g := r.gateway(A)
	q, marker := r.uploaded("k", 1, 2)
	r.do(A, marker)
	n, res := g.do(q)
	if res.Status != item.OK {
		t.Fatalf("%+v", res)
	}
	r.do(A, remove("k"))
	r.do(A, collect("k", 1, 0, 2))
	r.failover(B, C)
	g.at = B
	if again := g.answer(g.retry(n)); again.Status != item.OK || again.Item.CAS() != res.Item.CAS() || again.Size != 10 {
		t.Fatalf("%+v, the first time %+v", again, res)
	}
	r.expect(B, "k", "")
}

// A flush hides items, not the chunks of one that is set after it; a collection
// removes an item that was flushed or has expired with its chunks, lest a clock
// that goes back show it.
func TestFlushAndExpiryOfLarge(t *testing.T) {
	r := newRig(t, A, B).active()
	q, marker := r.uploaded("k", 1, 2)
	r.do(A, marker)
	r.do(A, flush(0))
	r.leases()
	q.Exptime = 10
	if res := r.do(A, q); res.Status != item.OK {
		t.Fatalf("%+v", res)
	}
	chunk := string(item.AppendChunkKey(nil, []byte("k"), item.UploadID{1}, 1))
	r.expect(A, chunk, "chunk")
	r.pass(11 * time.Second)
	if res := r.do(A, collect("k", 1, 0, 2)); res.Status != item.OK {
		t.Fatalf("%+v", res)
	}
	if len(r.hosts[B].store) != 0 {
		t.Errorf("the backup has still %d records", len(r.hosts[B].store))
	}
	r.unix -= 100
	r.leases()
	r.expect(A, "k", "")
}

// Appends to a large value write its chunks right before it, in one go, at all replicas.
func TestAppendMakesChunks(t *testing.T) {
	r := newRig(t, A, B, C).active()
	g := r.gateway(A)
	value := strings.Repeat("v", item.MaxWhole)
	r.do(A, set("k", value))
	n, res := g.do(item.Request{Op: item.OpAppend, Key: []byte("k"), Value: []byte(value)})
	if res.Status != item.OK || res.Size != 2*item.MaxWhole {
		t.Fatalf("%+v", res)
	}
	if got := r.hosts[C].chunks(); got != 2*item.MaxWhole/item.ChunkSize {
		t.Errorf("%d chunks at a backup", got)
	}
	if it := r.hosts[A].store["k"]; it.Version != r.hosts[A].r.Last() || it.CAS() != res.Item.CAS() {
		t.Errorf("version %x, the stream is at %x", it.Version, r.hosts[A].r.Last())
	}
	r.equal(A, B)
	r.failover(B, C)
	g.at = B
	if again := g.answer(g.retry(n)); again.Size != res.Size || again.Item.CAS() != res.Item.CAS() {
		t.Errorf("%+v, the first time %+v", again, res)
	}
	segs, err := item.ParseManifest(r.hosts[B].store["k"].Value)
	if err != nil || len(segs) != 2 {
		t.Fatalf("%v %v", segs, err)
	}
	for i := range segs {
		for j := range segs[i].Chunks() {
			c := r.hosts[B].store[string(item.AppendChunkKey(nil, []byte("k"), segs[i].ID, j))]
			if c == nil || !bytes.Equal(c.Value, []byte(value[:item.ChunkSize])) {
				t.Fatalf("chunk %d of %d is another one", j, i)
			}
		}
	}
}

// What is not a manifest of one upload is refused, and damages nothing.
func TestBadManifest(t *testing.T) {
	r := newRig(t, A).active()
	r.do(A, set("k", "v"))
	for _, value := range []string{"", "\x00\x00\x00\x01", "rubbish", string(item.AppendManifest(nil, []item.Segment{{Inline: []byte("a")}}))} {
		q := set("k", value)
		q.Options = item.Large
		if res := r.do(A, q); res.Status != item.Failed {
			t.Errorf("%q: %+v", value, res)
		}
	}
	if res := r.do(A, item.Request{Op: item.OpCollect, Key: []byte("k"), Value: []byte("short")}); res.Status != item.Failed {
		t.Errorf("%+v", res)
	}
	r.expect(A, "k", "v")
}

// A manifest whose command looks at its key's item needs two reads where nothing is
// cached: it ends, and the marker stays in between.
func TestManifestWithoutCache(t *testing.T) {
	for _, collects := range []bool{false, true} {
		r := newRig(t, A, B, C).active()
		q, marker := r.uploaded("k", 1, 2)
		q.Op = item.OpAdd
		r.do(A, marker)
		r.failover(B, C)
		h := r.hosts[B]
		h.node.Values = noCache{}
		h.slowReads = true
		id := r.ask(B, q)
		r.run() // the marker is being read
		step := func() {
			h.slowReads = false
			r.run()
			h.slowReads = true
		}
		if !collects {
			h.slowReads = false
			r.run()
			if res := r.answered(B, id); res.Status != item.OK {
				t.Fatalf("%+v", res)
			}
			continue
		}
		rd := h.reads[0]
		h.reads = nil
		h.r.ReadDone(&rd, []*item.Item{h.store[rd.Keys[0]]}, nil, &h.fx)
		r.turn(h)
		if len(h.reads) != 1 || h.reads[0].Keys[0] != "k" {
			t.Fatalf("reads %+v", h.reads)
		}
		late := r.ask(B, collect("k", 1, 0, 2)) // behind it, and after it
		step()
		if res := r.answered(B, id); res.Status != item.OK {
			t.Fatalf("%+v", res)
		}
		if res := r.answered(B, late); res.Status != item.NotStored || h.chunks() != 3 {
			t.Fatalf("%+v, %d keys", res, h.chunks())
		}
		if n := len(h.r.pri.pinned); n != 0 {
			t.Errorf("%d markers are pinned", n)
		}
	}
}

// noCache is a Values that keeps nothing.
type noCache struct{}

func (noCache) Get(uint16, uint32, []byte) (*item.Item, bool) { return nil, false }
func (noCache) Put(uint16, uint32, string, *item.Item)        {}
func (noCache) Remove(uint16, uint32, string)                 {}

// A marker that is being read when its upload is to be collected: whatever is done
// first, no item lists what was collected.
func TestCollectWhileTheMarkerIsRead(t *testing.T) {
	r := newRig(t, A, B, C).active()
	q, marker := r.uploaded("k", 1, 3)
	r.do(A, marker)
	r.do(A, set("k", "before"))
	r.failover(B, C)
	r.expect(B, "k", "before")
	h := r.hosts[B]
	h.slowReads = true
	id := r.ask(B, q)
	r.run()
	if len(h.reads) != 1 {
		t.Fatalf("%d reads", len(h.reads))
	}
	rd := h.reads[0]
	h.reads, h.slowReads = nil, false
	found := []*item.Item{h.store[rd.Keys[0]]}
	res := r.do(B, collect("k", 1, 0, 3))
	h.r.ReadDone(&rd, found, nil, &h.fx)
	r.run()
	switch set := r.answered(B, id); {
	case set.Status == item.OK && h.chunks() != 4:
		t.Errorf("%d keys are left of an upload that an item lists; collected: %+v", h.chunks(), res)
	case set.Status != item.OK && res.Status != item.OK:
		t.Errorf("neither was done: %+v, %+v", set, res)
	}
	r.equal(B, C)
}
