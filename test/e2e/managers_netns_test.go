package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// TestLeaderCutOff: the manager that leads is cut off from all but one server.
// It ceases to lead, the other takes over and decides alone, clients notice
// nothing; mended, the two agree.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	names := []string{"manager1", "manager2", "server1", "server2", "server3", "gateway1"}
	h, err := harness.NewHosts(t, names...)
	if err != nil {
		t.Skip("not run: ", err)
	}
	o := managed(2, 3)
	o.Host = func(name string) (string, []string) { return h.Addr(h.Index(name)), h.On(name) }
	c := harness.Start(t, o)
	voters(t, c, 2, 3, 20*time.Second)
	l := fill(t, c, 2_000)
	old := c.Leader()
	next := other(c, old)
	apart := func(on bool) {
		t.Helper()
		var all []int
		for i, name := range names {
			if name != old.Name && name != "server1" {
				all = append(all, i)
				if err := h.Deaf(name, []int{h.Index(old.Name)}, on); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := h.Deaf(old.Name, all, on); err != nil {
			t.Fatal(err)
		}
	}
	// The old leader is asked where it lives; the other over the switch.
	status := func(m *harness.Process) (*control.Status, error) {
		argv := []string{*bin + "/kumoctl", m.Addr, "status", "--json"}
		if m == old {
			argv = h.On(old.Name, argv...)
		}
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("%s", exit.Stderr)
		} else if err != nil {
			return nil, err
		}
		s := new(control.Status)
		return s, json.Unmarshal(out, s)
	}
	leads := func(s *control.Status, m *harness.Process) bool {
		return slices.ContainsFunc(s.Managers, func(x control.ManagerState) bool { return x.Leader && x.Addr == m.Addr })
	}
	before, err := status(old)
	if err != nil {
		t.Fatal(err)
	}
	l.Mark("%s, which leads, reaches server1 alone", old.Name)
	apart(true)
	took := harness.Until(t, 15*time.Second, next.Name+" leads with all servers", func() error {
		s, err := status(next)
		if err != nil {
			return err
		}
		if !leads(s, next) {
			return fmt.Errorf("%+v", s.Managers)
		}
		for _, n := range s.Attached {
			if !n.Reachable || n.State != "active" {
				return fmt.Errorf("%+v", n)
			}
		}
		return nil
	})
	l.Mark("%s leads with all servers after %v", next.Name, took.Round(time.Millisecond))
	if s, err := status(old); err == nil {
		t.Errorf("%s, which is cut off, still answers: %+v", old.Name, s.Managers)
	} else {
		t.Logf("%s says: %v", old.Name, err)
	}
	// A decision that only the one that leads can make.
	if out, err := exec.Command(*bin+"/kumoctl", next.Addr, "enable-auto-replace").CombinedOutput(); err != nil {
		t.Fatalf("enable-auto-replace: %v: %s", err, out)
	}
	l.Run(time.Second)
	l.Mark("mended")
	apart(false)
	harness.Until(t, 20*time.Second, "both say the same", func() error {
		a, errA := status(old)
		b, errB := status(next)
		if errA != nil || errB != nil {
			return errors.Join(errA, errB)
		}
		if a.Clock != b.Clock || !a.AutoReplace || !b.AutoReplace || a.Clock <= before.Clock || !slices.Equal(a.Managers, b.Managers) {
			return fmt.Errorf("%s: %+v; %s: %+v", old.Name, a, next.Name, b)
		}
		return nil
	})
	voters(t, c, 2, 3, 20*time.Second)
	finish(t, l, 0, besideBar())
}
