package sim

import (
	"slices"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// singleKinds are faults of one server, of one manager, or of one of each at the
// same time, another one only when all is at rest again. Then no client may be
// left without an answer (R8, P3).
var singleKinds = []faultKind{
	{"single: server", 6, func(f *fault) { f.single(true, false) }, nil},
	{"single: manager", 2, func(f *fault) { f.single(false, true) }, nil},
	{"single: server and manager", 3, func(f *fault) { f.single(true, true) }, nil},
}

func (f *fault) single(server, manager bool) {
	w := f.w
	if w.now < w.busyUntil || !w.atRest() || !w.linked() || !w.redundant() {
		return
	}
	d := f.often(20*millisecond, second, 4*second, 0.5)
	w.busyUntil = w.now + d
	if manager && len(w.voters) < 3 {
		manager = false
	}
	if manager {
		m := f.likelyLeader()
		switch f.rng.IntN(3) {
		case 0:
			f.did("crash of %s for %v", m.name, time.Duration(d))
			f.managerCrash(m, d)
		case 1:
			f.did("pause of %s for %v", m.name, time.Duration(d))
			m.pause(d)
		default:
			f.did("isolation of %s for %v", m.name, time.Duration(d))
			f.cut(d, false, []int{m.place}, func(int) bool { return true })
		}
	}
	if !server {
		return
	}
	s := f.server()
	switch f.rng.IntN(4) {
	case 0:
		f.did("crash of %s for %v", s, time.Duration(d))
		f.crashAndRestart(s, d)
	case 1:
		f.did("pause of %s for %v", s, time.Duration(d))
		s.pause(d)
	case 2:
		f.did("connections of %s broken", s)
		w.snapAll(func(c *conn) bool { return c.there.src == &s.proc || c.there.dst == &s.proc })
		for _, g := range w.gates {
			g.serverGone(s)
		}
	default:
		f.did("isolation of %s for %v", s, time.Duration(d))
		f.cut(d, false, []int{s.place}, func(int) bool { return true })
	}
}

// redundant tells whether every partition can lose a server: at first few may be attached.
func (w *World) redundant() bool {
	return !slices.ContainsFunc(w.agreed.m.Partitions, func(p clustermap.Partition) bool { return len(p.Replicas) < 2 })
}

// linked tells whether every server and gateway has its link to a leader.
func (w *World) linked() bool {
	for _, s := range w.servers {
		if s.disk.destroyed {
			continue
		}
		if !s.up || s.uplink.now == nil || !s.uplink.now.welcomed {
			return false
		}
	}
	for _, g := range w.gates {
		if g.uplink.now == nil || !g.uplink.now.welcomed {
			return false
		}
	}
	for _, v := range w.voters {
		if !v.on.up {
			return false
		}
	}
	return w.leader() != nil
}
