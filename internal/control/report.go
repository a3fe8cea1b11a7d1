package control

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Append adds to r, of a turn before, what a later one has to say. What both say
// of the same partition the later says for both: reports are repeated until the map
// shows them done, so while no manager is there r is as long as there are
// partitions, however long that lasts.
func (r *Report) Append(later Report) {
	if r.Incarnation != later.Incarnation {
		*r = later
		return
	}
	later.Activated = latest(r.Activated, later.Activated, partitionOf)
	later.StepDown = latest(r.StepDown, later.StepDown, partitionOf)
	type join struct {
		p      uint16
		joiner clustermap.ServerID
	}
	later.InSync = latest(r.InSync, later.InSync, func(in InSync) join { return join{in.P, in.Joiner} })
	later.Accuse = accusations(r.Accuse, later.Accuse)
	*r = later
}

func partitionOf(pe PartitionEpoch) uint16 { return pe.P }

// latest is what old says and later does not speak of, and later.
func latest[T any, K comparable](old, later []T, of func(T) K) []T {
	if len(old) == 0 || len(later) == 0 {
		return slices.Concat(old, later)
	}
	said := make(map[K]struct{}, len(later))
	for _, v := range later {
		said[of(v)] = struct{}{}
	}
	out := make([]T, 0, len(old)+len(later))
	for _, v := range old {
		if _, is := said[of(v)]; !is {
			out = append(out, v)
		}
	}
	return append(out, later...)
}

// accusations is latest for lists that are grouped by whom they accuse.
func accusations(old, later []Accusation) []Accusation {
	var said []PartitionEpoch
	for _, a := range later {
		said = append(said, a.Partitions...)
	}
	out := slices.Clone(later)
	for _, a := range old {
		// What is left of a's partitions when those that later speaks of are taken out.
		left := latest(a.Partitions, said, partitionOf)
		left = left[: len(left)-len(said) : len(left)-len(said)]
		if len(left) == 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(b Accusation) bool { return slices.Equal(a.Accused, b.Accused) }); i >= 0 {
			out[i].Partitions = slices.Concat(left, out[i].Partitions)
		} else {
			out = append(out, Accusation{a.Accused, left})
		}
	}
	return out
}
