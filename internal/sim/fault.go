package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// Fault is one thing that went wrong in a run.
type Fault struct {
	// N is its place in the run's schedule: what Options.Without names.
	N    int
	At   time.Duration
	Kind string
	What string
}

func (f Fault) String() string {
	return fmt.Sprintf("#%d at %.1f ms: %s %s", f.N, float64(f.At)/1e6, f.Kind, f.What)
}

// fault is one of the schedule. It draws from a random stream of its own, so
// that a run without it draws the others as before.
type fault struct {
	w    *World
	n    int
	rng  *rand.Rand
	kind *faultKind
}

// faultKind is what can go wrong, and how often compared with the others.
type faultKind struct {
	name   string
	weight int
	do     func(*fault)
	when   func(*Options) bool // nil: in every run
}

func destroy(o *Options) bool    { return o.Destroy }
func notDestroy(o *Options) bool { return !o.Destroy }
func power(o *Options) bool      { return o.Power }
func jumps(o *Options) bool      { return o.Jumps }

// detaches: where stores lose what they held, what is detached may be the last
// copy, and the managers may not have noticed yet: no promise covers that.
func detaches(o *Options) bool { return !o.Destroy && (o.Fsync || !o.Power) }

var faultKinds = []faultKind{
	{"crash", 14, (*fault).crash, nil},
	{"stop", 6, (*fault).stop, nil},
	{"drain", 3, (*fault).drain, nil},
	{"crash of several", 4, (*fault).crashSeveral, nil},
	{"crash of all", 3, (*fault).crashAll, nil},
	{"pause", 10, (*fault).pause, nil},
	{"link cut", 9, (*fault).cutLink, nil},
	{"server isolated", 11, (*fault).isolate, nil},
	{"network split", 4, (*fault).split, nil},
	{"network split with a bridge", 3, (*fault).bridge, nil},
	{"connections broken", 7, (*fault).breakConns, nil},
	{"slow network", 4, (*fault).slowNetwork, nil},
	{"slow disk", 6, (*fault).slowDisk, nil},
	{"stalled disk", 3, (*fault).stallDisk, nil},
	{"full disk", 4, (*fault).fillDisk, nil},
	{"failing disk", 4, (*fault).failDisk, nil},
	{"disk lost", 4, (*fault).loseDisk, destroy},
	{"power lost", 4, (*fault).losePower, power},
	{"clock jump", 5, (*fault).jump, jumps},
	{"manager crash", 6, (*fault).crashManager, nil},
	{"crash of all managers", 2, (*fault).crashManagers, nil},
	{"manager paused", 4, (*fault).pauseManager, nil},
	{"manager isolated", 6, (*fault).isolateManager, nil},
	{"partition moved", 6, (*fault).reassign, nil},
	{"hand-over behind a cut", 4, (*fault).handOver, nil},
	{"detach", 3, (*fault).detach, detaches},
	{"detached while away", 3, (*fault).detachAway, detaches},
	{"replace", 3, (*fault).replace, nil},
	{"copying paused", 2, (*fault).pauseCopying, nil},
	{"moves cancelled", 2, (*fault).cancelMoves, nil},
	{"full-replace", 3, (*fault).fullReplace, nil},
	{"auto-replace", 2, (*fault).autoReplace, detaches},
}

// schedule draws the run's faults: when, and of which kind.
func (w *World) schedule(kinds []faultKind, from, until int64) {
	rng := w.stream(1)
	var may []*faultKind
	sum := 0
	for i := range kinds {
		if k := &kinds[i]; k.when == nil || k.when(&w.opt) {
			may = append(may, k)
			sum += k.weight
		}
	}
	at := from
	for n := 0; ; n++ {
		at += int64(rng.ExpFloat64() * float64(w.opt.mean))
		if at >= until {
			return
		}
		x := rng.IntN(sum)
		k := 0
		for x >= may[k].weight {
			x -= may[k].weight
			k++
		}
		if w.opt.Without[n] {
			continue
		}
		f := &fault{w: w, n: n, rng: w.stream(1000 + uint64(n)), kind: may[k]}
		w.after(at-w.now, func() { f.kind.do(f) })
	}
}

// did notes that the fault happened: one that finds nothing to do does not.
func (f *fault) did(format string, args ...any) {
	w := f.w
	x := Fault{f.n, time.Duration(w.now), f.kind.name, fmt.Sprintf(format, args...)}
	w.happened = append(w.happened, x)
	w.stats["fault: "+x.Kind]++
	w.tracef("FAULT #%d %s %s", x.N, x.Kind, x.What)
}

func (f *fault) chance(p float64) bool      { return f.rng.Float64() < p }
func (f *fault) between(lo, hi int64) int64 { return between(f.rng, lo, hi) }
func (f *fault) server() *Server            { return f.w.servers[f.rng.IntN(len(f.w.servers))] }
func (f *fault) manager() *Manager          { return f.w.managers[f.rng.IntN(len(f.w.managers))] }
func (f *fault) often(lo, mid, hi int64, rare float64) int64 {
	return often(f.rng, lo, mid, hi, rare)
}

// crashAndRestart ends a run of a server and begins another some time later.
func (f *fault) crashAndRestart(s *Server, down int64) {
	s.crash(false)
	f.w.after(down, s.start)
}

func (f *fault) downFor() int64 { return f.often(20*millisecond, 200*millisecond, 5*second, 0.5) }

func (f *fault) crash() {
	s, d := f.server(), f.downFor()
	if s.up {
		f.did("%s for %v", s, time.Duration(d))
		f.crashAndRestart(s, d)
	}
}

func (f *fault) crashSeveral() {
	n := 2 + f.rng.IntN(2)
	f.did("of %d servers", n)
	for range n {
		s, d := f.server(), f.downFor()
		f.w.after(f.between(0, 300*millisecond), func() { f.crashAndRestart(s, d) })
	}
}

func (f *fault) crashAll() {
	f.did("")
	for _, s := range f.w.servers {
		d := f.between(20*millisecond, 2*second)
		f.w.after(int64(float64(600*millisecond)*f.rng.Float64()*f.rng.Float64()), func() { f.crashAndRestart(s, d) })
	}
	if f.chance(0.3) {
		f.managersCrash()
	}
}

// stop ends a server as SIGTERM does: it hands over first, unless that takes too long.
func (f *fault) stop() {
	s, down := f.server(), f.downFor()
	if !s.up || s.leaving != control.Stays {
		return
	}
	f.did("%s for %v", s, time.Duration(down))
	w, run := f.w, s.run
	begun := w.now
	s.leaving = control.Stops
	end := func() {
		switch {
		case s.run != run || !s.up:
		case !w.faults:
			s.leaving, s.released = control.Stays, nil // all is healed: it does not go
		default:
			w.stats["stopped"]++
			f.crashAndRestart(s, down)
		}
	}
	s.released = func() {
		if s.run == run && s.up {
			w.stats["handed over before a stop"]++
			w.tracef("%s has handed over after %v", s, time.Duration(w.now-begun))
			end()
		}
	}
	w.after(f.between(500*millisecond, 5*second), end)
}

// drain has a server lead nothing for a while.
func (f *fault) drain() {
	s := f.server()
	if !s.up || s.leaving != control.Stays {
		return
	}
	f.did("%s", s)
	run := s.run
	s.leaving = control.Drains
	f.w.after(f.between(200*millisecond, 5*second), func() {
		if s.run == run && s.leaving == control.Drains {
			s.leaving = control.Stays
		}
	})
}

func (f *fault) pause() {
	s := f.server()
	d := f.often(20*millisecond, 800*millisecond, 4*second, 0.4)
	if f.chance(0.1) {
		d = f.between(5*second, 8*second) // beyond ten leases
	}
	f.did("%s for %v", s, time.Duration(d))
	s.pause(d)
}

func (f *fault) breakConns() {
	f.did("")
	f.w.snapAll(func(*conn) bool { return f.chance(0.2) })
}

func (f *fault) slowNetwork() {
	w := f.w
	f.did("")
	w.net.slow = f.rng.Float64() * 0.1
	w.after(f.between(100*millisecond, second), func() { w.net.slow = 0 })
}

func (f *fault) slowDisk() {
	s, d := f.server(), f.between(100*millisecond, 2*second)
	f.did("of %s for %v", s, time.Duration(d))
	s.disk.slowUntil = f.w.now + d
}

func (f *fault) stallDisk() {
	s, d := f.server(), f.often(500*millisecond, 2*second, 8*second, 0.7)
	f.did("of %s for %v", s, time.Duration(d))
	s.disk.stalledUntil = f.w.now + d
	f.w.after(d, func() { s.disk.move(f.w) })
}

func (f *fault) fillDisk() {
	s, d := f.server(), f.often(200*millisecond, 2*second, 6*second, 0.5)
	f.did("of %s for %v", s, time.Duration(d))
	s.disk.fullUntil = f.w.now + d
}

// failDisk has a store return errors: the server exits, and comes up again when
// it can read its store.
func (f *fault) failDisk() {
	s, d := f.server(), f.often(50*millisecond, 500*millisecond, 4*second, 0.4)
	s.disk.readsFail = f.chance(0.4)
	f.did("of %s for %v, reads alone %v", s, time.Duration(d), s.disk.readsFail)
	s.disk.failsUntil = f.w.now + d
	f.w.after(d+f.between(0, 500*millisecond), s.start)
}

func (f *fault) jump() {
	s := f.server()
	n := []int64{-3600, -60, 60, 3600}[f.rng.IntN(4)]
	if s.skew+n > hour || s.skew+n < -hour {
		n = -s.skew
	}
	f.did("of %s by %d s", s, n)
	s.skew += n
}

// Faults of managers.

func (f *fault) managerCrash(m *Manager, down int64) {
	if m.up {
		m.crash(f.chance(0.3))
		f.w.after(down, m.start)
	}
}

func (f *fault) crashManager() {
	m, d := f.likelyLeader(), f.often(20*millisecond, 500*millisecond, 5*second, 0.5)
	if m.up {
		f.did("%s for %v", m.name, time.Duration(d))
		f.managerCrash(m, d)
	}
}

// likelyLeader is any manager, more often the one that leads.
func (f *fault) likelyLeader() *Manager {
	m := f.manager()
	if l := f.w.leader(); l != nil && f.chance(0.4) {
		m = l
	}
	return m
}

func (f *fault) crashManagers() {
	f.did("")
	f.managersCrash()
}

func (f *fault) managersCrash() {
	for _, m := range f.w.managers {
		d := f.between(20*millisecond, 2500*millisecond)
		f.w.after(f.between(0, 100*millisecond), func() { f.managerCrash(m, d) })
	}
}

func (f *fault) pauseManager() {
	m, d := f.likelyLeader(), f.often(50*millisecond, second, 6*second, 0.6)
	f.did("%s for %v", m.name, time.Duration(d))
	m.pause(d)
}

func (f *fault) isolateManager() {
	m := f.likelyLeader()
	kind := f.rng.IntN(3)
	f.did("%s %s", m.name, []string{"from managers", "from servers", "from all"}[kind])
	f.cut(f.often(100*millisecond, 2*second, 5*second, 0.4), f.chance(0.2), []int{m.place}, func(p int) bool {
		return kind == 2 || (p >= placeManager && p < placeGateway) == (kind == 0)
	})
}
