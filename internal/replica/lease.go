package replica

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// Leases (R5) are between servers, for all partitions at once. Times are in
// nanoseconds of a clock that counts suspended time (CLOCK_BOOTTIME).
const (
	// LeaseLength is L.
	LeaseLength = 500 * time.Millisecond
	// LeaseInterval is how often servers talk of leases that are in use: each asks for
	// one, and grants what the other has asked for since. So a grant is of a request that is
	// up to this old, and another comes after as long again; the rest of the lease is
	// for delays. Who needs one and has none asks at once (Urge).
	LeaseInterval = LeaseLength / 3
	// keepAlive is for how long a server says nothing that has nothing to say: it is
	// heard well within SilenceLimit, and at every second tick at the latest.
	keepAlive = LeaseInterval * 3 / 2
	// urgeInterval is how soon an urgent request is repeated.
	urgeInterval = int64(10 * time.Millisecond)
	// A granter counts 5 % more and a holder 5 % less: clocks may drift apart by
	// up to 10 % within one lease.
	granted = int64(LeaseLength) * 105 / 100
	held    = int64(LeaseLength) * 95 / 100
)

// Leases is one server's side of all leases. Not safe for concurrent use.
type Leases struct {
	boot       int64
	mapVersion uint64
	granted    map[clustermap.ServerID]int64
	held       map[clustermap.ServerID]*Lease
	heard      map[clustermap.ServerID]int64
	// early are grants whose granter had a newer map than this server. While servers
	// join the map has tens of versions a second, and there may be few others.
	early map[clustermap.ServerID][]earlyGrant
}

// Lease is the one by one server.
type Lease struct {
	until int64 // 0: there was none
	used  bool  // it was asked about since it was last asked for
}

// Holds tells whether it is held at now. Whoever asks needs it: it is renewed.
func (l *Lease) Holds(now int64) bool {
	l.used = true
	return l.until > now
}

// earlyGrant is one that counts once this server has that map, as if it came then.
type earlyGrant struct {
	sent       int64
	mapVersion uint64
}

// maxEarly is how many are kept of one granter, the newest.
const maxEarly = 4

// NewLeases starts a server's leases at now: it counts itself as having granted
// every lease (R5: it may have, in its last run).
func NewLeases(now int64) *Leases {
	return &Leases{
		boot:    now,
		granted: map[clustermap.ServerID]int64{},
		held:    map[clustermap.ServerID]*Lease{},
		heard:   map[clustermap.ServerID]int64{},
		early:   map[clustermap.ServerID][]earlyGrant{},
	}
}

// SetMapVersion is told of every map before any partition adopts it: grants
// made from now on carry the new version.
func (l *Leases) SetMapVersion(v uint64) { l.mapVersion = v }

// LeaseTalk is one side of a connection on which two servers ask each other for
// leases. It is as old as the connection: requests of an earlier run of the other server,
// whose clock may have been another, are not granted to this one.
type LeaseTalk struct {
	asked int64 // the other's last request, not granted yet; 0: none
	begun bool  // the other has spoken
	said  int64 // when this side spoke last
	urged int64 // when it did so urgently
}

// Begin is what the server that opened the connection says first.
func (l *Leases) Begin(t *LeaseTalk, to clustermap.ServerID, now int64) wire.Lease {
	return l.say(t, to, now)
}

// Talk is what a server says at a tick to the one at the other end; ok is false if that is
// nothing. It asks for the lease if that was used since it last did (with thousands of
// servers most leases are not), and it grants what the other has asked for.
func (l *Leases) Talk(t *LeaseTalk, to clustermap.ServerID, now int64) (m wire.Lease, ok bool) {
	h := l.By(to)
	if !h.used && t.asked == 0 && now-t.said < int64(keepAlive) {
		return m, false
	}
	m = l.grantAsked(t, to, now)
	if h.used {
		h.used = false
		m.Sent = now
	}
	return m, true
}

// Urge is what a server says that needs a lease and has none: it is answered at once. ok
// is false if that was asked a moment ago.
func (l *Leases) Urge(t *LeaseTalk, to clustermap.ServerID, now int64) (m wire.Lease, ok bool) {
	if now-t.urged < urgeInterval {
		return m, false
	}
	t.urged = now
	m = l.say(t, to, now)
	m.Urgent = true
	return m, true
}

// Hear takes what the other has said, and returns what is to be answered at once, if
// anything is: the first is answered, so that both hold leases when a connection is new, and
// what is urgent.
func (l *Leases) Hear(t *LeaseTalk, from clustermap.ServerID, m wire.Lease, now, awake int64) (answer wire.Lease, ok bool) {
	l.heard[from] = awake
	if m.Granted != 0 {
		l.Granted(from, m.Granted, m.MapVersion, awake)
	}
	if m.Sent != 0 {
		t.asked = m.Sent
	}
	first := !t.begun
	t.begun = true
	switch {
	case first:
		return l.say(t, from, now), true
	case m.Urgent:
		return l.grantAsked(t, from, now), true
	}
	return answer, false
}

// say asks, and grants what was asked for.
func (l *Leases) say(t *LeaseTalk, to clustermap.ServerID, now int64) wire.Lease {
	m := l.grantAsked(t, to, now)
	m.Sent = now
	return m
}

func (l *Leases) grantAsked(t *LeaseTalk, to clustermap.ServerID, now int64) (m wire.Lease) {
	t.said = now
	if t.asked != 0 {
		m.Granted, t.asked = t.asked, 0
		m.MapVersion = l.Grant(to, now)
	}
	return m
}

// Grant answers a lease request of from: until when it is counted is noted
// first, then the map version that the grant carries is returned.
func (l *Leases) Grant(from clustermap.ServerID, now int64) (mapVersion uint64) {
	length := granted
	if planted.Is(planted.DriftTheWrongWay) {
		length = held
	}
	l.granted[from] = now + length
	return l.mapVersion
}

// Granted takes a grant by from of the request sent at sent (this server's
// clock); awake is Node.Awake, for Silent. It counts only if our map is at least as
// new as the granter's, or once it is (Adopted).
func (l *Leases) Granted(from clustermap.ServerID, sent int64, mapVersion uint64, awake int64) {
	l.heard[from] = awake
	if mapVersion > l.mapVersion && !planted.Is(planted.GrantsWithoutMap) {
		list := append(l.early[from], earlyGrant{sent, mapVersion})
		l.early[from] = list[max(0, len(list)-maxEarly):]
		return
	}
	l.hold(from, sent)
}

// Adopted is told when all partitions have adopted the map of SetMapVersion. It
// tells whether grants count now that came before.
func (l *Leases) Adopted() (any bool) {
	for from, list := range l.early {
		rest := list[:0]
		for _, g := range list {
			if g.mapVersion > l.mapVersion {
				rest = append(rest, g)
				continue
			}
			l.hold(from, g.sent)
			any = true
		}
		if l.early[from] = rest; len(rest) == 0 {
			delete(l.early, from)
		}
	}
	return any
}

// hold counts the lease that was asked for at sent.
func (l *Leases) hold(from clustermap.ServerID, sent int64) {
	length := held
	if planted.Is(planted.DriftTheWrongWay) {
		length = granted
	}
	h := l.By(from)
	h.until = max(h.until, sent+length)
}

// By is the lease by a server, now and later: whoever asks often keeps it.
func (l *Leases) By(id clustermap.ServerID) *Lease {
	h := l.held[id]
	if h == nil {
		h = new(Lease)
		l.held[id] = h
	}
	return h
}

// Holds tells whether a lease by the server is held at now.
func (l *Leases) Holds(by clustermap.ServerID, now int64) bool { return l.By(by).Holds(now) }

// GrantedUntil is when the last lease granted to the server has surely ended.
func (l *Leases) GrantedUntil(to clustermap.ServerID) int64 {
	if planted.Is(planted.GrantsForgottenAtBoot) {
		return l.granted[to]
	}
	return max(l.granted[to], l.boot+granted)
}

// Heard notes a sign of life of another server.
func (l *Leases) Heard(from clustermap.ServerID, awake int64) { l.heard[from] = awake }

// Silent is for how long nothing was heard of the server, counted from since at the earliest.
func (l *Leases) Silent(id clustermap.ServerID, since, now int64) int64 {
	return now - max(l.heard[id], since)
}
