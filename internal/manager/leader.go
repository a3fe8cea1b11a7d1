package manager

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/consensus"
)

const (
	// leaderWait is how long a request waits for an election.
	leaderWait = 2 * time.Second
	leaderStep = 20 * time.Millisecond
	leaderDial = time.Second
	// leaderFresh: a leader that was silent for longer may be gone.
	leaderFresh = consensus.ManagerTimeout / 2
	// passedOn marks a request that came from another manager, which takes it no further.
	passedOn = "Kumofs-Passed-On"
)

// leaderAddr is the address of the manager that leads, if it was heard just
// now; "" too if that is a witness, which takes no part. Any goroutine may ask.
func (m *Manager) leaderAddr() string {
	id, addr := m.node.Leader()
	if _, witness := consensus.WitnessOf(id); witness || id == "" || m.node.Silence() > leaderFresh {
		return ""
	}
	return addr
}

// led has a request answered by the manager that leads, this one or another.
func (m *Manager) led(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, commandBytes))
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("the request cannot be read: %w", err))
			return
		}
		for end := time.Now().Add(leaderWait); ; {
			r.Body = io.NopCloser(bytes.NewReader(body))
			if m.leading.Load() {
				h(w, r)
				return
			}
			if addr := m.leaderAddr(); addr != "" && m.passOn(w, r, addr) {
				return
			}
			if time.Now().After(end) || m.waits.Load() != nil {
				fail(w, http.StatusServiceUnavailable, m.noLeader(r))
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-m.ctx.Done():
				return
			case <-time.After(leaderStep):
			}
		}
	}
}

// passOn hands a request to the manager that leads. False: nobody is there, it
// is this one, or the request came from another manager already.
func (m *Manager) passOn(w http.ResponseWriter, r *http.Request, addr string) (done bool) {
	if addr == m.cfg.Advertise || r.Header.Get(passedOn) != "" {
		return false
	}
	done = true
	proxy := httputil.ReverseProxy{
		Transport: m.onward,
		ErrorLog:  slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: addr})
			p.Out.Header.Set(passedOn, m.cfg.Advertise)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var op *net.OpError
			switch {
			case errors.As(err, &op) && op.Op == "dial":
				done = false
			case r.Method == http.MethodGet:
				fail(w, http.StatusServiceUnavailable, fmt.Errorf("manager %s leads, but did not answer: %w; ask again", addr, err))
			default:
				fail(w, http.StatusBadGateway, fmt.Errorf("manager %s leads, but did not answer: %w; whether the command was carried out is unknown: "+
					"look at kumoctl status, then ask again", addr, err))
			}
		},
	}
	proxy.ServeHTTP(w, r)
	return done
}

// noLeader says why nobody can answer.
func (m *Manager) noLeader(r *http.Request) error {
	if why := m.waits.Load(); why != nil {
		return errors.New("this manager is blank: " + *why)
	}
	var voters, alive int
	var silent []string
	err := m.ask(r.Context(), func() {
		for _, x := range m.node.Members() {
			if !x.Voter {
				continue
			}
			voters++
			if up, _ := m.alive(x); up {
				alive++
			} else {
				silent = append(silent, x.Addr)
			}
		}
	})
	if err != nil {
		return err
	}
	if len(silent) == 0 {
		return fmt.Errorf("no manager leads yet: an election among %d voters is under way; ask again", voters)
	}
	return fmt.Errorf("no manager leads: %d of %d voters are heard; silent: %s. Start them again", alive, voters, strings.Join(silent, ", "))
}
