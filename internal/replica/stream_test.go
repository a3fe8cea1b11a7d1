package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// R1, R2: a write is answered when every replica has stored it, not before.
func TestWriteCommitsWhenAllHaveStoredIt(t *testing.T) {
	for _, slow := range []clustermap.ServerID{A, B, C} {
		r := newRig(t, A, B, C).active()
		r.hosts[slow].slowDisk = true
		id := r.ask(A, set("k", "1"))
		r.run()
		r.unanswered(A, id)
		r.hosts[slow].slowDisk = false
		r.run()
		res := r.answered(A, id)
		if want := versionOf(1, part<<20+1); res.Status != item.OK || res.Item.CAS() != want {
			t.Errorf("answered %+v, should have the unique %d", res, want)
		}
		r.equal(A, B, C)
	}
}

// R1: operations of one turn go out in order, and one acknowledgement is enough.
func TestOperationsKeepTheirOrder(t *testing.T) {
	r := newRig(t, A, B, C).active()
	for _, v := range []string{"1", "2", "3"} {
		r.ask(A, set("k", v))
	}
	r.run()
	r.expect(A, "k", "3")
	r.equal(A, B, C)
}

// R2: a get of a key in flight waits until that is committed; one of another key does not.
func TestGetOfAKeyInFlightWaits(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "old"))
	r.do(A, set("other", "x"))
	r.hosts[B].slowDisk = true
	r.ask(A, set("k", "new"))
	of, other, failing := r.ask(A, get("k")), r.ask(A, get("other")), r.ask(A, add("k", "add"))
	r.run()
	r.unanswered(A, of)
	r.unanswered(A, failing)
	if res := r.answered(A, other); string(res.Item.Value) != "x" {
		t.Errorf("other is %q", res.Item.Value)
	}
	r.hosts[B].slowDisk = false
	r.run()
	if res := r.answered(A, of); string(res.Item.Value) != "new" {
		t.Errorf("k is %q", res.Item.Value)
	}
	if res := r.answered(A, failing); res.Status != item.NotStored {
		t.Errorf("add is answered %d", res.Status)
	}
}

// R5: without a lease from every replica nothing is answered that was not written.
func TestGetNeedsALeaseOfEveryReplica(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "1"))
	r.pass(LeaseLength)
	id, failing := r.ask(A, get("k")), r.ask(A, add("k", "2"))
	r.run()
	r.unanswered(A, id)
	r.unanswered(A, failing)
	if res := r.do(A, set("l", "1")); res.Status != item.OK {
		t.Error("a write needs no lease")
	}
	r.lose = func(p packet) bool { return p.from == C }
	r.leases()
	r.unanswered(A, id)
	r.lose = nil
	r.leases()
	if string(r.answered(A, id).Item.Value) != "1" || r.answered(A, failing).Status != item.NotStored {
		t.Error("wrong answers with a lease")
	}
}

// R5: a grant by a server whose map is newer than the holder's does not count.
func TestGrantUnderANewerMapDoesNotCount(t *testing.T) {
	l := NewLeases(0)
	l.SetMapVersion(4)
	l.Granted(B, 100, 5, 110)
	if l.Holds(B, 120) {
		t.Error("the grant counts")
	}
	l.SetMapVersion(5)
	l.Granted(B, 100, 5, 110)
	if !l.Holds(B, 120) || l.Holds(B, 100+held) {
		t.Error("the lease is not held from the request on")
	}
	if l.GrantedUntil(A) != granted {
		t.Error("a start does not count itself as having granted every lease")
	}
}

// R1: a repeated operation is acknowledged and not applied twice, one that does
// not follow is not taken, and the primary sends what is missing again.
func TestRepeatedAndGappedAppends(t *testing.T) {
	r := newRig(t, A, B).active()
	var appends []packet
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindAppend {
			appends = append(appends, p)
			return len(appends) == 1 // the first is lost
		}
		return false
	}
	one, two := r.ask(A, set("k", "1")), r.ask(A, set("k", "2"))
	r.run()
	r.unanswered(A, one)
	if len(r.hosts[B].store) != 0 {
		t.Error("an operation was taken that does not follow")
	}
	r.tick(400 * time.Millisecond)
	r.answered(A, one)
	r.answered(A, two)
	was := r.hosts[B].r.Last()
	acks := 0
	r.lose = func(p packet) bool {
		if p.msg.Kind == wire.KindAppendAck {
			acks++
		}
		return false
	}
	r.wires = append(r.wires, appends[0])
	r.run()
	if r.hosts[B].r.Last() != was || string(r.hosts[B].store["k"].Value) != "2" {
		t.Error("a repeated operation was applied twice")
	}
	if acks != 1 {
		t.Errorf("a repeated operation was acknowledged %d times", acks)
	}
}

// A backup whose disk is slow has what it was sent: it is asked, in a few bytes, and
// nothing is sent to it again.
func TestSlowBackupIsSentNothingAgain(t *testing.T) {
	r := newRig(t, A, B).active()
	r.hosts[B].slowDisk = true
	appends, queries := 0, 0
	r.lose = func(p packet) bool {
		switch p.msg.Kind {
		case wire.KindAppend:
			appends++
		case wire.KindAppendQuery:
			queries++
		}
		return false
	}
	const n = 20
	for i := range n {
		r.ask(A, set(fmt.Sprint("k", i), "v"))
	}
	r.tick(2500 * time.Millisecond)
	if appends != n || queries == 0 || queries > 10 {
		t.Errorf("%d operations were sent %d times, and asked about %d times", n, appends, queries)
	}
	if q := len(r.hosts[B].r.queue); q > n {
		t.Errorf("%d acknowledgements of %d operations wait", q, n)
	}
	r.hosts[B].slowDisk = false
	r.run()
	r.equal(A, B)
	// After a new connection nobody knows what arrived.
	r.hosts[B].slowDisk = true
	r.ask(A, set("k0", "w"))
	r.run()
	appends = 0
	a := r.hosts[A]
	a.r.PeerConnected(B, &a.fx)
	r.run()
	if appends != 1 {
		t.Errorf("the outstanding operation was sent %d times on a new connection", appends)
	}
}

// What a backup has not taken is sent again, in pieces: operations that came while
// it had no part in the epoch, and acknowledgements that were lost.
func TestGapIsFilledInPieces(t *testing.T) {
	r := newRig(t, A, B).active()
	b := r.hosts[B]
	lost := r.cfg()
	b.r.Adopt(View{Config: *lost, Whole: true}, &b.fx) // no member, for a moment
	big := strings.Repeat("v", maxResend/4)
	var requests []uint32
	for i := range 20 {
		requests = append(requests, r.ask(A, set(fmt.Sprint("k", i), big)))
	}
	r.run()
	r.give(B)
	sent, most, acks := 0, 0, 0
	r.lose = func(p packet) bool {
		switch p.msg.Kind {
		case wire.KindAppend:
			sent++
		case wire.KindAppendAck:
			acks++
			return acks == 1
		}
		return false
	}
	for range 30 {
		sent = 0
		r.tick(100 * time.Millisecond)
		most = max(most, sent)
	}
	for _, id := range requests {
		r.answered(A, id)
	}
	if most > 5 {
		t.Errorf("%d operations of %d bytes were sent at once", most, len(big))
	}
	r.equal(A, B)
}

// A read that was asked for in an earlier term as primary says nothing in a later one.
func TestReadOfAnEarlierTermIsNotHeeded(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "old"))
	clear(r.hosts[A].node.Values.(cache))
	r.hosts[A].slowReads = true
	r.ask(A, get("k"))
	stale := r.hosts[A].reads[0]
	old := r.hosts[A].store["k"]

	r.lead([]clustermap.ServerID{B, A})
	r.run()
	r.record()
	r.do(B, set("k", "new"))
	r.lead([]clustermap.ServerID{A, B})
	r.run()
	r.record()
	r.leases()
	id := r.ask(A, get("k"))
	h := r.hosts[A]
	h.r.ReadDone(&stale, []*item.Item{old}, nil, &h.fx)
	h.reads = h.reads[1:]
	h.slowReads = false
	r.run()
	if res := r.answered(A, id); string(res.Item.Value) != "new" {
		t.Errorf("k is %q", res.Item.Value)
	}
}

// A read that failed is never a miss: another member is to be asked, and where
// there is none the client is told.
func TestReadError(t *testing.T) {
	for _, replicas := range [][]clustermap.ServerID{{A}, {A, B}} {
		r := newRig(t, replicas...).active()
		r.do(A, set("k", "v"))
		h := r.hosts[A]
		clear(h.node.Values.(cache))
		h.slowReads = true
		id := r.ask(A, get("k"))
		h.r.ReadDone(&h.reads[0], nil, errors.New("bad disk"), &h.fx)
		h.reads, h.slowReads = nil, false
		r.run()
		reply := h.replies[id]
		switch refused := reply.Nak != nil && reply.Nak.Reason == wire.NakNotReady; {
		case len(replicas) == 1 && (reply.Nak != nil || reply.Result.Status != item.Failed):
			t.Errorf("alone: %+v", reply)
		case len(replicas) == 2 && !refused:
			t.Errorf("of two: %+v", reply)
		}
		if res := r.do(A, get("k")); string(res.Item.Value) != "v" {
			t.Errorf("k is %q afterwards", res.Item.Value)
		}
	}
}

// Requests of one key that the cache does not know are executed in order when it was read.
func TestRequestsWaitForTheStore(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("n", "5"))
	clear(r.hosts[A].node.Values.(cache))
	r.hosts[A].slowReads = true
	incr := item.Request{Op: item.OpIncr, Key: []byte("n"), Delta: 2}
	one, two, over, last := r.ask(A, incr), r.ask(A, incr), r.ask(A, set("n", "50")), r.ask(A, get("n"))
	r.run()
	r.unanswered(A, over)
	r.hosts[A].slowReads = false
	r.run()
	if a, b := r.answered(A, one).Number, r.answered(A, two).Number; a != 7 || b != 9 {
		t.Errorf("incr answered %d and %d", a, b)
	}
	if v := string(r.answered(A, last).Item.Value); v != "50" {
		t.Errorf("n is %q", v)
	}
}

// R10: only a get may be of an older epoch.
func TestRequestsOfOtherEpochs(t *testing.T) {
	r := newRig(t, A, B).active()
	r.refused(A, r.askAt(A, 0, set("k", "1")), wire.NakWrongEpoch)
	r.refused(A, r.askAt(A, 2, set("k", "1")), wire.NakNotReady)
	nak := r.refused(B, r.ask(B, get("k")), wire.NakWrongEpoch)
	if nak.Partition.Primary() != A {
		t.Error("the refusal does not tell the configuration")
	}
	r.answered(A, r.askAt(A, 0, get("k")))
}

// What was on its way to the store when the daemon removed the partition there
// comes to nothing: it must not hold up a later term as primary.
func TestForgetWithWritesOnTheirWay(t *testing.T) {
	r := newRig(t, A, B).active()
	r.hosts[B].slowDisk = true
	r.ask(A, set("k", "1"))
	r.run()
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A}, ids{A} })
	r.give()
	b := r.hosts[B]
	if len(b.batches) == 0 || !b.r.Forget() {
		t.Fatal("no write is on its way, or it may not be forgotten")
	}
	b.slowDisk = false
	r.run()
	clear(b.store)
	r.crash(A)
	r.pass(2 * LeaseLength)
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { // A is given up
		p.Replicas, p.LastKnown, p.Active = ids{B}, ids{B}, false
	})
	r.give(B)
	r.run()
	r.record()
	r.expect(B, "k", "")
	r.do(B, set("k", "2"))
	r.expect(B, "k", "2")
}
