package sim

// Ambushes in which servers crash.

// survivors has all replicas of a partition crash at once while its backups'
// disks are slow, and its primary come back last.
func (f *fault) survivors() {
	w := f.w
	i, p := f.pick(2)
	if p == nil {
		return
	}
	f.did("p%d of %s", i, w.names(p.Replicas))
	f.press(i, 500*millisecond)
	for _, id := range p.Replicas[1:] {
		w.server(id).disk.slowUntil = w.now + 500*millisecond
	}
	w.after(f.between(50*millisecond, 500*millisecond), func() {
		if !w.faults {
			return
		}
		for n, id := range p.Replicas {
			d := f.between(50*millisecond, 300*millisecond)
			if n == 0 {
				d = f.between(4*second, 6*second)
			}
			f.crashAndRestart(w.server(id), d)
		}
	})
}

// unrecorded has the primary of a partition crash, and those that follow it too
// before the managers hear that they are active (R4, R6, R9).
func (f *fault) unrecorded() {
	w := f.w
	i, p := f.pick(2)
	if p == nil {
		return
	}
	epoch, old := p.Epoch, w.server(p.Primary())
	early := w.opt.Destroy || f.chance(0.5)
	f.did("p%d after %s, which is back early: %v", i, old, early)
	f.press(i, 200*millisecond)
	if early {
		f.cutFor(200*millisecond, func(set func(a, b int)) {
			for _, id := range p.Replicas[1:] {
				set(old.place, w.server(id).place) // it gets ahead of them
			}
		})
	}
	w.after(f.between(100*millisecond, 200*millisecond), func() {
		if !w.faults {
			return
		}
		old.crash(early) // not noticed: it joins in the very epoch that follows
		if early {
			w.after(f.between(50*millisecond, 300*millisecond), old.start)
		}
		f.cutReports(i, epoch, old, w.now+4*second)
	})
}

// cutReports cuts partition i's next primary off on its way to the managers, and
// ends it and all who go with it some time later.
func (f *fault) cutReports(i int, epoch uint32, old *Server, until int64) {
	w := f.w
	p := &w.agreed.m.Partitions[i]
	s := w.server(p.Primary())
	if !w.faults || w.now >= until {
		old.start()
		return
	}
	if p.Epoch == epoch || p.Active || !s.up {
		w.after(2*millisecond, func() { f.cutReports(i, epoch, old, until) })
		return
	}
	d := f.between(200*millisecond, 900*millisecond)
	if w.opt.Destroy {
		d += 700 * millisecond // nobody is to join before that; who does is caught at it
	}
	f.press(i, d)
	// Still when it ends: what it reports a moment before would be recorded a moment after.
	f.cutFor(d+50*millisecond, func(set func(a, b int)) {
		for _, m := range w.managers {
			set(s.place, m.place)
		}
	})
	end := w.now + d
	var look func()
	look = func() {
		joining := old.up && i < len(old.replicas) && old.replicas[i].Unfinished()
		if !joining && w.now < end {
			w.after(millisecond, look)
			return
		}
		old.start()
		if !w.faults || w.agreed.m.Partitions[i].Active {
			return
		}
		var unrecorded []int
		for i := range w.agreed.m.Partitions {
			if p := &w.agreed.m.Partitions[i]; p.Primary() == s.id && !p.Active && w.served[i] < p.Epoch {
				unrecorded = append(unrecorded, i)
			}
		}
		for _, id := range w.agreed.m.Partitions[i].Replicas {
			switch s := w.server(id); {
			case s == old:
			case w.opt.Destroy:
				f.lose(s, unrecorded...)
			default:
				f.crashAndRestart(s, f.between(3*second, 6*second))
			}
		}
	}
	look()
}

// staleTail has all machines lose power, and a store without its tail come back
// long before the others (R9).
func (f *fault) staleTail() {
	w := f.w
	first := f.server()
	if !first.up || w.opt.Fsync || !w.spare(first) {
		return
	}
	f.did("of %s", first)
	first.crash(true)
	first.disk.losePower(w, f.rng)
	w.after(f.between(100*millisecond, 500*millisecond), first.start)
	for _, s := range w.servers {
		if s != first {
			f.crashAndRestart(s, f.between(2500*millisecond, 6*second))
		}
	}
}
