package clustermap

import (
	"cmp"
	"slices"
)

// Server is the attached server with this ID, or nil. What it points to
// belongs to the map and must not be altered.
func (m *Map) Server(id ServerID) *Server {
	i, ok := slices.BinarySearchFunc(m.Servers, id, func(s Server, id ServerID) int { return cmp.Compare(s.ID, id) })
	if !ok {
		return nil
	}
	return &m.Servers[i]
}

// ServerByAddr is the attached server at addr, or nil. Where a new server
// stands at the address of a dead one, the active one is found, then the one
// with the lowest ID. What it points to must not be altered.
func (m *Map) ServerByAddr(addr string) *Server {
	var found *Server
	for i := range m.Servers {
		s := &m.Servers[i]
		if s.Addr != addr {
			continue
		}
		if s.State == Active {
			return s
		}
		if found == nil {
			found = s
		}
	}
	return found
}

// Contains tells whether id is in list.
func Contains(list []ServerID, id ServerID) bool { return slices.Contains(list, id) }

// Without is list without id, in the same order. It never alters list; where
// id is not in it, list itself is returned.
func Without(list []ServerID, id ServerID) []ServerID {
	i := slices.Index(list, id)
	if i < 0 {
		return slices.Clip(list)
	}
	out := make([]ServerID, 0, len(list)-1)
	for _, x := range list {
		if x != id {
			out = append(out, x)
		}
	}
	return out
}

// SameSet tells whether a and b, each without duplicates, name the same servers.
func SameSet(a, b []ServerID) bool { return len(a) == len(b) && Subset(a, b) }

// Subset tells whether every server of a is in b.
func Subset(a, b []ServerID) bool {
	for _, id := range a {
		if !slices.Contains(b, id) {
			return false
		}
	}
	return true
}
