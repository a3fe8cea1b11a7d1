package council

import (
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// What the council says of many members at once it says in the order of their
// IDs, not in a map's: the simulator's seeds replay.
func TestOrderOfEvents(t *testing.T) {
	for range 50 {
		s := newScene(t, active(1, 2, 3))
		for id := ID(1); id <= 4; id++ {
			s.c.Broken(s.now, id)
		}
		s.now += time.Minute.Milliseconds()
		var lost []ID
		for _, e := range s.c.Next(s.now).Events {
			if e.Text == "lost node" {
				lost = append(lost, e.ID)
			}
		}
		if !slices.Equal(lost, []ID{1, 2, 3, 4}) {
			t.Fatalf("lost in the order %v", lost)
		}
	}
}

// Of blank stores at one address that came in the same moment one is attached,
// and always the same.
func TestOrderOfEquals(t *testing.T) {
	for range 50 {
		s := newScene(t, active(1, 2, 3))
		for id := ID(8); id > 4; id-- {
			s.c.Registered(s.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: id, Addr: addr(9), StreamAddr: addr(9), Incarnation: 1, RunID: 1}})
		}
		if got := s.c.attachable(s.now); !slices.Equal(got, []ID{5}) {
			t.Fatalf("attachable: %v", got)
		}
	}
}
