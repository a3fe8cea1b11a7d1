package council

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// Partitions that cannot resume by themselves (R9): what they wait for, and how
// the stores that they wait for are given up.

// stuckGroup are partitions that wait for the same.
type stuckGroup struct {
	why        string
	partitions []uint16
}

func (s *stuckGroup) text() string {
	return fmt.Sprintf("%d partitions (%s) %s", len(s.partitions), ranges(s.partitions, 8), s.why)
}

// stuck groups the partitions of m for which why is not empty.
func stuck(m *clustermap.Map, why func(i uint16) string) []*stuckGroup {
	var out []*stuckGroup
	by := map[string]*stuckGroup{}
	for i := range m.Partitions {
		w := why(uint16(i))
		if w == "" {
			continue
		}
		g := by[w]
		if g == nil {
			g = &stuckGroup{why: w}
			by[w] = g
			out = append(out, g)
		}
		g.partitions = append(g.partitions, uint16(i))
	}
	return out
}

// names are the addresses of servers, by m or as they registered.
func (c *Council) names(m *clustermap.Map, ids []ID) string {
	var list []string
	for _, id := range ids {
		s := m.Server(id)
		switch {
		case c.members[id] != nil:
			list = append(list, c.members[id].reg.Addr)
		case s != nil:
			list = append(list, s.Addr)
		default:
			list = append(list, "the server with ID "+id.String())
		}
	}
	slices.SortFunc(list, CompareAddr)
	return strings.Join(list, ", ")
}

// waitsFor says whom partition i of m awaits since a recovery.
func (c *Council) waitsFor(m *clustermap.Map, i uint16) string {
	if a := m.Partitions[i].Awaited; len(a) > 0 {
		return fmt.Sprintf("wait for %s, which has not been heard since the managers were recovered and may hold newer pairs", c.names(m, a))
	}
	return ""
}

// whyStuck says why partition i does not resume by itself; "": it is served, or
// resumes when its time has come.
func (c *Council) whyStuck(t *turn, i uint16) string {
	p := &c.m.Partitions[i]
	if len(p.Awaited) > 0 {
		return c.waitsFor(c.m, i)
	}
	if c.outage[i] == nil {
		return ""
	}
	if by, decided := t.resumer(i, p); !decided || by != 0 {
		return ""
	}
	there := t.candidates(i, p)
	away := filter(p.LastKnown, func(id ID) bool { return t.about[id] == nil || !t.about[id].alive })
	switch {
	case len(there) == 0 && len(away) == 0:
		return fmt.Sprintf("have nobody who holds the whole of them: the copies on %s were not finished", c.names(c.m, p.LastKnown))
	case len(there) == 0:
		return fmt.Sprintf("have no server: all that held them last are away: %s", c.names(c.m, away))
	}
	return fmt.Sprintf("wait for %s: the machine of %s lost power without --fsync, so that the last writes may be missing there", c.names(c.m, away), c.names(c.m, there))
}

func (c *Council) stuck(now int64) []*stuckGroup {
	if len(c.outage) == 0 {
		return nil
	}
	t := c.newTurn(now)
	return stuck(c.m, func(i uint16) string { return c.whyStuck(t, i) })
}

// acceptCommand is what gives up what these partitions wait for.
func (c *Council) acceptCommand(parts []uint16) string {
	return fmt.Sprintf("kumoctl ADDR recover --accept-loss %s --partitions %s", c.m.ClusterID, ranges(parts, len(parts)))
}

// troubles are what does not end by itself, for the status.
func (c *Council) troubles(now int64) (out []control.Trouble) {
	if !c.leading {
		return nil
	}
	if c.outdated != "" && !c.followed() {
		out = append(out, control.Trouble{Text: c.outdated + "; it decides nothing any more",
			Do: "start the manager that the other servers follow; where there is none, rebuild the managers with empty state directories: kumoctl ADDR recover"})
	}
	for _, g := range c.stuck(now) {
		out = append(out, control.Trouble{Text: g.text(), Do: "start what is away; or see what it would cost to do without: kumoctl ADDR recover"})
	}
	if len(c.worn) > 0 {
		out = append(out, control.Trouble{Text: fmt.Sprintf("%d partitions (%s) have used up their epochs and do not change any more", len(c.worn), ranges(c.wornList(), 8)),
			Do: "back up, merge the backups with kumomergedb, and start a new cluster with the result"})
	}
	return out
}

func (c *Council) wornList() []uint16 {
	var list []uint16
	for i := range c.m.Partitions {
		if c.worn[uint16(i)] {
			list = append(list, uint16(i))
		}
	}
	return list
}

// settleWorn says once which partitions have come to their last epoch.
func (t *turn) settleWorn() {
	if len(t.worn) == 0 {
		return
	}
	for _, i := range t.worn {
		t.c.worn[i] = true
	}
	t.c.event("epochs used up", "", 0, fmt.Sprintf("partitions %s do not change any more: back up, merge with kumomergedb, start a new cluster", ranges(t.worn, 8)))
}

// explain says which partitions do not resume by themselves, what would be lost
// without those that they wait for, and how.
func (c *Council) explain(now int64, q *command) error {
	groups := c.stuck(now)
	if len(groups) == 0 {
		return fmt.Errorf("this manager has cluster %s with %d servers, and every partition is served or resumes by itself; "+
			"recover is for managers that lost their state", c.m.ClusterID, len(c.m.Servers))
	}
	for _, g := range groups {
		q.say("%s", g.text())
		q.say("  nothing is lost when it comes back with its store; to do without, and lose the writes that only its store holds, give:")
		q.say("  %s", c.acceptCommand(g.partitions))
	}
	return nil
}

// acceptLoss resumes partitions from the most advanced store that is there, and
// bans those that are not (R9).
func (c *Council) acceptLoss(now int64, q *command) (*clustermap.Delta, bool, error) {
	if q.req.AcceptLoss != c.m.ClusterID.String() {
		return nil, false, fmt.Errorf("refused: --accept-loss names cluster %s, but this cluster is %s", q.req.AcceptLoss, c.m.ClusterID)
	}
	var lost []uint16
	for _, g := range c.stuck(now) {
		lost = append(lost, g.partitions...)
	}
	slices.Sort(lost)
	all := lost
	if len(q.req.Args) != 1 {
		return nil, false, fmt.Errorf("name the partitions: --partitions all, or a list like 0-3,7; these do not resume by themselves: %s", orNone(ranges(lost, 8)))
	}
	if q.req.Args[0] != "all" {
		var err error
		if lost, err = parseRanges(q.req.Args[0], len(c.m.Partitions)); err != nil {
			return nil, false, err
		}
	}
	if len(lost) == 0 {
		q.nothing("every partition is served or resumes by itself: there is nothing to give up")
		return nil, false, nil
	}
	ed := c.edit(now)
	var gone []ID
	for _, i := range lost {
		if !slices.Contains(all, i) {
			return nil, false, fmt.Errorf("refused: partition %d is served or resumes by itself; these do not: %s", i, orNone(ranges(all, 8)))
		}
		p := &c.m.Partitions[i]
		for _, id := range union(p.LastKnown, p.Awaited) {
			if c.alive(now, id) {
				if st := ed.t.about[id]; st != nil && !st.live {
					return nil, true, nil // it is just being taken in
				}
				continue
			}
			if r, ok := c.refused[id]; ok && now-r.at <= refusedLately {
				return nil, false, fmt.Errorf("refused: %s, whose store would be given up, can be reached: %s", r.reg.Addr, r.reason)
			}
			if c.members[id] == nil && now-c.leadAt < c.cfg.AttachMax || !c.dead(now, id) {
				return nil, true, nil // right after an election it may still come
			}
			gone = union(gone, []ID{id})
		}
	}
	attached := filter(gone, func(id ID) bool { return c.m.Server(id) != nil })
	for _, i := range c.lastOf(now, attached) {
		if !slices.Contains(lost, i) {
			return nil, false, fmt.Errorf("refused: a store is given up as a whole, and those of %s hold the last copies of partition %d too, which was not named; "+
				"give: %s", c.names(c.m, gone), i, c.acceptCommand(all))
		}
	}
	c.sortByAddr(gone)
	if err := ed.giveUp(gone, lost); err != nil {
		return nil, false, err
	}
	from := map[ID]int{}
	for _, i := range lost {
		from[ed.m.Partitions[i].Replicas[0]]++
	}
	for i := range c.m.Servers {
		if s := &c.m.Servers[i]; from[s.ID] > 0 {
			q.say("resumed %d partitions from the store of %s", from[s.ID], s.Addr)
			q.response.Nodes = append(q.response.Nodes, s.Addr)
		}
	}
	for _, id := range gone {
		q.say("gave up the store of %s: it may return only with an empty one", c.names(c.m, []ID{id}))
	}
	for _, id := range attached {
		ed.removeServer(id, 0)
	}
	if err := ed.plan(); err != nil {
		return nil, false, err
	}
	return ed.delta(), false, nil
}

func orNone(list string) string {
	if list == "" {
		return "none"
	}
	return list
}

// ranges writes numbers, which are in order, as "0-3,7": at most so many of them.
func ranges(list []uint16, most int) string {
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if len(out) == most {
			return strings.Join(out, ",") + ",..."
		}
		if i == j {
			out = append(out, strconv.Itoa(int(list[i])))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

// parseRanges reads what ranges writes, of numbers below n.
func parseRanges(s string, n int) ([]uint16, error) {
	var out []uint16
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b >= n {
			return nil, fmt.Errorf("partitions %q: give numbers and ranges from 0 to %d, like 0-3,7", s, n-1)
		}
		for ; a <= b; a++ {
			out = append(out, uint16(a))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
