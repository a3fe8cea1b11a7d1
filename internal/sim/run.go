package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// Options of a run. What a seed does not say is drawn from it.
type Options struct {
	Seed uint64
	// Trace is where what happens is written; nil: nowhere.
	Trace io.Writer
	// Faults is for how long things go wrong.
	Faults time.Duration
	// Mean is the time between faults, in ns.
	Mean int64
	// Calm is the share of faults that do not happen.
	Calm float64
	// Destroy: disks may be lost.
	Destroy bool
	// Single: one fault at a time, of one server; no outcome may be unknown.
	Single bool
	// Chaos: frames between servers are lost, repeated and reordered.
	Chaos bool
}

// Result is what a run showed.
type Result struct {
	// Failures is empty when all went well.
	Failures []string
	Stats    map[string]int
	// Events is how many things happened: two runs of a seed agree in it.
	Events uint64
}

const (
	// serveBound is how long after the last fault every partition serves again:
	// time for a failover, a resume (R9) and an attach one after the other.
	serveBound = 15 * second
	// restBound is how long after that all copies are where they belong: joins
	// that failed are tried again after up to 30 s, twice.
	restBound = 150 * second
)

// Run is one run.
func Run(opt Options) Result {
	w := &World{rng: rand.New(rand.NewPCG(opt.Seed, 0x6b756d6f)), trace: opt.Trace, stats: map[string]int{}}
	w.opt = w.draw(opt)
	w.net = network{cut: map[[2]int]bool{}, pipes: map[[2]int]int64{}, chaos: w.opt.Chaos}
	w.hist = newHistory(w)
	w.served = make([]uint32, 1<<w.rng.IntN(3))
	w.began, w.resumed = make([]int64, len(w.served)), make([]int64, len(w.served))
	w.manager = newManager(w, len(w.served))
	servers := 4 + w.rng.IntN(2)
	for i := range servers {
		w.newServer(fmt.Sprintf("10.0.0.%d:19800", i+1))
	}
	for _, s := range w.servers {
		w.after(w.between(0, 100*millisecond), s.start)
	}
	for i := range 2 {
		w.gates = append(w.gates, newGateway(w, i))
	}
	w.tracef("seed %d: %d servers, %d partitions, %+v", opt.Seed, servers, len(w.served), w.opt)
	w.phases()
	if len(w.failures) == 0 {
		w.hist.check(20 * time.Second)
	}
	return Result{w.failures, w.stats, w.seq}
}

func (w *World) draw(opt Options) Options {
	opt.Faults = time.Duration(w.between(8*second, 16*second))
	opt.Mean = w.between(80*millisecond, 900*millisecond)
	opt.Calm = 0.3 * w.rng.Float64()
	opt.Destroy = w.chance(0.25)
	opt.Chaos = w.chance(0.2)
	if opt.Single = w.chance(0.15); opt.Single {
		opt.Destroy, opt.Chaos = false, false
	}
	return opt
}

// newServer adds a server with an empty disk.
func (w *World) newServer(addr string) *Server {
	n := len(w.servers)
	id := clustermap.ServerID(w.rng.Uint64() | 1)
	s := &Server{w: w, index: n, name: string(rune('A' + n)), addr: addr, id: id, disk: newDisk(id),
		rate: 0.975 + 0.05*w.rng.Float64(), offset: w.rng.Int64N(1 << 40), skew: w.rng.Int64N(2*skew+1) - skew}
	w.servers = append(w.servers, s)
	return s
}

// phases: a cluster is made, things go wrong, all is healed, service is back,
// all is at rest.
func (w *World) phases() {
	w.after(500*millisecond, func() { w.manager.command("attach") })
	w.runUntil(4 * second)
	if !w.atRest() {
		w.fail("the new cluster does not serve")
		return
	}
	end := w.now + int64(w.opt.Faults)
	clients := 0
	for _, g := range w.gates {
		for range 3 {
			w.after(w.between(0, 50*millisecond), func() { clients++; g.client(clients, end+3*second) })
		}
	}
	w.faults = true
	if w.opt.Single {
		w.after(200*millisecond, func() { w.singleFault(end) })
	} else {
		w.after(200*millisecond, func() { w.fault(end) })
	}
	w.after(second, w.operator)
	w.runUntil(end)
	w.faults = false
	w.healed = end
	w.tracef("--- the faults are over")
	w.heal()
	w.runUntil(end + serveBound)
	w.probe("every partition must serve")
	deadline := w.now + restBound
	for len(w.failures) == 0 && !w.atRest() {
		if w.now >= deadline {
			w.fail("not all copies are where they belong %v after the last fault", time.Duration(w.now-end))
			return
		}
		w.runUntil(w.now + second)
	}
	w.probe("at rest")
	w.runUntil(w.now + second) // joins' last writes and backups' commits
	if len(w.failures) == 0 {
		w.compareAll()
	}
}

// probe reads every key that was ever used, and writes one in every partition.
func (w *World) probe(what string) {
	g := w.gates[0]
	left := 0
	ask := func(req item.Request) {
		c := g.newCall(99, req)
		began := w.now
		left++
		c.done = func() {
			left--
			if w.now-began > 4*second {
				w.fail("%s: partition %d took %v", what, c.part, time.Duration(w.now-began))
			}
		}
		c.send()
	}
	for p, k := range w.probeKeys() {
		ask(item.Request{Op: item.OpSet, Key: []byte(k), Value: []byte(itoa(uint64(p)))})
	}
	for _, k := range w.hist.names() {
		ask(item.Request{Op: item.OpGet, Key: []byte(k)})
	}
	w.runUntil(w.now + 5*second)
	if left > 0 && len(w.failures) == 0 {
		w.fail("%s: %d commands are not answered 5 s after they were given", what, left)
	}
}

// probeKeys is one key of each partition.
func (w *World) probeKeys() []string {
	keys := make([]string, len(w.served))
	for i, found := 0, 0; found < len(keys); i++ {
		k := "p" + itoa(uint64(i))
		if p := clustermap.PartitionOf([]byte(k), len(keys)); keys[p] == "" {
			keys[p] = k
			found++
		}
	}
	return keys
}

// operator attaches what can be attached, as someone who watches status would,
// and detaches in the end what will not come back.
func (w *World) operator() {
	if len(w.failures) > 0 {
		return
	}
	w.after(w.between(500*millisecond, 2*second), w.operator)
	m := w.manager.m
	for _, s := range w.servers {
		if in := m.Server(s.id); s.up && (in == nil || in.State == clustermap.Fault) {
			if w.chance(0.7) {
				w.manager.command("attach")
			} else {
				w.manager.command("attach-noreplace")
			}
			return
		}
	}
	if w.faults || w.now < w.healed+2*second {
		return
	}
	for _, in := range m.Servers {
		if in.State == clustermap.Fault && w.server(in.ID).disk.destroyed {
			w.manager.command("detach")
			return
		}
	}
}
