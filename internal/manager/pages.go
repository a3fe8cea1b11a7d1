package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/console"
	"github.com/kumofs/kumofs/internal/control"
)

var errExpected = errors.New("the servers that the command would be about are others by now: look at its plan again")

// newConsole makes the console of this manager.
func (m *Manager) newConsole(events *console.Events) *console.Console {
	return console.New(console.Config{
		Addr: m.cfg.Advertise, Commands: m.cfg.ConsoleCommands, Secret: m.cfg.Secret, Events: events, Logger: m.log,
		State: m.consoleState, Led: m.led, Command: m.led(m.webCommand),
	})
}

// consoleState is what the console shows; an error where another manager leads.
func (m *Manager) consoleState(ctx context.Context) (console.State, error) {
	st := new(control.Status)
	var cm *clustermap.Map
	leads := false
	err := m.ask(ctx, func() {
		if leads = m.council.Leading(); leads {
			*st, cm = m.status(), m.council.Map()
		}
	})
	switch {
	case err != nil:
		return console.State{}, err
	case !leads:
		return console.State{}, errNoLeader
	}
	return console.State{Status: st, Map: cm}, nil
}

// expected refuses a command of the console that would be about other servers than
// the person was shown.
func (m *Manager) expected(r *http.Request, command string) error {
	want, given := r.Header[http.CanonicalHeaderKey(console.Expect)]
	if !given {
		return nil
	}
	var nodes []string
	if err := m.ask(r.Context(), func() { st := m.status(); nodes = console.Nodes(command, &st) }); err != nil {
		return err
	}
	shown := slices.DeleteFunc(strings.Split(want[0], ","), func(s string) bool { return s == "" })
	slices.Sort(shown)
	if !slices.Equal(shown, nodes) {
		return errExpected
	}
	return nil
}

// listenPages opens the port of --http; nil: there is none.
func listenPages(cfg Config) (net.Listener, error) {
	if cfg.HTTPListener != nil || cfg.HTTP == "" {
		return cfg.HTTPListener, nil
	}
	l, err := net.Listen("tcp", cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s for the console: %w", cfg.HTTP, err)
	}
	return l, nil
}

// servePages serves there what needs no secret: the console, and what monitoring asks for.
func (m *Manager) servePages(l net.Listener, all http.Handler) *http.Server {
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	if l == nil {
		return s
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case p == "/", p == control.PathMetrics, p == control.PathHealth, p == control.PathReady, strings.HasPrefix(p, console.Root), p == strings.TrimSuffix(console.Root, "/"):
			all.ServeHTTP(w, r)
		default:
			fail(w, http.StatusNotFound, fmt.Errorf("there is no %s here: this port has the console (%s), %s and %s", p, console.Root, control.PathMetrics, control.PathHealth))
		}
	})
	m.log.Info("the console is served", "url", "http://"+l.Addr().String()+"/")
	m.go_(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.log.Warn("the console's port closed", "addr", l.Addr().String(), "error", err)
		}
	})
	return s
}
