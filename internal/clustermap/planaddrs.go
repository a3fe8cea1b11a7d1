package clustermap

import (
	"cmp"
	"slices"
)

// PlanAddrs is the map of a new cluster of servers at addrs, with all copies in
// place, for planning without a manager (kumohash svr1 svr2 svr3 -- assign KEY).
// Server IDs are made from the addresses, so the same addresses, in any
// order, always give the same map; a real cluster's IDs are random and its map
// is another. An address given twice is one server. Where partitions or
// replication is out of range (0, say), the default is taken. Without
// addresses no partition has a server.
func PlanAddrs(addrs []string, partitions, replication int) *Map {
	if checkShape(partitions, 1) != nil {
		partitions = DefaultPartitions
	}
	if checkShape(1, replication) != nil {
		replication = DefaultReplication
	}
	m := &Map{ClusterID: 1, Version: 1, Replication: replication, Partitions: make([]Partition, partitions)}
	for _, addr := range addrs {
		if m.ServerByAddr(addr) == nil {
			m.Servers = append(m.Servers, Server{ID: ServerID(max(1, Hash([]byte(addr)))), Addr: addr})
		}
	}
	slices.SortFunc(m.Servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	for i := range m.Partitions {
		m.Partitions[i].Epoch = 1
	}
	for i, list := range Assign(m, m.Servers, PlanOptions{}) {
		p := &m.Partitions[i]
		p.Replicas, p.LastKnown, p.Assigned = list, list, list
		if len(list) > 0 {
			p.Active, p.LastPrimary = true, list[0]
		}
	}
	return m
}
