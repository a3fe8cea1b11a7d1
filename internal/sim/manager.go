package sim

import (
	"fmt"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	managerTick = 50 * millisecond
	// managerStall: when its clock was not read for so long, it stood still.
	managerStall = 4 * managerTick
)

// Manager is kumo-manager without its sockets: a voter, and the council that
// decides while that voter leads. The decisions are internal/council's.
type Manager struct {
	proc
	v *voter
	c *council.Council
	// away is for how long it stood still: the council's clock does then.
	read, away int64
	// inflight is the log's index of the proposal under way, 0: none; own: it is
	// the council's.
	inflight int
	own      bool
	term     uint64 // in which the council leads
	ticket   uint64
	links    []*link
}

func (w *World) newManager() *Manager {
	i := len(w.managers)
	m := &Manager{proc: proc{w: w, name: fmt.Sprintf("M%d", i+1), place: placeManager + i}}
	m.v = w.newVoter(&m.proc, m)
	w.managers = append(w.managers, m)
	return m
}

// start begins a run.
func (m *Manager) start() {
	if m.up {
		return
	}
	w := m.w
	m.up, m.unplugged, m.pausedUntil = true, false, 0
	m.run++
	m.links, m.inflight = nil, 0
	m.read, m.away = w.now, 0
	m.c = council.New(council.Config{ClusterID: 7, Partitions: len(w.served), Replication: 3})
	m.v.start()
	w.tracef("%s starts", m.name)
	m.after(w.between(0, managerTick), m.tick)
}

// crash ends the run. What was agreed is on its disk.
func (m *Manager) crash(unplugged bool) {
	if !m.up {
		return
	}
	m.w.tracef("%s crashes", m.name)
	m.end(unplugged)
}

// ms is the council's clock.
func (m *Manager) ms() int64 {
	m.away += max(0, m.w.now-m.read-managerStall)
	m.read = m.w.now
	return (m.w.now - m.away) / millisecond
}

func (m *Manager) tick() {
	m.ms()
	m.decide()
	m.after(m.w.between(managerTick*4/5, managerTick*6/5), m.tick)
}

// leads tells whether the council decides.
func (m *Manager) leads() bool { return m.up && m.c.Leading() && m.term == m.v.term }

// leader is a manager that decides, as far as it knows; the latest if there are several.
func (w *World) leader() *Manager {
	var lead *Manager
	for _, m := range w.managers {
		if m.leads() && (lead == nil || m.v.term > lead.v.term) {
			lead = m
		}
	}
	return lead
}

// leadership: the voter leads no more. The council finds out a moment later.
func (m *Manager) leadership() {
	m.inflight = 0
	m.after(m.w.between(0, 5*millisecond), func() {
		if m.v.leads && m.term == m.v.term {
			return // it leads again, and knows
		}
		m.c.Follow()
		for _, l := range m.links {
			l.c.snap()
		}
		m.links = nil
	})
}

// applied: entry i of the log is agreed and in m.v.m; step: it is a delta.
func (m *Manager) applied(i int, step bool) {
	next := m.v.m
	if m.c.Leading() && step {
		for _, l := range m.links {
			l.push(next)
		}
	}
	if !m.v.leads {
		return
	}
	term := m.v.term
	m.after(m.w.between(0, millisecond), func() {
		switch {
		case m.v.term != term || !m.v.leads:
		case i == m.v.barrier:
			if m.c.Leading() {
				m.c.Follow() // it was elected again before it knew that it was not
			}
			m.inflight, m.term = 0, term
			m.c.Lead(m.ms(), next)
			m.decide()
		case i == m.inflight:
			m.inflight = 0
			m.c.Applied(m.ms(), next)
			m.decide()
		}
	})
}

// decide does what the council wants done.
func (m *Manager) decide() {
	if m.inflight != 0 && !m.own || m.c.Leading() && m.term != m.v.term {
		return // a delta that the council knows nothing of, or a term
	}
	w := m.w
	out := m.c.Next(m.ms())
	for _, r := range out.Replies {
		w.stats["commands answered"]++
		w.tracef("%s answers a command: %v %s", m.name, r.Response.Lines, r.Err)
	}
	for _, e := range out.Events {
		w.tracef("%s: %s %s %s", m.name, e.Text, e.Addr, e.Note)
	}
	for _, l := range m.links {
		if l.s != nil {
			if ids, ok := out.Dead[l.s.id]; ok {
				l.dead(ids)
			}
			if how, ok := out.Released[l.s.id]; ok {
				l.released(how)
			}
		}
	}
	if out.Delta == nil {
		return
	}
	if m.inflight != 0 {
		w.fail(validSteps, "the council proposes while a proposal is in flight")
		return
	}
	m.propose(out.Delta, true)
}

// propose has a delta agreed; whether it was is told when it is applied.
func (m *Manager) propose(d *clustermap.Delta, own bool) {
	if !m.v.leads {
		return // the council is about to be told
	}
	m.own = own
	m.inflight = len(m.v.log) + 1
	m.v.propose(d)
}

func (w *World) traceDelta(m *clustermap.Map, d *clustermap.Delta) {
	for _, s := range d.SetServers {
		w.tracef("map %d: %s is %s, incarnation %d", d.Base+1, w.nameOf(s.ID), s.State, s.Incarnation)
	}
	for i := range d.Partitions {
		c := &d.Partitions[i]
		p := &c.New
		if w.trace != nil {
			w.tracef("map %d: p%d epoch %d %s joining %s active %v last known %s assigned %s", d.Base+1, c.Index, p.Epoch,
				w.names(p.Replicas), w.names(p.Joining), p.Active, w.names(p.LastKnown), w.names(p.Assigned))
		}
		if c.OldEpoch != p.Epoch {
			w.stats["epochs"]++
		} else if p.Active && !m.Partitions[c.Index].Active {
			w.stats["activations recorded"]++
		}
	}
}

// hello takes a link in, or refuses it. A manager that does not lead names the leader.
func (m *Manager) hello(l *link) {
	if !m.c.Leading() {
		hint := m.v.leader
		l.c.do(&m.proc, func() { l.refused(hint) })
		return
	}
	if l.s != nil {
		v := m.c.Registered(m.ms(), l.reg)
		if !v.OK {
			m.w.tracef("%s refuses %s: %s", m.name, l.s, v.Refuse.Reason)
			m.w.stats["registrations refused"]++
			l.c.do(&m.proc, func() { l.refused(-1) })
			return
		}
	}
	m.links = append(m.links, l)
	l.c.back.closed = func() { m.ended(l) }
	l.c.do(&m.proc, l.welcome)
	l.push(m.v.m)
	m.beat(l)
}

// beat tells a member that the manager lives.
func (m *Manager) beat(l *link) {
	m.after(linkBeat, func() {
		if slices.Contains(m.links, l) && !l.c.broken {
			l.c.do(&m.proc, l.alive)
			m.beat(l)
		}
	})
}

func (m *Manager) heard(l *link) {
	if l.s != nil && slices.Contains(m.links, l) {
		m.c.Heard(m.ms(), l.s.id)
	}
}

func (m *Manager) report(l *link, r control.Report) {
	if slices.Contains(m.links, l) {
		m.c.Report(m.ms(), l.s.id, r)
		m.decide()
	}
}

// ended: a server whose connection broke is dead at once if its port refuses.
func (m *Manager) ended(l *link) {
	n := len(m.links)
	m.links = slices.DeleteFunc(m.links, func(x *link) bool { return x == l })
	if l.s != nil && len(m.links) < n {
		m.probe(l.s, m.w.now+2*second)
	}
}

func (m *Manager) probe(s *Server, until int64) {
	w := m.w
	m.after(w.delay(), func() {
		if w.now > until || !m.c.Leading() || slices.ContainsFunc(m.links, func(l *link) bool { return l.s == s }) {
			return
		}
		if !s.up && !s.unplugged && !w.apart(m.place, s.place) {
			m.c.Broken(m.ms(), s.id)
			m.decide()
			return
		}
		m.after(100*millisecond, func() { m.probe(s, until) })
	})
}

// command is the operator's, given to this manager, which passes it to the leader.
func (m *Manager) command(name string, args ...string) {
	w := m.w
	if !m.up {
		return
	}
	m.after(w.delay(), func() {
		if m.c.Leading() {
			m.ticket++
			w.tracef("command to %s: %s %v", m.name, name, args)
			w.stats["command: "+name]++
			m.c.Command(m.ms(), m.ticket, control.CommandRequest{Command: name, Args: args})
			m.decide()
			return
		}
		if l := m.v.leader; l >= 0 && w.voters[l].mgr != nil && l != m.v.index {
			lead := w.voters[l].mgr
			w.send(m.place, &lead.proc, func() {
				if lead.c.Leading() {
					lead.command(name, args...)
				}
			})
		}
	})
}

// version is a version as the trace shows it.
func version(v uint64) string {
	if v == 0 {
		return "-"
	}
	return itoa(v>>clustermap.SeqBits) + "." + itoa(v&(1<<clustermap.SeqBits-1)&0xfffff)
}
