package replica

import (
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// R8 for what meta commands write: a token is won once, by whoever's first try
// won it, also when the answer was lost with the primary.
func TestTokenIsWonOnce(t *testing.T) {
	r := newRig(t, A, B, C).active()
	g := r.gateway(A)
	get := item.Request{Op: item.OpMetaGet, Options: item.Win, Key: []byte("k")}
	viv := get
	viv.Options |= item.Vivify
	viv.VivifyExptime = 100
	viv.Key = []byte("new")
	r.do(A, set("k", "v"))
	_, res := g.do(item.Request{Op: item.OpDelete, Options: item.Invalidate, Key: []byte("k")})
	if res.Status != item.OK {
		t.Fatalf("%+v", res)
	}
	n, won := g.do(get)
	m, made := g.do(viv)
	if !won.Won || !won.Item.Stale || string(won.Item.Value) != "v" || !made.Won || made.Status != item.OK {
		t.Fatalf("%+v, %+v", won, made)
	}
	other := r.gateway(A)
	for _, q := range []item.Request{get, viv} {
		if _, res := other.do(q); res.Won || !res.Item.TokenSent {
			t.Errorf("the second to ask is answered %+v", res)
		}
	}
	r.failover(B, C)
	g.at, other.at = B, B
	if res := g.answer(g.retry(n)); !res.Won || !res.Item.Stale || string(res.Item.Value) != "v" {
		t.Errorf("a retry of who won is answered %+v", res)
	}
	if res := g.answer(g.retry(m)); !res.Won || res.Item.Value == nil {
		t.Errorf("a retry of who made the item is answered %+v", res)
	}
	if _, res := other.do(get); res.Won || !res.Item.TokenSent || !res.Item.Stale {
		t.Errorf("after the failover another is answered %+v", res)
	}
	r.sameTables(B, C)
}

// A plain read never writes: where it would have to, it says so and is no try.
func TestReadThatMustWrite(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "v"))
	q := item.Request{Op: item.OpGet, Options: item.Win, Key: []byte("k")}
	if res := r.do(A, q); res.Status != item.OK || res.Won {
		t.Fatalf("%+v", res)
	}
	r.do(A, item.Request{Op: item.OpDelete, Options: item.Invalidate, Key: []byte("k")})
	was := r.hosts[A].r.Last()
	if res := r.do(A, q); res.Status != item.MustWrite {
		t.Errorf("a stale item: %+v", res)
	}
	q.Options |= item.Vivify
	q.Key = []byte("none")
	if res := r.do(A, q); res.Status != item.MustWrite {
		t.Errorf("a miss that is to make the item: %+v", res)
	}
	if r.hosts[A].r.Last() != was {
		t.Error("something was ordered")
	}
	q.Options = 0
	q.Key = []byte("k")
	if res := r.do(A, q); res.Status != item.OK || string(res.Item.Value) != "v" {
		t.Errorf("a get that knows nothing of tokens: %+v", res)
	}
}

// A retry of an append is told the length that the first try made, and an explicit
// unique is repeated.
func TestRetryOfMetaSet(t *testing.T) {
	r := newRig(t, A, B).active()
	g := r.gateway(A)
	n, one := g.do(item.Request{Op: item.OpSet, Options: item.Explicit, Unique: 77, Key: []byte("k"), Value: []byte("abc")})
	m, two := g.do(item.Request{Op: item.OpAppend, Options: item.Explicit | item.Compare, CAS: 77, Unique: 78, Key: []byte("k"), Value: []byte("de")})
	if one.Item.CAS() != 77 || two.Item.CAS() != 78 || two.Size != 5 {
		t.Fatalf("%+v, %+v", one, two)
	}
	r.do(A, set("k", "else"))
	if res := g.answer(g.retry(n)); res.Item.CAS() != 77 || res.Status != item.OK {
		t.Errorf("%+v", res)
	}
	if res := g.answer(g.retry(m)); res.Item.CAS() != 78 || res.Size != 5 {
		t.Errorf("%+v", res)
	}
}

// h and l are the primary's own notes, and a read without u makes them.
func TestAccessNotes(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "v"))
	q := item.Request{Op: item.OpGet, Options: item.Win | item.NoBump, Key: []byte("k")}
	seen := func(options item.Option) item.Result {
		q.Options = options
		return r.do(A, q)
	}
	if res := seen(item.NoBump); res.Item.Fetched {
		t.Errorf("never asked for: %+v", res)
	}
	seen(item.NoBump)
	if res := seen(0); res.Item.Fetched {
		t.Errorf("asked for without a bump: %+v", res)
	}
	if res := seen(item.NoBump); !res.Item.Fetched || res.Item.Accessed == 0 {
		t.Errorf("asked for: %+v", res)
	}
	r.do(A, set("k", "w"))
	if res := seen(item.NoBump); res.Item.Fetched {
		t.Errorf("stored anew: %+v", res)
	}
}
