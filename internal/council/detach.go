package council

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// lastOf are the partitions whose last replicas are among gone (P5): those that
// have a member there, and no other one that has its role now. Who was not heard
// in this term does not count as one: right after an election nobody knows yet
// who is there.
func (c *Council) lastOf(now int64, gone []ID) []uint16 {
	var out []uint16
	t := c.newTurn(now)
	is := func(id ID) bool { return slices.Contains(gone, id) }
	for i := range c.m.Partitions {
		p := &c.m.Partitions[i]
		if slices.ContainsFunc(members(p), is) &&
			!slices.ContainsFunc(p.Replicas, func(id ID) bool { return !is(id) && t.live(id) }) {
			out = append(out, uint16(i))
		}
	}
	return out
}

// members are all that may hold what was acknowledged in p.
func members(p *Partition) []ID { return union(union(p.Replicas, p.LastKnown), p.Awaited) }

// mayCome: a member of these partitions that is not among gone may be heard, or
// be taken in, in a moment; what is lost is not known before. Where gone are given
// up they may be heard, too: who can be reached is not.
func (c *Council) mayCome(now int64, gone []ID, parts []uint16, givenUp bool) bool {
	t := c.newTurn(now)
	for _, i := range parts {
		for _, id := range members(&c.m.Partitions[i]) {
			st, goes := t.about[id], slices.Contains(gone, id)
			switch {
			case st == nil:
			case st.mem == nil && now-c.leadAt < c.cfg.AttachMax && (givenUp || !goes), st.alive && !st.live && !goes:
				return true
			}
		}
	}
	return false
}

func (c *Council) detach(now int64, q *command, replan bool) (d *clustermap.Delta, wait bool, err error) {
	var gone []ID
	for i := range c.m.Servers {
		if s := &c.m.Servers[i]; s.State == clustermap.Fault && (q.only == nil || slices.Contains(q.only, s.ID)) {
			gone = append(gone, s.ID)
		}
	}
	if len(gone) == 0 {
		q.nothing("there is no fault server to detach")
		return nil, false, nil
	}
	c.sortByAddr(gone)
	ed := c.edit(now)
	lost := c.lastOf(now, gone)
	if len(lost) > 0 {
		if q.ticket != 0 && now-q.at < c.cfg.AttachMax && c.mayCome(now, gone, lost, q.req.AcceptLoss != "") {
			return nil, true, nil
		}
		if err := c.mayLose(now, q, gone, lost); err != nil {
			return nil, false, err
		}
		if err := ed.giveUp(gone, lost); err != nil {
			return nil, false, err
		}
		q.say("the pairs of %d partitions are given up", len(lost))
	}
	for _, id := range gone {
		addr := c.m.Server(id).Addr
		ed.removeServer(id, 0)
		q.response.Nodes = append(q.response.Nodes, addr)
		q.say("detached %s", addr)
	}
	if replan {
		if err := ed.plan(); err != nil {
			return nil, false, err
		}
		if n := ed.copies(); n > 0 {
			q.say("replacing: %d copies are to be made", n)
		}
	}
	return ed.delta(), false, nil
}

// mayLose keeps P5: last replicas are given up only by --accept-loss, which
// names the cluster, only while none of their servers can be reached (R9), and
// only where all of these are given up.
func (c *Council) mayLose(now int64, q *command, gone []ID, lost []uint16) error {
	var holders []string
	for _, id := range gone {
		if slices.ContainsFunc(lost, func(i uint16) bool { return slices.Contains(members(&c.m.Partitions[i]), id) }) {
			holders = append(holders, c.m.Server(id).Addr)
		}
	}
	what := fmt.Sprintf("%s of %d partitions (the first is %d)", strings.Join(holders, ", "), len(lost), lost[0])
	if q.req.AcceptLoss == "" {
		return fmt.Errorf("refused: the last replicas are on %s; detaching would destroy their pairs. Start those servers again, "+
			"or give the pairs up with: kumoctl ADDR detach --accept-loss %s", what, c.m.ClusterID)
	}
	if q.req.AcceptLoss != c.m.ClusterID.String() {
		return fmt.Errorf("refused: --accept-loss names cluster %s, but this cluster is %s", q.req.AcceptLoss, c.m.ClusterID)
	}
	for _, i := range lost {
		for _, id := range members(&c.m.Partitions[i]) {
			r, refused := c.refused[id]
			switch {
			case refused && now-r.at <= refusedLately:
				return fmt.Errorf("refused: %s, whose store would be given up, can be reached: %s", r.reg.Addr, r.reason)
			case c.alive(now, id):
				return fmt.Errorf("refused: partition %d is not lost, its member %s can be reached; "+
					"what it waits for is told by: kumoctl ADDR recover", i, c.members[id].reg.Addr)
			case !slices.Contains(gone, id):
				return fmt.Errorf("refused: %s may hold the pairs of partition %d too, and is not to be detached: start it, or wait until it is (fault); "+
					"what can be given up besides is told by: kumoctl ADDR recover", c.names(c.m, []ID{id}), i)
			}
		}
	}
	return nil
}

// giveUp begins lost partitions anew, with what an active server still holds of
// them (the most advanced) or empty, and bans the stores that were given up.
func (e *edit) giveUp(gone []ID, lost []uint16) error {
	var seeds []ID
	for i := range e.m.Servers {
		if id := e.m.Servers[i].ID; e.t.live(id) {
			seeds = append(seeds, id)
		}
	}
	if len(seeds) == 0 {
		return fmt.Errorf("refused: no active server is there to take the lost partitions")
	}
	for _, i := range lost {
		p := e.m.Partitions[i]
		for _, id := range gone {
			if (slices.Contains(p.LastKnown, id) || slices.Contains(p.Awaited, id)) && !slices.Contains(e.ban, id) {
				e.ban = append(e.ban, id)
			}
		}
		have := filter(e.t.candidates(i, &p), func(id ID) bool { return slices.Contains(seeds, id) })
		if len(have) == 0 { // a part of what was there last is more than nothing
			have = filter(p.LastKnown, func(id ID) bool { return slices.Contains(seeds, id) })
		}
		if len(have) == 0 {
			have = filter(seeds, func(id ID) bool { return !e.t.unfinished(i, &p, id) })
		}
		if len(have) == 0 {
			have = seeds
		}
		by := e.t.mostAdvanced(i, &p, have)
		e.t.leads()[by]++
		p = next(p, newPrimary, []ID{by}, nil)
		p.LastKnown, p.Awaited = []ID{by}, nil
		e.m.Partitions[i] = p
	}
	return nil
}
