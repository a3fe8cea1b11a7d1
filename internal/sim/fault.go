package sim

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// fault has something go wrong, and the next thing after a while.
func (w *World) fault(until int64) {
	if w.now >= until {
		return
	}
	w.after(int64(w.rng.ExpFloat64()*float64(w.opt.Mean)), func() { w.fault(until) })
	if w.chance(w.opt.Calm) {
		return
	}
	s := w.servers[w.rng.IntN(len(w.servers))]
	switch x := w.rng.IntN(100); {
	case x < 16:
		w.count("crash")
		w.crashAndRestart(s, w.often(20*millisecond, 200*millisecond, 5*second, 0.5))
	case x < 19:
		w.count("crash of all")
		for _, s := range w.servers {
			w.after(int64(float64(600*millisecond)*w.rng.Float64()*w.rng.Float64()), func() {
				w.crashAndRestart(s, w.between(20*millisecond, 2*second))
			})
		}
	case x < 29:
		w.count("pause")
		s.pausedUntil = w.now + w.often(20*millisecond, 800*millisecond, 3500*millisecond, 0.4)
		w.tracef("%s is paused until %.3f", s.name, float64(s.pausedUntil)/1e6)
	case x < 40:
		w.cutLink()
	case x < 52:
		w.isolate(s)
	case x < 60:
		w.count("connections broken")
		w.snapAll(func(c *conn) bool { return w.chance(0.2) })
	case x < 68:
		w.count("slow disk")
		s.disk.slowUntil = w.now + w.between(100*millisecond, 2*second)
	case x < 74:
		w.count("managers down")
		w.manager.downUntil = w.now + w.between(0, 2500*millisecond)
		w.after(w.manager.downUntil-w.now, w.manager.elect)
	case x < 78:
		w.count("change of leader")
		w.manager.elect()
	case x < 82:
		w.count("slow network")
		w.net.slow = w.rng.Float64() * 0.1
		w.after(w.between(100*millisecond, second), func() { w.net.slow = 0 })
	case x < 88:
		w.reassign()
	case x < 92:
		w.handOver()
	case x < 96:
		// Fault servers leave the cluster; the operator attaches them again when
		// they are back. Not where disks are lost: what is detached may be the
		// last copy, and the managers may not have noticed yet.
		if !w.opt.Destroy {
			w.count("detach")
			w.manager.command("detach")
		}
	case w.opt.Destroy:
		w.destroy(s)
	default:
		w.losePower(s)
	}
}

func (w *World) count(kind string) {
	w.stats["fault: "+kind]++
	w.tracef("FAULT %s", kind)
}

// crashAndRestart ends a run of a server and begins another some time later.
// Half of the time a manager sees its port refuse at once.
func (w *World) crashAndRestart(s *Server, down int64) {
	if !s.up {
		return
	}
	run := s.run
	s.crash()
	if w.chance(0.5) {
		w.after(w.between(millisecond, 20*millisecond), func() { w.manager.broken(s, run) })
	}
	w.after(down, s.start)
}

// cutLink cuts one link, one way or both.
func (w *World) cutLink() {
	a, b := w.rng.IntN(len(w.servers)), w.anyPlace()
	if a == b {
		return
	}
	oneWay := w.chance(0.35)
	w.count("link cut")
	w.cutFor(w.often(50*millisecond, second, 4*second, 0.4), func(set func(a, b int)) {
		set(a, b)
		if !oneWay {
			set(b, a)
		}
	})
}

func (w *World) anyPlace() int {
	n := w.rng.IntN(len(w.servers) + 1 + len(w.gates))
	switch {
	case n < len(w.servers):
		return n
	case n == len(w.servers):
		return placeManager
	}
	return placeGateway + n - len(w.servers) - 1
}

// isolate cuts a server off: from managers, from servers, from gateways or from all.
func (w *World) isolate(s *Server) {
	w.count("server isolated")
	kind := w.rng.IntN(4)
	oneWay := w.chance(0.2)
	w.cutFor(w.often(50*millisecond, second, 4*second, 0.5), func(set func(a, b int)) {
		both := func(x int) {
			set(s.index, x)
			if !oneWay {
				set(x, s.index)
			}
		}
		if kind == 0 || kind == 3 {
			both(placeManager)
		}
		for _, o := range w.servers {
			if o != s && (kind == 1 || kind == 3) {
				both(o.index)
			}
		}
		for _, g := range w.gates {
			if kind == 2 || kind == 3 {
				both(g.place)
			}
		}
	})
}

// cutFor cuts ways and heals them later. Connections over a cut may break while it lasts.
func (w *World) cutFor(d int64, cuts func(set func(a, b int))) {
	var list [][2]int
	cuts(func(a, b int) { list = append(list, [2]int{a, b}) })
	w.tracef("cut %v for %.3f", list, float64(d)/1e6)
	for _, c := range list {
		w.setCut(c[0], c[1], true)
	}
	if w.chance(0.5) {
		w.after(w.between(0, d), func() {
			w.snapAll(func(c *conn) bool {
				return w.isCut(c.from.index, c.to.index) || w.isCut(c.to.index, c.from.index)
			})
		})
	}
	w.after(d, func() {
		for _, c := range list {
			w.setCut(c[0], c[1], false)
		}
	})
}

// heal ends every fault.
func (w *World) heal() {
	for _, c := range w.sortedCuts() {
		w.setCut(c[0], c[1], false)
	}
	w.net.slow, w.net.chaos = 0, false
	w.manager.downUntil = w.now
	for _, s := range w.servers {
		s.pausedUntil, s.disk.slowUntil = w.now, w.now
		w.after(w.between(0, 500*millisecond), s.start)
	}
}

func (w *World) sortedCuts() [][2]int {
	var list [][2]int
	for c := range w.net.cut {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b [2]int) int {
		if a[0] != b[0] {
			return a[0] - b[0]
		}
		return a[1] - b[1]
	})
	return list
}

// reassign plans a partition's copies elsewhere, at random.
func (w *World) reassign() {
	m := w.manager
	if m.down() || m.inflight != nil || len(m.m.Partitions) == 0 {
		return
	}
	i := w.rng.IntN(len(m.m.Partitions))
	p := m.m.Partitions[i]
	var active []clustermap.ServerID
	for _, s := range m.m.Servers {
		if s.State == clustermap.Active {
			active = append(active, s.ID)
		}
	}
	if len(active) == 0 {
		return
	}
	w.count("partition moved")
	w.rng.Shuffle(len(active), func(a, b int) { active[a], active[b] = active[b], active[a] })
	p.Assigned = active[:min(3, len(active))]
	d := &clustermap.Delta{Base: m.m.Version, Partitions: []clustermap.PartitionChange{{Index: uint16(i), OldEpoch: p.Epoch, New: p}}}
	m.apply(d)
}

// handOver has another replica lead, and cuts the old primary off from those
// who would tell it, while it still holds leases and gateways reach it (R5).
func (w *World) handOver() {
	m := w.manager
	if m.down() || m.inflight != nil || len(m.m.Partitions) == 0 {
		return
	}
	i := w.rng.IntN(len(m.m.Partitions))
	p := m.m.Partitions[i]
	if !p.Active || len(p.Replicas) < 2 {
		return
	}
	n := 1 + w.rng.IntN(len(p.Replicas)-1)
	old, lead := w.server(p.Replicas[0]), w.server(p.Replicas[n])
	if !lead.up {
		return // the managers lead over to servers that live
	}
	w.count("hand-over behind a cut")
	stays := w.chance(0.5)
	list := []clustermap.ServerID{lead.id}
	for _, id := range p.Replicas {
		if id != lead.id && (stays || id != old.id) {
			list = append(list, id)
		}
	}
	w.cutFor(w.between(50*millisecond, 1500*millisecond), func(set func(a, b int)) {
		set(placeManager, old.index)
		set(lead.index, old.index)
		if w.chance(0.5) {
			set(old.index, lead.index)
		}
	})
	p.Epoch, p.Replicas, p.Joining, p.Active, p.Assigned = p.Epoch+1, list, nil, false, list
	m.apply(&clustermap.Delta{Base: m.m.Version, Partitions: []clustermap.PartitionChange{{Index: uint16(i), OldEpoch: p.Epoch - 1, New: p}}})
}

// spare tells whether each partition's last configuration has another store with
// all that was acknowledged: what P2 promises to keep then. The present replicas
// count as such too: their activation's report may be on its way.
func (w *World) spare(s *Server) bool {
	if w.manager.inflight != nil {
		return false
	}
	keeps := func(list []clustermap.ServerID) bool {
		return !clustermap.Contains(list, s.id) || slices.ContainsFunc(list, func(id clustermap.ServerID) bool {
			o := w.server(id)
			return o != s && !o.disk.destroyed && !o.disk.uncertain
		})
	}
	for i := range w.manager.m.Partitions {
		if p := &w.manager.m.Partitions[i]; !keeps(p.LastKnown) || !keeps(p.Replicas) {
			return false
		}
	}
	return true
}

// destroy crashes a server and its disk is lost; a new one takes its place.
func (w *World) destroy(s *Server) {
	if !s.disk.destroyed && w.spare(s) {
		w.count("disk lost")
		s.crash()
		s.disk.destroyed = true
		n := w.newServer(s.addr)
		w.after(w.between(100*millisecond, 3*second), n.start)
	}
}

// losePower crashes a server's machine: its tail is lost. A store that waits for
// others because of that waits for ever if their disks are lost, so one run has
// either the one or the other.
func (w *World) losePower(s *Server) {
	if s.up && w.spare(s) {
		w.count("power lost")
		run := s.run
		s.crash()
		s.disk.losePower(w)
		if w.chance(0.5) {
			w.after(20*millisecond, func() { w.manager.broken(s, run) })
		}
		w.after(w.often(200*millisecond, second, 5*second, 0.5), s.start)
	}
}
