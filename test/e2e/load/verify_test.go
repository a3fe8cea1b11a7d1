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
