package sim

import "time"

// all are the places of every process, in order.
func (w *World) all() []int {
	var list []int
	for _, s := range w.servers {
		list = append(list, s.place)
	}
	for _, m := range w.managers {
		list = append(list, m.place)
	}
	for _, g := range w.gates {
		list = append(list, g.place)
	}
	return list
}

// cut cuts the ways from some places to those for which to holds, and back
// unless it is one way.
func (f *fault) cut(d int64, oneWay bool, from []int, to func(int) bool) {
	f.cutFor(d, func(set func(a, b int)) {
		for _, a := range from {
			for _, b := range f.w.all() {
				if a != b && to(b) {
					set(a, b)
					if !oneWay {
						set(b, a)
					}
				}
			}
		}
	})
}

// cutFor cuts ways and heals them later. Connections over a cut may break while it lasts.
func (f *fault) cutFor(d int64, cuts func(set func(a, b int))) {
	w := f.w
	var list [][2]int
	cuts(func(a, b int) { list = append(list, [2]int{a, b}) })
	w.tracef("cut %v for %v", list, time.Duration(d))
	for _, c := range list {
		w.setCut(c[0], c[1], true)
	}
	if f.chance(0.5) {
		w.after(f.between(0, d), func() {
			w.snapAll(func(c *conn) bool { return w.apart(c.there.src.place, c.there.dst.place) })
		})
	}
	w.after(d, func() {
		for _, c := range list {
			w.setCut(c[0], c[1], false)
		}
	})
}

// cutLink cuts one link, one way or both.
func (f *fault) cutLink() {
	all := f.w.all()
	a, b := f.server().place, all[f.rng.IntN(len(all))]
	if a == b {
		return
	}
	oneWay := f.chance(0.35)
	f.did("%d-%d, one way %v", a, b, oneWay)
	f.cut(f.often(50*millisecond, second, 4*second, 0.4), oneWay, []int{a}, func(p int) bool { return p == b })
}

// isolate cuts a server off: from managers, from servers, from gateways or from all.
func (f *fault) isolate() {
	s, kind := f.server(), f.rng.IntN(4)
	f.did("%s %s", s, []string{"from managers", "from servers", "from gateways", "from all"}[kind])
	f.cut(f.often(50*millisecond, second, 4*second, 0.5), f.chance(0.2), []int{s.place}, func(p int) bool {
		switch {
		case kind == 3:
			return true
		case p >= placeGateway:
			return kind == 2
		case p >= placeManager:
			return kind == 0
		}
		return kind == 1
	})
}

// split parts the network in two: each side goes on as it can.
func (f *fault) split() {
	side := map[int]bool{}
	for _, p := range f.w.all() {
		side[p] = f.chance(0.5)
	}
	f.did("%v", side)
	f.cutFor(f.often(100*millisecond, 2*second, 5*second, 0.5), f.between2(side, -1))
}

// bridge is a split in which one server reaches both sides.
func (f *fault) bridge() {
	side := map[int]bool{}
	for _, p := range f.w.all() {
		side[p] = f.chance(0.5)
	}
	both := f.server()
	f.did("%v, %s reaches all", side, both)
	f.cutFor(f.often(100*millisecond, 2*second, 5*second, 0.5), f.between2(side, both.place))
}

func (f *fault) between2(side map[int]bool, but int) func(set func(a, b int)) {
	return func(set func(a, b int)) {
		for _, a := range f.w.all() {
			for _, b := range f.w.all() {
				if side[a] != side[b] && a != but && b != but {
					set(a, b)
				}
			}
		}
	}
}

func (w *World) healCuts() {
	for a := range places {
		for b := range places {
			if w.net.cut[a][b] > 0 {
				w.net.cut[a][b] = 1
				w.setCut(a, b, false)
			}
		}
	}
}

// heal ends every fault.
func (w *World) heal() {
	w.healCuts()
	w.net.slow, w.net.chaos = 0, false
	for _, m := range w.managers {
		m.pausedUntil = w.now
		m.wake()
		w.after(w.between(0, 500*millisecond), m.start)
	}
	for _, s := range w.servers {
		s.pausedUntil = w.now
		s.wake()
		d := s.disk
		d.slowUntil, d.stalledUntil, d.fullUntil, d.failsUntil = w.now, w.now, w.now, w.now
		d.move(w)
		w.after(w.between(0, 500*millisecond), s.start)
	}
}
