package harness

import (
	"fmt"
	"strings"
	"time"
)

// AddManager adds one more manager, which is not started and names partners with -p.
func (c *Cluster) AddManager(partners ...*Process) *Process {
	c.t.Helper()
	name := fmt.Sprintf("manager%d", len(c.Managers)+1)
	addr := c.freeAddr(name)
	argv := []string{c.prog("kumo-manager"), "-v", "-l", addr}
	var addrs []string
	for _, p := range partners {
		addrs = append(addrs, p.Addr)
	}
	if len(addrs) > 0 {
		argv = append(argv, "-p", strings.Join(addrs, ","))
	}
	p := c.process(name, addr, append(argv, c.opt.ManagerArgs...))
	c.Managers = append(c.Managers, p)
	return p
}

// Leader is the manager that leads, as status tells it; nil: none.
func (c *Cluster) Leader() *Process {
	if s, err := c.TryStatus(); err == nil {
		for _, m := range s.Managers {
			for _, p := range c.Managers {
				if m.Leader && m.Addr == p.Addr {
					return p
				}
			}
		}
	}
	return nil
}

// CtlOn is TryCtl on one manager.
func (c *Cluster) CtlOn(m *Process, args ...string) (string, error) {
	out, err := c.tool(10*time.Second, append([]string{"kumoctl", m.Addr}, args...)...)
	return string(out), err
}

// Dir is the directory in which all processes run.
func (c *Cluster) Dir() string { return c.opt.Dir }
