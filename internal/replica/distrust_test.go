package replica

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/wire"
)

// A copy that is counted on cannot be distrusted. One that is not is compared from its beginning when
// it joins, though its position is the newest; and it does not join before it may be trusted.
func TestDistrust(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "1"))
	r.do(A, set("l", "1"))
	for _, id := range []clustermap.ServerID{A, B, C} {
		if r.hosts[id].r.Distrust(&r.hosts[id].fx) {
			t.Fatalf("%d is counted on", id)
		}
	}
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give()
	r.run()
	c := r.hosts[C]
	if !c.r.Distrust(&c.fx) || !c.r.Distrusted() {
		t.Fatal("nobody counts on it")
	}
	r.run()
	if !c.stored.Unfinished {
		t.Fatalf("its store says %+v", c.stored)
	}
	list := r.modes()
	r.join(C)
	if len(*list) > 0 {
		t.Fatalf("joins in modes %v while something is being removed", *list)
	}
	delete(c.store, "k")
	c.r.Trust(&c.fx)
	for range 100 { // the primary gives up asking, and begins again
		r.tick(100 * time.Millisecond)
		if len(*list) > 0 {
			break
		}
	}
	wantMode(t, list, wire.JoinDigest)
	r.promote(C)
	r.equal(A, B, C)
}

// A join that is under way begins again; one that is at its end, of which others may know, is not disturbed.
func TestDistrustWhileJoining(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	c := r.hosts[C]
	r.hosts[A].slowCopies = true
	r.join(C)
	r.do(A, set("l", "2")) // live
	if !c.stored.Unfinished || c.store["l"] == nil {
		t.Fatalf("no join is under way: %+v", c.stored)
	}
	if !c.r.Distrust(&c.fx) {
		t.Fatal("its join is not at its end")
	}
	r.run()
	delete(c.store, "l")
	r.hosts[A].slowCopies = false
	r.run()
	c.r.Trust(&c.fx)
	for range 200 {
		r.tick(100 * time.Millisecond)
		if len(r.hosts[A].inSync) > 0 {
			break
		}
	}
	if c.r.Distrust(&c.fx) {
		t.Fatal("its join is at its end")
	}
	r.promote(C)
	r.equal(A, B, C)
}
