package council

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// All managers lost (§5): a blank manager rebuilds the map from those that the
// servers hold. A configuration may have had successors that none of those who
// answer knows. But the members of a partition grow only by a join, which
// begins with a configuration that names the joiner and that its primary has
// saved before it reports the join done (R6). So who serves, or served, in an
// unknown successor is among the known one's replicas, joiners and last known;
// when each of them has told what it knows, the newest known is the newest.

const (
	// recoverEpochs is added to every epoch, recoverVersions to the map's version:
	// the lost managers may have gone on for a while.
	recoverEpochs   = 1024
	recoverVersions = 1 << 20
	// refusedLately is how old a refusal of a server that is still there can be.
	refusedLately = 3000
)

// Found is what a server that was refused by this blank manager knows.
type Found struct {
	Registration
	// Map is the newest that it holds; nil where it never had one.
	Map *clustermap.Map
}

// lesson is the map of a server from before the recovery.
type lesson struct {
	id   ID
	run  uint64
	m    *clustermap.Map // nil: none
	done bool            // the cluster's map shows what it tells
}

// Strangers are the servers with data that this manager, being blank, refused
// just now, and since when the last of them is known. It fails where the
// manager is not blank.
func (c *Council) Strangers(now int64) (list []Registration, since int64, err error) {
	if c.m.ClusterID != 0 {
		return nil, 0, fmt.Errorf("this manager has cluster %s with %d servers; recover is for managers that lost their state", c.m.ClusterID, len(c.m.Servers))
	}
	for _, r := range c.refused {
		if r.reg.ClusterID != 0 && now-r.at <= refusedLately {
			list = append(list, r.reg)
			since = max(since, r.since)
		}
	}
	slices.SortFunc(list, func(a, b Registration) int { return cmp.Or(CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID)) })
	return list, since, nil
}

// Recover takes the command that rebuilds the map from what the servers know; a
// Reply with the ticket answers it from a later Next.
func (c *Council) Recover(now int64, ticket uint64, found []Found) {
	c.commands = append(c.commands, &command{ticket: ticket, req: control.CommandRequest{Command: "recover"}, at: now, found: found})
}

// Learn takes the map that a server which registers after a recovery held
// before it. A nil map: it holds none.
func (c *Council) Learn(id ID, runID uint64, m *clustermap.Map) {
	if m != nil && m.ClusterID != c.m.ClusterID {
		m = nil
	}
	c.lessons = slices.DeleteFunc(c.lessons, func(l *lesson) bool { return l.id == id })
	c.lessons = append(c.lessons, &lesson{id: id, run: runID, m: m})
}

func (c *Council) lesson(id ID) *lesson {
	for _, l := range c.lessons {
		if l.id == id {
			return l
		}
	}
	return nil
}

// WantsMap: this server's registration is not taken before Learn was told what
// map it holds, because the next one that it is sent takes its place.
func (c *Council) WantsMap(h *control.Hello) bool {
	if c.m.Recovered == 0 || h.ClusterID != c.m.ClusterID || h.KnownMap >= c.m.Recovered {
		return false
	}
	if !slices.ContainsFunc(c.m.Partitions, func(p Partition) bool { return len(p.Awaited) > 0 }) {
		return false
	}
	l := c.lesson(h.ID)
	return l == nil || l.run != h.RunID || !l.done
}

// recover runs the command of that name.
func (c *Council) recover(now int64, q *command) (*clustermap.Delta, bool, error) {
	switch {
	case c.m.ClusterID != 0 && !c.looked:
		return nil, true, nil // what is unavailable is not known yet
	case c.m.ClusterID != 0 && q.req.AcceptLoss != "":
		return c.acceptLoss(now, q)
	case c.m.ClusterID != 0:
		return nil, false, c.explain(now, q)
	case q.req.AcceptLoss != "":
		return nil, false, errors.New("this manager is blank: give recover without --accept-loss first; it says what is missing then")
	}
	d, err := c.rebuild(q)
	return d, false, err
}

// rebuild is the delta of a map made from the newest that was found.
func (c *Council) rebuild(q *command) (*clustermap.Delta, error) {
	if len(q.found) == 0 {
		q.nothing("no server with data has come to this manager; start the servers, then give recover again")
		return nil, nil
	}
	if err := oneCluster(q.found); err != nil {
		return nil, err
	}
	var best *Found
	for i := range q.found {
		if f := &q.found[i]; f.Map != nil && (best == nil || f.Map.Version > best.Map.Version) {
			best = f
		}
	}
	if best == nil {
		return nil, errors.New("none of the servers that answered holds a cluster map; start the others, then give recover again")
	}
	m := *best.Map
	m.Version += recoverVersions
	m.Recovered = m.Version
	m.Partitions = slices.Clone(m.Partitions)
	heard := func(id ID) bool { return slices.ContainsFunc(q.found, func(f Found) bool { return f.ID == id }) }
	waits := 0
	for i := range m.Partitions {
		p := &m.Partitions[i]
		var unknown []ID // the stores that are furthest beyond p
		var most uint64
		for _, f := range q.found {
			switch v := versionAt(&f, uint16(i)); {
			case v>>clustermap.SeqBits <= uint64(p.Epoch) || v < most:
			case v > most:
				unknown, most = []ID{f.ID}, v
			default:
				unknown = append(unknown, f.ID)
			}
		}
		// What is older than that tells nothing (learn), and versions only grow.
		p.Epoch = max(p.Epoch, uint32(most>>clustermap.SeqBits))
		if p.Epoch+recoverEpochs >= clustermap.MaxEpoch {
			return nil, fmt.Errorf("partition %d cannot be recovered, its epoch is %d: %w; "+
				"merge the stores with kumomergedb and start a new cluster with the result", i, p.Epoch, clustermap.ErrEpochExhausted)
		}
		*p = takenOver(*p, m.Servers, unknown, heard)
		if len(p.Awaited) > 0 {
			waits++
		}
	}
	q.say("recovered cluster %s from version %d of its map, which %s held", m.ClusterID, best.Map.Version, best.Addr)
	for _, f := range q.found {
		q.response.Nodes = append(q.response.Nodes, f.Addr)
		q.say("%s answered", f.Addr)
	}
	q.say("%d partitions are taken over", len(m.Partitions)-waits)
	for _, s := range stuck(&m, func(i uint16) string { return c.waitsFor(&m, i) }) {
		q.say("%s", s.text())
	}
	if waits > 0 {
		q.say("start what is waited for; to see what it would cost to do without: kumoctl ADDR recover")
	}
	return &clustermap.Delta{Recover: &m}, nil
}

// versionAt is the last operation that a found store has in partition i; 0 where it
// has no position.
func versionAt(f *Found, i uint16) uint64 {
	for _, pos := range f.Positions {
		if pos.Partition == i && !pos.Unfinished {
			return pos.Version
		}
	}
	return 0
}

// takenOver is the newest known configuration p as the rebuilt map has it: with
// its replicas, to be activated anew, or without roles while some of its members
// were not heard. The stores of unknown hold operations of a later epoch, whose
// configuration nobody knows: then every server must be heard, and the partition is
// theirs, for the members of p may lack what was acknowledged in it.
func takenOver(p Partition, servers []clustermap.Server, unknown []ID, heard func(ID) bool) Partition {
	members := union(union(p.LastKnown, p.Replicas), p.Joining)
	p.Epoch += recoverEpochs
	p.Active, p.Joining = false, nil
	if len(unknown) > 0 {
		p.LastKnown = unknown
		p.Replicas = nil
		for i := range servers {
			members = union(members, []ID{servers[i].ID})
		}
	}
	p.Awaited = filter(union(members, p.Awaited), func(id ID) bool { return !heard(id) })
	if len(p.Awaited) > 0 {
		p.Replicas = nil
	}
	return p
}

// oneCluster refuses servers of several clusters.
func oneCluster(found []Found) error {
	by := map[clustermap.ClusterID][]string{}
	var ids []clustermap.ClusterID
	for _, f := range found {
		if by[f.ClusterID] == nil {
			ids = append(ids, f.ClusterID)
		}
		by[f.ClusterID] = append(by[f.ClusterID], f.Addr)
	}
	if len(ids) == 1 {
		return nil
	}
	slices.Sort(ids)
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "\n  cluster %s: %s", id, strings.Join(by[id], ", "))
	}
	return fmt.Errorf("refused: servers of %d clusters have come to this manager; stop those that are not of the one to be recovered:%s", len(ids), b.String())
}

// learn is what the maps of servers that came since tell about a partition for
// which some are awaited.
func (t *turn) learn(i uint16, p Partition) (Partition, bool) {
	c := t.c
	heard := func(id ID) bool { return c.lesson(id) != nil || c.members[id] != nil }
	np := p
	for _, l := range c.lessons {
		if l.m == nil || int(i) >= len(l.m.Partitions) || l.m.Version <= t.m.Recovered-recoverVersions || l.m.Version >= t.m.Recovered {
			continue
		}
		// An epoch that is known already tells more only where it was recorded active.
		q := l.m.Partitions[i]
		base := np.Epoch - recoverEpochs
		if q.Epoch < base || q.Epoch == base && !q.Active || q.Epoch+recoverEpochs >= clustermap.MaxEpoch {
			continue
		}
		for _, id := range q.LastKnown {
			if t.about[id] == nil && l.m.Server(id) != nil && !clustermap.Contains(t.m.Banned, id) {
				t.add(*l.m.Server(id))
			}
		}
		q.Assigned = p.Assigned
		np = takenOver(q, nil, nil, heard)
		np.Replicas = nil
	}
	np.Awaited = filter(np.Awaited, func(id ID) bool { return !heard(id) })
	if np.Epoch == p.Epoch && len(np.Awaited) == len(p.Awaited) && slices.Equal(np.LastKnown, p.LastKnown) {
		return p, false
	}
	t.learning = true
	return np, true
}

// settleLessons: what changed nothing more is in the map.
func (t *turn) settleLessons() {
	for _, l := range t.c.lessons {
		l.done = l.done || !t.learning
	}
}

// recovered: a new term begins with the map that was rebuilt. What those who
// were found know is in it.
func (c *Council) recovered(now int64) {
	c.leadAt = now
	c.refused = map[ID]refusal{}
	if c.proposed == nil {
		return
	}
	for _, f := range c.proposed.found {
		c.lessons = append(c.lessons, &lesson{id: f.ID, run: f.RunID, done: true})
	}
}
