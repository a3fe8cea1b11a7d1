package council

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// CompareAddr orders addresses by IP, then port, numerically.
func CompareAddr(a, b string) int {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return cmp.Compare(a, b)
	}
	return x.Compare(y)
}

func (c *Council) addrOf(id ID) string {
	if s := c.members[id]; s != nil {
		return s.reg.Addr
	}
	if s := c.m.Server(id); s != nil {
		return s.Addr
	}
	return ""
}

func (c *Council) sortByAddr(ids []ID) {
	slices.SortFunc(ids, func(a, b ID) int {
		return cmp.Or(CompareAddr(c.addrOf(a), c.addrOf(b)), cmp.Compare(a, b))
	})
}

// Status is what the council knows for `kumoctl status`; managers and time are
// not its business.
func (c *Council) Status(now int64) control.Status {
	st := control.Status{Clock: c.m.Version, AutoReplace: c.m.AutoReplace, Replication: c.m.Replication, Partitions: len(c.m.Partitions),
		Attached: []control.NodeStatus{}, NotAttached: []control.NodeStatus{}}
	if c.m.ClusterID != 0 {
		st.Cluster = c.m.ClusterID.String()
	}
	nodes := make(map[ID]*control.NodeStatus, len(c.m.Servers))
	for i := range c.m.Servers {
		s := &c.m.Servers[i]
		nodes[s.ID] = &control.NodeStatus{ID: s.ID.String(), Addr: s.Addr, StreamAddr: s.StreamAddr, Zone: s.Zone,
			State: s.State.String(), Reachable: c.alive(now, s.ID), Incarnation: s.Incarnation}
		if mem := c.members[s.ID]; mem != nil && c.alive(now, s.ID) {
			nodes[s.ID].Leaving, nodes[s.ID].Version = mem.leaving.String(), mem.reg.Version
		}
	}
	least := len(c.m.Servers)
	should := min(c.m.Replication, len(c.m.Servers))
	for i := range c.m.Partitions {
		p := &c.m.Partitions[i]
		there := 0
		for n, id := range p.Replicas {
			if nodes[id] == nil {
				continue
			}
			nodes[id].Replicas++
			if n == 0 {
				nodes[id].Primaries++
			}
			if s := c.m.Server(id); s.State == clustermap.Active && (!c.leading || !c.dead(now, id)) {
				there++
			}
		}
		if c.outage[uint16(i)] != nil {
			there = 0 // the roles of a server that has restarted are over
		}
		if there == 0 {
			st.Unavailable++
		}
		least = min(least, there)
		if there < should {
			st.Short++
		}
		for _, id := range p.Assigned {
			if nodes[id] != nil && !slices.Contains(p.Replicas, id) {
				nodes[id].CopiesLeft++
			}
		}
	}
	st.Survives = max(least-1, 0)
	for id, n := range nodes {
		if mem := c.members[id]; mem != nil {
			n.Damaged, n.Disk = mem.damaged, mem.disk
		}
		st.Attached = append(st.Attached, *n)
	}
	for id, s := range c.members {
		srv := c.m.Server(id)
		if !c.alive(now, id) || srv != nil && srv.State == clustermap.Active {
			continue
		}
		n := nodeOf(&s.reg.Hello, "new")
		n.Reachable = true
		if srv != nil {
			n.State = "fault"
		}
		if c.foreign(id) {
			n.State, n.Note = "refused", foreignNote
		}
		st.NotAttached = append(st.NotAttached, n)
	}
	for _, r := range c.refused {
		n := nodeOf(&r.reg.Hello, "refused")
		n.Reachable, n.Note = true, r.reason
		st.NotAttached = append(st.NotAttached, n)
	}
	order := func(a, b control.NodeStatus) int { return cmp.Or(CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID)) }
	slices.SortFunc(st.Attached, order)
	slices.SortFunc(st.NotAttached, order)
	for i := range st.Attached {
		if n := &st.Attached[i]; n.Leaving == control.Drains.String() && n.Primaries > 0 {
			n.Leaving = "draining"
		}
	}
	copies, surplus := c.Moving()
	st.Moving = copies + surplus
	st.Progress = c.Progress(now)
	st.Copying = describeUnless(c.m.Copying)
	st.Troubles = c.troubles(now)
	return st
}

func nodeOf(h *control.Hello, state string) control.NodeStatus {
	return control.NodeStatus{ID: h.ID.String(), Addr: h.Addr, StreamAddr: h.StreamAddr, Zone: h.Zone, State: state, Incarnation: h.Incarnation, Version: h.Version}
}
