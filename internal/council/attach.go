package council

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// attachable are the servers that attach would take: those that are not
// attached, and fault ones that are back; of two at one address the later.
func (c *Council) attachable(now int64) []ID {
	at := map[string]ID{}
	for _, id := range c.ids() {
		if !c.alive(now, id) || clustermap.Contains(c.m.Banned, id) {
			continue
		}
		s := c.members[id]
		if srv := c.m.Server(id); srv != nil && srv.State == clustermap.Active || c.foreign(id) {
			continue
		}
		if other, ok := at[s.reg.Addr]; !ok || c.members[other].arrived < s.arrived {
			at[s.reg.Addr] = id
		}
	}
	out := make([]ID, 0, len(at))
	for _, id := range at {
		out = append(out, id)
	}
	c.sortByAddr(out)
	return out
}

func (c *Council) attach(now int64, q *command, replan bool) (*clustermap.Delta, bool, error) {
	nodes := c.attachable(now)
	if q.only != nil {
		nodes = filter(nodes, func(id ID) bool { return slices.Contains(q.only, id) })
	} else if len(c.m.Servers) == 0 && now-q.at < c.cfg.AttachMax {
		// §8: with nothing attached yet it waits until none has come for a while.
		var last int64
		for _, id := range nodes {
			last = max(last, c.members[id].arrived)
		}
		if len(nodes) == 0 || now-last < c.cfg.AttachSettle {
			return nil, true, nil
		}
	}
	for _, id := range c.ids() {
		if c.alive(now, id) && c.foreign(id) {
			q.say("%s is not attached: %s", c.members[id].reg.Addr, foreignNote)
		}
	}
	if len(nodes) == 0 {
		if len(c.refused) > 0 {
			q.nothing("there is no server to attach that may be taken; %d refused (see status)", len(c.refused))
		} else {
			q.nothing("there is no server to attach")
		}
		return nil, false, nil
	}
	if c.m.ClusterID == 0 {
		if r := c.ofACluster(now); r != nil {
			return nil, false, fmt.Errorf("refused: this manager is blank, and the server %s has the pairs of cluster %s: a new cluster would shut them out; "+
				"rebuild that cluster's managers with: kumoctl ADDR recover (or stop its servers, to begin another cluster)", r.reg.Addr, r.reg.ClusterID)
		}
		d, err := c.create(now, q, nodes)
		return d, false, err
	}
	ed := c.edit(now)
	for _, id := range nodes {
		reg := &c.members[id].reg
		q.response.Nodes = append(q.response.Nodes, reg.Addr)
		if s := c.m.Server(id); s != nil {
			// A later incarnation is recorded by the next step, which ends its old roles.
			back := *s
			back.State = clustermap.Active
			ed.setServer(back)
			ed.leadAnew(id)
			q.say("attached %s again", reg.Addr)
			continue
		}
		ed.setServer(serverOf(reg))
		if old := c.standsWhere(now, reg.Addr, ed.m); old != nil && c.lastOf(now, []ID{old.ID}) == nil {
			ed.removeServer(old.ID, id)
			q.say("attached %s in the place of the server that was there", reg.Addr)
		} else {
			q.say("attached %s", reg.Addr)
		}
	}
	if replan {
		if err := ed.plan(); err != nil {
			return nil, false, err
		}
	}
	return ed.delta(), false, nil
}

// foreign: id holds pairs that belong to no cluster, and came before this cluster was
// there, when it could still have become its own.
func (c *Council) foreign(id ID) bool {
	reg := &c.members[id].reg
	return c.m.ClusterID != 0 && c.m.Server(id) == nil && reg.ClusterID == 0 && reg.HasData
}

const foreignNote = "it holds pairs that belong to no cluster (a restored backup), which attaching it would destroy"

// ofACluster is a server that was refused lately because it belongs to a
// cluster and this manager is blank; nil: there is none.
func (c *Council) ofACluster(now int64) *refusal {
	var first *refusal
	for _, r := range c.refused {
		if r.reg.ClusterID != 0 && now-r.at <= refusalShown && (first == nil || CompareAddr(r.reg.Addr, first.reg.Addr) < 0) {
			first = &r
		}
	}
	return first
}

// standsWhere is the dead or fault server of m at addr in whose place a new one stands (§3).
func (c *Council) standsWhere(now int64, addr string, m *clustermap.Map) *clustermap.Server {
	for i := range m.Servers {
		s := c.m.Server(m.Servers[i].ID)
		if s != nil && s.Addr == addr && (m.Servers[i].State == clustermap.Fault || c.dead(now, s.ID)) {
			return s
		}
	}
	return nil
}

func serverOf(r *Registration) clustermap.Server {
	return clustermap.Server{ID: r.ID, Addr: r.Addr, StreamAddr: r.StreamAddr, Incarnation: r.Incarnation, RunID: r.RunID, Zone: r.Zone}
}

// create is a cluster's first delta. A partition without data begins with all
// its copies at once; one with data (a restored backup) with the most advanced
// store alone, which the others join.
func (c *Council) create(now int64, q *command, nodes []ID) (*clustermap.Delta, error) {
	if c.cfg.ClusterID == 0 {
		return nil, errors.New("this manager has no ID for a new cluster")
	}
	on := c.cfg.AutoReplace
	d := &clustermap.Delta{
		Create:      &clustermap.Creation{ClusterID: c.cfg.ClusterID, Partitions: c.cfg.Partitions, Replication: c.cfg.Replication},
		AutoReplace: &on,
	}
	m := &clustermap.Map{ClusterID: c.cfg.ClusterID, Replication: c.cfg.Replication, Partitions: make([]Partition, c.cfg.Partitions)}
	for _, id := range nodes {
		reg := &c.members[id].reg
		d.SetServers = append(d.SetServers, serverOf(reg))
		q.response.Nodes = append(q.response.Nodes, reg.Addr)
		q.say("attached %s", reg.Addr)
	}
	epochs := make([]uint32, len(m.Partitions))
	restored := 0
	for i := range m.Partitions {
		m.Partitions[i].Replicas, epochs[i] = c.seeds(uint16(i), nodes)
		if len(m.Partitions[i].Replicas) > 0 {
			restored++
		}
		if epochs[i] >= clustermap.MaxEpoch-1 {
			return nil, clustermap.ErrEpochExhausted
		}
	}
	for i, assigned := range clustermap.Assign(m, d.SetServers, clustermap.PlanOptions{}) {
		replicas := slices.Clone(assigned)
		if seeds := m.Partitions[i].Replicas; len(seeds) > 0 {
			lead := seeds[0]
			if n := slices.IndexFunc(assigned, func(id ID) bool { return slices.Contains(seeds, id) }); n >= 0 {
				lead = assigned[n]
			}
			replicas = []ID{lead}
		}
		d.Partitions = append(d.Partitions, clustermap.PartitionChange{Index: uint16(i), OldEpoch: 1, New: Partition{
			// Versions only grow: the epoch is above all that the stores hold.
			Epoch:       max(epochs[i]+1, 2),
			Replicas:    replicas,
			LastKnown:   slices.Clone(replicas),
			LastPrimary: replicas[0], LastPrimaryIncarnation: c.members[replicas[0]].reg.Incarnation,
			Assigned: assigned,
		}})
	}
	if restored > 0 {
		q.say("%d partitions begin with the pairs that the stores hold", restored)
	}
	return d, nil
}

// seeds are the stores with the most advanced data of partition i, and the
// highest epoch that any of the nodes has there. A store whose join is
// unfinished is a seed only where there is no other data.
func (c *Council) seeds(i uint16, nodes []ID) (seeds []ID, epoch uint32) {
	var best uint64
	finished := false
	for _, id := range nodes {
		p := c.members[id].positions[i]
		epoch = max(epoch, uint32(p.Version>>clustermap.SeqBits))
		if p.Version == 0 && !p.Unfinished {
			continue
		}
		done := !p.Unfinished
		switch {
		case len(seeds) == 0 || done && !finished || done == finished && p.Version > best:
			seeds, best, finished = []ID{id}, p.Version, done
		case done == finished && p.Version == best:
			seeds = append(seeds, id)
		}
	}
	return seeds, epoch
}
