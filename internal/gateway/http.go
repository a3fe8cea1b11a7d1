package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/inspect"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/metrics"
)

// serveHTTP opens the port for monitoring, if one was asked for.
func (g *gateway) serveHTTP() (stop func(), err error) {
	if g.cfg.HTTP == "" {
		return func() {}, nil
	}
	li, err := net.Listen("tcp", g.cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", g.cfg.HTTP, err)
	}
	g.http = li.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+control.PathStat, g.stat)
	mux.Handle("GET "+control.PathMetrics, metrics.Handler(metricList, g.figures))
	mux.HandleFunc("GET "+control.PathHealth, g.health)
	mux.HandleFunc("GET "+control.PathReady, g.ready)
	inspect.Private(mux, "gateway", g.cfg.LogLevel)
	s := webServer(mux)
	control.MarkProven(s)
	// Everybody is served; who proves that it has the cluster secret is known.
	port := control.NewMux(li, g.cfg.Secret, g.log)
	pages := port.HTTP()
	var wg sync.WaitGroup
	wg.Go(func() { _ = port.Serve() }) // pages tells how it ended
	wg.Go(func() {
		if err := s.Serve(pages); !errors.Is(err, http.ErrServerClosed) {
			g.log.Warn("monitoring port closed", "error", err)
		}
	})
	g.log.Info("listening for monitoring", "addr", li.Addr().String())
	return func() {
		_ = s.Close() // ends with its listeners
		_ = port.Close()
		wg.Wait()
	}, nil
}

// webServer lets nobody hold a connection without asking.
func webServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}

func httpError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, control.Error{Error: text})
}

var errNoAnswer = errors.New("an event loop does not answer")

// askTimeout is how long a loop may take to say what it knows.
const askTimeout = 5 * time.Second

// ask has each loop tell something and waits for all of them. False: one does not answer.
func ask[T any](ctx context.Context, g *gateway, tell func(loop int) T) (all []T, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	come := make(chan T, len(g.loops))
	for i, l := range g.loops {
		if !l.Post(func() { come <- tell(i) }) {
			return nil, false
		}
	}
	for range g.loops {
		select {
		case v := <-come:
			all = append(all, v)
		case <-ctx.Done():
			return nil, false
		}
	}
	return all, true
}

// probe asks the loops how this gateway is; an error: one does not turn.
func (g *gateway) probe(ctx context.Context) (status string, err error) {
	s, err := g.figures(ctx)
	m := g.member.Map()
	switch {
	case err != nil:
		return "", err
	case m == nil || len(m.Servers) == 0:
		return fmt.Sprintf("%d clients; waits for a cluster map with a server in it", s.sum.Counters.CurrConnections), nil
	case !g.linked.Load():
		return fmt.Sprintf("%d clients; no link to a manager", s.sum.Counters.CurrConnections), nil
	}
	return fmt.Sprintf("%d clients; %d servers", s.sum.Counters.CurrConnections, len(m.Servers)), nil
}

// figures are what a gateway tells of itself.
type figures struct {
	sum     frontend.Part
	latency latency.Summary
	uptime  time.Duration
	version string
	linked  bool
	loops   int
}

// figures asks all loops; the error says that one does not answer.
func (g *gateway) figures(ctx context.Context) (*figures, error) {
	type known struct {
		part  frontend.Part
		times *latency.Summary
	}
	all, ok := ask(ctx, g, func(i int) known { return known{g.frontends[i].Part(), g.frontends[i].Latency()} })
	if !ok {
		return nil, errNoAnswer
	}
	s := &figures{uptime: time.Since(g.started), version: g.cfg.Version, linked: g.linked.Load(), loops: len(g.loops)}
	var parts []frontend.Part
	for _, k := range all {
		parts = append(parts, k.part)
		s.latency.Merge(k.times)
	}
	s.sum = frontend.Sum(parts)
	return s, nil
}

// health tells whether the loops turn. While one does not, the process does nothing for its clients.
func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	if _, ok := ask(r.Context(), g, func(int) struct{} { return struct{}{} }); !ok {
		control.WriteHealth(w, errNoAnswer.Error())
		return
	}
	control.WriteHealth(w)
}

// ready tells whether requests can be routed: all loops have a map with a server in it.
// The managers may be away; that does not stop a gateway that has a map.
func (g *gateway) ready(w http.ResponseWriter, r *http.Request) {
	maps, ok := ask(r.Context(), g, func(i int) bool {
		m := g.routers[i].Map()
		return m != nil && len(m.Servers) > 0
	})
	switch {
	case !ok:
		control.WriteHealth(w, errNoAnswer.Error())
	case slices.Contains(maps, false):
		why := "no cluster map with a server in it"
		if !g.linked.Load() {
			why += ", and no manager is connected"
		}
		control.WriteHealth(w, why)
	default:
		control.WriteHealth(w)
	}
}
