package server

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// collectRig is a primary whose sweeper the test drives.
type collectRig struct {
	*scanRig
	s *sweeper
}

func newCollectRig(t *testing.T) *collectRig {
	r := &collectRig{scanRig: newScanRig(t)}
	r.s = &r.sweep
	r.s.n, r.s.chunks.n = r.node, r.node
	return r
}

// pass lets d go by without standing still.
func (r *collectRig) pass(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		r.time += int64(100 * time.Millisecond)
		r.touchClock()
	}
	r.lease()
}

// round is one round of the sweeper through its partition. It gives how many looks
// it took.
func (r *collectRig) round() (looks int) {
	r.t.Helper()
	for {
		job, ok := r.s.pick()
		if !ok {
			return looks
		}
		if looks++; looks > 100 {
			r.t.Fatal("the round does not end")
		}
		if err := r.s.look(&job); err != nil {
			r.t.Fatal(err)
		}
		r.s.remove(&job)
		r.turn()
		r.acked()
	}
}

// send stores an upload of n chunks, with its marker.
func (r *collectRig) send(key string, id byte, n int) {
	up := item.UploadID{id}
	for i := range n {
		r.put(string(item.AppendChunkKey(nil, []byte(key), up, i)), "chunk", 0)
	}
	r.put(string(item.AppendMarkerKey(nil, []byte(key), up)), "", 0)
	r.acked()
}

// list has key's item list it.
func (r *collectRig) list(key string, id byte, n int) {
	req := wire.Request{Epoch: 1, Request: item.Request{Op: item.OpSet, Options: item.Large, Key: []byte(key),
		Value: item.AppendManifest(nil, []item.Segment{{ID: item.UploadID{id}, Size: 5 * n, Chunk: 5}})}}
	r.request(&req, &answers{})
	r.turn()
	r.acked()
}

// chunks counts the chunks and markers in the store.
func (r *collectRig) chunks() (n int) {
	sn := r.store.Snapshot()
	defer sn.Close()
	it := sn.Iter(0, nil)
	defer it.Close()
	for it.Next() {
		if item.IsChunk(it.Key()) {
			n++
		}
	}
	return n
}

// What is listed stays, however long; what was replaced goes soon, also where it has
// more chunks than one look collects; what was never listed goes when nobody can be
// at it any more.
func TestCollecting(t *testing.T) {
	const n = 2*collectKeys + 300
	r := newCollectRig(t)
	r.round()
	r.send("k", 1, n)
	r.list("k", 1, n)
	r.send("other", 2, 3)
	for range 5 {
		r.round()
		r.pass(2 * time.Minute)
	}
	r.put("k", "small", 0)
	r.acked()
	if c := r.chunks(); c != n+1+4 {
		t.Fatalf("%d chunks, want %d", c, n+5)
	}
	r.round() // sees that it is unlisted
	r.pass(replacedGrace + time.Second)
	if looks := r.round(); looks > 5 {
		t.Errorf("%d looks", looks)
	}
	if c := r.chunks(); c > 4 {
		t.Errorf("%d chunks of a value that was replaced are left", c-4)
	}
	r.pass(unlistedGrace)
	r.round()
	if c := r.chunks(); c != 0 {
		t.Errorf("%d chunks of an upload that was given up are left", c)
	}
	// Nothing is kept of what is gone, and nobody looks any more.
	r.pass(unlistedGrace)
	r.round()
	r.round()
	if looks := r.round(); looks != 0 {
		t.Errorf("%d looks where there is nothing", looks)
	}
}

// A value that is replaced during the first look of a primary is not forgotten.
func TestReplacedDuringTheFirstLook(t *testing.T) {
	r := newCollectRig(t)
	r.send("k", 1, 3)
	r.list("k", 1, 3)
	job, ok := r.s.pick()
	if !ok {
		t.Fatal("nothing to look at")
	}
	if err := r.s.look(&job); err != nil {
		t.Fatal(err)
	}
	r.put("k", "small", 0)
	r.acked()
	r.s.remove(&job)
	r.turn()
	for range 4 {
		r.round()
		r.pass(unlistedGrace)
	}
	if c := r.chunks(); c != 0 {
		t.Errorf("%d chunks are left", c)
	}
}

// While what was asked for is not done, for the other replica does not answer, the
// same is not asked for again.
func TestCollectingWaitsForAnswers(t *testing.T) {
	r := newCollectRig(t)
	r.round()
	r.send("k", 1, 2*collectKeys)
	r.pass(unlistedGrace + time.Second)
	r.round()
	r.pass(unlistedGrace + time.Second)
	before := r.replicas[0].Last()
	for range 5 {
		if job, ok := r.s.pick(); ok {
			if err := r.s.look(&job); err != nil {
				t.Fatal(err)
			}
			r.s.remove(&job)
			r.turn()
		}
	}
	if n := r.replicas[0].Last() - before; n == 0 || n > collectKeys+10 {
		t.Errorf("%d operations for %d chunks", n, collectKeys)
	}
	r.acked()
	r.round()
	r.round()
	if c := r.chunks(); c != 0 {
		t.Errorf("%d chunks are left", c)
	}
	if n := r.counters.collected.Load(); n != 2*collectKeys {
		t.Errorf("%d chunks are said to be collected", n)
	}
}

// A look does not see what is on its way into the store: what was noted of it must not be
// taken for looked at.
func TestReplacedWhileTheStoreIsSlow(t *testing.T) {
	r := newCollectRig(t)
	r.send("k", 1, 3)
	r.list("k", 1, 3)
	r.round()
	r.round()
	if job, ok := r.s.pick(); ok {
		t.Fatalf("to be looked at before anything happens: %+v", job)
	}
	r.glue.ask(&answers{}, item.OpSet, "k", "small")
	r.endTurn()
	if !r.commit.busy {
		t.Fatal("stored already")
	}
	job, ok := r.s.pick()
	if !ok {
		t.Fatal("nothing to look at")
	}
	looked := make(chan error, 1)
	go func() { looked <- r.s.look(&job) }()
	time.Sleep(20 * time.Millisecond)
	r.turn()
	if err := <-looked; err != nil {
		t.Fatal(err)
	}
	r.s.remove(&job)
	r.turn()
	r.acked()
	for range 4 {
		r.round()
		r.pass(unlistedGrace)
	}
	if c := r.chunks(); c != 0 {
		t.Errorf("%d chunks are left", c)
	}
}
