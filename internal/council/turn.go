package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/planted"
)

// turn is one look at the map: what is known of each server, and the delta that
// is being put together.
type turn struct {
	c     *Council
	now   int64
	m     *clustermap.Map
	about map[ID]*standing
	// calm: every attached server is live and stays, and no disk hangs, so that most partitions
	// need not be looked at member by member.
	calm bool
	// ill are those that are not live, that leave, or whose disks hang. Mostly there are none or
	// few, and a list is looked through sooner than about.
	ill []ID

	returned map[ID]bool // fault servers that this turn makes active again

	set     map[ID]clustermap.Server // servers that change
	changes []clustermap.PartitionChange
	dead    map[ID]map[ID]bool // notices to primaries

	primaries map[ID]int  // see leads
	moving    int         // see mayMove
	counted   bool        // moving was counted
	promoted  bool        // a joiner becomes a replica
	verifying int         // partitions that full-replace may still take a copy from
	failures  map[ID]bool // whose joins failed in this turn
	learning  bool        // a lesson changes something
	worn      []uint16    // that have no further epoch, newly found
}

// standing is what a turn knows of one attached server.
type standing struct {
	srv *clustermap.Server // as the map has it, or as this turn sets it
	mem *member            // nil: not heard in this term
	// alive: heard lately. restarted: alive, in a later incarnation than the
	// map's, so that its roles are over (R3).
	alive, restarted bool
	// raised: this turn records the later incarnation.
	raised bool
	// live: may have a role: alive, active, in the map's incarnation.
	live bool
	// leaving: it is there, but wants to be rid of roles.
	leaving control.Leaving
	// hangs: its disk does; quits: it has said so for long enough to act on it.
	hangs, quits bool
	// lost: its roles are over or must be ended. A server that was not heard
	// since the election yet is neither live nor lost.
	lost bool
}

func (c *Council) newTurn(now int64) *turn {
	t := &turn{c: c, now: now, m: c.m, calm: true, about: make(map[ID]*standing, len(c.m.Servers)),
		returned: map[ID]bool{}, set: map[ID]clustermap.Server{}, dead: map[ID]map[ID]bool{},
		verifying: c.cfg.MaxVerify - len(c.verify.out), failures: map[ID]bool{}}
	standings := make([]standing, len(c.m.Servers))
	for i := range c.m.Servers {
		s := &c.m.Servers[i]
		standings[i] = standing{srv: s, mem: c.members[s.ID]}
		t.about[s.ID] = &standings[i]
		t.judge(s.ID)
		t.noteIll(s.ID)
	}
	t.calm = len(t.ill) == 0
	return t
}

func (t *turn) noteIll(id ID) {
	if st := t.about[id]; !st.live || st.hangs || st.leaving != control.Stays {
		t.ill = append(t.ill, id)
	}
}

// fewIll is how many of them are looked through one by one.
const fewIll = 8

// sound: an attached server is live and stays, and its disk does not hang. One that became so
// in this turn may not be sound yet.
func (t *turn) sound(id ID) bool {
	if len(t.ill) <= fewIll {
		return !slices.Contains(t.ill, id)
	}
	return t.live(id) && !t.hangs(id) && t.leaving(id) == control.Stays
}

// leads is of how many partitions each server is primary, by the map and this turn's
// changes, to spread failovers. It is counted when it is asked for: most turns have
// no failover.
func (t *turn) leads() map[ID]int {
	if t.primaries == nil {
		t.primaries = make(map[ID]int, len(t.about))
		for i := range t.m.Partitions {
			if p := &t.m.Partitions[i]; len(p.Replicas) > 0 {
				t.primaries[p.Replicas[0]]++
			}
		}
		for i := range t.changes {
			c := &t.changes[i]
			t.primaries[t.m.Partitions[c.Index].Primary()]--
			t.primaries[c.New.Primary()]++
		}
	}
	return t.primaries
}

// judge fills a standing from the server's state and when it was heard.
func (t *turn) judge(id ID) {
	st := t.about[id]
	st.alive = t.c.alive(t.now, id)
	st.restarted = st.alive && st.mem.reg.Incarnation > st.srv.Incarnation
	active := st.srv.State == clustermap.Active
	st.live = st.alive && active && !st.restarted
	if st.live {
		st.leaving = st.mem.leaving
	}
	st.hangs = st.live && st.mem.hangs(t.now)
	st.quits = st.hangs && t.now-st.mem.hangsSince >= hangsGrace
	st.lost = st.restarted || !active || t.c.dead(t.now, id)
}

// server is a copy to alter of a server as this turn leaves it.
func (t *turn) server(id ID) clustermap.Server {
	if s, ok := t.set[id]; ok {
		return s
	}
	return *t.about[id].srv
}

// put changes a server with this turn's delta.
func (t *turn) put(s clustermap.Server) {
	t.set[s.ID] = s
	t.about[s.ID].srv = &s
}

// add attaches a server with this turn's delta.
func (t *turn) add(s clustermap.Server) {
	t.about[s.ID] = &standing{srv: &s, mem: t.c.members[s.ID]}
	t.put(s)
	t.judge(s.ID)
	t.noteIll(s.ID)
}

func (t *turn) live(id ID) bool {
	st := t.about[id]
	return st != nil && st.live
}

func (t *turn) lost(id ID) bool {
	st := t.about[id]
	return st == nil || st.lost
}

func (t *turn) hangs(id ID) bool {
	st := t.about[id]
	return st != nil && st.hangs
}

func (t *turn) leaving(id ID) control.Leaving {
	if st := t.about[id]; st != nil {
		return st.leaving
	}
	return control.Stays
}

func (t *turn) raised(id ID) bool {
	st := t.about[id]
	return st != nil && st.raised
}

// change adds a partition's step to the delta.
func (t *turn) change(i uint16, oldEpoch uint32, np Partition) {
	if old := t.m.Partitions[i].Primary(); old != np.Primary() && t.primaries != nil {
		t.primaries[old]--
		t.primaries[np.Primary()]++
	}
	t.changes = append(t.changes, clustermap.PartitionChange{Index: i, OldEpoch: oldEpoch, New: np})
}

// delta is what the turn came to, or nil.
func (t *turn) delta() *clustermap.Delta {
	d := &clustermap.Delta{Base: t.m.Version, Partitions: t.changes}
	for _, s := range t.set {
		d.SetServers = append(d.SetServers, s)
	}
	slices.SortFunc(d.SetServers, func(a, b clustermap.Server) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if t.c.autoOn = t.c.autoOn && !t.m.AutoReplace; t.c.autoOn {
		on := true
		d.AutoReplace = &on
	}
	if len(d.SetServers)+len(d.Partitions) == 0 && d.AutoReplace == nil {
		return nil
	}
	return d
}

// notice tells primary that the manager holds id dead (R3).
func (t *turn) notice(primary, id ID) {
	if t.dead[primary] == nil {
		t.dead[primary] = map[ID]bool{}
	}
	t.dead[primary][id] = true
}

// settleFailures counts each server's failed rejoins of this turn once.
func (t *turn) settleFailures() {
	for id := range t.failures {
		if s := t.c.members[id]; s != nil {
			s.failed(t.now)
		}
	}
}

// kind of a step, as to what becomes of Active and LastKnown (R4).
type kind int

const (
	none kind = iota
	// keep: the primary stays and Replicas is unchanged or it asked for the change.
	keep
	// drop: the manager removed a backup; the primary stays.
	drop
	// newPrimary: another server leads; clears like drop.
	newPrimary
)

// next is p's next epoch with these roles. R4: only keep leaves Active, and
// LastKnown follows Replicas exactly while it does.
func next(p Partition, k kind, replicas, joining []ID) Partition {
	p.Epoch++
	p.Replicas, p.Joining = replicas, joining
	switch {
	case k == newPrimary && p.Active && planted.Is(planted.ActiveKeptAtFailover):
		p.LastPrimary, p.LastKnown = replicas[0], slices.Clone(replicas)
	case k == drop && p.Active && planted.Is(planted.ActiveKeptAtDrop):
	case k != keep:
		p.Active = false
	case p.Active:
		p.LastKnown = slices.Clone(replicas)
	}
	return p
}

// filter is the members of list for which ok holds, in a new slice.
func filter(list []ID, ok func(ID) bool) []ID {
	var out []ID
	for _, id := range list {
		if ok(id) {
			out = append(out, id)
		}
	}
	return out
}

// first is list with id moved to the front, in a new slice.
func first(id ID, list []ID) []ID {
	out := make([]ID, 1, len(list)+1)
	out[0] = id
	for _, x := range list {
		if x != id {
			out = append(out, x)
		}
	}
	return out
}
