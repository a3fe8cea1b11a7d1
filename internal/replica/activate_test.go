package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

type ids = []clustermap.ServerID

// R4: what only the new primary has is rolled forward.
func TestFailoverRollsForward(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "old"))
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.ask(A, set("k", "new"))
	r.ask(A, set("l", "new"))
	r.run()
	r.lose = nil
	r.crash(A)
	r.lead(ids{B, C}, B, C)
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	r.leases()
	r.equal(B, C)
	r.expect(B, "k", "new")
	r.expect(B, "l", "new")
}

// R4, the other direction: what only a backup has is undone.
func TestFailoverUndoes(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "old"))
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == B }
	r.ask(A, set("k", "new"))
	r.ask(A, set("l", "new"))
	r.ask(A, item.Request{Op: item.OpFlush})
	r.run()
	r.lose = nil
	r.crash(A)
	r.lead(ids{B, C}, B, C)
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	r.leases()
	r.equal(B, C)
	r.expect(B, "k", "old")
	r.expect(B, "l", "")
	if len(r.hosts[C].store) != 1 {
		t.Errorf("C has %v", keysOf(r.hosts[C]))
	}
}

// R4: both at once, a delete among them.
func TestRingsDifferBothWays(t *testing.T) {
	r := newRig(t, A, B, C).active()
	for _, k := range []string{"a", "b", "c"} {
		r.do(A, set(k, "1"))
	}
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.ask(A, remove("a"))
	r.run()
	r.lose = nil
	r.crash(A)
	// B alone knows of the delete, C leads, and orders something else before it dies.
	r.lead(ids{C, B}, C)
	r.pass(2 * LeaseLength)
	r.lead(ids{B, C}, B, C)
	r.tick(300 * time.Millisecond)
	r.record()
	r.leases()
	r.equal(B, C)
	r.expect(B, "a", "")
	r.expect(B, "b", "1")
}

// R5: a new primary reports only after the leases that it granted to the old one.
func TestNewPrimaryWaitsForLeases(t *testing.T) {
	start := func() *rig {
		r := newRig(t, A, B, C).active()
		r.lose = func(p packet) bool { return p.from == A || p.to == A }
		return r
	}
	t.Run("waits", func(t *testing.T) {
		r := start()
		r.lead(ids{B, C}, B, C)
		r.run()
		r.tick(400 * time.Millisecond)
		if len(r.hosts[B].activated) != 0 {
			t.Fatal("reported before the leases of the old primary ended")
		}
		r.tick(300 * time.Millisecond)
		r.record()
	})
	t.Run("old primary restarted", func(t *testing.T) {
		r := start()
		r.change(func(m *clustermap.Map, p *clustermap.Partition) {
			m.Servers[0].Incarnation++
			p.Replicas, p.Active = ids{B, C}, false
		})
		r.give(B, C)
		r.run()
		r.record()
	})
	t.Run("old primary acknowledged", func(t *testing.T) {
		r := newRig(t, A, B, C).active()
		r.lead(ids{B, C}, B, C)
		r.run()
		r.record()
	})
	t.Run("old primary stays backup", func(t *testing.T) {
		r := newRig(t, A, B, C).active()
		r.lead(ids{B, A, C}, B)
		r.run()
		r.record()
	})
	t.Run("same primary", func(t *testing.T) {
		r := newRig(t, A, B, C).active()
		r.lead(ids{A, B})
		r.run()
		r.record()
	})
}

// R3, R4: after a backup's removal at the primary's request it goes on when the
// rings agree, without a report, and an operation that waited for the removed
// one is answered.
func TestRemovalKeepsActive(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "0"))
	r.lose = func(p packet) bool { return p.to == C }
	id := r.ask(A, set("k", "1"))
	r.run()
	r.unanswered(A, id)
	for range 15 {
		r.tick(100 * time.Millisecond)
	}
	if got := r.hosts[A].accused; len(got) == 0 || !slices.Equal(got[0], ids{C}) {
		t.Fatalf("accused %v, should be C", got)
	}
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give(A, B)
	r.run()
	if !r.hosts[A].r.Serving() || len(r.hosts[A].activated) != 1 {
		t.Error("the primary should go on without a report")
	}
	r.answered(A, id)
	r.leases()
	r.expect(A, "k", "1")
	r.equal(A, B)
}

// R4: a primary that stays across epochs keeps its unacknowledged operations,
// and serves only in an epoch that is recorded.
func TestSamePrimaryAcrossEpochs(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend }
	id := r.ask(A, set("k", "1"))
	r.run()
	r.lead(ids{A, B}, A, B)
	r.run()
	r.equal(A, B)
	r.unanswered(A, id)
	if r.hosts[A].r.Serving() {
		t.Fatal("serves in an epoch that is not recorded")
	}
	parked := r.ask(A, get("k"))
	r.record()
	r.answered(A, id)
	r.leases()
	if string(r.answered(A, parked).Item.Value) != "1" {
		t.Error("the parked get is answered wrong")
	}
}

// R8: who steps down answers what it had ordered with an unknown fate; what was
// not ordered is refused and may be tried again.
func TestStepDownAnswers(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "0"))
	r.lose = func(p packet) bool { return p.from == B && p.to == A }
	ordered, waiting := r.ask(A, set("k", "1")), r.ask(A, get("k"))
	r.run()
	r.lead(ids{A, C}, A)
	r.run()
	parked := r.ask(A, set("l", "1"))
	r.lead(ids{C, B}, A)
	r.run()
	if res := r.answered(A, ordered); res.Status != item.FateUnknown {
		t.Errorf("the ordered one is answered %d", res.Status)
	}
	r.refused(A, waiting, wire.NakWrongEpoch)
	nak := r.refused(A, parked, wire.NakWrongEpoch)
	if nak.Partition.Primary() != C {
		t.Error("the refusal does not tell the new configuration")
	}
}

// Requests that come before the activation wait for it, a bounded number of them.
func TestParkedRequests(t *testing.T) {
	r := newRig(t, A, B)
	r.run()
	first := r.ask(A, set("k", "1"))
	second := r.ask(A, get("k"))
	for i := range maxParked - 2 {
		r.ask(A, set(fmt.Sprint(i), "1"))
	}
	r.refused(A, r.ask(A, get("k")), wire.NakNotReady)
	r.active()
	r.answered(A, first)
	if string(r.answered(A, second).Item.Value) != "1" {
		t.Error("the parked requests were not executed in order")
	}
}

// A primary goes on only when what it mended is in the other's store.
func TestReconcileMustBeStored(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.ask(A, set("k", "1"))
	r.run()
	r.crash(A)
	r.pass(2 * LeaseLength)
	c := r.hosts[C]
	r.lose = func(p packet) bool {
		c.slowDisk = c.slowDisk || p.msg.Kind == wire.KindReconcile
		return false
	}
	r.lead(ids{B, C}, B, C)
	r.run()
	r.tick(900 * time.Millisecond) // it asks again, and C answers nothing new
	if len(c.batches) == 0 || len(r.hosts[B].activated) > 0 {
		t.Fatalf("%d batches are to be stored, %d activations reported", len(c.batches), len(r.hosts[B].activated))
	}
	r.lose, c.slowDisk = nil, false
	r.run()
	r.record()
	r.equal(B, C)
}

// A resumed sole replica needs nobody.
func TestSoleReplica(t *testing.T) {
	r := newRig(t, A).active()
	r.do(A, set("k", "1"))
	r.pass(time.Hour)
	r.expect(A, "k", "1")
	r.crash(A)
	r.change(func(m *clustermap.Map, p *clustermap.Partition) {
		m.Servers[0].Incarnation++
		p.Epoch, p.Active = p.Epoch+1, false
	})
	r.start(A)
	r.active()
	r.expect(A, "k", "1")
	if res := r.do(A, set("k", "2")); res.Item.CAS() != versionOf(2, part<<20+2) {
		t.Errorf("the sequence began again: %x", res.Item.CAS())
	}
}

// R9: with the first who is silent for the limit, all who are silent for two
// thirds of it are accused; whom the manager holds dead at once.
func TestAccusation(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.from == C || p.to == C }
	r.tick(300 * time.Millisecond)
	r.lose = func(p packet) bool { return p.from != A || p.to != A }
	r.tick(600 * time.Millisecond)
	if len(r.hosts[A].accused) != 0 {
		t.Fatalf("accused %v too early", r.hosts[A].accused)
	}
	r.tick(300 * time.Millisecond)
	if got := r.hosts[A].accused; len(got) == 0 || !slices.Equal(got[0], ids{B, C}) {
		t.Errorf("accused %v", got)
	}
	a := r.hosts[A]
	a.accused = nil
	a.r.Dead(ids{C, D}, &a.fx)
	r.turn(a)
	if got := a.accused; len(got) != 1 || !slices.Equal(got[0], ids{C}) {
		t.Errorf("accused %v of those held dead", got)
	}
}

// A member's ring that arrives twice makes the primary read its values twice.
// The second reading may come back after it began to serve: its values are old then.
func TestReconcileReadAfterAgreementIsNotSent(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.ask(A, set("k", "1"))
	r.run()
	r.crash(A)
	r.pass(2 * LeaseLength)
	var ring packet
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindRing {
			ring = p
		}
		return false
	}
	r.lead(ids{B, C}, B, C)
	r.hold = func(p packet) bool { return p.msg.Kind == wire.KindReconcileAck }
	r.run()
	b := r.hosts[B]
	b.slowReads = true
	r.wires = append(r.wires, ring)
	r.run()
	if len(b.reads) != 1 {
		t.Fatal("the ring did not arrive twice")
	}
	r.release(true)
	r.record()
	r.leases()
	r.ask(B, set("k", "2"))
	r.run()
	b.reads[0].Keys = slices.Clone(b.reads[0].Keys)
	old := []*item.Item{{Version: 1, Value: []byte("1")}}
	b.r.ReadDone(&b.reads[0], old, nil, &b.fx)
	b.reads, b.slowReads = nil, false
	r.run()
	r.equal(B, C)
}

// A Reconcile that arrives after operations of its own epoch does not undo them.
func TestLateReconcileIsNotTaken(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.ask(A, set("k", "1"))
	r.run()
	r.crash(A)
	r.pass(2 * LeaseLength)
	var late packet
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindReconcile {
			late = p
		}
		return false
	}
	r.lead(ids{B, C}, B, C)
	r.run()
	r.record()
	r.do(B, set("k", "2"))
	r.wires = append(r.wires, late)
	r.run()
	r.equal(B, C)
}

// A primary that stood still itself accuses nobody of the silence of that time;
// a member that is heard but slow to store is waited for longer than a silent one.
func TestAccusationIsFair(t *testing.T) {
	r := newRig(t, A, B, C).active()
	a := r.hosts[A]
	a.node.Stalled += int64(5 * time.Second)
	r.pass(5 * time.Second)
	a.r.Tick(&a.fx) // before anything that came meanwhile is read
	r.turn(a)
	if len(a.accused) != 0 {
		t.Fatalf("accused %v after standing still", a.accused)
	}
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
	r.leases()
	r.ask(A, set("k", "1"))
	for range 5 {
		r.tick(500 * time.Millisecond)
		if len(a.accused) != 0 {
			t.Fatalf("accused %v although it is heard", a.accused)
		}
	}
	for range 2 {
		r.tick(500 * time.Millisecond)
	}
	if len(a.accused) == 0 || !slices.Equal(a.accused[0], ids{C}) {
		t.Errorf("accused %v of not storing for 3.5 s", a.accused)
	}
}

// R7: a store whose join is not finished has no position. Its last operation may be
// that of the primary while keys are missing: it is never taken as equal.
func TestUnfinishedBackupIsNotEqual(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} })
	r.give()
	r.run()
	r.leases()
	r.do(A, set("missed", "1"))
	r.hosts[A].slowCopies = true
	r.join(C) // it has the position, and not yet the key
	if c := r.hosts[C]; c.r.Last() != r.hosts[A].r.Last() || !c.r.Unfinished() {
		t.Fatalf("C is at %d, unfinished %v", c.r.Last(), c.r.Unfinished())
	}
	all := ids{A, B, C}
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown, p.Joining = all, all, nil })
	r.give()
	r.run()
	r.tick(3*SilenceLimit + 200*time.Millisecond) // it is heard, as one with a slow disk is
	if a := r.hosts[A]; len(a.accused) == 0 || !slices.Contains(a.accused[len(a.accused)-1], C) {
		t.Errorf("C is not accused: %v", a.accused)
	}
}

// A store whose join was never finished and that begins its partition, because all
// others are given up, is what the partition has from then on. Its position says so,
// and is no other store's: who comes with the one that it was to have is compared.
func TestUnfinishedStoreBegins(t *testing.T) {
	r := newRig(t, A)
	position := versionOf(1, part<<20+7)
	for _, id := range []clustermap.ServerID{A, D} {
		h := r.hosts[id]
		h.store["k"] = &item.Item{Version: position, Value: []byte("1")}
		h.stored = Stored{Version: position, Unfinished: id == A}
		r.start(id)
	}
	r.hosts[D].store["l"] = &item.Item{Version: position - 1, Value: []byte("1")} // A never got it
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Epoch = 2 })
	r.give()
	r.run()
	if !r.hosts[A].stored.Unfinished {
		t.Error("finished before the epoch is recorded")
	}
	r.active()
	if a := r.hosts[A].stored; a.Unfinished || a.Version == position {
		t.Errorf("the position is %+v", a)
	}
	r.join(D)
	r.promote(D)
	r.do(A, set("m", "2"))
	r.equal(A, D)
}

// What members need of a primary may be more than one message is to hold. Then they
// go, and come back as joiners; one at a time, so that the primary stays.
func TestReconcileTooLong(t *testing.T) {
	r := newRig(t, A, B, C).active()
	a := r.hosts[A]
	a.node.MaxReconcile = 100
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend }
	big := strings.Repeat("v", 60)
	r.ask(A, set("k", big))
	r.ask(A, set("l", big))
	r.run()
	sent := 0
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindReconcile {
			sent++
		}
		return false
	}
	for left := (ids{C, B}); len(left) > 0; {
		a.accused = nil
		r.lead(append(ids{A}, left...))
		r.run()
		if len(a.accused) == 0 {
			t.Fatal("nobody is accused")
		}
		gone := a.accused[0][0]
		a.slowReads = true
		for _, id := range left { // it is said again, and nothing is read for it
			a.r.PeerConnected(id, &a.fx)
		}
		r.tick(3 * time.Second)
		for _, list := range a.accused {
			if !slices.Equal(list, ids{gone}) {
				t.Fatalf("accused %v in one epoch", a.accused)
			}
		}
		if len(a.accused) < 5 || len(a.reads) > 0 {
			t.Errorf("accused %d times; %d reads", len(a.accused), len(a.reads))
		}
		a.slowReads = false
		left = clustermap.Without(left, gone)
	}
	r.lead(ids{A})
	r.run()
	if sent > 0 {
		t.Errorf("%d messages that are too long were sent", sent)
	}
	r.record()
	r.expect(A, "k", big)
	for _, id := range (ids{B, C}) {
		r.join(id)
		r.promote(id)
	}
	r.equal(A, B, C)
	// The same need, within the bound.
	r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == B }
	r.ask(A, set("k", "short"))
	r.run()
	r.lose = nil
	r.lead(ids{A, C, B})
	r.run()
	r.record()
	r.equal(A, B, C)
}

// The same in the run in which the join was under way: what its stream brought is no
// history of this store, in which another's position could be looked up.
func TestUnfinishedJoinerBegins(t *testing.T) {
	r := newRig(t, A).active()
	r.do(A, set("k", "1"))
	r.do(A, set("l", "1"))
	r.hosts[A].slowCopies = true
	r.join(D) // it has the position, and no key
	if d := r.hosts[D]; !d.r.Unfinished() || d.r.Last() != r.hosts[A].r.Last() {
		t.Fatalf("D is at %d, unfinished %v", d.r.Last(), d.r.Unfinished())
	}
	r.crash(A)
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) {
		p.Replicas, p.LastKnown, p.Joining, p.Active = ids{D}, ids{D}, nil, false
	})
	r.give()
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	r.start(A)
	modes := r.modes()
	r.join(A)
	r.tick(300 * time.Millisecond)
	wantMode(t, modes, wire.JoinDigest)
	r.promote(A)
	r.equal(A, D)
}
