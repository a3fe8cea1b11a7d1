package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/wire"
)

// join makes id a joiner and lets the join begin.
func (r *rig) join(id clustermap.ServerID) {
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Joining = ids{id} })
	r.give()
	r.run()
}

// promote makes a reported joiner a replica.
func (r *rig) promote(id clustermap.ServerID) {
	r.t.Helper()
	r.leases()
	if p := r.hosts[r.cfg().Primary()]; !slices.Contains(p.inSync, id) {
		r.t.Fatalf("%d was not reported in sync", id)
	}
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) {
		p.Joining = nil
		p.Replicas = append(slices.Clone(p.Replicas), id)
		p.LastKnown = p.Replicas
	})
	r.give()
	r.run()
	r.leases()
}

// modes notes how joiners are filled, and how many values that takes.
func (r *rig) modes() *[]wire.JoinMode {
	var list []wire.JoinMode
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindJoinStart {
			list = append(list, p.msg.Mode)
		}
		return false
	}
	return &list
}

func wantMode(t *testing.T, list *[]wire.JoinMode, mode wire.JoinMode) {
	t.Helper()
	if !slices.Equal(*list, []wire.JoinMode{mode}) {
		t.Errorf("joined in modes %v, should be %d", *list, mode)
	}
}

// R7: equal positions mean equal data.
func TestJoinEqual(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "1"))
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give()
	r.run()
	modes := r.modes()
	r.join(C)
	wantMode(t, modes, wire.JoinEqual)
	r.promote(C)
	r.do(A, set("k", "2"))
	r.equal(A, B, C)
}

// R7: one that was away briefly gets the keys that it missed, deletes too.
func TestJoinTail(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("gone", "1"))
	r.do(A, set("stays", "1"))
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give()
	r.run()
	r.leases()
	r.do(A, remove("gone"))
	r.do(A, set("new", "1"))
	modes := r.modes()
	r.join(C)
	wantMode(t, modes, wire.JoinTail)
	r.promote(C)
	r.equal(A, B, C)
}

// R7: a position that the primary's log does not know is compared by digests:
// what the primary sends replaces what the joiner has, whatever its version.
func TestJoinDigest(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "committed"))
	r.lose = func(p packet) bool { return p.to == B || p.to == A }
	r.ask(A, set("k", "undone")) // C has it, and no other survivor
	r.ask(A, set("l", "undone"))
	r.run()
	r.lose = nil
	r.crash(A)
	r.lead(ids{B}, B)
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	modes := r.modes()
	r.join(C)
	wantMode(t, modes, wire.JoinDigest)
	r.promote(C)
	r.equal(B, C)
	r.expect(B, "k", "committed")
}

// R6: live operations during the copy win over the snapshot, deletes too, and
// are not lost when the snapshot arrives late.
func TestLiveOperationsDuringTheCopy(t *testing.T) {
	r := newRig(t, A, B).active()
	for i := range 10 {
		r.do(A, set(fmt.Sprint("k", i), "old"))
	}
	a := r.hosts[A]
	a.slowCopies = true
	r.join(D)
	if len(a.copies) != 1 {
		t.Fatal("no copy was asked for")
	}
	// The snapshot, as of now.
	var values []wire.Value
	for k, it := range a.store {
		values = append(values, wire.Value{Key: k, Item: it})
	}
	r.do(A, remove("k1"))
	r.do(A, set("k2", "new"))
	r.do(A, set("k3", "x"))
	r.do(A, remove("k3"))
	r.do(A, set("other", "new"))
	d := r.hosts[D]
	c := a.copies[0]
	a.copies, a.slowCopies = nil, false
	if !d.r.Chunk(a.r.Config().Epoch, c.JoinID, values, &d.fx) {
		t.Fatal("the chunk was refused")
	}
	if !d.stored.Unfinished {
		t.Error("the store under a join is not marked unfinished")
	}
	r.run()
	a.r.CopyDone(&c, a.r.Last(), nil, &a.fx)
	r.run()
	r.promote(D)
	r.equal(A, B, D)
	if d.r.Chunk(a.r.Config().Epoch, c.JoinID, values, &d.fx) {
		t.Error("a chunk of a finished join was taken")
	}
}

// R2, R6: from the moment a joiner is counted every commit and every lease needs it.
func TestCountedJoinerIsNeeded(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.join(D)
	d := r.hosts[D]
	r.leases()
	if !slices.Contains(r.hosts[A].inSync, D) {
		t.Fatal("not reported")
	}
	d.slowDisk = true
	id := r.ask(A, set("k", "2"))
	r.run()
	r.unanswered(A, id)
	d.slowDisk = false
	r.run()
	r.answered(A, id)
	r.pass(LeaseLength)
	r.lose = func(p packet) bool { return p.from == D }
	r.leases()
	read := r.ask(A, get("k"))
	r.run()
	r.unanswered(A, read)
	// A newer epoch without it frees the primary.
	r.lose = nil
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Joining = nil })
	r.give()
	r.run()
	r.leases()
	r.answered(A, read)
}

// R6: a joiner that has not granted a lease is not counted, and does not hold writes up.
func TestJoinerWithoutLeaseIsNotCounted(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	// D's old leases of the rig's start are over.
	r.lose = func(p packet) bool { return p.from == D && p.msg.Kind == wire.KindNone }
	r.pass(2 * LeaseLength)
	r.leases()
	r.join(D)
	if slices.Contains(r.hosts[A].inSync, D) {
		t.Fatal("counted without a lease")
	}
	r.lose = nil
	r.tick(200 * time.Millisecond)
	r.promote(D)
	r.equal(A, B, D)
}

// R6: until the primary serves no store of a joiner is touched.
func TestJoinBeginsOnlyWhenThePrimaryServes(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Joining, p.Active = ids{D}, false })
	r.give()
	r.run()
	r.tick(500 * time.Millisecond)
	if d := r.hosts[D]; len(d.store) != 0 || d.r.Unfinished() {
		t.Fatal("the joiner's store was touched")
	}
	r.record()
	r.run()
	r.promote(D)
	r.equal(A, B, D)
}

// A join whose connection broke begins again, and what was copied stays.
func TestJoinBeginsAgain(t *testing.T) {
	r := newRig(t, A, B).active()
	for i := range 5 {
		r.do(A, set(fmt.Sprint("k", i), "1"))
	}
	a := r.hosts[A]
	a.slowCopies = true
	r.join(D)
	first := a.copies[0]
	a.r.PeerConnected(D, &a.fx)
	r.run()
	a.slowCopies = false
	r.tick(2 * time.Second)
	r.promote(D)
	r.equal(A, B, D)
	a.r.CopyDone(&first, a.r.Last(), nil, &a.fx) // the old copy's end changes nothing
	r.run()
	r.do(A, set("k0", "2"))
	r.equal(A, B, D)
}

// A join that has not begun cannot fail: connections that come while it waits, or
// while the joiner has not answered yet, do not put it off.
func TestNewConnectionsDoNotPutAJoinOff(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	a := r.hosts[A]
	r.lose = func(p packet) bool { return p.to == D } // it starts
	r.join(D)
	for range 6 { // a link that flaps
		a.r.PeerConnected(D, &a.fx)
		r.run()
	}
	r.lose = nil
	a.r.PeerConnected(D, &a.fx)
	r.run()
	r.promote(D)
	r.equal(A, B, D)

	// One that failed is not put off further.
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give()
	r.run()
	r.leases()
	a.slowCopies = true
	r.do(A, set("k", "2"))
	r.join(D)
	for range 6 {
		a.r.PeerConnected(D, &a.fx)
		r.run()
	}
	a.slowCopies = false
	r.tick(1200 * time.Millisecond)
	r.promote(D)
	r.equal(A, B, D)
}

// R6: a message of a join that is lost without its connection being so makes the
// join begin again.
func TestJoinStartLost(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	lost := false
	r.lose = func(p packet) bool {
		hit := p.msg.Kind == wire.KindJoinStart && !lost
		lost = lost || hit
		return hit
	}
	r.join(D)
	for range 80 {
		r.ask(A, set("k", "2"))
		r.tick(100 * time.Millisecond)
	}
	r.promote(D)
	r.equal(A, B, D)
}

// The daemon runs few joins at a time: a joiner that this primary alone does not
// reach, so that no manager cancels its join, must not keep the others waiting.
func TestSilentJoinerGivesItsSlotBack(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.lose = func(p packet) bool { return p.from == C || p.to == C }
	r.join(C)
	a := r.hosts[A]
	began, ended := 0, 0
	for range 100 {
		r.pass(100 * time.Millisecond)
		a.r.Tick(&a.fx)
		began, ended = began+len(a.fx.JoinsWanted), ended+len(a.fx.JoinsEnded)
		r.run()
	}
	if began == 0 || ended < began {
		t.Errorf("%d joins begun again, %d ended", began, ended)
	}
	r.lose = nil
	r.tick(30 * time.Second)
	r.promote(C)
	r.equal(A, B, C)
}

// R6: what is kept for a joiner is bounded; beyond the bound its join begins again.
func TestJoinBacklogIsBounded(t *testing.T) {
	r := newRig(t, A).active()
	r.do(A, set("k", "1"))
	r.join(D)
	big := string(make([]byte, maxJoinBacklog/4))
	a := r.hosts[A]
	// D is cut off before it is counted.
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Joining = nil })
	r.give()
	r.run()
	a.slowCopies = true
	r.do(A, set("k", "2"))
	r.join(D)
	r.lose = func(p packet) bool { return p.to == D && p.msg.Kind == wire.KindAppend }
	for range 8 {
		r.do(A, set("k", big))
	}
	kept := 0
	for i := range a.r.log.entries {
		if it := a.r.log.entries[i].item; it != nil {
			kept += len(it.Value)
		}
	}
	if kept > maxJoinBacklog+len(big) {
		t.Errorf("%d bytes are kept", kept)
	}
	r.lose = nil
	a.slowCopies = false
	r.tick(3 * time.Second)
	r.promote(D)
	r.equal(A, D)
}

// behind makes D a joiner of A and B whose copy has not come yet and that gets no operations.
func behind(t *testing.T) *rig {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.hosts[A].slowCopies = true
	r.join(D)
	r.lose = func(p packet) bool { return p.to == D && p.msg.Kind == wire.KindAppend }
	return r
}

// caughtUp lets D get what it missed, and makes it a replica.
func (r *rig) caughtUp() {
	r.t.Helper()
	r.lose, r.hosts[A].slowCopies = nil, false
	r.tick(10 * time.Second)
	r.promote(D)
	r.equal(A, B, D)
}

// What is not committed is kept for the others anyway: it says nothing about a joiner.
func TestBacklogOfOthersIsNotTheJoiners(t *testing.T) {
	r := behind(t)
	r.do(A, set("k", "2"))
	r.hosts[B].slowDisk = true
	big := string(make([]byte, 1<<20))
	for range 20 {
		r.ask(A, set("k", big))
		r.run()
	}
	if r.hosts[A].r.pri.peer(D).join.failures != 0 {
		t.Error("the join of one that is an operation behind began again")
	}
	r.hosts[B].slowDisk = false
	r.caughtUp()
}

// Operations without a value are kept too.
func TestBacklogOfRemoves(t *testing.T) {
	r := behind(t)
	key := strings.Repeat("k", 800)
	for range maxJoinBacklog / len(key) / 2 {
		r.do(A, add(key, "v"))
		r.do(A, remove(key))
	}
	if r.hosts[A].r.pri.peer(D).join.failures == 0 {
		t.Error("the join did not begin again")
	}
	r.caughtUp()
}
