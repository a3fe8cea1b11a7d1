package manager

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	// sayAgain is how often a manager that waits says so.
	sayAgain = 30 * time.Second
	// joinEvery is how often it asks to be added.
	joinEvery   = time.Second
	joinTimeout = 3 * time.Second
)

// beginning is what a blank manager does next.
type beginning struct {
	bootstrap bool
	join      string // whom it asks to be added
	waits     string // why it does neither
}

// candidate is a manager as a blank one sees it.
type candidate struct {
	addr string
	// voter is what it said; nil: it does not answer.
	voter *control.Voter
}

// decide keeps two blank managers from making two clusters (§5): who meets one
// that has a cluster joins it; when all are blank and answer, the lowest address
// begins; while one is silent all wait, but for --alone.
func decide(self string, partners []candidate, alone bool) beginning {
	var silent []string
	lowest := self
	for _, p := range partners {
		switch {
		case p.voter == nil:
			silent = append(silent, p.addr)
		case len(p.voter.Members) > 0:
			return beginning{join: p.addr}
		case council.CompareAddr(p.voter.Addr, lowest) < 0:
			lowest = p.voter.Addr
		}
	}
	switch {
	case alone:
		return beginning{bootstrap: true}
	case len(silent) > 0:
		return beginning{waits: fmt.Sprintf("it waits for %s, which may have a cluster; where there is none, --alone begins one", strings.Join(silent, ", "))}
	case lowest != self:
		return beginning{waits: fmt.Sprintf("it waits for %s, which has the lowest address, to begin a cluster", lowest)}
	}
	return beginning{bootstrap: true}
}

// begin is a blank manager's look at its partners.
func (m *Manager) begin() {
	if len(m.node.Members()) > 0 {
		m.waits.Store(nil)
		return
	}
	if m.joining {
		return
	}
	var partners []candidate
	for _, addr := range m.cfg.Partners {
		c := candidate{addr: addr}
		if h := m.hears(addr); h != nil {
			c.voter = &h.v
		}
		partners = append(partners, c)
	}
	switch b := decide(m.cfg.Advertise, partners, m.cfg.Alone); {
	case b.bootstrap:
		m.joining = true
		m.go_(func() {
			m.bootstrap()
			m.post(func() { m.joining = false })
		})
	case b.join != "":
		m.joining = true
		m.go_(func() {
			err := m.join(b.join)
			if err != nil {
				m.post(func() { m.sayWaits(fmt.Sprintf("%s is to add it, but: %v", b.join, err)) })
			}
			select {
			case <-m.ctx.Done():
			case <-time.After(joinEvery):
			}
			m.post(func() { m.joining = false })
		})
	default:
		m.sayWaits(b.waits)
	}
}

func (m *Manager) sayWaits(why string) {
	if old := m.waits.Swap(&why); old == nil || *old != why || time.Since(m.waitsSaid) > sayAgain {
		m.waitsSaid = time.Now()
		m.log.Warn("this manager is blank: " + why)
	}
}

// bootstrap begins a cluster of this manager alone.
func (m *Manager) bootstrap() {
	err := m.node.Bootstrap()
	if err == nil {
		err = m.node.LeadIfAlone()
	}
	if err != nil && m.ctx.Err() == nil {
		m.log.Error("cannot begin", "error", err)
	}
}

// join asks the manager at addr, which passes it on to the one that leads.
func (m *Manager) join(addr string) error {
	body, err := json.Marshal(control.Join{ID: m.node.ID(), Addr: m.cfg.Advertise})
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: joinTimeout, Transport: &http.Transport{DialContext: m.cfg.Secret.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	_, err = askVoter(m.ctx, client, http.MethodPost, "http://"+addr+control.PathJoin, string(body))
	return err
}

// joinAsked notes a manager that asks to be added; elect sees to it.
func (m *Manager) joinAsked(j control.Join) {
	if !slices.ContainsFunc(m.asks, func(a ask) bool { return a.ID == j.ID }) {
		m.log.Info("a manager asks to be added", "addr", j.Addr, "id", j.ID)
	}
	m.asks = slices.DeleteFunc(m.asks, func(a ask) bool { return a.ID == j.ID || a.Addr == j.Addr })
	m.asks = append(m.asks, ask{j, m.now()})
	m.elect()
}

type ask struct {
	control.Join
	at int64
}
