package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/console"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
	"github.com/kumofs/kumofs/internal/inspect"
	"github.com/kumofs/kumofs/internal/metrics"
)

const (
	// commandTimeout: without Wait every command answers within 6 s (§8).
	commandTimeout = 5900 * time.Millisecond
	askTimeout     = 5 * time.Second
	commandBytes   = 1 << 20
)

// ticket is a command that waits for the council's answer.
type ticket struct {
	reply chan council.Reply
}

var errBusy = errors.New("the manager is busy or ending; ask again")

func (m *Manager) webServer() *http.Server {
	h := http.NewServeMux()
	h.HandleFunc("GET "+control.PathStatus, m.led(m.webStatus))
	h.HandleFunc("POST "+control.PathCommand, control.NotFromBrowser(m.led(m.webCommand)))
	h.HandleFunc("POST "+control.PathJoin, control.NotFromBrowser(m.led(m.webJoin)))
	h.HandleFunc("GET "+control.PathMap, m.webMap)
	h.HandleFunc("GET "+control.PathVoter, func(w http.ResponseWriter, _ *http.Request) { answer(w, m.voter()) })
	h.Handle("GET "+control.PathMetrics, metrics.Handler(metricList, m.figures))
	h.HandleFunc("GET "+control.PathHealth, m.webHealth)
	h.Handle(console.Root, m.console)
	h.Handle("GET /{$}", http.RedirectHandler(console.Root, http.StatusFound))
	h.HandleFunc("GET "+control.PathReady, m.webReady)
	inspect.Private(h, "manager", m.cfg.LogLevel)
	h.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("there is no %s %s here; this is a kumo-manager", r.Method, r.URL.Path))
	})
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(control.Error{Error: err.Error()})
}

// ask runs f on the loop and waits for it. After an error f was not run, and will
// not be: who asked may ask another manager.
func (m *Manager) ask(ctx context.Context, f func()) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	done := make(chan struct{})
	var taken atomic.Bool // by the loop, or by who gave up waiting
	select {
	case m.inbox <- func() {
		if taken.CompareAndSwap(false, true) {
			m.idle = false
			f()
			close(done)
		}
	}:
	case <-ctx.Done():
		return errBusy
	case <-m.ctx.Done():
		return errBusy
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	case <-m.ctx.Done():
	}
	if taken.CompareAndSwap(false, true) {
		return errBusy
	}
	<-done // the loop waits for nobody
	return nil
}

func (m *Manager) webStatus(w http.ResponseWriter, r *http.Request) {
	st := new(control.Status)
	err := m.ask(r.Context(), func() { *st = m.status() })
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	answer(w, st)
}

func (m *Manager) status() control.Status {
	st := m.council.Status(m.now())
	if t := m.council.Map().Updated; t != 0 {
		st.Timestamp = time.UnixMilli(t)
	}
	st.Managers, st.Witnesses = []control.ManagerState{}, []control.WitnessState{}
	for _, x := range m.node.Members() {
		up, _ := m.alive(x)
		if _, witness := consensus.WitnessOf(x.ID); witness {
			st.Witnesses = append(st.Witnesses, control.WitnessState{ID: x.ID, Addr: x.Addr, Voter: x.Voter, Reachable: up})
		} else {
			version := cli.Version
			if x.ID != m.node.ID() {
				version = ""
				if h := m.hears(x.Addr); up && h != nil {
					version = h.v.Version
				}
			}
			st.Managers = append(st.Managers, control.ManagerState{ID: x.ID, Addr: x.Addr, Voter: x.Voter, Reachable: up, Leader: x.ID == m.node.ID(), Version: version})
		}
	}
	st.Gateways = m.gateways()
	slices.SortFunc(st.Managers, func(a, b control.ManagerState) int { return council.CompareAddr(a.Addr, b.Addr) })
	slices.SortFunc(st.Witnesses, func(a, b control.WitnessState) int { return council.CompareAddr(a.Addr, b.Addr) })
	return st
}

// webMap answers without a leader too: what is committed here stays so.
func (m *Manager) webMap(w http.ResponseWriter, r *http.Request) {
	if addr := m.leaderAddr(); addr != "" && m.passOn(w, r, addr) {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(clustermap.AppendMap(nil, m.node.Map()))
}

// watched asks the loop how this manager is; an error: it does not turn.
func (m *Manager) watched(ctx context.Context) (status string, err error) {
	active, attached, leads := 0, 0, false
	err = m.ask(ctx, func() {
		if leads = m.council.Leading(); leads {
			servers := m.council.Map().Servers
			attached = len(servers)
			for i := range servers {
				if servers[i].State == clustermap.Active {
					active++
				}
			}
		}
	})
	waits := m.waits.Load()
	switch addr := m.leaderAddr(); {
	case err != nil:
		return "", err
	case leads:
		return fmt.Sprintf("leads; %d of %d attached servers are active", active, attached), nil
	case addr != "":
		return "follows " + addr, nil
	case waits != nil:
		return "blank: " + *waits, nil
	}
	return "no manager leads", nil
}

func (m *Manager) webJoin(w http.ResponseWriter, r *http.Request) {
	var j control.Join
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, voterBytes)).Decode(&j)
	var at netip.AddrPort
	if err == nil {
		at, err = netip.ParseAddrPort(j.Addr)
	}
	if err == nil && !plainZone(at.Addr()) {
		err = fmt.Errorf("%q is no address", j.Addr)
	}
	if err == nil && len(j.ID) != 16 {
		err = fmt.Errorf("%q is no manager's ID", j.ID)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("a manager asks to be added, but: %w", err))
		return
	}
	if err := m.ask(r.Context(), func() { m.joinAsked(j) }); err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	answer(w, m.voter())
}

func (m *Manager) webCommand(w http.ResponseWriter, r *http.Request) {
	var req control.CommandRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, commandBytes)).Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("the command is not understood: %w", err))
		return
	}
	if err := m.expected(r, req.Command); err != nil {
		code := http.StatusConflict
		if errors.Is(err, errBusy) {
			code = http.StatusServiceUnavailable
		}
		fail(w, code, err)
		return
	}
	run := m.runCommand
	switch req.Command {
	case "backup":
		run = m.runBackup
	case "recover":
		run = m.runRecover
	case "drain", "undrain":
		run = m.runDrain
	}
	resp, err := run(r.Context(), req)
	switch {
	case errors.Is(err, errBusy) || errors.Is(err, errNoLeader):
		fail(w, http.StatusServiceUnavailable, err)
	case err != nil:
		fail(w, http.StatusConflict, err)
	default:
		answer(w, resp)
	}
}
