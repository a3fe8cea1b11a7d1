package replica

import (
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// A planned change of primary answers what the old one had ordered: done if the
// new one has it, refused (and so repeated by the gateway) if not; whether the
// old one stays or leaves.
func TestHandOver(t *testing.T) {
	for _, next := range []ids{{B, A, C}, {B, C}} {
		for _, has := range []bool{true, false} {
			r := newRig(t, A, B, C).active()
			r.do(A, set("k", "0"))
			r.lose = func(p packet) bool {
				return p.from == B && p.to == A && p.msg.Kind == wire.KindAppendAck ||
					!has && p.to == B && p.msg.Kind == wire.KindAppend
			}
			ordered, waiting := r.ask(A, set("k", "1")), r.ask(A, get("k"))
			r.run()
			r.lose = nil
			r.lead(next)
			r.run()
			r.refused(A, waiting, wire.NakWrongEpoch)
			if _, early := r.hosts[A].replies[ordered]; early {
				t.Fatal("answered before the new epoch was recorded")
			}
			r.record()
			r.leases()
			if has {
				if res := r.answered(A, ordered); res.Status != item.OK {
					t.Errorf("%v: the write is answered %d", next, res.Status)
				}
			} else {
				r.refused(A, ordered, wire.NakWrongEpoch)
			}
			want := map[bool]string{true: "1", false: "0"}[has]
			if got := string(r.do(B, get("k")).Item.Value); got != want {
				t.Errorf("%v: the new primary has %q, want %q", next, got, want)
			}
		}
	}
}

// What waits for the store when the primary steps down is refused in an order of
// its own, not in a map's: the simulator's seeds replay.
func TestHandOverOrder(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.do(A, set("k", "0"))
	h := r.hosts[A]
	h.slowReads = true
	keyOf := map[uint32]string{}
	for _, k := range []string{"h", "b", "e", "a", "g", "c", "f", "d"} {
		keyOf[r.ask(A, get(k))] = k
	}
	r.lead(ids{B, C, A}, A)
	var keys string
	for _, reply := range h.fx.Replies {
		keys += keyOf[reply.Token.ID]
	}
	if keys != "abcdefgh" {
		t.Errorf("refused in the order %q", keys)
	}
}

// A successor that is replaced before its epoch is recorded leaves the fate unknown.
func TestHandOverInterrupted(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.from == B && p.to == A && p.msg.Kind == wire.KindAppendAck }
	ordered := r.ask(A, set("k", "1"))
	r.run()
	r.lead(ids{B, A, C})
	r.run()
	r.lead(ids{C, A})
	r.run()
	if res := r.answered(A, ordered); res.Status != item.FateUnknown {
		t.Errorf("it is answered %d", res.Status)
	}
}

// A configuration that jumps over an epoch leaves the fate unknown.
func TestHandOverUnseen(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.from == A || p.to == A }
	ordered := r.ask(A, set("k", "1"))
	r.run()
	r.lead(ids{B, A, C}, B, C)
	r.lead(ids{C, B, A}, B, C)
	r.run()
	r.give(A)
	r.run()
	if res := r.answered(A, ordered); res.Status != item.FateUnknown {
		t.Errorf("it is answered %d", res.Status)
	}
}

// The same where the old primary had not yet agreed with its members in an epoch
// that keeps Active (a joiner has become a replica) when it is told to hand over.
func TestHandOverBeforeAgreement(t *testing.T) {
	for _, has := range []bool{true, false} {
		r := newRig(t, A, B, C).active()
		r.do(A, set("k", "0"))
		r.lose = func(p packet) bool {
			return p.from == B && p.to == A && p.msg.Kind == wire.KindAppendAck ||
				!has && p.to == B && p.msg.Kind == wire.KindAppend
		}
		ordered := r.ask(A, set("k", "1"))
		r.run()
		r.lose = nil
		r.change(func(_ *clustermap.Map, p *clustermap.Partition) { p.Replicas, p.LastKnown = ids{A, B}, ids{A, B} }) // keeps Active
		r.hold = func(p packet) bool { return p.from == B && p.to == A }
		r.give()
		r.run()
		if r.hosts[A].r.Serving() {
			t.Fatal("it serves without agreement")
		}
		r.lead(ids{B, A})
		r.release(true)
		r.record()
		r.leases()
		if has {
			if res := r.answered(A, ordered); res.Status != item.OK {
				t.Errorf("the write is answered %d", res.Status)
			}
		} else {
			r.refused(A, ordered, wire.NakWrongEpoch)
		}
		want := map[bool]string{true: "1", false: "0"}[has]
		if got := string(r.do(B, get("k")).Item.Value); got != want {
			t.Errorf("the new primary has %q, want %q", got, want)
		}
	}
}

// A primary that was replaced because it accused all others, and is listed as
// joiner, learns what became of its writes too.
func TestHandOverOfReplaced(t *testing.T) {
	r := newRig(t, A, B, C).active()
	r.lose = func(p packet) bool { return p.to == A && p.msg.Kind == wire.KindAppendAck }
	ordered := r.ask(A, set("k", "1"))
	r.run()
	r.lose = nil
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) {
		p.Replicas, p.Joining, p.Active = ids{B, C}, ids{A}, false
	})
	r.give()
	r.run()
	r.record()
	if res := r.answered(A, ordered); res.Status != item.OK {
		t.Errorf("it is answered %d", res.Status)
	}
}
