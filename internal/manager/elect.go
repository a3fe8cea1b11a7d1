package manager

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	changeTimeout = 5 * time.Second
	// Times in ms. askFor is how long a manager's wish to be added is remembered,
	// orderWait how long a server may take to begin or end a witness, idleFor how
	// long a witness may be silent or behind while its server is linked, and
	// failedFor for how long a server then is passed over.
	askFor    = 5000
	orderWait = 5000
	idleFor   = 10_000
	failedFor = 60_000
)

// staff is what the leader knows of a server as the host of a witness.
type staff struct {
	witness string // its ID; "": none, or not known
	begun   bool   // by this leader
	ordered int64  // when it was told last, 0: it has answered
	goodAt  int64  // when its witness was as it should be
	failed  int64  // when it was not; 0: it was
}

// order is a begin or end under way.
type order struct {
	server clustermap.ServerID
	begin  bool
}

// elect takes the next step towards the voters that there should be, as the leader.
func (m *Manager) elect() {
	if !m.council.Leading() {
		return
	}
	e := m.electorate()
	for range len(e.Hosts) + 1 {
		s := e.Next()
		switch s.Kind {
		case consensus.None:
			return
		case consensus.Begin, consensus.End:
			m.order(s)
			i := slices.IndexFunc(e.Hosts, func(h consensus.Host) bool { return h.ID == s.Server })
			e.Hosts[i].Told = true
		default:
			m.change(s)
			return
		}
	}
}

// change carries out a step; one at a time.
func (m *Manager) change(s consensus.Step) {
	if m.changing {
		return
	}
	m.changing = true
	seq, prev := m.leadSeq, m.changed
	m.go_(func() {
		index, err := m.node.Change(s, prev, changeTimeout)
		m.post(func() {
			if seq != m.leadSeq {
				return
			}
			m.changing = false
			if m.changed = index; err != nil {
				m.log.Warn("the voters cannot be changed", "step", s.Kind, "id", s.ID, "addr", s.Addr, "error", err)
				return // the next round of answers tries again
			}
			m.log.Info("voters changed", "step", s.Kind, "id", s.ID, "addr", s.Addr)
			m.elect()
		})
	})
}

// order tells a server to begin or end its witness.
func (m *Manager) order(s consensus.Step) {
	k, st := m.servers[s.Server], m.staffOf(s.Server)
	if k == nil {
		return
	}
	m.next++
	o := control.WitnessOrder{Begin: s.Kind == consensus.Begin}
	for _, x := range m.node.Members() {
		o.Members = append(o.Members, x.ID)
	}
	arg, err := json.Marshal(o)
	if err != nil {
		panic("manager: " + err.Error()) // it is a list of strings
	}
	m.orders[m.next] = order{s.Server, o.Begin}
	st.ordered = m.now()
	k.s.Send(control.Frame(control.KindCommand, control.Command{ID: m.next, Name: control.CommandWitness, Arg: string(arg)}))
}

// ordered takes the answer of the server that was told.
func (m *Manager) ordered(from clustermap.ServerID, r control.Result) {
	o, ok := m.orders[r.ID]
	if !ok || o.server != from {
		return
	}
	delete(m.orders, r.ID)
	st, now := m.staffOf(o.server), m.now()
	switch {
	case r.Error == "":
		st.ordered, st.witness, st.begun, st.goodAt = 0, r.Text, o.begin, now
		m.elect()
	default:
		st.ordered, st.failed = 0, now
		m.log.Warn("a server cannot begin or end its witness", "server", o.server, "error", r.Error)
		m.elect()
	}
}

func (m *Manager) staffOf(id clustermap.ServerID) *staff {
	if m.staff[id] == nil {
		m.staff[id] = &staff{goodAt: m.now()}
	}
	return m.staff[id]
}

// electorate is what is known now, for consensus to plan with.
func (m *Manager) electorate() *consensus.Electorate {
	now, cm := m.now(), m.council.Map()
	e := &consensus.Electorate{Self: m.node.ID(), Members: m.node.Members(), Alive: map[string]bool{}, Follows: map[string]bool{}, Attached: len(cm.Servers)}
	hosts := map[string]bool{} // machines of managers
	for _, x := range e.Members {
		e.Alive[x.ID], e.Follows[x.ID] = m.alive(x)
		if _, witness := consensus.WitnessOf(x.ID); !witness {
			hosts[ipOf(x.Addr)] = true
		}
	}
	m.asks = slices.DeleteFunc(m.asks, func(a ask) bool { return now-a.at > askFor })
	for _, a := range m.asks {
		e.Asks = append(e.Asks, consensus.Member{ID: a.ID, Addr: a.Addr})
	}
	for i := range cm.Servers {
		s := &cm.Servers[i]
		if s.State != clustermap.Active {
			continue
		}
		if h, ok := m.host(s, e, now); ok {
			e.Hosts = append(e.Hosts, h)
		}
	}
	for id := range m.staff {
		if cm.Server(id) == nil {
			delete(m.staff, id)
		}
	}
	// Servers on machines of their own first: a machine should not take two voters with it.
	slices.SortFunc(e.Hosts, func(a, b consensus.Host) int {
		if x, y := hosts[ipOf(a.Addr)], hosts[ipOf(b.Addr)]; x != y {
			if y {
				return -1
			}
			return 1
		}
		return council.CompareAddr(a.Addr, b.Addr)
	})
	return e
}

// host is a server as the host of a witness; false: its witness does not work.
func (m *Manager) host(s *clustermap.Server, e *consensus.Electorate, now int64) (consensus.Host, bool) {
	st := m.staffOf(s.ID)
	h := consensus.Host{ID: s.ID, Addr: s.Addr, Witness: st.witness, Begun: st.begun, Able: m.servers[s.ID] != nil, Told: st.ordered != 0 && now-st.ordered < orderWait}
	member := slices.ContainsFunc(e.Members, func(x consensus.Member) bool { return x.ID == st.witness })
	switch {
	case st.failed != 0 && now-st.failed < failedFor:
		return h, false
	case !h.Able || !member || e.Alive[st.witness] && e.Follows[st.witness]:
		st.failed, st.goodAt = 0, now
	case now-st.goodAt > idleFor:
		st.failed = now
		m.log.Warn(fmt.Sprintf("the witness of server %s does not follow, though the server is connected: another takes its place", s.Addr))
		return h, false
	}
	return h, true
}

// unseated: no witness of a detached server votes any more.
func (m *Manager) unseated() bool {
	cm := m.council.Map()
	return !slices.ContainsFunc(m.node.Members(), func(x consensus.Member) bool {
		s, witness := consensus.WitnessOf(x.ID)
		return witness && cm.Server(s) == nil
	})
}

func ipOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
