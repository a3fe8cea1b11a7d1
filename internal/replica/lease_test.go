package replica

import "testing"

// R5: a grant by a server with a newer map counts when this server has that map, and
// ends when it would have ended, had it come then.
func TestGrantBeforeTheMap(t *testing.T) {
	l := NewLeases(0)
	l.SetMapVersion(5)
	l.Granted(B, 1000, 7, 0)
	l.Granted(C, 1000, 6, 0)
	if l.Holds(B, 1001) || l.Holds(C, 1001) {
		t.Fatal("a grant counts before the map of its granter is here")
	}
	l.SetMapVersion(6)
	if l.Holds(C, 1001) {
		t.Fatal("a grant counts before the partitions have adopted the map")
	}
	if !l.Adopted() || !l.Holds(C, 1001) || l.Holds(B, 1001) {
		t.Fatal("map 6 is not looked at")
	}
	l.SetMapVersion(9)
	if !l.Adopted() || !l.Holds(B, 1000+held-1) || l.Holds(B, 1000+held) {
		t.Fatal("the lease does not end with its request's time")
	}
	if l.Adopted() {
		t.Error("it counts twice")
	}
	// Of many the newest are kept, and the newest that is due counts.
	for i := range int64(100) {
		l.Granted(D, 2000+i, 10+uint64(i)/50, 0)
	}
	l.SetMapVersion(11)
	if n := len(l.early[D]); n != maxEarly || !l.Adopted() || !l.Holds(D, 2099+held-1) || len(l.early) != 0 {
		t.Errorf("%d are kept, %v", n, l.early)
	}
}
