package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/control"
)

// handOver has others take what leaving servers want to be rid of: their leadership
// in a step like a planned one, for which nobody waits (R5: the old primary
// acknowledges the new epoch), and the copies of those that stop by a removal that
// the primary asks for (R4: so the partition is served on). A server that nobody can
// stand in for keeps what it has.
func (t *turn) handOver(p Partition) (Partition, bool) {
	if t.calm || !p.Active {
		return p, false
	}
	primary := p.Replicas[0]
	if how := t.leaving(primary); how != control.Stays {
		heirs := filter(p.Replicas, func(id ID) bool { return t.mayHave(id, how) })
		if len(heirs) > 0 {
			if t.mayMove() <= 0 {
				return p, false
			}
			t.moving--
			return next(p, newPrimary, first(t.spread(&p, t.staying(heirs)), p.Replicas), p.Joining), true
		}
	}
	if t.leaving(primary) != control.Stops {
		for _, id := range p.Replicas[1:] {
			if t.leaving(id) == control.Stops {
				t.notice(primary, id)
			}
		}
	}
	return p, false
}

// staying are those of list that leave least.
func (t *turn) staying(list []ID) []ID {
	for _, how := range []control.Leaving{control.Stays, control.Drains} {
		if stay := filter(list, func(id ID) bool { return t.leaving(id) <= how }); len(stay) > 0 {
			return stay
		}
	}
	return list
}

// mayHave: a server may take what one that leaves so has to give.
func (t *turn) mayHave(id ID, how control.Leaving) bool {
	return t.live(id) && !t.hangs(id) && t.leaving(id) < how
}

// released are the leaving servers from which nothing more will be taken over, as
// far as the map shows: each is told so now and again.
func (t *turn) released() map[ID]control.Leaving {
	var out map[ID]control.Leaving
	for _, id := range t.ill {
		how := t.leaving(id)
		if how == control.Stays || t.holds(id, how) {
			continue
		}
		if m := t.about[id].mem; m.releasedAt == 0 || t.now-m.releasedAt >= t.c.cfg.DeadRepeat {
			m.releasedAt = t.now
			if out == nil {
				out = map[ID]control.Leaving{}
			}
			out[id] = how
		}
	}
	return out
}

// holds: a leaving server has a role that another one is there for.
func (t *turn) holds(id ID, how control.Leaving) bool {
	for i := range t.m.Partitions {
		p := &t.m.Partitions[i]
		if p.Primary() != id && (how != control.Stops || !slices.Contains(p.Replicas, id) && !slices.Contains(p.Joining, id)) {
			continue
		}
		if slices.Contains(p.Joining, id) || slices.ContainsFunc(p.Replicas, func(x ID) bool { return t.mayHave(x, how) }) {
			return true
		}
	}
	return false
}
