package replica

import (
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// A joiner that planning wants takes the place of a replica that it does not, each of
// another, and not where copies are missing.
func TestInstead(t *testing.T) {
	const E, F = clustermap.ServerID(105), clustermap.ServerID(106)
	type ids = []clustermap.ServerID
	for _, test := range []struct {
		replicas, joining, assigned, want ids
	}{
		{ids{A, B, C}, ids{D}, ids{A, B, D}, ids{C}},
		{ids{A, B, C}, ids{D}, ids{A, D, C}, ids{B}},
		{ids{A, B, C}, ids{D}, ids{D, B, C}, ids{0}}, // the primary does not give up itself
		{ids{A, B, C}, ids{D, E}, ids{A, D, E}, ids{B, C}},
		{ids{A, B, C}, ids{E, D}, ids{A, D, E}, ids{B, C}},
		{ids{A, B, C}, ids{D, E, F}, ids{D, E, F}, ids{B, C, 0}},
		{ids{A, C}, ids{D}, ids{A, B, D}, ids{0}},          // one is missing
		{ids{A, B, C}, ids{E, D}, ids{A, B, D}, ids{0, C}}, // E is not wanted
		{ids{A, B}, ids{D}, ids{A, B, D}, ids{0}},
	} {
		r := &Replica{cfg: clustermap.Partition{Replicas: test.replicas, Joining: test.joining, Assigned: test.assigned}}
		for i, j := range test.joining {
			if got := r.instead(j); got != test.want[i] {
				t.Errorf("%v with %v for %v: %v gives way to %v, want %v", test.replicas, test.joining, test.assigned, got, j, test.want[i])
			}
		}
	}
}
