package nemesis

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// fault is one kind of harm.
type fault struct {
	name string
	hold [2]int // ms that it lasts, at least and at most
	// bar is how long it may make a client wait when it comes alone, 99 % of the
	// time; then no error may reach a client either. 0: it may.
	bar time.Duration
	// late: together with another it comes second: a command under a fault.
	late bool
	// can tells whether it can be had in this run; nil: always.
	can func(n *nemesis) bool
	// do begins it and gives what ends it. under: there is another one.
	do func(n *nemesis, under bool) (what string, undo func())
}

const (
	crashBar   = time.Second
	silenceBar = 4 * time.Second
	// togetherBar: another manager is elected, and counts two seconds of silence.
	togetherBar = 8 * time.Second
)

func network(n *nemesis) bool { return n.hosts != nil }

// pick takes one that runs and is not harmed yet; nil: none.
func (n *nemesis) pick(ps []*harness.Process) *harness.Process {
	for _, i := range n.rnd.Perm(len(ps)) {
		if p := ps[i]; p.PID() != 0 && !n.used[p] {
			n.used[p] = true
			return p
		}
	}
	return nil
}

func revive(ps ...*harness.Process) func() {
	return func() {
		for _, p := range ps {
			if p.PID() == 0 {
				p.Start()
			}
		}
	}
}

// kill kills some of each list at once.
func kill(lists func(c *harness.Cluster) [][]*harness.Process, atOnce bool) func(*nemesis, bool) (string, func()) {
	return func(n *nemesis, _ bool) (string, func()) {
		var ps []*harness.Process
		what := "kill -9"
		for _, list := range lists(n.c) {
			if p := n.pick(list); p != nil {
				ps = append(ps, p)
				what += " " + p.Name
			}
		}
		harness.Kill9(ps...)
		if atOnce {
			revive(ps...)()
		}
		return what, revive(ps...)
	}
}

func pause(list func(c *harness.Cluster) []*harness.Process) func(*nemesis, bool) (string, func()) {
	return func(n *nemesis, _ bool) (string, func()) {
		p := n.pick(list(n.c))
		if p == nil {
			return "nobody is left", nil
		}
		p.Stop()
		return "SIGSTOP " + p.Name, p.Cont
	}
}

// cut lets packets between one server and some others vanish: those that it
// sends, those that are sent to it, or both.
func cut(others func(c *harness.Cluster) []*harness.Process, sent, heard bool) func(*nemesis, bool) (string, func()) {
	return func(n *nemesis, _ bool) (string, func()) {
		p := n.pick(n.c.Servers)
		if p == nil {
			return "nobody is left", nil
		}
		var names []string
		for _, q := range others(n.c) {
			if q != p {
				names = append(names, q.Name)
			}
		}
		set := func(on bool) {
			var errs []error
			var to []int
			for _, name := range names {
				to = append(to, n.hosts.Index(name))
				if heard {
					errs = append(errs, n.hosts.Deaf(name, []int{n.hosts.Index(p.Name)}, on))
				}
			}
			if sent {
				errs = append(errs, n.hosts.Deaf(p.Name, to, on))
			}
			if err := errors.Join(errs...); err != nil {
				n.t.Error(err)
			}
		}
		set(true)
		return fmt.Sprintf("%s and %v", p.Name, names), func() { set(false) }
	}
}

func managers(c *harness.Cluster) []*harness.Process { return c.Managers }
func servers(c *harness.Cluster) []*harness.Process  { return c.Servers }
func gateways(c *harness.Cluster) []*harness.Process { return c.Gateways }
func everybody(c *harness.Cluster) []*harness.Process {
	return c.All()
}

// host harms the network of one server.
func host(set func(h *harness.Hosts, name string, on bool) error) func(*nemesis, bool) (string, func()) {
	return func(n *nemesis, _ bool) (string, func()) {
		p := n.pick(n.c.Servers)
		if p == nil {
			return "nobody is left", nil
		}
		if err := set(n.hosts, p.Name, true); err != nil {
			n.t.Error(err)
		}
		return p.Name, func() {
			if err := set(n.hosts, p.Name, false); err != nil {
				n.t.Error(err)
			}
		}
	}
}

// faults are all kinds.
func (n *nemesis) faults() []*fault {
	list := func(f ...func(c *harness.Cluster) []*harness.Process) func(c *harness.Cluster) [][]*harness.Process {
		return func(c *harness.Cluster) (out [][]*harness.Process) {
			for _, f := range f {
				out = append(out, f(c))
			}
			return out
		}
	}
	// With one manager a server's failure waits for the manager.
	several := time.Duration(0)
	if n.opt.Managers > 1 {
		several = togetherBar
	}
	all := []*fault{
		{name: "kill server", hold: [2]int{300, 3500}, bar: crashBar, do: kill(list(servers), false)},
		{name: "kill and start server", hold: [2]int{500, 1500}, bar: crashBar, do: kill(list(servers), true)},
		{name: "kill two servers", hold: [2]int{300, 3500}, do: kill(list(servers, servers), false)},
		{name: "kill everything", hold: [2]int{0, 1500}, do: func(n *nemesis, _ bool) (string, func()) {
			harness.Kill9(n.c.All()...)
			return "kill -9 of every process", nil
		}},
		{name: "kill manager", hold: [2]int{300, 3500}, bar: silenceBar, do: kill(list(managers), false)},
		{name: "kill manager and server", hold: [2]int{300, 3500}, bar: several, do: kill(list(managers, servers), false)},
		{name: "kill gateway", hold: [2]int{300, 1500}, do: kill(list(gateways), false)},
		{name: "pause server for ten leases", hold: [2]int{5000, 5000}, bar: silenceBar, do: pause(servers)},
		{name: "pause server shortly", hold: [2]int{30, 1800}, bar: silenceBar, do: pause(servers)},
		{name: "pause manager", hold: [2]int{500, 3500}, bar: silenceBar, do: pause(managers)},
		{name: "pause gateway", hold: [2]int{100, 2000}, do: pause(gateways)},
		{name: "isolate server", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(everybody, true, true)},
		{name: "server is not heard", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(everybody, true, false)},
		{name: "server hears nobody", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(everybody, false, true)},
		{name: "cut server from servers", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(servers, true, true)},
		{name: "cut server from managers", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(managers, true, true)},
		{name: "cut server from gateways", hold: [2]int{500, 4500}, bar: silenceBar, can: network, do: cut(gateways, true, true)},
		{name: "lossy network", hold: [2]int{1000, 4000}, can: network, do: host(func(h *harness.Hosts, name string, on bool) error {
			if on {
				return h.Lossy(name, 20)
			}
			return h.Lossy(name, 0)
		})},
		{name: "slow network", hold: [2]int{1000, 4000}, can: network, do: host(func(h *harness.Hosts, name string, on bool) error {
			if on {
				return h.Slow(name, "600kbit")
			}
			return h.Slow(name, "")
		})},
		{name: "stutter", hold: [2]int{0, 0}, do: stutter},
		{name: "slow disk", hold: [2]int{1500, 4000}, can: func(n *nemesis) bool { return n.disks != nil && n.disks.group != "" }, do: slowDisk},
		{name: "full disk", hold: [2]int{2500, 4500}, can: func(n *nemesis) bool { return n.disks != nil }, do: fullDisk},
		{name: "rolling restart", hold: [2]int{0, 500}, do: rolling},
		{name: "attach or detach", hold: [2]int{0, 1500}, late: true, can: func(n *nemesis) bool { return len(n.c.Servers) > 4 }, do: attachOrDetach},
		{name: "replace server by an empty one", hold: [2]int{0, 500}, late: true, do: replace},
		{name: "full-replace", hold: [2]int{0, 1500}, late: true, can: func(n *nemesis) bool { return !n.replacing }, do: func(n *nemesis, under bool) (string, func()) {
			n.replacing = true
			return n.command(under, "full-replace"), nil
		}},
	}
	return slices.DeleteFunc(all, func(f *fault) bool {
		return len(n.opt.Only) > 0 && !slices.Contains(n.opt.Only, f.name) || f.can != nil && !f.can(n)
	})
}

// draw takes one kind, or two to come together. Every kind comes up before one
// comes up again.
func (n *nemesis) draw() (fs []*fault) {
	count := 1
	if n.rnd.IntN(5) < 2 {
		count = 2
	}
	for len(fs) < count {
		if len(n.deck) == 0 {
			n.deck = n.faults()
			n.rnd.Shuffle(len(n.deck), func(i, j int) { n.deck[i], n.deck[j] = n.deck[j], n.deck[i] })
		}
		f := n.deck[0]
		n.deck = n.deck[1:]
		fs = append(fs, f)
	}
	slices.SortStableFunc(fs, func(a, b *fault) int {
		switch {
		case a.late == b.late:
			return 0
		case a.late:
			return 1
		}
		return -1
	})
	return fs
}

// command runs one of kumoctl, which alone must succeed.
func (n *nemesis) command(under bool, name string) string {
	out, err := n.c.TryCtl(name)
	if err != nil && !under {
		n.t.Errorf("%v", err)
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s: %.60q", name, out)
}

// stutter stops a server for some milliseconds again and again, as a machine
// with too much to do does.
func stutter(n *nemesis, _ bool) (string, func()) {
	p := n.pick(n.c.Servers)
	if p == nil {
		return "nobody is left", nil
	}
	for range 25 {
		if p.PID() == 0 {
			break
		}
		p.Stop()
		n.sleep(n.between(5, 120))
		p.Cont()
		n.sleep(n.between(5, 60))
	}
	return p.Name + " 25 times for 5 to 120 ms", nil
}

func (n *nemesis) number(p *harness.Process) int { return slices.Index(n.c.Servers, p) }

func slowDisk(n *nemesis, _ bool) (string, func()) {
	p := n.c.Servers[0] // the one with --fsync: the others write to memory first
	if p.PID() == 0 || n.used[p] {
		if p = n.pick(n.c.Servers); p == nil {
			return "nobody is left", nil
		}
	}
	n.used[p] = true
	undo, err := n.disks.slow(n.number(p), p.PID())
	if err != nil {
		n.t.Error(err)
		return err.Error(), nil
	}
	return p.Name, undo
}

func fullDisk(n *nemesis, _ bool) (string, func()) {
	p := n.pick(n.c.Servers)
	if p == nil {
		return "nobody is left", nil
	}
	undo, err := n.disks.fill(n.number(p))
	if err != nil {
		n.t.Error(err)
		return err.Error(), nil
	}
	return p.Name, undo
}

// rolling restarts every daemon, one after another, as an upgrade does.
func rolling(n *nemesis, under bool) (string, func()) {
	for _, p := range n.c.All() {
		if n.used[p] || n.out[p] || p.PID() == 0 || n.stopped() {
			continue
		}
		p.Terminate(15 * time.Second)
		p.Start()
		if under {
			n.sleep(n.between(100, 1000))
			continue
		}
		// The next one only when this one does its work again.
		if took, err := n.c.PollReady(20 * time.Second); err != nil {
			n.t.Errorf("not ready %v after %s was restarted: %v", took, p.Name, err)
		}
	}
	return "SIGTERM and start, one after another", nil
}

// lose kills a server and waits until it is fault and nothing depends on it.
func (n *nemesis) lose(p *harness.Process) error {
	p.Kill9()
	_, err := harness.Poll(8*time.Second, func() error {
		s, err := n.c.TryStatus()
		if err != nil {
			return err
		}
		if node := harness.Node(s, p); node != nil && node.State != "fault" {
			return fmt.Errorf("%s is %s", p.Name, node.State)
		}
		m, err := n.c.TryMap()
		if err != nil {
			return err
		}
		s1 := m.ServerByAddr(p.Addr)
		for i := range m.Partitions {
			if part := &m.Partitions[i]; s1 != nil && (slices.Contains(part.Replicas, s1.ID) || slices.Contains(part.LastKnown, s1.ID)) {
				return fmt.Errorf("partition %d may depend on %s", i, p.Name)
			}
		}
		return nil
	})
	return err
}

// attachOrDetach takes a server out, with its data, or takes in an empty one in its place.
func attachOrDetach(n *nemesis, under bool) (string, func()) {
	for p := range n.out {
		delete(n.out, p)
		n.used[p] = true
		return n.attachEmpty(p, under), nil
	}
	p := n.pick(n.c.Servers)
	if p == nil {
		return "nobody is left", nil
	}
	if err := n.lose(p); err != nil {
		return err.Error(), nil
	}
	what := p.Name + " " + n.command(under, "detach")
	if s, err := n.c.TryStatus(); err == nil && harness.Node(s, p) == nil {
		n.out[p] = true
	}
	return what, nil
}

// replace puts an empty store where a dead server's was.
func replace(n *nemesis, under bool) (string, func()) {
	p := n.pick(n.c.Servers)
	if p == nil {
		return "nobody is left", nil
	}
	if err := n.lose(p); err != nil {
		return err.Error(), nil
	}
	return n.attachEmpty(p, under), nil
}

// attachEmpty starts p with an empty store and attaches it.
func (n *nemesis) attachEmpty(p *harness.Process, under bool) string {
	n.wipe(p)
	p.Start()
	_, err := harness.Poll(10*time.Second, func() error {
		s, err := n.c.TryStatus()
		if err == nil && !harness.NotAttached(s, p) {
			err = fmt.Errorf("%s is not listed", p.Name)
		}
		return err
	})
	if err != nil {
		return err.Error()
	}
	return p.Name + " " + n.command(under, "attach")
}
