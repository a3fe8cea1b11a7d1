package replica

import (
	"testing"

	"github.com/kumofs/kumofs/internal/wire"
)

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

// leaseTalk is A, which opened the connection, and B, who speak of leases.
type leaseTalk struct {
	a, b   *Leases
	ta, tb LeaseTalk
	said   int // messages
}

func (k *leaseTalk) deliver(m wire.Lease, toA bool, now int64) {
	k.said++
	to, t, from := k.b, &k.tb, A
	if toA {
		to, t, from = k.a, &k.ta, B
	}
	if answer, ok := to.Hear(t, from, m, now, now); ok {
		k.deliver(answer, !toA, now)
	}
}

func (k *leaseTalk) tick(now int64) {
	if m, ok := k.a.Talk(&k.ta, B, now); ok {
		k.deliver(m, false, now)
	}
	if m, ok := k.b.Talk(&k.tb, A, now); ok {
		k.deliver(m, true, now)
	}
}

// R5: both have leases as soon as they are connected, those that are used are renewed and
// never end, and nothing but a sign of life is sent when none is.
func TestLeasesAreRenewedWhileTheyAreUsed(t *testing.T) {
	k := &leaseTalk{a: NewLeases(1), b: NewLeases(1)}
	now := int64(1000)
	k.deliver(k.a.Begin(&k.ta, B, now), false, now)
	if !k.a.Holds(B, now) || !k.b.Holds(A, now) || k.said != 3 {
		t.Fatalf("after %d messages held: %v, %v", k.said, k.a.Holds(B, now), k.b.Holds(A, now))
	}
	step := int64(LeaseInterval)
	for range 20 { // A's alone is used
		if now += step; !k.a.Holds(B, now) {
			t.Fatal("a lease has ended that is used all the time")
		}
		k.tick(now)
	}
	if k.b.held[A].until > now {
		t.Error("a lease is renewed that nobody has used for three seconds")
	}
	k.tick(now + step)
	now += 2 * step
	k.said = 0
	for range 20 {
		now += step
		k.tick(now)
	}
	if k.said < 18 || k.said > 22 {
		t.Errorf("%d messages in 20 ticks without a need, want one by each at every second", k.said)
	}
	if n := int64(SilenceLimit); now-k.a.heard[B] > n/3 || now-k.b.heard[A] > n/3 {
		t.Error("who says nothing else is not heard")
	}
	if k.a.Holds(B, now) {
		t.Error("a lease is held that nobody asked for")
	}
	// Whoever needs it then has it at once, and does not ask again meanwhile.
	m, ok := k.a.Urge(&k.ta, B, now)
	if !ok {
		t.Fatal("not asked for")
	}
	if _, again := k.a.Urge(&k.ta, B, now+1); again {
		t.Error("asked twice at a time")
	}
	if k.deliver(m, false, now); !k.a.Holds(B, now) {
		t.Error("an urgent request is not answered at once")
	}
	if k.b.GrantedUntil(A) < now+granted {
		t.Error("what was granted is not noted")
	}
}

// A request is granted once, and only to the connection on which it came.
func TestRequestIsGrantedOnce(t *testing.T) {
	l := NewLeases(1)
	var old, young LeaseTalk
	l.Hear(&old, B, wire.Lease{Sent: 5}, 10, 10)
	l.Hear(&old, B, wire.Lease{Sent: 1 << 60}, 10, 10) // of a run of B whose clock was another
	if m, ok := l.Hear(&young, B, wire.Lease{}, 20, 20); !ok || m.Granted != 0 {
		t.Errorf("a new connection begins with %+v", m)
	}
	if m, ok := l.Talk(&old, B, 30); !ok || m.Granted != 1<<60 {
		t.Errorf("%+v", m)
	}
	if m, _ := l.Talk(&old, B, 30+int64(LeaseLength)); m.Granted != 0 {
		t.Errorf("granted twice: %+v", m)
	}
}
