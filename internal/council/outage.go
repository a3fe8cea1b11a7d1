package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/planted"
)

// outage is an unavailable partition: no replica has a role any more (R9).
type outage struct {
	since int64
	// there is since when a member of LastKnown that may resume is there; 0: none is.
	there int64
}

// markFaults marks servers that were away too long (§5). Sticky: only attach,
// or holding a last replica, makes one active again.
func (t *turn) markFaults() {
	for i := range t.m.Servers {
		s := &t.m.Servers[i]
		if s.State == clustermap.Active && t.c.away(t.now, s.ID) {
			f := t.server(s.ID)
			f.State = clustermap.Fault
			t.put(f)
			t.judge(s.ID)
		}
	}
}

// watchOutages keeps when partitions became unavailable, and makes a fault
// server that is back active again if it holds what no live replica holds (R9).
func (t *turn) watchOutages() {
	for i := range t.m.Partitions {
		p := &t.m.Partitions[i]
		n := uint16(i)
		if len(p.Replicas) > 0 && (t.calm || t.sound(p.Replicas[0])) || slices.ContainsFunc(p.Replicas, func(id ID) bool { return !t.lost(id) }) {
			if len(t.c.outage) > 0 {
				delete(t.c.outage, n)
			}
			continue
		}
		o := t.c.outage[n]
		if o == nil {
			o = &outage{since: t.now}
			t.c.outage[n] = o
		}
		if len(p.Awaited) > 0 {
			*o = outage{since: t.now} // the wait of R9 begins when all are known
		} else if len(t.candidates(n, p)) == 0 {
			o.there = 0
		} else if o.there == 0 {
			o.there = max(t.now, 1)
		}
		for _, id := range p.LastKnown {
			if st := t.about[id]; st != nil && st.alive && st.srv.State == clustermap.Fault {
				s := t.server(id)
				s.State = clustermap.Active
				t.put(s)
				t.judge(id)
				t.returned[id] = true
				t.c.event("server connected", s.Addr, id, "holds a partition's last replica: active again")
			}
		}
	}
}

// candidates are the members of LastKnown that are there with a store that may
// resume partition i: one whose join is unfinished never may (R9).
func (t *turn) candidates(i uint16, p *Partition) []ID {
	return filter(p.LastKnown, func(id ID) bool {
		st := t.about[id]
		if st == nil || !st.alive || clustermap.Contains(t.m.Banned, id) {
			return false
		}
		return !t.unfinished(i, p, id) || planted.Is(planted.UnfinishedResumes)
	})
}

// unfinished: a join into id's store of partition i is not complete. What it said is
// as of its registration: a replica of the map's own incarnation has finished since.
func (t *turn) unfinished(i uint16, p *Partition, id ID) bool {
	st := t.about[id]
	done := !st.restarted && (slices.Contains(p.Replicas, id) || st.mem.whole[i])
	return st.mem.positions[i].Unfinished && !done
}

// uncertain: the tail of the store may be lost with the machine's power. One that was
// a recorded replica of the partition in this very incarnation is certain again.
func (t *turn) uncertain(i uint16, p *Partition, id ID) bool {
	st := t.about[id]
	return st.mem.reg.Uncertain && (st.restarted || !p.Active && !st.mem.whole[i]) && !planted.Is(planted.UncertainResumes)
}

// resumer is who resumes unavailable partition i, or 0, and whether the time to
// decide it has come: when all of LastKnown are back, or ResumeWait after it is
// unavailable and one is there; the most advanced; an uncertain one only when
// all are back (R9), those with an unfinished store too: such a one lost the end
// of its join with its tail, and has nothing that it was acknowledged for since.
func (t *turn) resumer(i uint16, p *Partition) (ID, bool) {
	o := t.c.outage[i]
	if o == nil || len(p.Awaited) > 0 {
		return 0, false
	}
	up := t.candidates(i, p)
	if len(up) == 0 {
		return 0, t.now-o.since >= t.c.cfg.ResumeWait
	}
	all := len(up) == len(p.LastKnown)
	if !all && t.now-max(o.since, o.there) < t.c.cfg.ResumeWait {
		return 0, false
	}
	// Each certain one holds all that was acknowledged, whatever its position of
	// long ago says. Uncertain ones are compared only with each other.
	certain := filter(up, func(id ID) bool { return !t.uncertain(i, p, id) })
	switch {
	case len(certain) > 0:
		return t.mostAdvanced(i, p, certain), true
	case all || !slices.ContainsFunc(p.LastKnown, func(id ID) bool { return t.about[id] == nil || !t.about[id].alive }):
		return t.mostAdvanced(i, p, up), true
	}
	return 0, true
}

// mostAdvanced of these stores in partition i; among equals one whose incarnation is
// recorded, or is by this turn, and the load is spread.
func (t *turn) mostAdvanced(i uint16, p *Partition, up []ID) ID {
	var most uint64
	for _, id := range up {
		most = max(most, t.about[id].mem.positions[i].Version)
	}
	best := filter(up, func(id ID) bool { return t.about[id].mem.positions[i].Version == most })
	if now := filter(best, t.recorded); len(now) > 0 {
		best = now
	}
	return t.spread(p, best)
}

// recorded: id's present incarnation is the map's after this turn.
func (t *turn) recorded(id ID) bool { return !t.about[id].restarted || t.about[id].raised }

// absent are those of list that cannot have a role now.
func (t *turn) absent(list []ID) []ID {
	return filter(list, func(id ID) bool { return t.about[id] != nil && !t.raised(id) && !t.live(id) })
}

// raiseRestarted decides which restarted servers' new incarnations this turn
// records. Recording one ends all roles of the old one in the same step (R3),
// so it waits until each of its partitions has another live replica or can be
// decided by R9.
func (t *turn) raiseRestarted() {
	var waiting []ID
	for id, st := range t.about {
		if st.restarted {
			st.raised = true
			waiting = append(waiting, id)
		}
	}
	if len(waiting) == 0 {
		return
	}
	// Whom R9 chose may itself have to wait: repeat until nothing changes.
	for again := true; again; {
		again = false
		for i := range t.m.Partitions {
			p := &t.m.Partitions[i]
			roles := p.Replicas
			switch {
			case usedUp(p): // no role in it can be ended any more
				roles = slices.Concat(p.Replicas, p.Joining)
			case !slices.ContainsFunc(p.Replicas, t.raised) || t.mayEnd(uint16(i), p):
				continue
			}
			for _, id := range roles {
				if t.raised(id) {
					t.about[id].raised, again = false, true
				}
			}
		}
	}
	for _, id := range waiting {
		st := t.about[id]
		if !st.raised {
			continue
		}
		s := t.server(id)
		s.Incarnation, s.RunID = st.mem.reg.Incarnation, st.mem.reg.RunID
		s.Addr, s.StreamAddr, s.Zone = st.mem.reg.Addr, st.mem.reg.StreamAddr, st.mem.reg.Zone
		t.put(s)
	}
}

// mayEnd: old roles in this partition can be ended now: its primary leads, or
// another replica can, or R9 can decide.
func (t *turn) mayEnd(i uint16, p *Partition) bool {
	if slices.ContainsFunc(p.Replicas, t.live) {
		return t.live(p.Replicas[0]) || t.lost(p.Replicas[0])
	}
	by, decided := t.resumer(i, p)
	return decided && (by == 0 || t.recorded(by))
}
