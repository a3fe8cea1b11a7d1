package tools

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// Plan is what a command would move, reckoned here from the manager's map: the
// manager plans with the same function, but perhaps from a later map.
type Plan struct {
	Command string     `json:"command"`
	Clock   uint64     `json:"clock"`
	Copies  int        `json:"copies_to_make"`
	Servers []PlanLine `json:"servers"`
}

// PlanLine is one server's share before and after, in partitions.
type PlanLine struct {
	Addr          string `json:"addr"`
	Replicas      int    `json:"replicas"`
	ReplicasThen  int    `json:"replicas_then"`
	Primaries     int    `json:"primaries"`
	PrimariesThen int    `json:"primaries_then"`
	Copies        int    `json:"copies_to_make"`
}

// planFor reckons what attach, detach or replace would do.
func planFor(command string, m *clustermap.Map, s *control.Status) *Plan {
	p := &Plan{Command: command, Clock: m.Version, Servers: []PlanLine{}}
	servers := membersAfter(command, m, s)
	target := clustermap.Assign(m, servers, clustermap.PlanOptions{})
	lines := map[clustermap.ServerID]*PlanLine{}
	line := func(id clustermap.ServerID, addr string) *PlanLine {
		if lines[id] == nil {
			lines[id] = &PlanLine{Addr: addr}
		}
		return lines[id]
	}
	for _, share := range clustermap.Distribution(m) {
		l := line(share.Server, m.Server(share.Server).Addr)
		l.Replicas, l.Primaries = share.Replicas, share.Primaries
	}
	for _, server := range servers {
		line(server.ID, server.Addr)
	}
	for i, ids := range target {
		for rank, id := range ids {
			l := lines[id]
			l.ReplicasThen++
			if rank == 0 {
				l.PrimariesThen++
			}
			if !clustermap.Contains(m.Partitions[i].Replicas, id) {
				l.Copies++
				p.Copies++
			}
		}
	}
	for _, l := range lines {
		p.Servers = append(p.Servers, *l)
	}
	slices.SortFunc(p.Servers, func(a, b PlanLine) int { return CompareAddrs(a.Addr, b.Addr) })
	return p
}

// membersAfter are the servers that would hold everything after the command.
func membersAfter(command string, m *clustermap.Map, s *control.Status) []clustermap.Server {
	var servers []clustermap.Server
	for _, server := range m.Servers {
		if server.State == clustermap.Active {
			servers = append(servers, server)
		}
	}
	if command != "attach" {
		return servers
	}
	for _, n := range s.NotAttached {
		id, err := strconv.ParseUint(n.ID, 16, 64)
		if err != nil || !n.Reachable || n.State == "refused" {
			continue
		}
		servers = append(servers, clustermap.Server{ID: clustermap.ServerID(id), Addr: n.Addr, Zone: n.Zone})
	}
	return servers
}

// plan prints what a command would move, and changes nothing.
func (c *ctl) plan(ctx context.Context, command string) error {
	m, err := c.client.Map(ctx)
	if err != nil {
		return err
	}
	s, err := c.client.Status(ctx)
	if err != nil {
		return err
	}
	p := planFor(command, m, s)
	if c.json {
		return WriteJSON(c.out, p)
	}
	writePlan(c.out, p)
	return nil
}

func writePlan(w io.Writer, p *Plan) {
	if p.Copies == 0 {
		fmt.Fprintf(w, "%s would move nothing\n", p.Command)
		return
	}
	fmt.Fprintf(w, "%s would make %d copies of partitions:\n", p.Command, p.Copies)
	width := 0
	for _, l := range p.Servers {
		width = max(width, len(l.Addr))
	}
	for _, l := range p.Servers {
		fmt.Fprintf(w, "  %-*s  replicas %4d -> %4d  primaries %4d -> %4d  copies to make %4d\n",
			width, l.Addr, l.Replicas, l.ReplicasThen, l.Primaries, l.PrimariesThen, l.Copies)
	}
}
