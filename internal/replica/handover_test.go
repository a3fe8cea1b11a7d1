package replica

import (
	"testing"

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
