package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/tools"
)

// Options of a Cluster.
type Options struct {
	Bin     string // directory of the programs
	Dir     string // data and logs; "" is t.TempDir()
	Servers int    // started and attached
	Text    bool   // servers serve memcached too (-t)

	ManagerArgs, ServerArgs, GatewayArgs []string
}

// Cluster is a manager, servers and a gateway.
type Cluster struct {
	Manager *Process
	Servers []*Process
	Gateway *Process

	t    testing.TB
	opt  Options
	text []string // of each server
}

// New makes a cluster of which nothing runs yet.
func New(t testing.TB, opt Options) *Cluster {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	} else {
		opt.Dir = filepath.Join(opt.Dir, strings.ReplaceAll(t.Name(), "/", "_"))
		if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{t: t, opt: opt}
	addr := c.freeAddr()
	c.Manager = newProcess(t, "manager", addr, opt.Dir,
		append([]string{c.prog("kumo-manager"), "-v", "-l", addr}, opt.ManagerArgs...)...)
	for range opt.Servers {
		c.AddServer()
	}
	addr = c.freeAddr()
	c.Gateway = newProcess(t, "gateway", addr, opt.Dir,
		append([]string{c.prog("kumo-gateway"), "-v", "-m", c.Manager.Addr, "-t", addr}, opt.GatewayArgs...)...)
	return c
}

// Start makes a cluster, starts it all, attaches the servers and waits until
// they are ready.
func Start(t testing.TB, opt Options) *Cluster {
	t.Helper()
	c := New(t, opt)
	c.StartAll()
	c.WaitNotAttached(len(c.Servers))
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second)
	return c
}

func (c *Cluster) prog(name string) string { return filepath.Join(c.opt.Bin, name) }

func (c *Cluster) freeAddr() string {
	c.t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(c.t))
}

// AddServer adds one more server, which is not started.
func (c *Cluster) AddServer() *Process {
	c.t.Helper()
	i := len(c.Servers) + 1
	addr, stream := c.freeAddr(), FreePort(c.t)
	argv := []string{c.prog("kumo-server"), "-v", "-m", c.Manager.Addr, "-l", addr, "-L", strconv.Itoa(stream), "-s", fmt.Sprintf("./kumodb%d", i)}
	text := ""
	if c.opt.Text {
		text = c.freeAddr()
		argv = append(argv, "-t", text)
	}
	p := newProcess(c.t, fmt.Sprintf("server%d", i), addr, c.opt.Dir, append(argv, c.opt.ServerArgs...)...)
	c.Servers = append(c.Servers, p)
	c.text = append(c.text, text)
	return p
}

// All is every process.
func (c *Cluster) All() []*Process {
	return append([]*Process{c.Manager, c.Gateway}, c.Servers...)
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

// TryCtl runs kumoctl on the manager.
func (c *Cluster) TryCtl(args ...string) (string, error) {
	limit := 10 * time.Second
	for _, a := range args {
		if a == "--wait" {
			limit = 3 * time.Minute
		}
	}
	out, err := run(limit, append([]string{c.prog("kumoctl"), c.Manager.Addr}, args...)...)
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
// ready of each, and no copy is to be made.
func (c *Cluster) WaitReady(limit time.Duration) time.Duration {
	c.t.Helper()
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
		out, err := run(10*time.Second, c.prog("kumostat"), "-m", c.Manager.Addr, "replstat", "--json")
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

// Map is the manager's cluster map.
func (c *Cluster) Map() *clustermap.Map {
	c.t.Helper()
	client := tools.NewClient("manager", c.Manager.Addr)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := client.Map(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// stat is `kumostat ADDR KEY --json` decoded into v.
func (c *Cluster) stat(p *Process, key string, v any) {
	c.t.Helper()
	out, err := run(30*time.Second, c.prog("kumostat"), p.Addr, key, "--json")
	if err != nil {
		c.t.Fatal(err)
	}
	answer := map[string]json.RawMessage{}
	if err := json.Unmarshal(out, &answer); err == nil {
		err = json.Unmarshal(answer[key], v)
	}
	if err != nil {
		c.t.Fatalf("kumostat %s %s: %v\n%s", p.Addr, key, err, out)
	}
}

// Stats are the numbers of `kumostat ADDR stats`.
func (c *Cluster) Stats(p *Process) map[string]int64 {
	c.t.Helper()
	all := map[string]any{}
	c.stat(p, "stats", &all)
	nums := map[string]int64{}
	for k, v := range all {
		if f, ok := v.(float64); ok {
			nums[k] = int64(f)
		}
	}
	return nums
}

// Sum adds one of the Stats over servers that run.
func (c *Cluster) Sum(key string) (n int64) {
	c.t.Helper()
	for _, p := range c.Servers {
		if p.PID() != 0 {
			n += c.Stats(p)[key]
		}
	}
	return n
}

// nothing is the checksum of a partition without pairs.
const nothing = "0000000000000000 0"

// Checksums are those of every partition of which a server's store holds
// pairs: "SUM COUNT" by number.
func (c *Cluster) Checksums(p *Process) map[uint16]string {
	c.t.Helper()
	raw := map[string]string{}
	c.stat(p, "checksum", &raw)
	sums := map[uint16]string{}
	for k, v := range raw {
		n, err := strconv.Atoi(k)
		if err != nil {
			c.t.Fatalf("kumostat %s checksum: %q", p.Addr, k)
		}
		if v != nothing { // a server that knows the partition may hold nothing of it
			sums[uint16(n)] = v
		}
	}
	return sums
}

// CheckCopies compares every partition's checksum over its replicas, which must
// be three (or all the servers that there are), and gives how many pairs the
// cluster holds. Writes must have ended.
func (c *Cluster) CheckCopies() (items int64) {
	c.t.Helper()
	m := c.Map()
	sums := map[clustermap.ServerID]map[uint16]string{}
	for _, s := range m.Servers {
		for _, p := range c.Servers {
			if p.Addr == s.Addr && p.PID() != 0 {
				sums[s.ID] = c.Checksums(p)
			}
		}
	}
	want := min(m.Replication, len(m.Servers))
	bad := 0
	complain := func(format string, a ...any) {
		if bad++; bad <= 10 {
			c.t.Errorf(format, a...)
		}
	}
	for i := range m.Partitions {
		part := &m.Partitions[i]
		if len(part.Replicas) != want {
			complain("partition %d has %d copies, not %d: %v", i, len(part.Replicas), want, part.Replicas)
		}
		first := sums[part.Primary()][uint16(i)]
		for _, id := range part.Replicas {
			if sum := sums[id][uint16(i)]; sum != first {
				complain("partition %d: %s has %q, its primary %s has %q", i, m.Server(id).Addr, sum, m.Server(part.Primary()).Addr, first)
			}
		}
		if _, count, ok := strings.Cut(first, " "); ok {
			n, _ := strconv.ParseInt(count, 10, 64)
			items += n
		}
	}
	if bad > 0 {
		c.t.Errorf("%d partitions have not their copies", bad)
	}
	return items
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
