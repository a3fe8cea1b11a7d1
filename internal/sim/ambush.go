package sim

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// Faults that lie in wait for a moment in which one rule alone keeps the
// promises: the others seldom come at just that moment.

// ambushKinds are the faults of a run of such (Options.Ambush).
var ambushKinds = []faultKind{
	{"overtaken", 5, (*fault).overtake, nil},
	{"overtaken twice", 4, (*fault).overtakeTwice, nil},
	{"overtaken and back", 3, (*fault).thereAndBack, nil},
	{"joiner leads", 5, (*fault).joinerLeads, nil},
	{"crash before it is recorded", 4, (*fault).unrecorded, nil},
	{"survivors", 3, (*fault).survivors, nil},
	{"report late", 3, (*fault).reportLate, nil},
	{"stale tail", 2, (*fault).staleTail, notDestroy},
	{"crash", 1, (*fault).crash, nil},
	{"disk lost", 1, (*fault).loseDisk, destroy},
	{"clock jump", 1, (*fault).jump, jumps},
	{"slow network", 1, (*fault).slowNetwork, nil},
}

// changeSoon is change as soon as the leader has nothing else under way.
func (f *fault) changeSoon(until int64, step func(m *clustermap.Map) (int, clustermap.Partition, bool)) {
	if !f.w.faults {
		return
	}
	done := false
	f.change(func(m *clustermap.Map) (int, clustermap.Partition, bool) {
		done = true
		return step(m)
	})
	if !done && f.w.now < until {
		f.w.after(2*millisecond, func() { f.changeSoon(until, step) })
	}
}

// pick is an active partition with at least n replicas, all of them running.
func (f *fault) pick(n int) (int, *clustermap.Partition) {
	list := f.w.agreed.m.Partitions
	if len(list) == 0 {
		return 0, nil
	}
	i := f.rng.IntN(len(list))
	p := &list[i]
	if !p.Active || len(p.Replicas) < n {
		return 0, nil
	}
	for _, id := range p.Replicas {
		if s := f.w.server(id); !s.up || s.pausedUntil > f.w.now {
			return 0, nil
		}
	}
	return i, p
}

// leadOver is a step that has another server lead; without: who leaves.
func leadOver(p clustermap.Partition, lead clustermap.ServerID, without ...clustermap.ServerID) clustermap.Partition {
	list := []clustermap.ServerID{lead}
	for _, id := range p.Replicas {
		if id != lead && !clustermap.Contains(without, id) {
			list = append(list, id)
		}
	}
	p.Epoch, p.Replicas, p.Joining, p.Active, p.Assigned = p.Epoch+1, list, nil, false, list
	return p
}

// blinded tells whether this fault keeps the managers' maps from a gateway.
func (f *fault) blinded(gateway int) bool { return gateway%2 == f.n%2 }

// blind keeps the managers' maps from these servers for d, and from some gateways.
func (f *fault) blind(d int64, servers ...*Server) {
	w := f.w
	f.cutFor(d, func(set func(a, b int)) {
		for _, m := range w.managers {
			for _, s := range servers {
				set(m.place, s.place)
			}
			for i, g := range w.gates {
				if f.blinded(i) {
					set(m.place, g.place)
				}
			}
		}
	})
}

// press has two clients of every gateway use one key of a partition for d: those
// of a blinded one read.
func (f *fault) press(part int, d int64) {
	w := f.w
	key, expires := w.probeKeys()[part], f.chance(0.3)
	for n := 0; expires && (key[0] != 't' || int(clustermap.PartitionOf([]byte(key), len(w.served))) != part); n++ {
		key = "tp" + itoa(uint64(n))
	}
	until := w.now + d
	for n := range 2 * len(w.gates) {
		g, blind := w.gates[n/2], f.blinded(n/2)
		var again func()
		again = func() {
			if w.now > until {
				return
			}
			req := item.Request{Op: item.OpGet, Key: []byte(key)}
			if !blind && f.chance(0.4) {
				req.Op, req.Value = item.OpSet, []byte(itoa(w.seq*1000))
				if expires {
					req.Exptime = 1 + f.rng.Int64N(2)
				}
			}
			c := g.newCall(90, req)
			c.done = func() { w.after(f.between(2*millisecond, 20*millisecond), again) }
			c.send()
		}
		w.after(f.between(0, 20*millisecond), again)
	}
}

// setCutFor cuts one way for d; connections over it stay.
func (w *World) setCutFor(from, to int, d int64) {
	if d > 0 {
		w.setCut(from, to, true)
		w.after(d, func() { w.setCut(from, to, false) })
	}
}

// overtake has a backup lead while the old primary and some gateways do not hear
// of it: only its leases tell it that it must not answer any more (R5).
func (f *fault) overtake() {
	w := f.w
	i, p := f.pick(2)
	if p == nil {
		return
	}
	old, lead := w.server(p.Replicas[0]), w.server(p.Replicas[1+f.rng.IntN(len(p.Replicas)-1)])
	d := f.between(300*millisecond, 1500*millisecond)
	twist := f.rng.IntN(6)
	f.did("p%d from %s to %s for %v, %s", i, old, lead, time.Duration(d),
		[]string{"lead cut off too", "connection broken", "slow disk", "grants held up", "clocks", "pause"}[twist])
	f.press(i, d+500*millisecond)
	f.blind(d, old)
	if f.chance(0.5) {
		for _, id := range p.Replicas[1:] {
			if id != lead.id {
				f.blind(d, w.server(id)) // it grants leases under the old map
			}
		}
	}
	cut, soon := d, int64(0)
	switch twist {
	case 1:
		cut = 0 // leases go on, under the newer map
	case 2:
		old.disk.slowUntil = w.now + d
	case 3:
		cut, soon = f.between(450*millisecond, 650*millisecond), 170*millisecond // grants come late
	case 4:
		if w.opt.Jumps {
			old.skew, lead.skew = max(old.skew-60, -hour), min(lead.skew+60, hour)
		}
	case 5:
		w.after(f.between(0, 20*millisecond), func() { old.pause(f.between(500*millisecond, 2500*millisecond)) })
	}
	w.setCutFor(lead.place, old.place, cut)
	if cut < d {
		// What the new primary says on its own connection is lost with it.
		if c := lead.peers[old.place]; c != nil && c.conn != nil {
			c.conn.snap()
		}
	}
	w.after(soon+f.between(0, 20*millisecond), func() {
		f.changeSoon(w.now+100*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
			p := m.Partitions[i]
			if !p.Active || p.Primary() != old.id || !clustermap.Contains(p.Replicas, lead.id) {
				return 0, p, false
			}
			return i, leadOver(p, lead.id, old.id), true
		})
	})
}

// overtakeTwice has the lead pass to a server that cannot take it, and on to a
// third: that one must wait for the primary that was recorded last (R5).
func (f *fault) overtakeTwice() {
	w := f.w
	i, p := f.pick(3)
	if p == nil {
		return
	}
	old, mid, lead := w.server(p.Replicas[0]), w.server(p.Replicas[1]), w.server(p.Replicas[2])
	d := f.between(1000*millisecond, 1800*millisecond)
	f.did("p%d from %s over %s to %s for %v", i, old, mid, lead, time.Duration(d))
	f.press(i, d+500*millisecond)
	f.cutFor(d, func(set func(a, b int)) {
		set(mid.place, lead.place)
		set(lead.place, mid.place)
	})
	w.after(f.between(550*millisecond, 650*millisecond), func() {
		if !w.faults {
			return
		}
		f.blind(d, old, mid)
		f.cutFor(d, func(set func(a, b int)) { set(lead.place, old.place) })
		first := uint32(0)
		f.changeSoon(w.now+50*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
			p := m.Partitions[i]
			if !p.Active || p.Primary() != old.id || len(p.Replicas) < 3 || !clustermap.Contains(p.Replicas, mid.id) {
				return 0, p, false
			}
			first = p.Epoch + 1
			return i, leadOver(p, mid.id, old.id), true
		})
		w.after(f.between(5*millisecond, 60*millisecond), func() {
			f.changeSoon(w.now+200*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
				p := m.Partitions[i]
				return i, leadOver(p, lead.id, mid.id), p.Epoch == first && clustermap.Contains(p.Replicas, lead.id)
			})
		})
	})
}

// thereAndBack has the lead go to a backup and return while reads of the first
// time are still on their way.
func (f *fault) thereAndBack() {
	w := f.w
	i, p := f.pick(2)
	if p == nil {
		return
	}
	old, lead := w.server(p.Replicas[0]), w.server(p.Replicas[1])
	f.did("p%d from %s to %s", i, old, lead)
	f.press(i, 1500*millisecond)
	old.disk.slowUntil = w.now + 1500*millisecond
	w.after(f.between(50*millisecond, 200*millisecond), func() {
		first := uint32(0)
		f.changeSoon(w.now+100*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
			p := m.Partitions[i]
			if !p.Active || p.Primary() != old.id || !clustermap.Contains(p.Replicas, lead.id) {
				return 0, p, false
			}
			first = p.Epoch + 1
			return i, leadOver(p, lead.id), true
		})
		w.after(f.between(30*millisecond, 300*millisecond), func() {
			f.changeSoon(w.now+200*millisecond, func(m *clustermap.Map) (int, clustermap.Partition, bool) {
				p := m.Partitions[i]
				return i, leadOver(p, old.id), p.Epoch == first && p.Active && clustermap.Contains(p.Replicas, old.id)
			})
		})
	})
}
