package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	linksMost   = 16384
	linkSilence = 15 * time.Second // then a link is closed, whatever it is
	probeEvery  = 100 * time.Millisecond
	// holdMost is how long, in ms, a member waits for a manager to lead.
	holdMost = 5000
)

// link is one member's connection.
type link struct {
	s         *control.Session
	positions []control.StorePosition
	taken     bool      // welcomed
	at        time.Time // when it was
	since     int64     // when it began to wait for a leader
	gone      bool
}

func (m *Manager) acceptLinks(l net.Listener) {
	slots := make(chan struct{}, linksMost)
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		go func() {
			defer func() { <-slots }()
			m.serveLink(nc)
		}()
	}
}

// serveLink reads one link until it ends.
func (m *Manager) serveLink(nc net.Conn) {
	defer context.AfterFunc(m.ctx, func() { nc.Close() })()
	s, err := control.Accept(nc)
	if err != nil {
		m.log.Debug("link refused", "error", err)
		return
	}
	defer s.Close()
	k := &link{s: s}
	if k.positions, err = control.DecodePositions(s.Hello.Positions); err != nil {
		s.Refuse(control.Refuse{Reason: err.Error(), Fatal: true})
		<-s.Done()
		return
	}
	s.Hello.Positions = nil
	if !m.post(func() { m.links[k] = struct{}{}; m.hello(k) }) {
		return
	}
	for {
		kind, b, err := s.Receive(max(linkSilence, 4*m.cfg.silence()))
		if err == nil {
			err = m.received(k, kind, b)
		}
		if err != nil {
			m.log.Debug("link ended", "addr", s.Hello.Addr, "error", err)
			break
		}
	}
	m.post(func() { m.ended(k) })
}

// received decodes on the link's goroutine and posts.
func (m *Manager) received(k *link, kind control.Kind, b []byte) error {
	id := k.s.Hello.ID
	mine := func(post func(func()) bool, f func()) error {
		if !post(func() {
			if k.taken && m.servers[id] == k {
				f()
			}
		}) {
			return net.ErrClosed
		}
		return nil
	}
	switch kind {
	case control.KindHeartbeat:
		return mine(m.postIdle, func() { m.council.Heard(m.now(), id) })
	case control.KindReport:
		var r control.Report
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		return mine(m.post, func() { m.council.Report(m.now(), id, r) })
	case control.KindResult:
		var r control.Result
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		return mine(m.post, func() { m.council.Heard(m.now(), id); m.backupResult(id, r); m.ordered(id, r); m.toldResult(id, r) })
	}
	return nil
}

// hello takes a link in, or refuses it.
func (m *Manager) hello(k *link) {
	h := &k.s.Hello
	if k.gone {
		return
	}
	if !m.council.Leading() {
		k.since = m.now()
		m.waiting = append(m.waiting, k)
		m.sendOn()
		return
	}
	if h.Role == control.RoleServer {
		if reason := m.register(k); reason != nil {
			if m.refusals[h.ID] != reason.Reason {
				m.refusals[h.ID] = reason.Reason
				m.log.Warn("server refused", "addr", h.Addr, "reason", reason.Reason)
			}
			k.s.Refuse(*reason)
			if m.council.WantsMap(h) {
				hello := *h
				m.go_(func() { m.learn(hello) })
			}
			return
		}
		delete(m.refusals, h.ID)
		if old := m.servers[h.ID]; old != nil && old != k {
			old.s.Close()
		}
		m.servers[h.ID] = k
		if st := m.staffOf(h.ID); st.witness != h.Witness {
			st.witness, st.begun = h.Witness, false
		}
		m.log.Info("server connected", "addr", h.Addr, "id", h.ID)
	} else {
		if own := m.council.Map().ClusterID; h.ClusterID != 0 && h.ClusterID != own {
			k.s.Refuse(control.Refuse{Reason: fmt.Sprintf("the gateway holds the map of cluster %s, but this manager's cluster is %s", h.ClusterID, own)})
			return
		}
		m.log.Info("gateway connected", "addr", k.s.Remote)
	}
	k.taken, k.at = true, time.Now()
	k.s.Send(control.Frame(control.KindWelcome, control.Welcome{
		ClusterID: m.council.Map().ClusterID, HeartbeatMillis: int(m.beat.Milliseconds()), Managers: m.node.Managers(),
	}))
	for _, f := range m.history.since(h.ClusterID, h.MapVersion) {
		k.s.Send(f)
	}
}

func (m *Manager) register(k *link) *control.Refuse {
	h := &k.s.Hello
	for _, a := range []string{h.Addr, h.StreamAddr} {
		if ap, err := netip.ParseAddrPort(a); err != nil || ap.Addr().IsUnspecified() || ap.Port() == 0 || !plainZone(ap.Addr()) {
			return &control.Refuse{Fatal: true, Reason: fmt.Sprintf("the server's address %q is not a numeric ip:port that others can reach", a)}
		}
	}
	if v := m.council.Registered(m.now(), council.Registration{Hello: *h, Positions: k.positions}); !v.OK {
		return &v.Refuse
	}
	return nil
}

// ended: a server whose connection broke is dead at once if its port refuses.
func (m *Manager) ended(k *link) {
	k.gone = true
	delete(m.links, k)
	h := k.s.Hello
	if !k.taken || h.Role != control.RoleServer || m.servers[h.ID] != k {
		return
	}
	delete(m.servers, h.ID)
	m.go_(func() { m.probe(k) })
}

func (m *Manager) probe(k *link) {
	h := k.s.Hello
	end := time.Now().Add(m.cfg.silence())
	for time.Now().Before(end) {
		d := net.Dialer{Timeout: m.cfg.silence()}
		c, err := d.DialContext(m.ctx, "tcp", h.Addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			m.post(func() {
				if m.servers[h.ID] == nil {
					m.council.Broken(m.now(), h.ID)
				}
			})
			return
		}
		if err == nil {
			c.Close()
		}
		// A dying process may still take connections for a moment.
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(probeEvery):
		}
	}
}

// heartbeat tells members that the manager lives.
func (m *Manager) heartbeat() {
	if time.Since(m.beatAt) < m.beat {
		return
	}
	m.beatAt = time.Now()
	f := control.Frame(control.KindHeartbeat, control.Heartbeat{MapVersion: m.council.Map().Version})
	for k := range m.links {
		if !k.gone {
			k.s.Send(f)
		}
	}
}

// sendOn sends members that wait to the manager that leads. While none does
// they wait here, but not for long: this manager may be one that hears no other.
func (m *Manager) sendOn() {
	if len(m.waiting) == 0 || m.node.IsLeader() {
		return // they are taken when it has caught up
	}
	now, leader := m.now(), m.leaderAddr()
	m.waiting = slices.DeleteFunc(m.waiting, func(k *link) bool {
		switch {
		case k.gone:
		case leader != "" && leader != m.cfg.Advertise:
			k.s.Refuse(control.Refuse{Reason: "manager " + leader + " leads", Leader: leader})
		case now-k.since > holdMost:
			k.s.Refuse(control.Refuse{Reason: "no manager leads, as far as this one knows"})
		default:
			return false
		}
		return true
	})
}
