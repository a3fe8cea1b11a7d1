package manager

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
)

const (
	// pollEvery is how often the other voters are asked how they are, pollTimeout
	// how long one may take to answer.
	pollEvery   = 300 * time.Millisecond
	pollTimeout = 700 * time.Millisecond
	// heardFor is how long, in ms, an answer is good for.
	heardFor = 2000
	// nearly is how many log entries one that follows may be behind: those under way.
	nearly = 16
	// voterBytes bounds an answer.
	voterBytes = 64 << 10
)

// heard is what a voter, or a partner that may become one, said last.
type heard struct {
	v control.Voter
	// commit is this manager's commit index when it was asked.
	commit uint64
	at     int64 // m.now()
	lost   bool  // said to be
}

// poll asks all other voters and partners, over and over.
func (m *Manager) poll() {
	client := &http.Client{Timeout: pollTimeout, Transport: &http.Transport{DialContext: m.cfg.Secret.DialContext(new(net.Dialer)), MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true}}
	defer client.CloseIdleConnections()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		commit := m.node.CommitIndex()
		answers := m.askAll(client, m.others())
		if !m.post(func() { m.polled(answers, commit) }) {
			return
		}
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
		}
	}
}

// others are the addresses of all members and partners but this one.
func (m *Manager) others() []string {
	list := slices.Clone(m.cfg.Partners)
	for _, x := range m.node.Members() {
		list = append(list, x.Addr)
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(a string) bool { return a == m.cfg.Advertise })
}

// askAll are the answers of those that answer.
func (m *Manager) askAll(client *http.Client, addrs []string) map[string]control.Voter {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]control.Voter{}
	for _, addr := range addrs {
		wg.Go(func() {
			if v, err := askVoter(m.ctx, client, http.MethodGet, "http://"+addr+control.PathVoter, ""); err == nil {
				mu.Lock()
				out[addr] = v
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}

func askVoter(ctx context.Context, client *http.Client, method, url, body string) (v control.Voter, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return v, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, voterBytes))
	if resp.StatusCode != http.StatusOK {
		var e control.Error
		if d.Decode(&e) != nil || e.Error == "" {
			e.Error = resp.Status
		}
		return v, fmt.Errorf("%s", e.Error)
	}
	return v, d.Decode(&v)
}

// polled takes a round of answers.
func (m *Manager) polled(answers map[string]control.Voter, commit uint64) {
	now := m.now()
	managers := append(m.node.Managers(), m.cfg.Partners...)
	for addr, v := range answers {
		if v.ID == m.node.ID() {
			continue // another name of this one
		}
		old := m.heard[addr]
		if (old == nil || old.lost) && slices.Contains(managers, addr) {
			m.log.Info("partner connected", "addr", addr, "id", v.ID)
		}
		m.heard[addr] = &heard{v: v, commit: commit, at: now}
	}
	for addr, h := range m.heard {
		if now-h.at > heardFor && !h.lost {
			h.lost = true
			if slices.Contains(managers, addr) {
				m.log.Info("partner lost", "addr", addr, "id", h.v.ID)
			}
		}
	}
	m.sayIfReplaced()
	m.begin()
	m.elect()
}

// hears is what a voter said, if it said it lately.
func (m *Manager) hears(addr string) *heard {
	if h := m.heard[addr]; h != nil && m.now()-h.at <= heardFor {
		return h
	}
	return nil
}

// alive tells whether a member was heard lately, and whether it follows the log.
func (m *Manager) alive(x consensus.Member) (alive, follows bool) {
	if x.ID == m.node.ID() {
		return true, true
	}
	h := m.hears(x.Addr)
	alive = h != nil && h.v.ID == x.ID
	return alive, alive && h.v.Index+nearly >= h.commit
}

// sayIfReplaced tells of managers that lead, but not this one.
func (m *Manager) sayIfReplaced() {
	if len(m.node.Members()) == 0 || m.node.IsLeader() || time.Since(m.replacedSaid) < sayAgain {
		return
	}
	is := func(x control.VoterMember) bool { return x.ID == m.node.ID() }
	for addr, h := range m.heard {
		if h.v.Leads && m.hears(addr) != nil && !slices.ContainsFunc(h.v.Members, is) && m.node.Silence() > consensus.ManagerTimeout {
			m.replacedSaid = time.Now()
			m.log.Warn(fmt.Sprintf("the manager at %s leads managers of which this one (ID %s) is none: it was replaced by one with a new state directory, "+
				"or keeps a cluster of its own; to have it join them, stop it, move %s away and start it again", addr, m.node.ID(), m.cfg.StateDir))
			return
		}
	}
}

// voter is what this manager says of itself; any goroutine may ask.
func (m *Manager) voter() control.Voter {
	v := control.Voter{ID: m.node.ID(), Addr: m.cfg.Advertise, Version: cli.Version, Index: m.node.LastIndex(), Leads: m.node.IsLeader(), Leader: m.leaderAddr()}
	if c := m.node.Map().ClusterID; c != 0 {
		v.Cluster = c.String()
	}
	for _, x := range m.node.Members() {
		v.Members = append(v.Members, control.VoterMember(x))
	}
	return v
}
