package council

import (
	"errors"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

var errNothingAttached = errors.New("no server has been attached yet; start servers and give: kumoctl ADDR attach")

// edit is a command's delta in the making: the map as the command leaves it.
type edit struct {
	t    *turn
	base *clustermap.Map
	m    *clustermap.Map // altered; its slices are its own
	gone []ID            // removed servers
	ban  []ID
}

func (c *Council) edit(now int64) *edit {
	m := *c.m
	m.Servers = slices.Clone(m.Servers)
	m.Partitions = slices.Clone(m.Partitions)
	return &edit{t: c.newTurn(now), base: c.m, m: &m}
}

// setServer adds or replaces a server.
func (e *edit) setServer(s clustermap.Server) {
	i, found := slices.BinarySearchFunc(e.m.Servers, s.ID, func(a clustermap.Server, id ID) int {
		switch {
		case a.ID < id:
			return -1
		case a.ID > id:
			return 1
		}
		return 0
	})
	if found {
		e.m.Servers[i] = s
	} else {
		e.m.Servers = slices.Insert(e.m.Servers, i, s)
	}
}

// leadAnew has a fault server that is active again lead what it still leads in a
// new epoch: its role ended when it was called fault (R9).
func (e *edit) leadAnew(id ID) {
	for i := range e.m.Partitions {
		if p := e.m.Partitions[i]; p.Primary() == id && p.Epoch == e.base.Partitions[i].Epoch && !usedUp(&p) {
			e.m.Partitions[i] = next(p, newPrimary, p.Replicas, p.Joining)
		}
	}
}

// removeServer ends every role of a server, which is no partition's last replica.
// Where heir is not 0, the plan gives it the server's place.
func (e *edit) removeServer(id, heir ID) {
	e.gone = append(e.gone, id)
	e.m.Servers = slices.DeleteFunc(e.m.Servers, func(s clustermap.Server) bool { return s.ID == id })
	for i := range e.m.Partitions {
		p := e.m.Partitions[i]
		if n := slices.Index(p.Assigned, id); n >= 0 {
			if heir != 0 && !slices.Contains(p.Assigned, heir) {
				p.Assigned = slices.Clone(p.Assigned)
				p.Assigned[n] = heir
			} else {
				p.Assigned = clustermap.Without(p.Assigned, id)
			}
		}
		replicas, joining := clustermap.Without(p.Replicas, id), clustermap.Without(p.Joining, id)
		changed := len(replicas) != len(p.Replicas) || len(joining) != len(p.Joining)
		epoch := p.Epoch
		switch {
		case p.Primary() == id && len(replicas) > 0:
			heirs := filter(replicas, e.t.live)
			if len(heirs) == 0 {
				heirs = replicas
			}
			by := e.t.spread(&p, heirs)
			e.t.leads()[by]++
			p = next(p, newPrimary, first(by, replicas), joining)
		case len(replicas) != len(p.Replicas):
			p = next(p, drop, replicas, joining)
		case changed:
			p = next(p, keep, replicas, joining)
		}
		if changed && epoch != e.base.Partitions[i].Epoch {
			p.Epoch = epoch // one step has one new epoch
		}
		p.LastKnown, p.Awaited = clustermap.Without(p.LastKnown, id), clustermap.Without(p.Awaited, id)
		if len(p.Assigned) == 0 {
			p.Assigned = slices.Clone(p.Replicas)
		}
		e.m.Partitions[i] = p
	}
}

// plan assigns every partition anew over the active servers.
func (e *edit) plan() error {
	var active []clustermap.Server
	for _, s := range e.m.Servers {
		if s.State == clustermap.Active {
			active = append(active, s)
		}
	}
	if len(active) == 0 {
		return errors.New("no attached server is active; give: kumoctl ADDR attach")
	}
	for i, a := range clustermap.Assign(e.m, active, clustermap.PlanOptions{}) {
		if !slices.Equal(a, e.m.Partitions[i].Assigned) {
			e.m.Partitions[i].Assigned = a
		}
	}
	return nil
}

// copies is how many copies the plan wants that are not there.
func (e *edit) copies() int {
	n := 0
	for i := range e.m.Partitions {
		p := &e.m.Partitions[i]
		for _, id := range p.Assigned {
			if !slices.Contains(p.Replicas, id) {
				n++
			}
		}
	}
	return n
}

// delta is the step from the map to what the edit made of it, or nil.
func (e *edit) delta() *clustermap.Delta {
	d := &clustermap.Delta{Base: e.base.Version, RemoveServers: e.gone, Ban: e.ban}
	for _, s := range e.m.Servers {
		if old := e.base.Server(s.ID); old == nil || *old != s {
			d.SetServers = append(d.SetServers, s)
		}
	}
	for i := range e.m.Partitions {
		if np := e.m.Partitions[i]; !samePartition(&e.base.Partitions[i], &np) {
			d.Partitions = append(d.Partitions, clustermap.PartitionChange{Index: uint16(i), OldEpoch: e.base.Partitions[i].Epoch, New: np})
		}
	}
	if len(d.SetServers)+len(d.RemoveServers)+len(d.Partitions)+len(d.Ban) == 0 {
		return nil
	}
	return d
}

func samePartition(a, b *Partition) bool {
	return a.Epoch == b.Epoch && a.Active == b.Active && slices.Equal(a.Assigned, b.Assigned) &&
		slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Joining, b.Joining) && slices.Equal(a.LastKnown, b.LastKnown) &&
		slices.Equal(a.Awaited, b.Awaited)
}
