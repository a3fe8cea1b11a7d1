package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
)

// handOverWait bounds how long a leader that is told to end looks for another one.
const handOverWait = time.Second

var errDrain = errors.New("the server was told, but this manager ends: look at kumoctl status --verbose")

// told is one server's answer that a command waits for.
type told struct {
	server clustermap.ServerID
	answer chan control.Result
}

// runDrain has a server hand over what it leads, or lead again.
func (m *Manager) runDrain(ctx context.Context, req control.CommandRequest) (*control.CommandResponse, error) {
	if len(req.Args) != 1 {
		return nil, fmt.Errorf("%s: name one attached server, by its address or ID", req.Command)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	arg := ""
	if req.Command == "undrain" {
		arg = control.DrainEnds
	}
	var addr string
	var id, clock uint64
	var refused error
	t := &told{answer: make(chan control.Result, 1)}
	err := m.ask(ctx, func() {
		var s *clustermap.Server
		if s, refused = m.attached(req.Args[0]); refused != nil {
			return
		}
		k := m.servers[s.ID]
		if k == nil {
			refused = fmt.Errorf("%s: server %s is not connected", req.Command, s.Addr)
			return
		}
		m.next++
		t.server, addr, id, clock = s.ID, s.Addr, m.next, m.council.Map().Version
		m.told[id] = t
		k.s.Send(control.Frame(control.KindCommand, control.Command{ID: id, Name: control.CommandDrain, Arg: arg}))
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	defer m.post(func() { delete(m.told, id) })
	select {
	case r := <-t.answer:
		if r.Error != "" {
			return nil, fmt.Errorf("server %s: %s", addr, r.Error)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("server %s did not answer in time; look at kumoctl status --verbose", addr)
	case <-m.ctx.Done():
		return nil, errDrain
	}
	line := "draining " + addr + ": what it leads is handed to others; it remains a backup"
	if arg != "" {
		line = addr + " takes back what it is to lead"
	}
	return &control.CommandResponse{Lines: []string{line}, Nodes: []string{addr}, Clock: clock}, nil
}

// attached is the attached server of this address or ID.
func (m *Manager) attached(name string) (*clustermap.Server, error) {
	cm := m.council.Map()
	var found *clustermap.Server
	for i := range cm.Servers {
		s := &cm.Servers[i]
		host, _, _ := net.SplitHostPort(s.Addr)
		if s.Addr == name || s.ID.String() == name {
			return s, nil
		}
		if host == name {
			if found != nil {
				return nil, fmt.Errorf("there are several servers at %s; name one with its port", name)
			}
			found = s
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no attached server %s; kumoctl status shows which there are", name)
	}
	return found, nil
}

func (m *Manager) toldResult(from clustermap.ServerID, r control.Result) {
	if t := m.told[r.ID]; t != nil && t.server == from {
		delete(m.told, r.ID)
		t.answer <- r
	}
}

// handOver passes the leadership to another manager that is there, so that nobody
// has to find out that this one has ended. Called on the loop, as the last.
func (m *Manager) handOver() {
	if !m.node.IsLeader() {
		return
	}
	for _, x := range m.node.Members() {
		_, witness := consensus.WitnessOf(x.ID)
		if up, follows := m.alive(x); witness || x.ID == m.node.ID() || !x.Voter || !up || !follows {
			continue
		}
		done := make(chan error, 1)
		m.go_(func() { done <- m.node.HandOver(x) })
		select {
		case err := <-done:
			if err == nil {
				m.log.Info("handed the leadership over", "to", x.Addr)
				return
			}
			m.log.Info("cannot hand the leadership over", "to", x.Addr, "error", err)
		case <-time.After(handOverWait):
			return
		}
	}
}
