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
	// Without are faults of the schedule that do not happen.
	Without map[int]bool
	// Noise has delays and the like drawn anew; the schedule of faults stays.
	Noise uint64

	// The shape of the cluster. Witnesses are servers that vote among the managers.
	Servers, Managers, Witnesses, Gateways, Partitions int
	// Faults is for how long things go wrong.
	Faults time.Duration
	// Destroy: disks may be lost.
	Destroy bool
	// Power: machines may lose power, and what was not synced with it.
	Power bool
	// Single: one fault at a time; no outcome may be unknown.
	Single bool
	// Chaos: frames between servers are lost, repeated and reordered.
	Chaos bool
	// Fsync: stores are synced at each commit (kumo-server --fsync).
	Fsync bool
	// Ambush: faults lie in wait for moments in which one rule is all there is.
	Ambush bool
	// Still: nothing takes other than its usual time (scripts).
	Still bool
	// Jumps: wall clocks jump by up to an hour.
	Jumps bool
	// Short: a Reconcile holds no value; who needs one joins again.
	Short bool
	// Hasty: chunks are collected as soon as they are found to be in no item.
	Hasty bool

	mean  int64 // ns between faults
	think int64 // ns between two commands of a client, at least
	// unlistedGrace is how long chunks are kept that no item ever listed (ns).
	unlistedGrace int64
	// flushed: partitions that clients flush.
	flushed []bool
}

func (o *Options) flushes(p uint16) bool { return o.flushed[p] }

// hour is by how much wall clocks may be wrong in all, in seconds, where they jump.
const hour = 3600

// skew is by how much the wall clocks of servers may be wrong, in seconds.
func (o *Options) skew() float64 {
	if o.Jumps {
		return hour + 1
	}
	return 1
}

// Result is what a run showed.
type Result struct {
	// Failures is empty when all went well. Each begins with the name of its check.
	Failures []string
	// Faults are those that happened, in order.
	Faults []Fault
	Stats  map[string]int
	// Events is how many things happened: two runs of a seed agree in it.
	Events uint64
}

const (
	// serveBound is how long after the last fault every partition serves again:
	// time for an election, a failover, a resume (R9) and an attach one after the other.
	serveBound = 20 * second
	// restBound is how long after that all copies are where they belong: joins
	// that failed are tried again after up to 30 s, twice.
	restBound = 150 * second
	// collectBound is how long after that chunks may be left that no item lists.
	collectBound = 15 * second
	// verdictBound is how long porcupine may think about one key.
	verdictBound = 20 * time.Second
)

// Run is one run.
func Run(opt Options) Result {
	w := newWorld(opt)
	w.phases()
	w.judge()
	return w.result()
}

// judge looks at what clients saw.
func (w *World) judge() {
	if len(w.failures) == 0 {
		w.hist.leave()
		w.hist.checkLast()
		w.hist.check(verdictBound)
	}
}

func (w *World) result() Result { return Result{w.failures, w.happened, w.stats, w.events} }

func newWorld(opt Options) *World {
	w := &World{trace: opt.Trace, stats: map[string]int{}, opt: opt}
	w.rng = w.stream(1<<32 + opt.Noise)
	if opt.Servers == 0 {
		w.opt.draw(w.stream(2))
	}
	o := &w.opt
	w.net.chaos = o.Chaos
	w.agreed.m = &clustermap.Map{}
	w.hist = newHistory(w)
	w.uploads = map[item.UploadID]string{}
	w.served = make([]uint32, o.Partitions)
	w.leads = make([]map[uint32]serverRun, o.Partitions)
	for i := range w.leads {
		w.leads[i] = map[uint32]serverRun{}
	}
	w.began, w.resumed = make([]int64, o.Partitions), make([]int64, o.Partitions)
	for range o.Managers {
		w.newManager()
	}
	for i := range o.Servers {
		w.newServer(fmt.Sprintf("10.0.0.%d:19800", i+1), w.rng)
	}
	for i := range min(o.Witnesses, o.Servers) {
		w.servers[i].witness = w.newVoter(&w.servers[i].proc, nil)
	}
	for _, m := range w.managers {
		w.after(w.between(0, 50*millisecond), m.start)
	}
	for _, s := range w.servers {
		w.after(w.between(0, 100*millisecond), s.start)
	}
	for range o.Gateways {
		g := w.newGateway()
		g.uplink = g.linkUp(nil, g.learn)
	}
	w.chooseFlushable()
	w.tracef("seed %d: %d servers, %d managers, %d witnesses, %d gateways, %d partitions, faults for %v every %v, destroy %v power %v single %v chaos %v fsync %v jumps %v short %v hasty %v",
		o.Seed, o.Servers, o.Managers, o.Witnesses, o.Gateways, o.Partitions, o.Faults, time.Duration(o.mean), o.Destroy, o.Power, o.Single, o.Chaos, o.Fsync, o.Jumps, o.Short, o.Hasty)
	return w
}

// draw makes a shape and a character of a run.
func (o *Options) draw(rng *rand.Rand) {
	pick := func(n ...int) int { return n[rng.IntN(len(n))] }
	o.Servers, o.Managers = 5, 3
	if rng.IntN(4) == 0 {
		o.Servers = pick(3, 4, 6, 7)
	}
	if rng.IntN(4) == 0 {
		if o.Managers = pick(1, 2, 5); o.Managers == 2 {
			o.Witnesses = 1
		}
	}
	o.Gateways = pick(1, 2, 2, 2, 3)
	o.Partitions = pick(1, 4, 4, 4, 4, 8, 8, 8, 8, 8, 16, 32)
	o.Faults = time.Duration(between(rng, 5500*millisecond, 12*second))
	o.mean = between(rng, 80*millisecond, 900*millisecond)
	o.think = between(rng, 0, 30*millisecond)
	switch rng.IntN(8) {
	case 0, 1:
		o.Destroy = true
	case 2, 3, 4:
		o.Power = true
	}
	o.Chaos = rng.IntN(5) == 0
	o.Fsync = rng.IntN(4) == 0
	o.Jumps = rng.IntN(3) == 0
	o.Ambush = rng.IntN(3) == 0
	if o.Single = rng.IntN(7) == 0; o.Single {
		o.Destroy, o.Power, o.Chaos = false, false, false
	}
	o.Short = rng.IntN(8) == 0
	o.Hasty = rng.IntN(3) == 0
	o.unlistedGrace = int64(pick(1, 2)) * second
	if o.Single {
		o.Hasty = false
		o.unlistedGrace = patience + 2*second // as in a real cluster: no manifest comes too late
	}
}

// minRate and maxRate bound how fast the servers' clocks go.
const minRate, maxRate = 0.955, 1.045

// newServer adds a server with an empty disk.
func (w *World) newServer(addr string, rng *rand.Rand) *Server {
	n := len(w.servers)
	id := clustermap.ServerID(rng.Uint64() | 1)
	s := &Server{proc: proc{w: w, name: string(rune('A' + n)), place: n}, addr: addr, id: id, disk: newDisk(id),
		rate: minRate + (maxRate-minRate)*rng.Float64(), offset: rng.Int64N(1 << 40), skew: rng.Int64N(3) - 1}
	if w.opt.Still {
		s.rate, s.skew = 1, 0
	}
	w.servers = append(w.servers, s)
	return s
}

// phases: a cluster is made, things go wrong, all is healed, service is back,
// all is at rest.
func (w *World) phases() {
	w.operate()
	if !w.runWhile(func() bool { return !w.atRest() || !w.linked() }, 15*second) {
		w.fail(liveness, "the new cluster does not serve")
	}
	if len(w.failures) > 0 {
		return
	}
	end := w.now + int64(w.opt.Faults)
	clients := 0
	for _, g := range w.gates {
		for range (5 + len(w.gates)) / len(w.gates) {
			clients++
			n := clients
			w.after(w.between(0, 50*millisecond), func() { g.client(n, end+2*second) })
		}
	}
	for _, s := range w.servers {
		w.after(w.between(0, second), s.sweep)
	}
	w.faults = true
	kinds := faultKinds
	switch {
	case w.opt.Single:
		kinds, w.opt.mean = singleKinds, 500*millisecond
	case w.opt.Ambush:
		kinds, w.opt.mean = ambushKinds, w.opt.mean/2+400*millisecond
	}
	w.schedule(kinds, w.now+200*millisecond, end)
	w.runUntil(end)
	w.settle()
}

// settle heals all and waits until the cluster serves and is at rest.
func (w *World) settle() {
	end := w.now
	w.faults = false
	w.healed = end
	w.tracef("--- the faults are over")
	w.heal()
	if !w.runWhile(func() bool { return !w.serves() }, end+serveBound) {
		w.fail(liveness, "not every partition serves %v after the last fault", time.Duration(w.now-end))
		return
	}
	w.note("ms until all served", (w.now-end)/millisecond)
	if !w.opt.Still {
		w.runUntil(max(w.now, end+2*second)) // the clients end
	}
	w.probe("every partition must serve")
	if !w.runWhile(func() bool { return !w.atRest() }, w.now+restBound) {
		w.fail(liveness, "not all copies are where they belong %v after the last fault", time.Duration(w.now-end))
		return
	}
	w.probe("at rest")
	w.runUntil(w.now + second) // joins' last writes and backups' commits
	if len(w.failures) == 0 {
		w.checkUploads()
	}
	if len(w.failures) == 0 {
		w.compareAll()
	}
}

// note keeps the largest of a figure.
func (w *World) note(what string, v int64) {
	w.stats["most: "+what] = max(w.stats["most: "+what], int(v))
}

// prober is the client that probes.
const prober = 99

// probe reads every key that was ever used, and writes one in every partition.
func (w *World) probe(what string) {
	g := w.gates[0]
	left := 0
	ask := func(req item.Request, by *gateway) {
		c := by.newCall(prober, req)
		began := w.now
		left++
		c.done = func() {
			left--
			if w.now-began > 4*second {
				w.fail(liveness, "%s: partition %d took %v", what, c.part, time.Duration(w.now-began))
			}
		}
		c.send()
	}
	for p, k := range w.probeKeys() {
		ask(item.Request{Op: item.OpSet, Key: []byte(k), Value: []byte(itoa(uint64(p)))}, g)
	}
	for _, k := range w.hist.names() {
		ask(item.Request{Op: item.OpGet, Key: []byte(k)}, g)
	}
	for _, g := range w.gates {
		ask(item.Request{Op: item.OpGet, Key: []byte(g.counter.key)}, g)
	}
	if !w.runWhile(func() bool { return left > 0 }, w.now+5*second) {
		w.fail(liveness, "%s: %d commands are not answered 5 s after they were given", what, left)
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

// chooseFlushable: partitions with a counter are never flushed.
func (w *World) chooseFlushable() {
	w.opt.flushed = make([]bool, len(w.served))
	for p := range w.served {
		w.opt.flushed[p] = true
	}
	for _, g := range w.gates {
		w.opt.flushed[clustermap.PartitionOf([]byte(g.counter.key), len(w.served))] = false
	}
	for p, ok := range w.opt.flushed {
		if ok {
			w.flushable = append(w.flushable, uint16(p))
		}
	}
}

// operate attaches the first servers, and from then on what can be attached, as
// someone would who watches status.
func (w *World) operate() {
	rng := w.stream(3)
	at := func() *Manager { return w.managers[rng.IntN(len(w.managers))] }
	var again func()
	again = func() {
		if len(w.failures) > 0 {
			return
		}
		w.after(between(rng, 500*millisecond, 2*second), again)
		m := w.agreed.m
		for _, s := range w.servers {
			if in := m.Server(s.id); s.up && (in == nil || in.State == clustermap.Fault) {
				if rng.IntN(10) < 7 {
					at().command("attach")
				} else {
					at().command("attach-noreplace")
				}
				return
			}
		}
		if w.faults || w.healed == 0 || w.now < w.healed+2*second {
			return
		}
		if m.Copying.Paused {
			at().command("copying", "resume")
			return
		}
		// In the end what will not come back is detached.
		for _, in := range m.Servers {
			if in.State == clustermap.Fault && w.server(in.ID).disk.destroyed {
				at().command("detach")
				return
			}
		}
	}
	w.after(500*millisecond, again)
}
