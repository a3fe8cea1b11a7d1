package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/tools"
)

// Options of a Cluster.
type Options struct {
	Bin     string // directory of the programs
	Dir     string // data and logs; "" is t.TempDir()
	Servers int    // started and attached
	Text    bool   // servers serve memcached too (-t)
	// Managers and Gateways: 0 is one of each.
	Managers, Gateways int
	// Host tells where the process of a name (manager1, server1, gateway1 ...)
	// runs: its IP address, and what to put before its command line so that it
	// has that address. nil: everything on loopback.
	Host func(name string) (ip string, prefix []string)

	ManagerArgs, ServerArgs, GatewayArgs []string
	// Secret is the file of the cluster secret, for daemons and tools; "": none.
	Secret string
}

// Cluster is managers, servers and gateways.
type Cluster struct {
	Managers []*Process
	Servers  []*Process
	Gateways []*Process
	// Manager and Gateway are the first of them.
	Manager, Gateway *Process

	t    TB
	opt  Options
	text []string // of each server
}

// New makes a cluster of which nothing runs yet.
func New(t TB, opt Options) *Cluster {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	} else {
		opt.Dir = filepath.Join(opt.Dir, strings.ReplaceAll(t.Name(), "/", "_"))
		if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if opt.Secret != "" {
		for _, args := range []*[]string{&opt.ManagerArgs, &opt.ServerArgs, &opt.GatewayArgs} {
			*args = append(slices.Clone(*args), "--cluster-secret-file", opt.Secret)
		}
	}
	c := &Cluster{t: t, opt: opt}
	var managers []string
	for i := range max(1, opt.Managers) {
		managers = append(managers, c.freeAddr(fmt.Sprintf("manager%d", i+1)))
	}
	for i, addr := range managers {
		argv := []string{c.prog("kumo-manager"), "-v", "-l", addr}
		if others := slices.Delete(slices.Clone(managers), i, i+1); len(others) > 0 {
			argv = append(argv, "-p", strings.Join(others, ","))
		}
		c.Managers = append(c.Managers, c.process(fmt.Sprintf("manager%d", i+1), addr, append(argv, opt.ManagerArgs...)))
	}
	c.Manager = c.Managers[0]
	for range opt.Servers {
		c.AddServer()
	}
	for i := range max(1, opt.Gateways) {
		name := fmt.Sprintf("gateway%d", i+1)
		addr := c.freeAddr(name)
		argv := []string{c.prog("kumo-gateway"), "-v", "-m", c.managers(), "-t", addr}
		if i > 0 { // so that both ways are tested wherever there are several
			argv = append(argv, "--loops", "2")
		}
		c.Gateways = append(c.Gateways, c.process(name, addr, append(argv, opt.GatewayArgs...)))
	}
	c.Gateway = c.Gateways[0]
	return c
}

// managers is the list of them as command lines have it.
func (c *Cluster) managers() string {
	var addrs []string
	for _, m := range c.Managers {
		addrs = append(addrs, m.Addr)
	}
	return strings.Join(addrs, ",")
}

func (c *Cluster) host(name string) (ip string, prefix []string) {
	if c.opt.Host == nil {
		return "127.0.0.1", nil
	}
	return c.opt.Host(name)
}

func (c *Cluster) process(name, addr string, argv []string) *Process {
	c.t.Helper()
	_, prefix := c.host(name)
	return newProcess(c.t, name, addr, c.opt.Dir, append(slices.Clone(prefix), argv...)...)
}

// Start makes a cluster, starts it all, attaches the servers and waits until
// they are ready.
func Start(t TB, opt Options) *Cluster {
	t.Helper()
	c := New(t, opt)
	c.StartAll()
	c.WaitNotAttached(len(c.Servers))
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second)
	return c
}

// tool runs one of the operator's tools.
func (c *Cluster) tool(limit time.Duration, argv ...string) ([]byte, error) {
	argv = slices.Clone(argv)
	argv[0] = c.prog(argv[0])
	if c.opt.Secret != "" {
		argv = append(argv, "--cluster-secret-file", c.opt.Secret)
	}
	return run(limit, argv...)
}

func (c *Cluster) prog(name string) string { return filepath.Join(c.opt.Bin, name) }

func (c *Cluster) freeAddr(name string) string {
	c.t.Helper()
	ip, _ := c.host(name)
	return fmt.Sprintf("%s:%d", ip, FreePort(c.t))
}

// AddServer adds one more server, which is not started.
func (c *Cluster) AddServer() *Process {
	c.t.Helper()
	i := len(c.Servers) + 1
	name := fmt.Sprintf("server%d", i)
	addr, stream := c.freeAddr(name), FreePort(c.t)
	argv := []string{c.prog("kumo-server"), "-v", "-m", c.managers(), "-l", addr, "-L", strconv.Itoa(stream), "-s", fmt.Sprintf("./kumodb%d", i)}
	text := ""
	if c.opt.Text {
		text = c.freeAddr(name)
		argv = append(argv, "-t", text)
	}
	p := c.process(name, addr, append(argv, c.opt.ServerArgs...))
	c.Servers = append(c.Servers, p)
	c.text = append(c.text, text)
	return p
}

// All is every process.
func (c *Cluster) All() []*Process {
	return slices.Concat(c.Managers, c.Gateways, c.Servers)
}

// StartAll starts all that do not run.
func (c *Cluster) StartAll() {
	c.t.Helper()
	for _, p := range c.All() {
		if p.PID() == 0 {
			p.Start()
		}
	}
}

// Text is where a server serves memcached itself (-t).
func (c *Cluster) Text(p *Process) string {
	for i, s := range c.Servers {
		if s == p {
			return c.text[i]
		}
	}
	return ""
}

// TryCtl runs kumoctl on the managers.
func (c *Cluster) TryCtl(args ...string) (string, error) {
	limit := 10 * time.Second
	for _, a := range args {
		if a == "--wait" || a == "--watch" {
			limit = 3 * time.Minute
		}
	}
	out, err := c.tool(limit, append([]string{"kumoctl", c.managers()}, args...)...)
	return string(out), err
}

// Ctl is TryCtl that must succeed.
func (c *Cluster) Ctl(args ...string) string {
	c.t.Helper()
	out, err := c.TryCtl(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// TryStatus is `kumoctl status --json`.
func (c *Cluster) TryStatus() (*control.Status, error) {
	out, err := c.TryCtl("status", "--json")
	if err != nil {
		return nil, err
	}
	var s control.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("kumoctl status --json: %w\n%s", err, out)
	}
	return &s, nil
}

// Status is TryStatus that must succeed.
func (c *Cluster) Status() *control.Status {
	c.t.Helper()
	s, err := c.TryStatus()
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// Node is what a status says of a server under `attached node`; nil: nothing.
func Node(s *control.Status, p *Process) *control.NodeStatus {
	for i := range s.Attached {
		if s.Attached[i].Addr == p.Addr {
			return &s.Attached[i]
		}
	}
	return nil
}

// NotAttached tells whether a status lists a server under `not attached node`.
func NotAttached(s *control.Status, p *Process) bool {
	for _, n := range s.NotAttached {
		if n.Addr == p.Addr {
			return true
		}
	}
	return false
}

// WaitNotAttached waits until n servers are listed as not attached.
func (c *Cluster) WaitNotAttached(n int) {
	c.t.Helper()
	Until(c.t, 15*time.Second, fmt.Sprintf("%d servers listed as not attached", n), func() error {
		s, err := c.TryStatus()
		if err == nil && len(s.NotAttached) != n {
			err = fmt.Errorf("%d are", len(s.NotAttached))
		}
		return err
	})
}

// WaitState waits until an attached server is in a state.
func (c *Cluster) WaitState(p *Process, state string, limit time.Duration) time.Duration {
	c.t.Helper()
	return Until(c.t, limit, p.Name+" is "+state, func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		n := Node(s, p)
		if n == nil || n.State != state {
			return fmt.Errorf("status says %+v", n)
		}
		return nil
	})
}

// WaitReady waits until every attached server is active and `replstat` says
// ready of each, and no copy is to be made. After limit (times Patience) the test ends.
func (c *Cluster) WaitReady(limit time.Duration) time.Duration {
	c.t.Helper()
	limit *= Patience
	took, err := c.PollReady(limit)
	if err != nil {
		c.t.Fatalf("the cluster is not ready after %v: %v", limit, err)
	}
	return took
}

// PollReady is WaitReady that tells instead of failing.
func (c *Cluster) PollReady(limit time.Duration) (time.Duration, error) {
	return Poll(limit, func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		for _, n := range s.Attached {
			if n.State != "active" {
				return fmt.Errorf("%s is %s", n.Addr, n.State)
			}
		}
		if s.Short+s.Unavailable+s.Moving > 0 || len(s.Attached) == 0 {
			return fmt.Errorf("attached %d, partitions short %d, unavailable %d, copies to make %d", len(s.Attached), s.Short, s.Unavailable, s.Moving)
		}
		out, err := c.tool(10*time.Second, "kumostat", "-m", c.managers(), "replstat", "--json")
		if err != nil {
			return err
		}
		states := map[string]string{}
		if err := json.Unmarshal(out, &states); err != nil {
			return err
		}
		if len(states) != len(s.Attached) {
			return fmt.Errorf("replstat of %d of %d servers: %s", len(states), len(s.Attached), out)
		}
		for _, state := range states {
			if state != "ready" {
				return fmt.Errorf("replstat: %s", bytes.ReplaceAll(out, []byte("\n"), nil))
			}
		}
		return nil
	})
}

// Map is the managers' cluster map.
func (c *Cluster) Map() *clustermap.Map {
	c.t.Helper()
	m, err := c.TryMap()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// TryMap is Map that tells instead of failing.
func (c *Cluster) TryMap() (*clustermap.Map, error) {
	var sec *secret.Secret
	if c.opt.Secret != "" {
		var err error
		if sec, err = secret.Load(c.opt.Secret, nil); err != nil {
			return nil, err
		}
	}
	client := tools.NewClient("manager", strings.Split(c.managers(), ",")...).WithSecret(sec)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return client.Map(ctx)
}

// MostPrimaries is the running server that leads the most partitions.
func (c *Cluster) MostPrimaries() *Process {
	c.t.Helper()
	s := c.Status()
	var best *Process
	most := -1
	for _, p := range c.Servers {
		if n := Node(s, p); n != nil && p.PID() != 0 && n.Primaries > most {
			best, most = p, n.Primaries
		}
	}
	return best
}
