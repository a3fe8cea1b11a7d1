package replica

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/planted"
)

// Leases (R5) are between servers, for all partitions at once. Times are in
// nanoseconds of a clock that counts suspended time (CLOCK_BOOTTIME).
const (
	// LeaseLength is L.
	LeaseLength = 500 * time.Millisecond
	// LeaseInterval is how often a holder asks.
	LeaseInterval = LeaseLength / 3
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

// Lease is until when the lease by one server is held; 0: there was none.
type Lease int64

// Holds tells whether it is held at now.
func (l *Lease) Holds(now int64) bool { return int64(*l) > now }

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
	*h = max(*h, Lease(sent+length))
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

// Silent is for how long nothing was heard of the server, counted from since at the earliest.
func (l *Leases) Silent(id clustermap.ServerID, since, now int64) int64 {
	return now - max(l.heard[id], since)
}
