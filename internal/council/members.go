package council

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// Registration is what a server says of itself, with its positions unpacked.
type Registration struct {
	control.Hello
	Positions []control.StorePosition
}

// Verdict answers a registration.
type Verdict struct {
	OK     bool
	Refuse control.Refuse
}

// member is a server heard in this term, attached or not.
type member struct {
	reg       Registration
	positions map[uint16]control.StorePosition
	// whole are the partitions of which it was a replica in this incarnation while they
	// were recorded active: whatever it said when it registered, it has all of them.
	whole    map[uint16]bool
	arrived  int64 // when this run first registered
	heard    int64
	broken   bool
	brokenAt int64
	// lost: "lost node" was said of it.
	lost bool
	// failures of rejoins, and when the next may begin (§5: 1, 2, 4 ... 30 s).
	failures  int
	failedAt  int64
	notBefore int64

	// hangsSince is when it first said that its disk hangs, hangsAt when last; 0: it
	// does not say so.
	hangsSince, hangsAt int64

	copiesLeft int
	copyBytes  uint64 // that it says it has sent
	counted    bool   // copyBytes is known

	// leaving is what it last said; releasedAt is when it was told that nothing more is
	// taken over from it, 0: never.
	leaving    control.Leaving
	releasedAt int64
	damaged    int    // control.Report.Damaged
	disk       string // control.Report.Disk
}

type refusal struct {
	at     int64
	since  int64 // when this run was first refused
	reg    Registration
	reason string
}

const (
	// hangsKept is how long a server that says that its disk hangs is believed.
	hangsKept = 2000
	// hangsGrace is how long such a server keeps its roles: where all disks hang at
	// once, the others say so by then, and nobody goes.
	hangsGrace     = 300
	refusalShown   = 10_000 // how long a refused server is shown
	lostKept       = 60_000 // how long a server that is not attached and gone is remembered
	failuresForgot = 60_000 // after so long without a failure the next rejoin is at once again
	rejoinFirst    = 1000
	rejoinMost     = 30_000
)

// Registered takes a server's registration, or refuses it (R10).
func (c *Council) Registered(now int64, r Registration) Verdict {
	v := c.check(now, r)
	if s := c.members[r.ID]; v.OK && s != nil && s.reg.Addr != r.Addr && c.alive(now, r.ID) {
		// Counting the incarnation up does not make a copied disk the store: the one that runs stays.
		v = Verdict{Refuse: control.Refuse{Fatal: true, Reason: fmt.Sprintf(
			"the store of %s (ID %s) is that of the server at %s, which is running: it is a copied disk; start this server with an empty store", r.Addr, r.ID, s.reg.Addr)}}
	}
	if !v.OK {
		since := now
		if old, ok := c.refused[r.ID]; ok && old.reg.RunID == r.RunID {
			since = old.since
		}
		c.refused[r.ID] = refusal{at: now, since: since, reg: r, reason: v.Refuse.Reason}
		return v
	}
	delete(c.refused, r.ID)
	old := c.members[r.ID]
	s := &member{reg: r, leaving: r.Leaving, arrived: now, heard: now, whole: map[uint16]bool{}, positions: make(map[uint16]control.StorePosition, len(r.Positions))}
	for _, p := range r.Positions {
		s.positions[p.Partition] = p
	}
	if old != nil {
		s.failures, s.failedAt, s.notBefore = old.failures, old.failedAt, old.notBefore
		if old.reg.Incarnation == r.Incarnation && c.alive(now, r.ID) {
			s.arrived = old.arrived
		}
		if old.reg.Incarnation == r.Incarnation && old.reg.RunID == r.RunID {
			for i := range old.whole {
				if !s.positions[i].Unfinished {
					s.whole[i] = true
				}
			}
		}
	}
	if old == nil && c.m.Server(r.ID) == nil || old != nil && old.lost {
		c.event("new node", r.Addr, r.ID, "")
	}
	c.members[r.ID] = s
	if srv := c.m.Server(r.ID); srv != nil && srv.Incarnation == r.Incarnation {
		for i := range c.m.Partitions {
			if p := &c.m.Partitions[i]; p.Active && clustermap.Contains(p.LastKnown, r.ID) {
				n := uint16(i)
				s.whole[n] = true
				if !slices.Contains(c.holders[n], r.ID) {
					c.holders[n] = append(slices.Clip(c.holders[n]), r.ID)
				}
			}
		}
	}
	return Verdict{OK: true}
}

// check keeps R10: whose registration is not taken, and why.
func (c *Council) check(now int64, r Registration) Verdict {
	no := func(fatal bool, format string, a ...any) Verdict {
		return Verdict{Refuse: control.Refuse{Fatal: fatal, Reason: fmt.Sprintf(format, a...)}}
	}
	switch {
	case r.ID == 0 || r.Incarnation == 0:
		return no(true, "the registration of %s has no server ID or no incarnation", r.Addr)
	case c.m.ClusterID == 0 && r.ClusterID != 0:
		return no(false, "the store of %s belongs to cluster %s, but this manager is blank and knows no cluster; "+
			"start the managers with the state directories that they had (kumo-manager -s), or, where those are lost, "+
			"rebuild them from the servers with: kumoctl ADDR recover", r.Addr, r.ClusterID)
	case r.ClusterID != 0 && r.ClusterID != c.m.ClusterID:
		return no(true, "the store of %s belongs to cluster %s, but this manager's cluster is %s", r.Addr, r.ClusterID, c.m.ClusterID)
	case r.ClusterID != 0 && r.KnownMap > c.m.Version:
		if c.outdated == "" && now-c.leadAt < c.cfg.FaultAfterElection {
			c.outdated = fmt.Sprintf("the server %s holds version %d of the map, this manager has version %d: its state is an old copy", r.Addr, r.KnownMap, c.m.Version)
			c.event("old state", r.Addr, r.ID, "nothing is decided by this manager any more: "+c.outdated)
		}
		return no(false, "the server %s holds version %d of the map of cluster %s, but this manager has version %d only: the manager's state is an old copy, "+
			"or was replaced by recover; stop it, and start the manager that the other servers follow", r.Addr, r.KnownMap, r.ClusterID, c.m.Version)
	case clustermap.Contains(c.m.Banned, r.ID):
		return no(true, "the store of %s (ID %s) was given up by --accept-loss and is banned; it may return only with an empty store", r.Addr, r.ID)
	}
	parts := len(c.m.Partitions)
	if c.m.ClusterID == 0 {
		parts = c.cfg.Partitions
	}
	for _, p := range r.Positions {
		if int(p.Partition) >= parts {
			return no(true, "the store of %s has a partition %d, but the cluster has only %d; it was made with another number of partitions", r.Addr, p.Partition, parts)
		}
	}
	var inc, run uint64
	if s := c.m.Server(r.ID); s != nil {
		inc, run = s.Incarnation, s.RunID
	} else if c.m.ClusterID != 0 && r.ClusterID == 0 && r.HasData {
		return no(false, "the store of %s holds pairs that belong to no cluster (a restored backup); attaching it to cluster %s would destroy them: "+
			"start a new cluster with it, or merge it with kumomergedb, or start this server with an empty store", r.Addr, c.m.ClusterID)
	}
	if s := c.members[r.ID]; s != nil && s.reg.Incarnation > inc {
		inc, run = s.reg.Incarnation, s.reg.RunID
	}
	switch {
	case r.Incarnation < inc:
		return no(true, "the store of %s (ID %s) is at incarnation %d, but incarnation %d has registered: it is a copied or rolled-back disk", r.Addr, r.ID, r.Incarnation, inc)
	case r.Incarnation == inc && r.RunID != run:
		return no(true, "the store of %s (ID %s) shows incarnation %d of another run: it is a copied or rolled-back disk", r.Addr, r.ID, r.Incarnation)
	case c.WantsMap(&r.Hello):
		return no(false, "partitions wait for what the server %s knows of them; its map is read first", r.Addr)
	}
	return Verdict{OK: true}
}

// Heard tells that a server that has registered lives.
func (c *Council) Heard(now int64, id ID) {
	if s := c.members[id]; s != nil {
		s.heard = now
		s.broken = false
		if s.lost {
			s.lost = false
			c.event("new node", s.reg.Addr, id, "")
		}
	}
}

// Broken tells that a server's connection broke and its port refuses: it is
// held dead at once (§5).
func (c *Council) Broken(now int64, id ID) {
	if s := c.members[id]; s != nil && !s.broken {
		s.broken, s.brokenAt = true, now
	}
}

// alive: heard within the silence limit, in this term.
func (c *Council) alive(now int64, id ID) bool {
	s := c.members[id]
	return s != nil && !s.broken && now-s.heard < c.cfg.Silence
}

// dead: held dead. One that was not heard since the election is neither alive
// nor dead until the silence limit has passed.
func (c *Council) dead(now int64, id ID) bool {
	if c.members[id] == nil {
		return now-c.leadAt >= c.cfg.Silence
	}
	return !c.alive(now, id)
}

// away tells whether a server has been away long enough to be marked fault (§5).
func (c *Council) away(now int64, id ID) bool {
	if !c.dead(now, id) {
		return false
	}
	s := c.members[id]
	switch {
	case s == nil:
		return now-c.leadAt >= c.cfg.FaultAfterElection
	case s.broken:
		return now-s.brokenAt >= c.cfg.Fault
	}
	return now-s.heard >= c.cfg.Fault
}

// ids are all members, in order.
func (c *Council) ids() []ID { return slices.Sorted(maps.Keys(c.members)) }

// says notes what a report says of the server's disk.
func (s *member) says(now int64, hangs bool) {
	switch {
	case !hangs:
		s.hangsSince, s.hangsAt = 0, 0
	case !s.hangs(now):
		s.hangsSince, s.hangsAt = now, now
	default:
		s.hangsAt = now
	}
}

func (s *member) hangs(now int64) bool { return s.hangsAt != 0 && now-s.hangsAt < hangsKept }

// prune says who was lost and forgets servers that are gone and not attached.
func (c *Council) prune(now int64) {
	var away []ID
	for id := range c.members {
		if !c.alive(now, id) {
			away = append(away, id)
		}
	}
	slices.Sort(away)
	for _, id := range away {
		s := c.members[id]
		if !s.lost {
			s.lost = true
			c.event("lost node", s.reg.Addr, id, "")
		}
		if c.m.Server(id) == nil && now-s.heard > lostKept {
			delete(c.members, id)
		}
	}
	for id, r := range c.refused {
		if now-r.at > refusalShown {
			delete(c.refused, id)
		}
	}
}

// failed counts a rejoin that failed: the next waits (§5). What fails during that
// wait does not count again: it is the same trouble, told by another primary or
// of another partition.
func (s *member) failed(now int64) {
	if now < s.notBefore {
		return
	}
	if now-s.failedAt > failuresForgot {
		s.failures = 0
	}
	wait := int64(rejoinMost)
	if s.failures < 5 {
		wait = rejoinFirst << s.failures
	}
	s.failures++
	s.failedAt, s.notBefore = now, now+wait
}
