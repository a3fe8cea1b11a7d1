package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/planted"
)

// decide is the next step of partition i, which is not at rest, if one is due.
func (t *turn) decide(i uint16, p Partition) (Partition, bool) {
	if usedUp(&p) {
		if !t.c.worn[i] {
			t.worn = append(t.worn, i)
		}
		return p, false
	}
	if len(p.Awaited) > 0 {
		return t.learn(i, p)
	}
	live := filter(p.Replicas, t.live)
	if joining := filter(p.Joining, t.live); len(live) == 0 && len(joining) > 0 && planted.Is(planted.JoinerLeads) {
		return next(p, newPrimary, joining, nil), true
	}
	var np Partition
	var ok bool
	switch {
	case len(live) == 0:
		np, ok = t.resume(i, p)
	case t.returned[p.Replicas[0]] && !planted.Is(planted.ReturnsInItsEpoch):
		// R9: what resumes does so in a new epoch. Its role ended with the map that
		// called it fault, and with it what it knew of its joiners: it must not begin
		// again under reports that it made before.
		np, ok = t.replacePrimary(p, live, t.joiners(p))
	case t.live(p.Replicas[0]):
		np, ok = t.led(i, p, live)
	case t.lost(p.Replicas[0]):
		np, ok = t.replacePrimary(p, live, t.joiners(p))
	}
	if !ok && slices.ContainsFunc(p.Joining, t.raised) {
		// The role of a joiner's old incarnation ends with it (R3).
		return next(p, keep, p.Replicas, filter(p.Joining, func(id ID) bool { return !t.raised(id) })), true
	}
	return np, ok
}

// usedUp: there is no further epoch for p.
func usedUp(p *Partition) bool { return p.Epoch+1 >= clustermap.MaxEpoch }

// atRest: nothing can be due. It is how most partitions are most of the time:
// as planned, or with the copies that are missing on their way.
func (t *turn) atRest(i uint16, p *Partition) bool {
	if !p.Active || t.c.verify.busy(i) || t.c.asked.any(i) || len(t.returned) > 0 && t.returned[p.Primary()] {
		return false
	}
	if len(p.Joining) == 0 {
		if !slices.Equal(p.Replicas, p.Assigned) {
			return false
		}
	} else if !clustermap.Subset(p.Joining, p.Assigned) ||
		slices.ContainsFunc(p.Assigned, func(id ID) bool { return !slices.Contains(p.Replicas, id) && !slices.Contains(p.Joining, id) }) {
		return false
	}
	if t.calm {
		return true
	}
	for _, list := range [2][]ID{p.Replicas, p.Joining} {
		for _, id := range list {
			if !t.sound(id) {
				return false
			}
		}
	}
	return true
}

// replacePrimary keeps R3: one of live leads, and the same step drops every
// member whose role is over. A failover is never recorded active (R4).
func (t *turn) replacePrimary(p Partition, live, joining []ID) (Partition, bool) {
	kept := filter(p.Replicas, func(id ID) bool {
		return slices.Contains(live, id) || !t.lost(id) && id != p.Replicas[0]
	})
	for _, id := range p.Replicas {
		if t.raised(id) && t.mayRejoin(p, id) && !slices.Contains(joining, id) {
			joining = append(joining, id)
		}
	}
	return next(p, newPrimary, first(t.spread(&p, t.staying(live)), kept), joining), true
}

// spread chooses the one of list that is primary of the fewest partitions, the
// earlier in Assigned among equals.
func (t *turn) spread(p *Partition, list []ID) ID {
	rank := func(id ID) int {
		if n := slices.Index(p.Assigned, id); n >= 0 {
			return n
		}
		return len(p.Assigned)
	}
	best := list[0]
	for _, id := range list[1:] {
		a, b := t.leads()[id], t.leads()[best]
		if a < b || a == b && (rank(id) < rank(best) || rank(id) == rank(best) && id < best) {
			best = id
		}
	}
	return best
}

// resume keeps R9 for a partition of which no replica has a role any more. It
// never leaves the partition without a replica that may still come back.
func (t *turn) resume(i uint16, p Partition) (Partition, bool) {
	by, decided := t.resumer(i, &p)
	if !decided {
		return p, false
	}
	if by != 0 {
		if !t.recorded(by) {
			return p, false // it takes the role when its incarnation is recorded
		}
		if all := first(by, t.candidates(i, &p)); len(all) > 1 && planted.Is(planted.ResumeNotAlone) {
			return next(p, newPrimary, all, nil), true
		}
		// It resumes alone; the others join after the record.
		return next(p, newPrimary, []ID{by}, nil), true
	}
	if !slices.ContainsFunc(p.Replicas, t.raised) {
		return p, false
	}
	// A restarted replica may not resume (its tail is uncertain and others are
	// away). Its old role ends. Those of the others that are away keep theirs; where
	// there is none nobody has one, until R9 can decide: who got one meanwhile would
	// lead when it comes back, whatever became of its tail.
	return next(p, newPrimary, t.absent(p.Replicas), nil), true
}

// mayRejoin: id is wanted here and may begin a join now.
func (t *turn) mayRejoin(p Partition, id ID) bool {
	st := t.about[id]
	return st != nil && st.alive && st.srv.State == clustermap.Active && (!st.restarted || st.raised) &&
		slices.Contains(p.Assigned, id) && t.now >= st.mem.notBefore && !st.hangs && st.leaving < control.Stops
}

// joiners are p's joiners that go on, and those of them that restarted and begin
// again. A join that ends otherwise has failed.
func (t *turn) joiners(p Partition) []ID {
	return filter(p.Joining, func(id ID) bool {
		if !t.lost(id) {
			return slices.Contains(p.Assigned, id) && t.leaving(id) < control.Stops
		}
		again := t.raised(id) && t.mayRejoin(p, id)
		if st := t.about[id]; st != nil && (t.raised(id) || !st.restarted) {
			t.joinFailed(id)
		}
		return again
	})
}

// joinFailed notes a failed rejoin; the present turn's rejoins go on.
func (t *turn) joinFailed(id ID) { t.failures[id] = true }

// led is the next step of a partition whose primary has its role: what it asked
// for, what ended in it, and then what planning wants.
func (t *turn) led(i uint16, p Partition, live []ID) (Partition, bool) {
	primary := p.Replicas[0]
	others := clustermap.Without(live, primary)
	restarted := slices.ContainsFunc(p.Replicas, t.raised)
	if !restarted && !p.Active && t.asksNow(t.c.asked.activated[i], p, primary) {
		// R4: the recording. Whatever else is due follows in the next delta.
		p.Active = true
		if !planted.Is(planted.LastKnownNotRecorded) {
			p.LastKnown = slices.Clone(p.Replicas)
		}
		p.LastPrimary, p.LastPrimaryIncarnation = primary, t.about[primary].srv.Incarnation
		if !slices.ContainsFunc(p.Joining, t.raised) {
			return p, true
		}
		p = t.m.Partitions[i]
	}
	joining := t.joiners(p)

	// R9: a primary that cannot serve, or that accuses two or more replicas,
	// among them all live ones, is replaced; it is listed as joiner.
	var accused []ID
	if q := t.c.asked.accused[i]; t.asksNow(q, p, primary) {
		accused = filter(q.ids, func(id ID) bool { return id != primary })
	}
	asking, quits := t.quitting(i, p)
	struck := filter(p.Replicas[1:], func(id ID) bool { return slices.Contains(accused, id) })
	accusesAll := len(struck) >= 2 && clustermap.Subset(others, struck)
	if heirs := filter(others, func(id ID) bool { return !slices.Contains(asking, id) }); len(heirs) > 0 &&
		(accusesAll || slices.Contains(quits, primary)) {
		t.joinFailed(primary)
		if accusesAll && slices.Contains(p.Assigned, primary) {
			joining = append(joining, primary)
		}
		return t.replacePrimary(p, heirs, joining)
	}

	replicas, k := p.Replicas, none
	// R3: backups go at the primary's request.
	if hit := func(id ID) bool { return slices.Contains(accused, id) }; slices.ContainsFunc(p.Replicas, hit) || slices.ContainsFunc(p.Joining, hit) {
		keepIt := func(id ID) bool { return !hit(id) }
		for _, id := range accused {
			if t.live(id) && t.leaving(id) < control.Stops {
				t.joinFailed(id)
			}
		}
		replicas, joining, k = filter(replicas, keepIt), filter(joining, keepIt), keep
	}
	if clustermap.Subset(live, asking) {
		quits = nil // nobody can do better: all stay, and what they hold stays in as many copies
	}
	// R3: a role ends with its incarnation; a backup that quits goes too. R4:
	// these are the manager's removals and clear Active.
	for _, id := range p.Replicas[1:] {
		ended := t.raised(id)
		if !slices.Contains(replicas, id) || !ended && !slices.Contains(quits, id) {
			continue
		}
		replicas, k = clustermap.Without(replicas, id), drop
		if ended && t.mayRejoin(p, id) {
			joining = append(joining, id)
		} else if !ended {
			t.joinFailed(id)
		}
	}
	joining = filter(joining, func(id ID) bool {
		if slices.Contains(quits, id) {
			t.joinFailed(id)
			return false
		}
		return true
	})
	// R6: joiners that are counted become replicas, while the primary serves.
	if p.Active && k != drop && !t.paced() {
		for _, in := range t.c.asked.inSync[i] {
			if t.asksNow(in.request, p, primary) && slices.Contains(joining, in.joiner) && t.live(in.joiner) &&
				in.incarnation == t.about[in.joiner].srv.Incarnation {
				replicas = append(slices.Clone(replicas), in.joiner)
				// Only of more live copies than there should be: others may be away, or go in this step.
				if in.instead != primary && !slices.Contains(p.Assigned, in.instead) && len(filter(replicas, t.live)) > len(p.Assigned) {
					replicas = clustermap.Without(replicas, in.instead)
				}
				joining, k, t.promoted = clustermap.Without(joining, in.joiner), keep, true
				t.c.verify.back(i, in.joiner)
			}
		}
		if k == keep && len(replicas) == len(p.Assigned) && p.Assigned[0] == primary && clustermap.Subset(p.Assigned, replicas) {
			replicas = slices.Clone(p.Assigned) // their order is that of planning: it is at rest
		}
	}
	for _, id := range joining {
		if t.live(id) && p.Active && planted.Is(planted.PromotedUnasked) {
			replicas, joining, k = append(slices.Clone(replicas), id), clustermap.Without(joining, id), keep
		}
	}
	for _, id := range replicas[1:] {
		if t.lost(id) {
			t.notice(primary, id)
		}
	}
	if k == none && !slices.Equal(joining, p.Joining) || slices.ContainsFunc(p.Joining, t.raised) {
		k = max(k, keep)
	}
	if k != none {
		return next(p, k, replicas, joining), true
	}
	if np, ok := t.handOver(p); ok {
		return np, true
	}
	return t.planned(i, p)
}

// paced: joiners were made replicas just now, and others wait. They are counted
// already, so nobody misses them; but a step costs each member, and the managers' disks, time that
// grows with the map, and without a pace most of an attach would be steps: at 4096 partitions on 3
// servers 1700 of them in 8 s, for 3072 copies; with it 70 in 2 s.
func (t *turn) paced() bool { return t.now-t.c.promotedAt < int64(len(t.m.Partitions)/1024*30) }

// asksNow: q is of this partition's primary, in the map's incarnation and epoch (R3, R6).
func (t *turn) asksNow(q request, p Partition, primary ID) bool {
	return q.from == primary && q.epoch == p.Epoch && q.incarnation == t.about[primary].srv.Incarnation
}

// quitting are the members that accuse themselves (R9: a disk error), or leave. Those of
// quits go now; the others are waited for, and are nobody's heirs.
func (t *turn) quitting(i uint16, p Partition) (asking, quits []ID) {
	for _, q := range t.c.asked.stepDown[i] {
		if st := t.about[q.from]; st != nil && q.epoch == p.Epoch && q.incarnation == st.srv.Incarnation {
			asking, quits = append(asking, q.from), append(quits, q.from)
		}
	}
	for _, id := range slices.Concat(p.Replicas, p.Joining) {
		if t.hangs(id) {
			asking = append(asking, id)
			if t.about[id].quits {
				quits = append(quits, id)
			}
		} else if t.leaving(id) == control.Stops {
			asking = append(asking, id)
		}
	}
	return asking, quits
}
