// Package nemesis runs a cluster of real processes, each daemon in a network
// namespace and each store on a small disk of its own where the machine allows
// that, puts it under load from memcached clients, harms it in every way it
// knows, one after another and together, and judges what the clients saw: every
// operation, every key, every error and every wait.
package nemesis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// Options of a run. Zero fields get defaults.
type Options struct {
	Bin      string        // directory of the programs
	Dir      string        // data and logs
	Time     time.Duration // of faults; what is going on then is ended
	Seed     uint64
	Managers int // 2
	Servers  int // 5, of which four are attached at first
	Gateways int // 2
	Clients  int // 32, and one for every eight on servers' own ports
	Pace     time.Duration
	Loopback bool     // no namespaces, no disks: processes alone are harmed
	Only     []string // faults by name: none but these
	// Lenient: waits are told but judged for nothing, as on a busy machine.
	Lenient bool
	// Stop: when it is closed the run ends, at the latest some seconds later, as one
	// that is skipped. nil: never.
	Stop <-chan struct{}
}

// healing is how long a cluster may take to be whole again once the faults are over.
const healing = 4 * time.Minute

// nemesis is one run.
type nemesis struct {
	t     harness.TB
	opt   Options
	rnd   *rand.Rand
	c     *harness.Cluster
	hosts *harness.Hosts // nil: loopback
	disks *disks         // nil: none
	load  *load.Churn

	out  map[*harness.Process]bool // servers that are not to run
	used map[*harness.Process]bool // harmed just now
	deck []*fault
	hits map[string]int
	log  []*cycle

	began     time.Time
	replacing bool // full-replace was told, and may be going on
}

// cycle is one or two faults together, until all is well again.
type cycle struct {
	at     time.Duration
	faults []*fault
	what   []string
	healed time.Duration // from the end of the faults until all was well
	// under: a full-replace went on, which takes minutes; faults come meanwhile.
	under  bool
	window *load.Window
}

func (c *cycle) name() string {
	if len(c.faults) == 0 {
		return "no fault"
	}
	var names []string
	for _, f := range c.faults {
		names = append(names, f.name)
	}
	if c.under {
		names = append(names, "(full-replace)")
	}
	return strings.Join(names, " + ")
}

// alone tells whether its figures are those of one fault.
func (c *cycle) alone() bool { return len(c.faults) == 1 && !c.under }

// Run runs one; what it finds is an error of t.
func Run(t harness.TB, opt Options) {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&opt.Managers, 2)
	def(&opt.Servers, 5)
	def(&opt.Gateways, 2)
	def(&opt.Clients, 32)
	if opt.Pace == 0 {
		opt.Pace = 10 * time.Millisecond
	}
	if opt.Seed == 0 {
		opt.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	n := &nemesis{t: t, opt: opt, rnd: rand.New(rand.NewPCG(opt.Seed, 1)), out: map[*harness.Process]bool{}, hits: map[string]int{}}
	t.Logf("nemesis: seed %d, %v; repeat: go run ./test/nemesis -seed %d -minutes %.4g -managers %d -servers %d -gateways %d",
		opt.Seed, opt.Time, opt.Seed, opt.Time.Minutes(), opt.Managers, opt.Servers, opt.Gateways)
	n.check()
	n.start()
	n.began = time.Now()
	n.calm()
	for time.Since(n.began) < opt.Time && !t.Failed() {
		n.cycle(time.Since(n.began))
	}
	n.finish(time.Since(n.began))
}

// start makes the machines, starts the cluster on them and the load.
func (n *nemesis) start() {
	t, opt := n.t, n.opt
	ho := harness.Options{Bin: opt.Bin, Dir: opt.Dir, Servers: opt.Servers, Managers: opt.Managers, Gateways: opt.Gateways, Text: true, GatewayArgs: []string{"--allow-flush-all", "--max-item-size", "4M"}}
	if !opt.Loopback {
		var names []string
		for kind, count := range map[string]int{"manager": opt.Managers, "server": opt.Servers, "gateway": opt.Gateways} {
			for i := range count {
				names = append(names, fmt.Sprintf("%s%d", kind, i+1))
			}
		}
		slices.Sort(names)
		hosts, err := harness.NewHosts(t, names...)
		if err != nil {
			t.Logf("no network faults here: %v", err)
		} else {
			n.hosts = hosts
			ho.Host = func(name string) (string, []string) { return hosts.Addr(hosts.Index(name)), hosts.On(name) }
		}
		dir := filepath.Join(opt.Dir, strings.ReplaceAll(t.Name(), "/", "_"))
		if n.disks, err = newDisks(t, dir, opt.Servers); err != nil {
			t.Logf("no disk faults here: %v", err)
		}
	}
	n.c = harness.New(t, ho)
	for _, s := range n.c.Servers {
		s.AddArgs("--max-item-size", "4M")
	}
	n.c.Servers[0].AddArgs("--fsync") // so that a slow disk is felt
	last := n.c.Servers[opt.Servers-1]
	if opt.Servers > 4 {
		n.out[last] = true
	}
	for _, p := range n.c.All() {
		if !n.out[p] {
			p.Start()
		}
	}
	n.check()
	n.c.WaitNotAttached(opt.Servers - len(n.out))
	n.c.Ctl("attach", "--wait")
	n.c.WaitReady(30 * time.Second)
	var gateways, direct []string
	for _, g := range n.c.Gateways {
		gateways = append(gateways, g.Addr)
	}
	for _, s := range n.c.Servers {
		direct = append(direct, n.c.Text(s))
	}
	n.load = load.StartChurn(load.ChurnOptions{Gateways: gateways, Direct: direct, Clients: opt.Clients, Pace: opt.Pace,
		Timeout: 15 * time.Second, Flush: max(40*time.Second, min(opt.Time/8, 4*time.Minute)), Large: 2000, Seed: opt.Seed})
}

// calm lets the load run without a fault: what is measured then is what the
// machine does to it.
func (n *nemesis) calm() {
	n.load.Begin("no fault")
	n.sleep(time.Second)
	n.log = append(n.log, &cycle{window: n.load.Begin("")})
}

// cycle draws faults, lets them come and go, waits until the cluster is whole,
// and verifies.
func (n *nemesis) cycle(at time.Duration) {
	n.check()
	cy := &cycle{at: at, faults: n.draw(), under: n.replacing}
	n.used = map[*harness.Process]bool{}
	n.load.Begin(cy.name())
	var undo []func()
	for _, f := range cy.faults {
		if len(cy.what) > 0 {
			n.sleep(n.between(0, 1500))
		}
		n.hits[f.name]++
		what, u := f.do(n, len(cy.faults) > 1 || cy.under)
		cy.what = append(cy.what, what)
		n.t.Logf("%8.1fs %s: %s", time.Since(n.began).Seconds(), f.name, what)
		if u != nil {
			undo = append(undo, u)
		}
	}
	hold := cy.faults[0].hold
	n.sleep(n.between(hold[0], hold[1]+1))
	for _, u := range undo {
		u()
	}
	healed, err := n.heal()
	cy.healed = healed
	if err == nil {
		n.sleep(300 * time.Millisecond)
	}
	n.load.Pause()
	n.load.Quiet()
	if err == nil && !n.replacing {
		err = n.compare(cy)
	}
	if err != nil {
		n.t.Errorf("%8.1fs %s: %v", at.Seconds(), cy.name(), err)
	}
	if err == nil {
		if err := n.load.Reread(); err != nil {
			n.t.Errorf("%8.1fs after %s: reading the keys that nobody writes: %v", at.Seconds(), cy.name(), err)
		}
	}
	n.load.Resume()
	cy.window = n.load.Begin("")
	n.log = append(n.log, cy)
	n.judge(cy)
	for _, v := range n.load.Verdict().Violations {
		n.t.Errorf("%8.1fs after %s: %s", at.Seconds(), cy.name(), v)
	}
	n.calm()
}

// compare compares the copies, which must be alike. What a fault brought about may
// come after it is over (a silence is noticed at its end; a report is under way):
// then the cluster has to become whole once more. Copies that do differ while all is
// well are not looked at again: a server that joins anew would be mended.
func (n *nemesis) compare(cy *cycle) error {
	var differ error
	for range 3 {
		if _, differ = n.c.CompareCopies(); differ == nil {
			return nil
		}
		if _, err := n.c.PollReady(0); err == nil && errors.Is(differ, harness.ErrDiffer) {
			break
		}
		took, err := n.heal()
		cy.healed += took
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("after the faults: %w", differ)
}

// heal starts what is dead, attaches what is fault, and waits until all is well;
// an error tells what still was not when healing was over.
func (n *nemesis) heal() (time.Duration, error) {
	took, err := harness.Poll(healing, func() error {
		n.check()
		for _, p := range n.c.All() {
			if p.PID() == 0 && !n.out[p] {
				p.Start()
			}
		}
		s, err := n.c.TryStatus()
		if err != nil {
			return err
		}
		attached := 0
		for _, p := range n.c.Servers {
			node := harness.Node(s, p)
			if node != nil && node.State == "active" && node.Replicas == 0 && s.Moving == 0 && !n.replacing {
				// Active again by a last replica, but its copies were planned elsewhere.
				n.t.Logf("%8s  replace: %s has no copies", "", p.Name)
				if _, err := n.c.TryCtl("replace"); err != nil {
					return fmt.Errorf("replace: %w", err)
				}
				return errors.New("just told to replace")
			}
			if node != nil && node.State == "active" && node.Reachable {
				attached++
			}
			if !n.out[p] && (node == nil || node.State != "active") || n.out[p] && node != nil {
				command := "attach"
				if n.out[p] {
					command = "detach"
				}
				if _, err := n.c.TryCtl(command); err != nil {
					return fmt.Errorf("%s: %w", command, err)
				}
				return errors.New("just told to " + command)
			}
		}
		if want := len(n.c.Servers) - len(n.out); attached != want {
			return fmt.Errorf("%d of %d servers are active and reachable", attached, want)
		}
		took, err := n.c.PollReady(2 * time.Second)
		if n.replacing = n.replacing && err != nil; n.replacing && s.Unavailable == 0 {
			n.t.Logf("%8s  going on: %v (%v)", "", err, took.Round(time.Millisecond))
			return nil
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("not whole %v after the faults were over: %w", healing, err)
	}
	return took, err
}

// judge holds one cycle's errors and waits to the bars.
func (n *nemesis) judge(cy *cycle) {
	w := cy.window
	if len(w.Errors) > 0 {
		n.t.Logf("%8.1fs %s: errors %v", cy.at.Seconds(), cy.name(), w.Errors)
	}
	if !cy.alone() || cy.faults[0].bar == 0 {
		return
	}
	for kind, count := range w.Errors {
		n.t.Errorf("%8.1fs %s: %d errors reached clients: %s", cy.at.Seconds(), cy.name(), count, kind)
	}
}

// sleep waits for d, or until the run is to stop.
func (n *nemesis) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-n.opt.Stop:
	}
}

// stopped tells whether the run is to stop.
func (n *nemesis) stopped() bool {
	select {
	case <-n.opt.Stop:
		return true
	default:
		return false
	}
}

// check ends the run if it is to stop.
func (n *nemesis) check() {
	if n.stopped() {
		n.t.Skip("stopped")
	}
}

func (n *nemesis) between(low, high int) time.Duration {
	return time.Duration(low+n.rnd.IntN(max(1, high-low))) * time.Millisecond
}

// wipe empties the directory of a server's store.
func (n *nemesis) wipe(p *harness.Process) {
	dir := p.StoreDir()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != lostFound {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				n.t.Error(err)
			}
		}
	}
	_ = os.RemoveAll(dir + ".raft")
}
