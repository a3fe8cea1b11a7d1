package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// planned drives a partition that is served and at rest towards Assigned: first
// the missing copies join, then what is surplus goes and the primary moves, a
// bounded number of partitions at once.
func (t *turn) planned(i uint16, p Partition) (Partition, bool) {
	if !p.Active || len(p.Assigned) == 0 {
		return p, false // R6: a join begins only when the primary serves
	}
	missing := filter(p.Assigned, func(id ID) bool {
		return !slices.Contains(p.Replicas, id) && !slices.Contains(p.Joining, id) && t.live(id) && t.mayRejoin(p, id)
	})
	if len(missing) > 0 && t.m.Copying.Paused {
		return p, false
	}
	if len(missing) > 0 {
		return next(p, keep, p.Replicas, append(slices.Clone(p.Joining), missing...)), true
	}
	if len(p.Joining) > 0 || slices.ContainsFunc(p.Replicas, func(id ID) bool { return !t.live(id) }) {
		return p, false
	}
	lead := p.Assigned[0]
	if t.leaving(lead) != control.Stays { // what it led was handed over; it goes back when that server does
		stay := filter(p.Assigned, func(id ID) bool { return slices.Contains(p.Replicas, id) && t.sound(id) })
		switch {
		case slices.Contains(stay, p.Replicas[0]):
			lead = p.Replicas[0]
		case len(stay) > 0:
			lead = stay[0]
		default:
			return p, false
		}
	}
	if clustermap.Subset(p.Assigned, p.Replicas) {
		want := first(lead, p.Assigned)
		switch {
		case lead != p.Replicas[0]:
			return t.move(p, newPrimary, want)
		case len(p.Replicas) > len(p.Assigned):
			return t.move(p, drop, want)
		}
		return t.reverify(i, p)
	}
	// Some of Assigned cannot join now; the primary moves all the same.
	if lead != p.Replicas[0] && slices.Contains(p.Replicas, lead) {
		return t.move(p, newPrimary, first(lead, p.Replicas))
	}
	return p, false
}

// move takes a planned step if not too many are under way.
func (t *turn) move(p Partition, k kind, replicas []ID) (Partition, bool) {
	if t.mayMove() <= 0 {
		return p, false
	}
	t.moving--
	return next(p, k, replicas, nil), true
}

// mayMove is how many partitions a plan may still put in transition.
func (t *turn) mayMove() int {
	if !t.counted {
		t.counted, t.moving = true, t.c.cfg.MaxMoving
		for i := range t.m.Partitions {
			p := &t.m.Partitions[i]
			if !p.Active && len(p.Replicas) > 0 && t.live(p.Replicas[0]) {
				t.moving--
			}
		}
	}
	return t.moving
}

// Moving is how many copies planning still wants made (of servers that are
// active), and how many partitions have surplus copies or another primary than
// planned.
func (c *Council) Moving() (copies, surplus int) {
	active := map[ID]bool{}
	for i := range c.m.Servers {
		active[c.m.Servers[i].ID] = c.m.Servers[i].State == clustermap.Active
	}
	for i := range c.m.Partitions {
		p := &c.m.Partitions[i]
		missing := 0
		for _, id := range p.Assigned {
			if !slices.Contains(p.Replicas, id) && active[id] {
				missing++
			}
		}
		copies += missing
		if missing == 0 && len(p.Assigned) > 0 && (p.Primary() != p.Assigned[0] && active[p.Assigned[0]] && !c.leaves(p.Assigned[0]) ||
			len(p.Replicas) > len(p.Assigned)) {
			surplus++
		}
	}
	return copies + c.verify.left(), surplus
}

// leaves: a server has said that it leaves.
func (c *Council) leaves(id ID) bool {
	m := c.members[id]
	return m != nil && m.leaving != control.Stays
}

// Receivers are the addresses of the servers that copies are being made to.
func (c *Council) Receivers() []string {
	var ids []ID
	for i := range c.m.Partitions {
		for _, id := range c.m.Partitions[i].Joining {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	c.sortByAddr(ids)
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = c.m.Server(id).Addr
	}
	return out
}
