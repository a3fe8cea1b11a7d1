package load

import (
	"strings"
	"testing"
	"time"
)

// TestJudge: the judge must find what it is for.
func TestJudge(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	set := func(v string, s Status, call, ret int) record {
		return record{client: 0, op: Op{Kind: Set, Key: "k", Value: v}, res: Result{Status: s}, call: ms(call), ret: ms(ret)}
	}
	get := func(v string, unique uint64, call, ret int) record {
		s := Done
		if v == "" {
			s = Missing
		}
		return record{client: 1, op: Op{Kind: Get, Key: "k"}, res: Result{Status: s, Value: v, Unique: unique}, call: ms(call), ret: ms(ret)}
	}
	del := func(s Status, call, ret int) record {
		return record{client: 0, op: Op{Kind: Delete, Key: "k"}, res: Result{Status: s}, call: ms(call), ret: ms(ret)}
	}
	add := func(v string, s Status, call, ret int) record {
		return record{client: 0, op: Op{Kind: Append, Key: "k", Value: v}, res: Result{Status: s}, call: ms(call), ret: ms(ret)}
	}
	for _, test := range []struct {
		name string
		h    []record
		bad  string
	}{
		{"plain", []record{set("a", Done, 0, 1), get("a", 1, 2, 3), del(Done, 4, 5), get("", 0, 6, 7)}, ""},
		{"lost", []record{set("a", Done, 0, 1), set("b", Done, 2, 3), get("a", 1, 4, 5)}, "not linearizable"},
		{"lost whole", []record{set("a", Done, 0, 1), get("", 0, 4, 5)}, "not linearizable"},
		{"resurrected", []record{set("a", Done, 0, 1), del(Done, 2, 3), get("a", 1, 4, 5)}, "not linearizable"},
		{"backwards", []record{set("a", Done, 0, 1), set("b", Unknown, 2, 3), get("b", 2, 4, 5), get("a", 1, 6, 7)}, "after one that ended"},
		{"unknown not done", []record{set("a", Done, 0, 1), set("b", Unknown, 2, 3), get("a", 1, 4, 5)}, ""},
		{"unknown done late", []record{set("a", Done, 0, 1), set("b", Unknown, 2, 3), get("a", 1, 4, 5), get("b", 2, 6, 7)}, ""},
		{"failed but done", []record{set("a", Done, 0, 1), set("b", Failed, 2, 3), get("b", 2, 4, 5)}, "not linearizable"},
		{"done twice", []record{set("a", Done, 0, 1), add("+", Done, 2, 3), get("a++", 2, 4, 5)}, "not linearizable"},
		{"two values", []record{set("a", Done, 0, 1), set("b", Done, 0, 1), get("a", 1, 4, 5), get("b", 1, 4, 5)}, "had the values"},
	} {
		l := &Load{}
		err := l.judge("k", test.h)
		if (err == nil) != (test.bad == "") || err != nil && !strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s: judged %v, want %q", test.name, err, test.bad)
		}
	}
}

// TestModel: what the longer list of commands may and may not do.
func TestModel(t *testing.T) {
	s := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	rec := func(at float64, op Op, res Result) record {
		op.Key = "k"
		return record{op: op, res: res, call: s(at), ret: s(at) + time.Millisecond}
	}
	done := Result{Status: Done}
	val := func(v string) Result { return Result{Status: Done, Value: v} }
	miss := Result{Status: Missing}
	long := func(at, took float64, op Op, res Result) record {
		r := rec(at, op, res)
		r.ret = s(at + took)
		return r
	}
	set := Op{Kind: Set, Value: "a"}
	gat := Op{Kind: GetTouch, Exptime: 2, Tag: 2}
	short := Op{Kind: Set, Value: "a", Exptime: 2, Tag: 1}
	get := Op{Kind: Get}
	for _, test := range []struct {
		name string
		h    []record
		bad  bool
	}{
		{"expired in time", []record{rec(0, short, done), rec(0.5, get, val("a")), rec(2.5, get, miss)}, false},
		{"expired too early", []record{rec(0, short, done), rec(0.5, get, miss)}, true},
		{"expired too late", []record{rec(0, short, done), rec(3.5, get, val("a"))}, true},
		{"came back", []record{rec(0, short, done), rec(1.5, get, miss), rec(2, get, val("a"))}, true},
		{"touched", []record{rec(0, short, done), rec(1, Op{Kind: Touch}, done), rec(9, get, val("a"))}, false},
		{"touched to expire", []record{rec(0, set, done), rec(1, Op{Kind: GetTouch, Exptime: 2, Tag: 2}, val("a")), rec(4.5, get, miss)}, false},
		{"touched by a first try, expired at the last", []record{rec(0, set, done), long(0.1, 3, gat, miss), long(0.2, 2.9, Op{Kind: Prepend, Value: "b"}, done), rec(3.2, get, miss)}, false},
		{"touched by a first try, set before the last", []record{rec(0, set, done), long(0.1, 3, gat, val("b")), rec(1, Op{Kind: Set, Value: "b"}, done), rec(9, get, val("b"))}, false},
		{"touched by the only try", []record{rec(0, set, done), rec(0.1, gat, miss), rec(3.2, get, miss)}, true},
		{"touched, expired too early", []record{rec(0, set, done), long(0.1, 0.5, gat, miss), rec(0.8, get, miss)}, true},
		{"written anew", []record{rec(0, short, done), rec(1, Op{Kind: Set, Value: "b"}, done), rec(9, get, miss)}, true},
		{"kept by append", []record{rec(0, short, done), rec(1, Op{Kind: Append, Value: "b"}, done), rec(9, get, val("ab"))}, true},
		{"flushed", []record{rec(0, set, done), rec(1, Op{Kind: FlushAll}, done), rec(2, get, miss)}, false},
		{"not flushed", []record{rec(0, set, done), rec(1, Op{Kind: FlushAll}, done), rec(2, get, val("a"))}, true},
		{"prepend", []record{rec(0, set, done), rec(1, Op{Kind: Prepend, Value: "b"}, done), rec(2, get, val("ba"))}, false},
		{"replace of nothing", []record{rec(0, Op{Kind: Replace, Value: "a"}, done)}, true},
		{"decr is padded", []record{rec(0, Op{Kind: Set, Value: "10"}, done), rec(1, Op{Kind: Decr}, val("9")), rec(2, get, val("9 ")), rec(3, Op{Kind: Incr}, val("10"))}, false},
		{"decr stops at 0", []record{rec(0, Op{Kind: Set, Value: "0"}, done), rec(1, Op{Kind: Decr}, val("0"))}, false},
		{"counted twice", []record{rec(0, Op{Kind: Set, Value: "1"}, done), rec(1, Op{Kind: Incr}, val("3"))}, true},
	} {
		if err := judge(value{}, test.h); (err != nil) != test.bad {
			t.Errorf("%s: judged %v", test.name, err)
		}
	}
}

// A flush that failed may have reached the key's partition, or not; but not after its end.
func TestMaybeFlushed(t *testing.T) {
	rec := func(at, took float64, op Op, res Result) record {
		op.Key = "k"
		return record{op: op, res: res, call: time.Duration(at * 1e9), ret: time.Duration((at + took) * 1e9)}
	}
	set := rec(0, 0.1, Op{Kind: Set, Value: "a"}, Result{Status: Done})
	found := func(at float64) record { return rec(at, 0.1, Op{Kind: Get}, Result{Status: Done, Value: "a"}) }
	missed := func(at float64) record { return rec(at, 0.1, Op{Kind: Get}, Result{Status: Missing}) }
	flush := func(at float64) record { return rec(at, 1, Op{Kind: FlushAll}, Result{Status: Done}) }
	for _, test := range []struct {
		name     string
		h, maybe []record
		bad      bool
	}{
		{"done", []record{set, missed(3)}, []record{flush(1)}, false},
		{"never done", []record{set, found(3)}, []record{flush(1)}, false},
		{"done in the middle", []record{set, found(1.2), missed(1.5)}, []record{flush(1)}, false},
		{"done after its end", []record{set, found(3), missed(4)}, []record{flush(1)}, true},
		{"one of two", []record{set, found(3), missed(6)}, []record{flush(1), flush(4)}, false},
		{"undone", []record{set, missed(2.5), found(3)}, []record{flush(1)}, true},
	} {
		if _, err := judgeFlushed(test.h, test.maybe); (err != nil) != test.bad {
			t.Errorf("%s: judged %v", test.name, err)
		}
	}
}
