package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// managed are options of a cluster of several managers.
func managed(managers, servers int) harness.Options {
	o := options(servers)
	o.Managers = managers
	return o
}

// voters waits until exactly so many managers and witnesses vote, all of them
// reachable, and nobody waits to vote.
func voters(t *testing.T, c *harness.Cluster, managers, witnesses int, limit time.Duration) *control.Status {
	t.Helper()
	var last *control.Status
	harness.Until(t, limit, fmt.Sprintf("%d managers and %d witnesses vote", managers, witnesses), func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		leaders := 0
		ok := len(s.Managers) == managers && len(s.Witnesses) == witnesses
		for _, m := range s.Managers {
			ok = ok && m.Voter && m.Reachable
			if m.Leader {
				leaders++
			}
		}
		for _, w := range s.Witnesses {
			ok = ok && w.Voter && w.Reachable
		}
		if last = s; !ok || leaders != 1 {
			return fmt.Errorf("managers %+v, witnesses %+v", s.Managers, s.Witnesses)
		}
		return nil
	})
	return last
}

// A manager and a server are killed together, whichever leads and in both
// orders: clients see no error. Both come back, and it is as before.
func TestKillManagerAndServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		leader, first bool // the manager that leads; the manager goes first
	}{
		{"the leader, then a server", true, true},
		{"a server, then the leader", true, false},
		{"the other manager, then a server", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, managed(2, 3))
			voters(t, c, 2, 3, 15*time.Second)
			l := fill(t, c, size(5_000, 50_000))
			m := c.Leader()
			if !test.leader {
				m = other(c, m)
			}
			s := c.MostPrimaries()
			l.Mark("kill -9 %s and %s", m.Name, s.Name)
			if test.first {
				harness.Kill9(m, s)
			} else {
				harness.Kill9(s, m)
			}
			usable := everyPartitionWithin(t, c, l, 10*time.Second)
			if !test.leader { // one that leads anew takes ten seconds to call a server fault
				c.WaitState(s, "fault", 15*time.Second)
			}
			l.Run(size(time.Second, 5*time.Second))
			l.Mark("both are started again")
			logged := strings.Count(other(c, m).Log(), "partner connected")
			m.Start()
			s.Start()
			harness.Until(t, 10*time.Second, "partner connected", func() error {
				if n := strings.Count(other(c, m).Log(), "partner connected"); n <= logged {
					return fmt.Errorf("logged %d times", n)
				}
				return nil
			})
			if !test.leader {
				harness.Until(t, 10*time.Second, "the server is listed", func() error {
					if st, err := c.TryStatus(); err != nil || !harness.NotAttached(st, s) {
						return fmt.Errorf("%v", err)
					}
					return nil
				})
				c.Ctl("attach", "--wait")
			}
			c.WaitReady(30 * time.Second)
			voters(t, c, 2, 3, 15*time.Second)
			finish(t, l, 0, 10*time.Second)
			c.CheckCopies()
			t.Logf("every partition was written and read %v after the kill", usable.Round(time.Millisecond))
		})
	}
}

// other is the manager that is not m, of two.
func other(c *harness.Cluster, m *harness.Process) *harness.Process {
	return c.Managers[1-slices.Index(c.Managers, m)]
}

// Both managers killed and started again: the cluster is as it was, whoever
// leads, and nobody has become fault by it.
func TestKillBothManagers(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, managed(2, 3))
	before := voters(t, c, 2, 3, 15*time.Second)
	l := fill(t, c, 2_000)
	l.Mark("kill -9 of both managers")
	harness.Kill9(c.Managers...)
	l.Run(2 * time.Second)
	if _, err := c.TryStatus(); err == nil {
		t.Error("there is a status without a manager")
	}
	for _, m := range c.Managers {
		m.Start()
	}
	after := voters(t, c, 2, 3, 15*time.Second)
	c.WaitReady(20 * time.Second)
	l.Run(time.Second)
	finish(t, l, 0, besideBar())
	if after.Cluster != before.Cluster || after.Clock < before.Clock || len(after.Attached) != 3 {
		t.Errorf("it was cluster %s, clock %d; it is cluster %s, clock %d, attached %d", before.Cluster, before.Clock, after.Cluster, after.Clock, len(after.Attached))
	}
	for i, w := range before.Witnesses {
		if after.Witnesses[i].ID != w.ID {
			t.Errorf("the witness at %s was %s, is %s", w.Addr, w.ID, after.Witnesses[i].ID)
		}
	}
}

// A second manager is added to one that runs, a third replaces the witnesses,
// and one that comes back without its state directory takes its old place.
func TestAddManagers(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	voters(t, c, 1, 0, 5*time.Second)
	first := c.Managers[0]
	second := c.AddManager(first)
	second.Start()
	voters(t, c, 2, 3, 15*time.Second)
	third := c.AddManager(first, second)
	third.Start()
	before := voters(t, c, 3, 0, 20*time.Second)
	for i := range c.Servers {
		dir := fmt.Sprintf("%s/kumodb%d.raft", c.Dir(), i+1)
		harness.Until(t, 10*time.Second, "the witness's directory is removed", func() error {
			if _, err := os.Stat(dir); err == nil {
				return fmt.Errorf("%s is there", dir)
			}
			return nil
		})
	}
	// A follower answers as the leader does.
	for _, m := range c.Managers {
		if out, err := c.CtlOn(m, "status"); err != nil || strings.Count(out, "(active)") != 3 {
			t.Errorf("%s: %v\n%s", m.Name, err, out)
		}
	}
	leader := c.Leader()
	wiped := c.Managers[(slices.Index(c.Managers, leader)+1)%3]
	wiped.Kill9()
	if err := os.RemoveAll(c.Dir() + "/kumo-manager-" + wiped.Addr[strings.LastIndex(wiped.Addr, ":")+1:]); err != nil {
		t.Fatal(err)
	}
	wiped.Start()
	old := ""
	for _, m := range before.Managers {
		if m.Addr == wiped.Addr {
			old = m.ID
		}
	}
	harness.Until(t, 15*time.Second, "the new one takes the old one's place", func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		for _, m := range s.Managers {
			if m.Addr == wiped.Addr && m.ID != old && m.Voter && m.Reachable && len(s.Managers) == 3 {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Managers)
	})
	// Its vote counts: another of the three may go.
	leader.Kill9()
	harness.Until(t, 10*time.Second, "the two others go on", func() error { _, err := c.TryStatus(); return err })
}

// Blank managers of which one is silent wait and say so; --alone begins, and who
// comes later joins.
func TestBlankManagersWait(t *testing.T) {
	t.Parallel()
	c := harness.New(t, managed(2, 0))
	silent, waits := c.Managers[0], c.Managers[1]
	waits.Start()
	harness.Until(t, 5*time.Second, "it says that it waits", func() error {
		if log := waits.Log(); !strings.Contains(log, "this manager is blank: it waits for "+silent.Addr) {
			return fmt.Errorf("%s", log)
		}
		return nil
	})
	start := time.Now()
	if _, err := c.CtlOn(waits, "attach"); err == nil || !strings.Contains(err.Error(), "--alone") {
		t.Errorf("attach on a manager that waits: %v", err)
	}
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("it answered after %v", took)
	}
	waits.Kill9()
	waits.Args("--alone")
	waits.Start()
	harness.Until(t, 5*time.Second, "it leads alone", func() error { _, err := c.CtlOn(waits, "status"); return err })
	silent.Start()
	harness.Until(t, 10*time.Second, "the other joins", func() error {
		s, err := c.TryStatus()
		if err == nil && len(s.Managers) != 2 {
			err = fmt.Errorf("%+v", s.Managers)
		}
		return err
	})
}

// A witness's server is killed, and one is detached: the voters are mended.
func TestWitnessesAreReplaced(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, managed(2, 5))
	s := voters(t, c, 2, 3, 15*time.Second)
	at := func(w control.WitnessState) *harness.Process {
		i := slices.IndexFunc(c.Servers, func(p *harness.Process) bool { return p.Addr == w.Addr })
		return c.Servers[i]
	}
	// One manager is down meanwhile.
	down := other(c, c.Leader())
	down.Kill9()
	dead := at(s.Witnesses[0])
	dead.Kill9()
	harness.Until(t, 20*time.Second, "another witness takes the dead one's place", func() error {
		st, err := c.TryStatus()
		if err != nil {
			return err
		}
		up := 0
		for _, w := range st.Witnesses {
			if w.Voter && w.Reachable && w.ID != s.Witnesses[0].ID {
				up++
			}
		}
		if up != 3 || len(st.Witnesses) != 3 {
			return fmt.Errorf("%+v", st.Witnesses)
		}
		return nil
	})
	c.WaitState(dead, "fault", 10*time.Second)
	c.Ctl("detach")
	for _, w := range c.Status().Witnesses {
		if w.Addr == dead.Addr {
			t.Errorf("detached, its witness is %+v", w)
		}
	}
	down.Start()
	voters(t, c, 2, 3, 15*time.Second)
}
