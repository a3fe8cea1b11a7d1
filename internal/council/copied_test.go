package council

import (
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
)

// A copy of a running server's store counts its incarnation up when it is
// started. It used to end the server that it was copied from and to take its
// place with old pairs.
func TestACopyOfARunningServersStoreIsRefused(t *testing.T) {
	s := newScene(t, active(1, 2, 3))
	copied := control.Hello{Role: control.RoleServer, ID: 2, Addr: "10.0.0.9:1", StreamAddr: "10.0.0.9:2", Incarnation: 5, RunID: 9, ClusterID: 7}
	s.c.Heard(s.now, 2)
	v := s.c.Registered(s.now, Registration{Hello: copied})
	if v.OK || !v.Refuse.Fatal || !strings.Contains(v.Refuse.Reason, addr(2)) {
		t.Errorf("while the store's server runs: %+v", v)
	}
	// A restart at the same address is no copy; a server that is gone may have moved.
	here := copied
	here.Addr, here.StreamAddr, here.Incarnation = addr(2), addr(2), 2
	if v := s.c.Registered(s.now, Registration{Hello: here}); !v.OK {
		t.Errorf("a restart: %+v", v)
	}
	s.c.Broken(s.now, 2)
	if v := s.c.Registered(s.now, Registration{Hello: copied}); !v.OK {
		t.Errorf("when the other run has ended: %+v", v)
	}
}
