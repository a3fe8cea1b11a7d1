package sim

import "github.com/kumofs/kumofs/internal/clustermap"

// Ambushes of joins.

// joinerLeads has a backup start again and join, and makes it primary as soon as
// it is a replica, before the old primary hears that it is (R2, R5, R6).
func (f *fault) joinerLeads() {
	w := f.w
	i, p := f.pick(3)
	if p == nil || w.ambush != nil {
		return
	}
	old, join := w.server(p.Replicas[0]), w.server(p.Replicas[1])
	other := w.server(p.Replicas[2])
	f.did("p%d: %s joins and follows %s", i, join, old)
	lag, quiet := f.rng.IntN(4), f.chance(0.5)
	switch lag {
	case 0, 1:
		f.lagBehind(i, old, join, other)
	case 2:
		if f.chance(0.5) {
			join.disk.slowUntil = w.now + 1500*millisecond
		}
	}
	f.crashAndRestart(join, f.between(20*millisecond, 100*millisecond))
	f.press(i, 2500*millisecond)
	mine := func(s *Server, part uint16, joiner clustermap.ServerID) {
		if s != old || int(part) != i || joiner != join.id {
			return
		}
		w.ambush = nil
		if !w.faults {
			return
		}
		d := f.between(700*millisecond, 1500*millisecond)
		w.tracef("ambush: %s has counted %s", old, join)
		if quiet {
			f.blind(d, old, other)
		} else {
			f.blind(d, old)
		}
		f.cutFor(d, func(set func(a, b int)) {
			set(join.place, old.place)
			if lag >= 2 {
				set(old.place, join.place)
			}
		})
		var take func()
		take = func() {
			f.changeSoon(w.now+100*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
				p := m.Partitions[i]
				return i, leadOver(p, join.id, old.id), p.Primary() == old.id && clustermap.Contains(p.Replicas, join.id)
			})
		}
		for _, at := range []int64{15, 40, 80, 200} {
			w.after(at*millisecond+f.between(0, 15*millisecond), take)
		}
	}
	w.ambush = mine
	w.after(3*second, func() { w.ambush = nil })
}

// lagBehind cuts a backup off from its primary when that begins a join: the
// snapshot holds what the backup does not have.
func (f *fault) lagBehind(part int, old, join, other *Server) {
	w := f.w
	until := w.now + 2*second
	var look func()
	look = func() {
		if old.up && part < len(old.replicas) {
			if r := old.replicas[part]; r.Serving() && clustermap.Contains(r.Config().Joining, join.id) {
				f.cutFor(800*millisecond, func(set func(a, b int)) { set(old.place, other.place) })
				return
			}
		}
		if w.now < until && w.faults {
			w.after(millisecond/2, look)
		}
	}
	w.after(millisecond, look)
}

// reportLate has a primary's report of a joiner reach the managers when the
// epoch that it names is over, and the joiner has begun anew (R6).
func (f *fault) reportLate() {
	w := f.w
	i, p := f.pick(3)
	if p == nil || w.ambush != nil {
		return
	}
	old, join := w.server(p.Replicas[0]), w.server(p.Replicas[1])
	f.did("p%d: of %s that %s has joined", i, old, join)
	f.crashAndRestart(join, f.between(20*millisecond, 100*millisecond))
	f.press(i, 2500*millisecond)
	w.ambush = func(s *Server, part uint16, joiner clustermap.ServerID) {
		if s != old || int(part) != i || joiner != join.id {
			return
		}
		w.ambush = nil
		if !w.faults {
			return
		}
		for _, m := range w.managers {
			w.setCut(old.place, m.place, true)
		}
		epoch := s.replicas[i].Config().Epoch
		f.changeSoon(w.now+100*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
			p := m.Partitions[i]
			p.Epoch++
			return i, p, p.Epoch == epoch+1 && p.Active && clustermap.Contains(p.Joining, join.id)
		})
		until := w.now + second
		var look func()
		look = func() {
			r := join.replicas
			if w.now < until && w.faults && !(join.up && i < len(r) && r[i].Config().Epoch > epoch && r[i].Unfinished()) {
				w.after(millisecond/2, look)
				return
			}
			for _, m := range w.managers {
				w.setCut(old.place, m.place, false)
			}
		}
		look()
	}
	w.after(3*second, func() { w.ambush = nil })
}
