package sim

// singleFault has one server crash, hang or be cut off, and another one only when
// all is at rest again. Then no client may be left without an answer (R8, P3).
func (w *World) singleFault(until int64) {
	if w.now >= until {
		return
	}
	w.after(w.between(200*millisecond, second), func() { w.singleFault(until) })
	if w.now < w.busyUntil || !w.atRest() {
		return
	}
	s := w.servers[w.rng.IntN(len(w.servers))]
	d := w.often(20*millisecond, second, 4*second, 0.5)
	w.busyUntil = w.now + d
	switch w.rng.IntN(4) {
	case 0:
		w.count("single: crash")
		w.crashAndRestart(s, d)
	case 1:
		w.count("single: pause")
		s.pausedUntil = w.busyUntil
		w.tracef("%s is paused until %.3f", s.name, float64(s.pausedUntil)/1e6)
	case 2:
		w.count("single: connections broken")
		w.snapAll(func(c *conn) bool { return c.from == s || c.to == s })
		for _, g := range w.gates {
			g.serverGone(s)
		}
	default:
		w.count("single: isolated")
		w.cutFor(d, func(set func(a, b int)) {
			set(s.index, placeManager)
			set(placeManager, s.index)
			for _, o := range w.servers {
				if o != s {
					set(s.index, o.index)
					set(o.index, s.index)
				}
			}
			for _, g := range w.gates {
				set(s.index, g.place)
				set(g.place, s.index)
			}
		})
	}
}
