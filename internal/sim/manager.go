package sim

import (
	"cmp"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

// Manager is all managers together, as Raft makes them look from outside: one
// register, with times when nobody answers and changes of leader. The decisions
// are internal/council's.
type Manager struct {
	w         *World
	c         *council.Council
	m         *clustermap.Map
	term      int
	downUntil int64
	inflight  *clustermap.Delta
	ticket    uint64
	// links is in which run each server is registered with this leader.
	links map[int]uint64
}

func newManager(w *World, partitions int) *Manager {
	m := &Manager{w: w, m: &clustermap.Map{}}
	m.lead(partitions)
	w.after(50*millisecond, m.tick)
	return m
}

func (m *Manager) ms() int64  { return m.w.now / millisecond }
func (m *Manager) down() bool { return m.w.now < m.downUntil }

// lead begins a new leader's term with what has been committed.
func (m *Manager) lead(partitions int) {
	m.term++
	m.links = map[int]uint64{}
	m.inflight = nil
	m.c = council.New(council.Config{ClusterID: 7, Partitions: partitions, Replication: 3})
	m.c.Lead(m.ms(), m.m)
}

// elect is a change of leader; what the old one had proposed is committed or lost.
func (m *Manager) elect() {
	if d := m.inflight; d != nil && m.w.chance(0.5) {
		m.apply(d)
	}
	m.w.tracef("another manager leads")
	m.c.Follow()
	m.lead(len(m.w.served))
}

func (m *Manager) tick() {
	if !m.down() {
		m.decide()
	}
	m.w.after(m.w.between(40*millisecond, 60*millisecond), m.tick)
}

// decide does what the council wants done.
func (m *Manager) decide() {
	out := m.c.Next(m.ms())
	for _, r := range out.Replies {
		m.w.tracef("command answered: %v %s", r.Response.Lines, r.Err)
	}
	// The council goes over its members in a map's order to say these.
	slices.SortFunc(out.Events, func(a, b council.Event) int { return cmp.Compare(a.Addr, b.Addr) })
	for _, e := range out.Events {
		m.w.tracef("manager: %s %s %s", e.Text, e.Addr, e.Note)
	}
	for _, s := range m.w.servers {
		if ids := out.Dead[s.id]; len(ids) > 0 {
			m.w.send(placeManager, s.index, s, func() {
				s.turn(func() {
					for _, r := range s.replicas {
						if r.IsPrimary() {
							r.Dead(ids, &s.fx)
						}
					}
				})
			})
		}
	}
	if d := out.Delta; d != nil {
		if m.inflight != nil {
			m.w.fail("the council proposes while a proposal is in flight")
		}
		m.inflight = d
		term := m.term
		m.w.after(m.w.often(millisecond, 10*millisecond, 300*millisecond, 0.05), func() {
			if m.term == term && m.inflight == d {
				m.inflight = nil
				m.apply(d)
			}
		})
	}
}

// apply commits a delta and checks it.
func (m *Manager) apply(d *clustermap.Delta) {
	w := m.w
	next, err := m.m.Apply(d)
	if err != nil {
		w.fail("the managers proposed a step that is refused: %v", err)
		return
	}
	if err := next.Validate(); err != nil {
		w.fail("after a step: %v", err)
		return
	}
	m.traceDelta(d)
	m.m = next
	m.c.Applied(m.ms(), next)
	m.push()
}

func (m *Manager) traceDelta(d *clustermap.Delta) {
	w := m.w
	for _, s := range d.SetServers {
		w.tracef("map %d: %s is %s, incarnation %d", d.Base+1, w.name(s.ID), s.State, s.Incarnation)
	}
	for i := range d.Partitions {
		c := &d.Partitions[i]
		p := &c.New
		w.tracef("map %d: p%d epoch %d %s joining %s active %v last known %s assigned %s", d.Base+1, c.Index, p.Epoch,
			w.names(p.Replicas), w.names(p.Joining), p.Active, w.names(p.LastKnown), w.names(p.Assigned))
		if c.OldEpoch != p.Epoch {
			w.stats["epochs"]++
		} else if p.Active && !m.m.Partitions[c.Index].Active {
			w.stats["activations recorded"]++
		}
	}
}

// push hands the map to everybody who is linked.
func (m *Manager) push() {
	next := m.m
	for _, s := range m.w.servers {
		if m.links[s.index] == s.run {
			m.w.send(placeManager, s.index, s, func() { s.adopt(next) })
		}
	}
	for _, g := range m.w.gates {
		m.w.send(placeManager, g.place, nil, func() { g.learn(next) })
	}
}

// toManager delivers to the leader of the moment of arrival.
func (w *World) toManager(from *Server, do func(*Manager)) {
	w.send(from.index, placeManager, nil, func() {
		if !w.manager.down() {
			do(w.manager)
		}
	})
}

// beat is the server's link: it registers with whoever leads, then says that it lives.
func (s *Server) beat() {
	run, inc := s.run, s.disk.incarnation
	var version uint64
	if s.cmap != nil {
		version = s.cmap.Version
	}
	if s.term != s.w.manager.term {
		reg := s.registration()
		s.w.toManager(s, func(m *Manager) { m.register(s, run, reg) })
	} else {
		s.w.toManager(s, func(m *Manager) { m.heard(s, run, inc, version) })
	}
	s.w.afterOn(s, s.w.between(150*millisecond, 250*millisecond), s.beat)
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

func (m *Manager) register(s *Server, run uint64, reg council.Registration) {
	v := m.c.Registered(m.ms(), reg)
	if !v.OK {
		m.w.tracef("manager refuses %s: %s", s, v.Refuse.Reason)
		if run == s.run {
			m.w.stats["registrations refused"]++
		}
		return
	}
	m.links[s.index] = run
	term, next := m.term, m.m
	m.w.send(placeManager, s.index, s, func() {
		if s.run == run {
			s.term = term
			s.adopt(next)
		}
	})
}

func (m *Manager) heard(s *Server, run, inc, version uint64) {
	if m.links[s.index] != run {
		return
	}
	m.c.Heard(m.ms(), s.id)
	if next := m.m; version < next.Version {
		m.w.send(placeManager, s.index, s, func() { s.adopt(next) })
	}
}

func (m *Manager) report(s *Server, r control.Report) {
	m.c.Report(m.ms(), s.id, r)
	m.decide()
}

// broken: the server's connection broke and its port refuses.
func (m *Manager) broken(s *Server, run uint64) {
	if !m.down() && m.links[s.index] == run {
		delete(m.links, s.index)
		m.c.Broken(m.ms(), s.id)
		m.decide()
	}
}

// command is the operator's.
func (m *Manager) command(name string, args ...string) {
	if m.down() {
		return
	}
	m.ticket++
	m.w.tracef("command: %s %v", name, args)
	m.c.Command(m.ms(), m.ticket, control.CommandRequest{Command: name, Args: args})
	m.decide()
}

// version is a version as the trace shows it.
func version(v uint64) string {
	if v == 0 {
		return "-"
	}
	return itoa(v>>clustermap.SeqBits) + "." + itoa(v&(1<<clustermap.SeqBits-1)&0xfffff)
}
