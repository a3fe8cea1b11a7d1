package replica

import (
	"reflect"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// R8: a retry is answered what its first try was, by the same primary and by the next.
func TestRetryIsAnsweredTheSame(t *testing.T) {
	r := newRig(t, A, B, C).active()
	g := r.gateway(A)
	r.do(A, set("n", "5"))
	r.do(A, item.Request{Op: item.OpSet, Key: []byte("f"), Value: []byte("v"), Flags: 7})
	type done struct {
		number uint32
		res    item.Result
	}
	var all []done
	for _, q := range []item.Request{
		incr("n"), set("k", "1"), {Op: item.OpDelete, Key: []byte("k")}, {Op: item.OpTouch, Key: []byte("f"), Exptime: 100},
		{Op: item.OpAppend, Key: []byte("f"), Value: []byte("w")}, {Op: item.OpDecr, Key: []byte("n"), Delta: 2},
		{Op: item.OpGetAndTouch, Key: []byte("f"), Exptime: 200}, {Op: item.OpFlush, Exptime: 1000},
	} {
		number, res := g.do(q)
		if res.Status != item.OK {
			t.Fatalf("%+v: %+v", q, res)
		}
		all = append(all, done{number, res})
	}
	check := func() {
		t.Helper()
		was := r.hosts[g.at].r.Last()
		for _, d := range all {
			if res := g.answer(g.retry(d.number)); !reflect.DeepEqual(res, d.res) {
				t.Errorf("write %d was answered\n%+v, its retry\n%+v", d.number, d.res, res)
			}
		}
		if r.hosts[g.at].r.Last() != was {
			t.Error("a retry was ordered")
		}
	}
	check()
	r.failover(B, C)
	g.at = B
	check()
	r.sameTables(B, C)
}

// R8: a duplicate is answered when the write has committed, not before; and it
// is found at execution, however its request had to wait.
func TestDuplicateWaitsForCommit(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	r.hosts[B].slowDisk = true
	n, one := g.first(set("k", "1"))
	two := g.retry(n)
	r.run()
	r.unanswered(A, one)
	r.unanswered(A, two)
	r.hosts[B].slowDisk = false
	if a, b := g.answer(one), g.answer(two); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v and %+v", a, b)
	}

	r.do(A, set("n", "5"))
	clear(r.hosts[A].node.Values.(cache))
	r.hosts[A].slowReads = true
	n, one = g.first(incr("n")) // both wait for the store
	two = g.retry(n)
	r.run()
	r.hosts[A].slowReads = false
	if a, b := g.answer(one).Number, g.answer(two).Number; a != 6 || b != 6 {
		t.Errorf("numbers %d and %d", a, b)
	}
	r.expect(A, "n", "6")
}

// Duplicates that wait for activation.
func TestParkedDuplicates(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	r.do(A, set("n", "5"))
	r.lead(ids{B, A})
	g.at = B
	n, one := g.first(incr("n"))
	two := g.retry(n)
	r.run()
	r.unanswered(B, one)
	r.record()
	r.leases()
	if a, b := g.answer(one).Number, g.answer(two).Number; a != 6 || b != 6 {
		t.Errorf("numbers %d and %d", a, b)
	}
}

// H1: a retry that fails is recorded, so that the first try, coming late, fails too.
func TestFailedRetryIsRecorded(t *testing.T) {
	r := newRig(t, A, B, C).active()
	g := r.gateway(A)
	before := r.hosts[A].r.Last()
	n, res := g.do(incr("n")) // a first try: nothing is recorded
	if res.Status != item.NotFound || r.hosts[A].r.Last() != before {
		t.Fatalf("%+v", res)
	}
	if res := g.answer(g.retry(n)); res.Status != item.NotFound || r.hosts[A].r.Last() == before {
		t.Fatalf("%+v", res)
	}
	r.do(A, set("n", "1"))
	if res := g.answer(g.try(n, false)); res.Status != item.NotFound {
		t.Errorf("the first try, coming late, is answered %+v", res)
	}
	r.failover(B, C)
	g.at = B
	if res := g.answer(g.retry(n)); res.Status != item.NotFound {
		t.Errorf("after a failover: %+v", res)
	}
	r.expect(B, "n", "1")
	r.equal(B, C)
}

// R4, both directions: sessions of operations that only one of two has.
func TestSessionsAreReconciled(t *testing.T) {
	t.Run("forward", func(t *testing.T) {
		r := newRig(t, A, B, C).active()
		g := r.gateway(A)
		r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == C }
		n, _ := g.first(set("k", "1"))
		late := r.ask(A, item.Request{Op: item.OpOpenSession})
		r.run()
		r.unanswered(A, late)
		r.failover(B, C)
		r.sameTables(B, C)
		g.at = B
		was := r.hosts[B].r.Last()
		if res := g.answer(g.retry(n)); res.Status != item.OK || r.hosts[B].r.Last() != was {
			t.Errorf("%+v", res)
		}
		r.failover(C)
		g.at = C
		was = r.hosts[C].r.Last()
		if res := g.answer(g.retry(n)); res.Status != item.OK || r.hosts[C].r.Last() != was {
			t.Errorf("%+v", res)
		}
	})
	t.Run("undone", func(t *testing.T) {
		r := newRig(t, A, B, C).active()
		g := r.gateway(A)
		r.do(A, set("n", "5"))
		r.lose = func(p packet) bool { return p.msg.Kind == wire.KindAppend && p.to == B }
		n, _ := g.first(incr("n"))
		r.ask(A, item.Request{Op: item.OpOpenSession})
		r.run()
		r.failover(B, C)
		r.sameTables(B, C)
		if len(r.hosts[C].r.sessions.byID) != 1 {
			t.Error("a session whose opening was undone is known")
		}
		// C must not answer what was undone.
		r.failover(C)
		g.at = C
		if res := g.answer(g.retry(n)); res.Number != 6 || res.Item.Version != r.hosts[C].r.Last() {
			t.Errorf("%+v", res)
		}
		r.expect(C, "n", "6")
	})
}

// R6, H3: a joiner gets the whole table, and what happens meanwhile, in every mode.
func TestJoinerGetsTheTable(t *testing.T) {
	for _, fill := range []string{"equal", "digest"} {
		t.Run(fill, func(t *testing.T) {
			r := newRig(t, A, B).active()
			g := r.gateway(A)
			g.do(set("k", "1"))
			n, res := g.do(set("k", "2"))
			joiner := D
			if fill == "equal" {
				r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A}, ids{A} })
				r.give()
				r.run()
				r.start(B) // its memory is gone, its store is not
				joiner = B
			}
			r.join(joiner)
			m, live := g.do(set("k", "3"))
			r.promote(joiner)
			r.sameTables(A, joiner)
			r.lose = nil
			r.failover(joiner)
			g.at = joiner
			for number, want := range map[uint32]item.Result{n: res, m: live} {
				if got := g.answer(g.retry(number)); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, want %+v", got, want)
				}
			}
		})
	}
}

// Of an unknown session nothing is done; after a restart (R9) all are unknown.
func TestUnknownSession(t *testing.T) {
	r := newRig(t, A).active()
	g := r.gateway(A)
	n, _ := g.do(set("k", "1"))
	r.crash(A)
	r.change(func(m *clustermap.Map, p *clustermap.Partition) {
		m.Servers[0].Incarnation++
		p.Active = false
		p.Epoch++
	})
	r.start(A)
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	was := r.hosts[A].r.Last()
	g.numbers[n] = set("k", "2")
	r.refused(A, g.retry(n), wire.NakUnknownSession)
	_, id := g.first(set("k", "3"))
	r.refused(A, id, wire.NakUnknownSession)
	if r.hosts[A].r.Last() != was {
		t.Error("something was done")
	}
	r.expect(A, "k", "1")
	_, res := r.gateway(A).do(set("k", "4"))
	if res.Status != item.OK {
		t.Errorf("%+v", res)
	}
}

// A number below lowest is not executed, one too far ahead neither; results
// below lowest are let go of.
func TestNumbersOutOfBounds(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	for range 3000 {
		_, res := g.do(set("k", "1"))
		if res.Status != item.OK {
			t.Fatalf("%+v", res)
		}
		g.lowest = g.next
	}
	for _, id := range []clustermap.ServerID{A, B} {
		s := r.hosts[id].r.sessions.find(g.id)
		if len(s.results) != minResults || len(s.state().Results) != 2 {
			t.Errorf("server %d keeps %d results in %d places", id, len(s.state().Results), len(s.results))
		}
	}
	was := r.hosts[A].r.Last()
	if res := g.answer(g.retry(17)); res.Status != item.FateUnknown {
		t.Errorf("below lowest: %+v", res)
	}
	g.numbers[3000+wire.MaxOutstanding] = set("k", "ahead")
	r.refused(A, g.try(3000+wire.MaxOutstanding, false), wire.NakNotReady)
	if r.hosts[A].r.Last() != was {
		t.Error("something was done")
	}
	for range wire.MaxOutstanding - 1 { // as many as may be
		if _, res := g.do(set("k", "2")); res.Status != item.OK {
			t.Fatalf("%+v", res)
		}
	}
	if n := len(r.hosts[B].r.sessions.find(g.id).results); n != wire.MaxOutstanding {
		t.Errorf("%d places for results", n)
	}
	if res := g.answer(g.retry(3000)); res.Status != item.OK {
		t.Errorf("the lowest: %+v", res)
	}
	g.lowest = g.next
	for range 3 * wire.MaxOutstanding {
		g.do(set("k", "3"))
		g.lowest = g.next
	}
	if n := len(r.hosts[B].r.sessions.find(g.id).results); n > 64 {
		t.Errorf("%d places for results after the burst", n)
	}
	r.sameTables(A, B)
}

// gat reads its value anew.
func TestRetriedGetAndTouch(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	gat := item.Request{Op: item.OpGetAndTouch, Key: []byte("k"), Exptime: -1}
	r.do(A, set("k", "1"))
	n, first := g.do(gat) // the item has expired now, but no one has looked
	if res := g.answer(g.retry(n)); !reflect.DeepEqual(res, first) {
		t.Errorf("%+v, was %+v", res, first)
	}
	r.do(A, set("k", "2"))
	if res := g.answer(g.retry(n)); string(res.Item.Value) != "2" {
		t.Errorf("%+v", res)
	}
	r.do(A, remove("k"))
	if res := g.answer(g.retry(n)); res.Status != item.NotFound {
		t.Errorf("%+v", res)
	}
	r.do(A, item.Request{Op: item.OpSet, Key: []byte("k"), Value: []byte("x"), Exptime: -1})
	if res := g.answer(g.retry(n)); res.Status != item.NotFound {
		t.Errorf("%+v", res)
	}
	if _, there := r.hosts[B].store["k"]; there {
		t.Error("R11: an item was found expired and left there")
	}
}

// A session idle for ten minutes is ended everywhere, by an operation of the stream.
func TestIdleSessionEnds(t *testing.T) {
	r := newRig(t, A, B).active()
	idle, busy := r.gateway(A), r.gateway(A)
	n, _ := idle.do(set("k", "1"))
	for range 3 {
		r.pass(SessionIdle / 3)
		r.leases()
		r.tick(100 * time.Millisecond)
		busy.do(set("b", "1"))
	}
	r.pass(SessionIdle / 10)
	r.leases()
	r.tick(100 * time.Millisecond)
	r.sameTables(A, B)
	r.refused(A, idle.retry(n), wire.NakUnknownSession)
	if _, res := busy.do(set("b", "2")); res.Status != item.OK {
		t.Errorf("%+v", res)
	}
	// A new primary has not seen it yet, and counts from now.
	r.failover(B)
	r.tick(100 * time.Millisecond)
	busy.at = B
	if _, res := busy.do(set("b", "3")); res.Status != item.OK {
		t.Errorf("%+v", res)
	}
	r.pass(SessionIdle + SessionIdle/10)
	r.tick(100 * time.Millisecond)
	_, id := busy.first(set("b", "4"))
	r.refused(B, id, wire.NakUnknownSession)
}

// Who steps down tells the fate of duplicates neither.
func TestStepDownWithDuplicates(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	r.lose = func(p packet) bool { return p.from == A }
	n, one := g.first(set("k", "1"))
	two := g.retry(n)
	_, failed := g.first(incr("missing"))
	r.run()
	r.lose = nil
	r.lead(ids{B}, B)
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Joining = ids{A} })
	r.give(A) // over an epoch that it has not seen
	for _, id := range []uint32{one, two} {
		if res := g.answer(id); res.Status != item.FateUnknown {
			t.Errorf("%+v", res)
		}
	}
	if reply := r.hosts[A].replies[failed]; reply.Nak == nil && reply.Result.Status != item.NotFound {
		t.Errorf("%+v", reply)
	}
}
