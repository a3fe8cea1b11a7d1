package item

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

const (
	testNow     = 1_700_000_000
	testVersion = 77
)

// cur is the item of the tests below: its exptime and flags must show through
// where a command keeps them.
func cur(value string) *Item {
	return &Item{Version: 50, Flags: 9, Exptime: testNow + 100, Value: []byte(value)}
}

func TestExecute(t *testing.T) {
	set := func(op Op) Request {
		return Request{Op: op, Value: []byte("new"), Flags: 3, Exptime: 10}
	}
	put := &Item{Version: testVersion, Flags: 3, Exptime: testNow + 10, Value: []byte("new")}
	kept := func(value string) *Item {
		return &Item{Version: testVersion, Flags: 9, Exptime: testNow + 100, Value: []byte(value)}
	}
	cas := func(unique uint64) Request {
		r := set(OpCAS)
		r.CAS = unique
		return r
	}
	withUnique := func(unique uint64) *Item {
		it := cur("old")
		it.Unique = unique
		return it
	}

	for _, c := range []struct {
		name   string
		req    Request
		cur    *Item
		status Status
		effect Effect
		stored *Item // when effect is Put
		number uint64
	}{
		{"get miss", Request{Op: OpGet}, nil, NotFound, None, nil, 0},
		{"get hit", Request{Op: OpGet}, cur("old"), OK, None, nil, 0},
		{"set anew", set(OpSet), nil, OK, Put, put, 0},
		{"set again", set(OpSet), cur("old"), OK, Put, put, 0},
		{"add anew", set(OpAdd), nil, OK, Put, put, 0},
		{"add again", set(OpAdd), cur("old"), NotStored, None, nil, 0},
		{"replace anew", set(OpReplace), nil, NotStored, None, nil, 0},
		{"replace again", set(OpReplace), cur("old"), OK, Put, put, 0},
		{"cas miss", cas(50), nil, NotFound, None, nil, 0},
		{"cas hit", cas(50), cur("old"), OK, Put, put, 0},
		{"cas other", cas(49), cur("old"), Exists, None, nil, 0},
		{"cas 0", cas(0), cur("old"), Exists, None, nil, 0},
		{"cas own unique", cas(30), withUnique(30), OK, Put, put, 0},
		{"cas version where unique differs", cas(50), withUnique(30), Exists, None, nil, 0},
		{"append miss", set(OpAppend), nil, NotStored, None, nil, 0},
		{"append", set(OpAppend), cur("old"), OK, Put, kept("oldnew"), 0},
		{"append to own unique", set(OpAppend), withUnique(30), OK, Put, kept("oldnew"), 0},
		{"prepend miss", set(OpPrepend), nil, NotStored, None, nil, 0},
		{"prepend", set(OpPrepend), cur("old"), OK, Put, kept("newold"), 0},
		{"append up to the limit", Request{Op: OpAppend, Value: []byte("new"), MaxItemSize: 6}, cur("old"), OK, Put, kept("oldnew"), 0},
		{"append beyond it", Request{Op: OpAppend, Value: []byte("new"), MaxItemSize: 5}, cur("old"), TooLarge, None, nil, 0},
		{"prepend beyond it", Request{Op: OpPrepend, Value: []byte("new"), MaxItemSize: 5}, cur("old"), TooLarge, None, nil, 0},
		{"append beyond it, miss", Request{Op: OpAppend, Value: []byte("new"), MaxItemSize: 1}, nil, NotStored, None, nil, 0},
		{"incr miss", Request{Op: OpIncr, Delta: 1}, nil, NotFound, None, nil, 0},
		{"incr", Request{Op: OpIncr, Delta: 5}, cur("7"), OK, Put, kept("12"), 12},
		{"incr grows", Request{Op: OpIncr, Delta: 1}, cur("99"), OK, Put, kept("100"), 100},
		{"incr of padded", Request{Op: OpIncr, Delta: 1}, cur("9 "), OK, Put, kept("10"), 10},
		{"incr of wide", Request{Op: OpIncr, Delta: 1}, cur("9  "), OK, Put, kept("10 "), 10},
		{"incr wraps", Request{Op: OpIncr, Delta: 2}, cur("18446744073709551615"), OK, Put, kept("1                   "), 1},
		{"incr by most", Request{Op: OpIncr, Delta: math.MaxUint64}, cur("2"), OK, Put, kept("1"), 1},
		{"incr by 0", Request{Op: OpIncr}, cur("007"), OK, Put, kept("7  "), 7},
		{"incr of text", Request{Op: OpIncr, Delta: 1}, cur("x"), NonNumeric, None, nil, 0},
		{"incr of nothing", Request{Op: OpIncr, Delta: 1}, cur(""), NonNumeric, None, nil, 0},
		{"incr of spaces", Request{Op: OpIncr, Delta: 1}, cur("  "), NonNumeric, None, nil, 0},
		{"incr of negative", Request{Op: OpIncr, Delta: 1}, cur("-1"), NonNumeric, None, nil, 0},
		{"incr of 2^64", Request{Op: OpIncr, Delta: 1}, cur("18446744073709551616"), NonNumeric, None, nil, 0},
		{"incr of 21 digits", Request{Op: OpIncr, Delta: 1}, cur("100000000000000000000"), NonNumeric, None, nil, 0},
		{"incr of 21 digits with noughts", Request{Op: OpIncr, Delta: 1}, cur("000000000000000000001"), OK, Put, kept("2" + strings.Repeat(" ", 20)), 2},
		{"incr of number and letter", Request{Op: OpIncr, Delta: 1}, cur("1x"), NonNumeric, None, nil, 0},
		{"incr of number, space, letter", Request{Op: OpIncr, Delta: 1}, cur("1 x"), OK, Put, kept("2  "), 2},
		{"incr of number, zero byte, letter", Request{Op: OpIncr, Delta: 1}, cur("1\x00x"), OK, Put, kept("2  "), 2},
		{"incr of space and sign", Request{Op: OpIncr, Delta: 1}, cur(" +1"), OK, Put, kept("2  "), 2},
		{"decr miss", Request{Op: OpDecr, Delta: 1}, nil, NotFound, None, nil, 0},
		{"decr", Request{Op: OpDecr, Delta: 5}, cur("7"), OK, Put, kept("2"), 2},
		{"decr keeps the length", Request{Op: OpDecr, Delta: 1}, cur("10"), OK, Put, kept("9 "), 9},
		{"decr stops at 0", Request{Op: OpDecr, Delta: 11}, cur("10"), OK, Put, kept("0 "), 0},
		{"decr of text", Request{Op: OpDecr, Delta: 1}, cur("x"), NonNumeric, None, nil, 0},
		{"touch miss", Request{Op: OpTouch, Exptime: 5}, nil, NotFound, None, nil, 0},
		{"touch", Request{Op: OpTouch, Exptime: 5}, cur("old"), OK, Put,
			&Item{Version: testVersion, Unique: 50, Flags: 9, Exptime: testNow + 5, Value: []byte("old")}, 0},
		{"touch twice", Request{Op: OpTouch}, withUnique(30), OK, Put,
			&Item{Version: testVersion, Unique: 30, Flags: 9, Value: []byte("old")}, 0},
		{"gat miss", Request{Op: OpGetAndTouch, Exptime: 5}, nil, NotFound, None, nil, 0},
		{"gat", Request{Op: OpGetAndTouch, Exptime: -1}, cur("old"), OK, Put,
			&Item{Version: testVersion, Unique: 50, Flags: 9, Exptime: 1, Value: []byte("old")}, 0},
		{"delete miss", Request{Op: OpDelete}, nil, NotFound, None, nil, 0},
		{"delete", Request{Op: OpDelete}, cur("old"), OK, Remove, nil, 0},
		{"flush", Request{Op: OpFlush}, nil, Failed, None, nil, 0},
		{"open session", Request{Op: OpOpenSession}, nil, Failed, None, nil, 0},
		{"unknown", Request{Op: 200}, cur("old"), Failed, None, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := Item{}
			if c.cur != nil {
				before = *c.cur
				before.Value = bytes.Clone(c.cur.Value)
			}
			out := Execute(&c.req, c.cur, testNow, testVersion)
			if out.Result.Status != c.status || out.Effect != c.effect {
				t.Fatalf("status %d effect %d, want %d and %d", out.Result.Status, out.Effect, c.status, c.effect)
			}
			if c.cur != nil && !sameItem(*c.cur, before) {
				t.Fatalf("the current item became %+v", *c.cur)
			}
			if out.Result.Number != c.number {
				t.Errorf("number %d, want %d", out.Result.Number, c.number)
			}
			if c.effect == Put && !sameItem(out.New, *c.stored) {
				t.Errorf("stores %+v %q, want %+v %q", out.New, out.New.Value, *c.stored, c.stored.Value)
			}
			checkOutcome(t, &c.req, c.cur, testVersion, out)
		})
	}
}

// checkOutcome checks what holds of every outcome.
func checkOutcome(t *testing.T, req *Request, cur *Item, version uint64, out Outcome) {
	t.Helper()
	res := out.Result
	reads := req.Op == OpGet || req.Op == OpGetAndTouch
	if (res.Status == Failed) != (res.Message != "") {
		t.Errorf("status %d with message %q", res.Status, res.Message)
	}
	if res.Item.Value != nil && !(reads && res.Status == OK) {
		t.Errorf("an answer to operation %d carries a value", req.Op)
	}
	switch out.Effect {
	case None:
		if !sameItem(out.New, Item{}) {
			t.Errorf("nothing is written, yet New is %+v", out.New)
		}
		if res.Status == OK && req.Op != OpGet {
			t.Errorf("operation %d succeeds and writes nothing", req.Op)
		}
		if res.Status == OK && !sameItem(res.Item, *cur) {
			t.Errorf("get finds %+v, want %+v", res.Item, *cur)
		}
	case Put:
		want := out.New
		if !reads {
			want.Value = nil
		}
		if res.Status != OK || !sameItem(res.Item, want) {
			t.Errorf("stores %+v, answers %d with %+v", out.New, res.Status, res.Item)
		}
		if out.New.Version != version {
			t.Errorf("stores version %d, want %d", out.New.Version, version)
		}
		if touched := req.Op == OpTouch || req.Op == OpGetAndTouch; touched && out.New.CAS() != cur.CAS() {
			t.Errorf("a touch made the unique %d out of %d", out.New.CAS(), cur.CAS())
		} else if !touched && out.New.CAS() != version {
			t.Errorf("operation %d leaves unique %d, want %d", req.Op, out.New.CAS(), version)
		}
	case Remove:
		if req.Op != OpDelete || cur == nil || res.Status != OK || res.Item.Version != version || !sameItem(out.New, Item{}) {
			t.Errorf("operation %d removes: %+v", req.Op, out)
		}
	default:
		t.Errorf("effect %d", out.Effect)
	}
}

func TestResolveExptime(t *testing.T) {
	for _, c := range []struct{ exptime, want int64 }{
		{0, 0},
		{-1, 1},
		{math.MinInt64, 1},
		{1, testNow + 1},
		{2592000, testNow + 2592000},
		{2592001, 2592001},
		{testNow + 5, testNow + 5},
		{math.MaxInt64, math.MaxInt64},
	} {
		if got := ResolveExptime(c.exptime, testNow); got != c.want {
			t.Errorf("ResolveExptime(%d) = %d, want %d", c.exptime, got, c.want)
		}
		it := Item{Exptime: c.want}
		if gone := c.exptime < 0 || c.exptime == 2592001; it.Expired(testNow) != gone {
			t.Errorf("exptime %d: expired %v, want %v", c.exptime, !gone, gone)
		}
	}
}

func FuzzExecute(f *testing.F) {
	f.Add(byte(OpSet), []byte("v"), uint32(1), int64(5), uint64(2), uint64(3), uint32(0), true, []byte("old"), uint64(0), int64(testNow))
	f.Add(byte(OpIncr), []byte(nil), uint32(0), int64(0), uint64(0), uint64(9), uint32(0), true, []byte("  +1 "), uint64(6), int64(testNow))
	f.Add(byte(OpDecr), []byte(nil), uint32(0), int64(-1), uint64(0), uint64(9), uint32(8), false, []byte("10"), uint64(6), int64(1))
	f.Add(byte(OpGetAndTouch), []byte(nil), uint32(0), int64(-1), uint64(0), uint64(9), uint32(8), true, []byte("10"), uint64(6), int64(1))
	f.Fuzz(func(t *testing.T, op byte, value []byte, flags uint32, exptime int64, cas, delta uint64, limit uint32, hit bool, old []byte, unique uint64, now int64) {
		now = max(now&math.MaxInt64>>1, 1)
		req := Request{Op: Op(op), Value: value, Flags: flags, Exptime: exptime, CAS: cas, Delta: delta, MaxItemSize: limit}
		var cur *Item
		if hit {
			cur = &Item{Version: 5, Unique: unique, Flags: 7, Value: bytes.Clone(old)}
		}
		out := Execute(&req, cur, now, 6)
		checkOutcome(t, &req, cur, 6, out)
		if hit && !bytes.Equal(cur.Value, old) {
			t.Errorf("the current value became %q", cur.Value)
		}
		if out.Effect == Put && exptime < 0 && req.Op == OpSet && !out.New.Expired(now) {
			t.Errorf("a negative exptime is %d at %d, not expired", out.New.Exptime, now)
		}
		if out.Effect == Put && limit != 0 && (req.Op == OpAppend || req.Op == OpPrepend) && uint64(len(out.New.Value)) > uint64(limit) {
			t.Errorf("stores %d bytes, the limit is %d", len(out.New.Value), limit)
		}
	})
}
