package sim

import (
	"cmp"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	linkBeat = 500 * millisecond
	// linkSilence: a manager silent for so long is left.
	linkSilence = 2 * second
	linkBackoff = 50 * millisecond
)

// uplink is a member's side of its link to the managers, as control.Member
// keeps it: to one of them at a time, to the leader once it is known.
type uplink struct {
	p     *proc   // whose
	s     *Server // nil: a gateway's
	onMap func(*clustermap.Map)
	// now is the try or link under way; next, which manager comes after it; tries,
	// how many were in vain.
	now         *link
	next, tries int
	// waiting is what is to be said to the next manager; nil: nothing.
	waiting *control.Report
}

// link is one try, and what becomes of it.
type link struct {
	u        *uplink
	s        *Server
	m        *Manager
	c        *conn
	reg      council.Registration
	welcomed bool
	heardAt  int64
}

// linkUp begins to look for a manager.
func (p *proc) linkUp(s *Server, onMap func(*clustermap.Map)) *uplink {
	u := &uplink{p: p, s: s, onMap: onMap, next: p.w.rng.IntN(len(p.w.managers))}
	p.after(p.w.often(0, 20*millisecond, 2*second, 0.1), u.dial)
	return u
}

// dial tries the next manager.
func (u *uplink) dial() {
	w := u.p.w
	l := &link{u: u, s: u.s, m: w.managers[u.next], heardAt: w.now}
	u.next = (u.next + 1) % len(w.managers)
	u.now = l
	u.p.after(w.delay(), func() {
		if !l.m.up || w.apart(u.p.place, l.m.place) {
			u.again(l)
			return
		}
		if u.s != nil {
			l.reg = u.s.registration()
		}
		l.c = w.newConn(u.p, &l.m.proc)
		l.c.there.closed = func() { u.again(l) }
		l.c.do(u.p, func() { l.m.hello(l) })
		u.watch(l)
	})
}

// again gives a link up and looks for the next.
func (u *uplink) again(l *link) {
	if u.now != l {
		return
	}
	u.now = nil
	if l.c != nil {
		l.c.snap()
	}
	d := linkBackoff
	for range min(u.tries, 5) {
		d *= 2
	}
	u.tries++
	u.p.after(min(d, second), u.dial)
}

// watch leaves a manager that is silent.
func (u *uplink) watch(l *link) {
	w := u.p.w
	u.p.after(linkBeat, func() {
		switch {
		case u.now != l:
		case w.now-l.heardAt >= linkSilence:
			u.again(l)
		default:
			if l.welcomed {
				l.c.do(u.p, func() { l.m.heard(l) })
			}
			u.watch(l)
		}
	})
}

// report tells the managers what the partitions have to say; the latest are
// kept while there is no link.
func (u *uplink) report(r control.Report) {
	if l := u.now; l != nil && l.welcomed {
		l.c.do(u.p, func() { l.m.report(l, r) })
		return
	}
	if u.waiting == nil {
		u.waiting = &r
	} else {
		u.waiting.Append(r)
	}
}

// What follows happens at the member.

// refused: the manager does not lead, or does not take the member. leader is a
// voter that may lead, or -1.
func (l *link) refused(leader int) {
	u := l.u
	if u.now == l && leader >= 0 && leader < len(u.p.w.managers) {
		u.next = leader // the managers are the first voters
	}
	u.again(l)
}

func (l *link) welcome() {
	u := l.u
	if u.now != l {
		return
	}
	l.welcomed, u.tries = true, 0
	l.alive()
	if r := u.waiting; r != nil {
		u.waiting = nil
		u.report(*r)
	}
}

func (l *link) alive() { l.heardAt = l.u.p.w.now }

// push hands the member a map.
func (l *link) push(m *clustermap.Map) {
	l.c.do(&l.m.proc, func() {
		if l.u.now == l {
			l.alive()
			l.u.onMap(m)
		}
	})
}

// dead tells a server whom the managers hold dead.
func (l *link) dead(ids []clustermap.ServerID) {
	l.c.do(&l.m.proc, func() {
		s := l.s
		if l.u.now != l {
			return
		}
		s.turn(func() {
			for _, r := range s.replicas {
				if r.IsPrimary() {
					r.Dead(ids, &s.fx)
				}
			}
		})
	})
}

// released tells a leaving server that nothing more is taken over from it.
func (l *link) released(how control.Leaving) {
	l.c.do(&l.m.proc, func() {
		if s := l.s; l.u.now == l && how == s.leaving && s.released != nil {
			s.released()
		}
	})
}

func (s *Server) registration() council.Registration {
	reg := council.Registration{Hello: control.Hello{
		Role: control.RoleServer, ID: s.id, ClusterID: s.disk.cluster, Addr: s.addr, StreamAddr: s.addr + "0",
		Incarnation: s.disk.incarnation, RunID: s.run, HasData: !s.disk.empty(), Uncertain: s.disk.uncertain,
	}}
	if s.replicas == nil {
		for p, ps := range s.disk.parts {
			reg.Positions = append(reg.Positions, control.StorePosition{Partition: p, Version: ps.stored.Version, Unfinished: ps.stored.Unfinished})
		}
		slices.SortFunc(reg.Positions, func(a, b control.StorePosition) int { return cmp.Compare(a.Partition, b.Partition) })
		return reg
	}
	for i, r := range s.replicas {
		if !r.Empty() {
			v, unfinished := r.StorePosition()
			reg.Positions = append(reg.Positions, control.StorePosition{Partition: uint16(i), Version: v, Unfinished: unfinished})
		}
	}
	return reg
}
