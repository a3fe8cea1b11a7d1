package clustermap

import "slices"

// Move is a copy that is still to be made.
type Move struct {
	Partition uint16
	Server    ServerID
}

// Moves is every copy that is assigned and not yet a replica, by partition,
// then in the order of Assigned. A server that is joining counts: it has no
// full copy yet.
func Moves(m *Map) []Move {
	var moves []Move
	for i := range m.Partitions {
		p := &m.Partitions[i]
		for _, id := range p.Assigned {
			if !slices.Contains(p.Replicas, id) {
				moves = append(moves, Move{uint16(i), id})
			}
		}
	}
	return moves
}

// Share is what one server holds, in numbers of partitions.
type Share struct {
	Server ServerID
	// Replicas and Primaries are held now; a primary is a replica too.
	Replicas, Primaries int
	Joining             int
	// AssignedReplicas and AssignedPrimaries are planned.
	AssignedReplicas, AssignedPrimaries int
}

// Distribution is the share of each attached server, in the order of m.Servers.
func Distribution(m *Map) []Share {
	shares := make([]Share, len(m.Servers))
	index := make(map[ServerID]*Share, len(shares))
	for i := range shares {
		shares[i].Server = m.Servers[i].ID
		index[shares[i].Server] = &shares[i]
	}
	count := func(ids []ServerID, replica, primary func(*Share) *int) {
		for i, id := range ids {
			s := index[id]
			if s == nil {
				continue
			}
			*replica(s)++
			if i == 0 && primary != nil {
				*primary(s)++
			}
		}
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		count(p.Replicas, func(s *Share) *int { return &s.Replicas }, func(s *Share) *int { return &s.Primaries })
		count(p.Joining, func(s *Share) *int { return &s.Joining }, nil)
		count(p.Assigned, func(s *Share) *int { return &s.AssignedReplicas }, func(s *Share) *int { return &s.AssignedPrimaries })
	}
	return shares
}
