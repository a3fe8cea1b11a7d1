package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/latency"
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
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+control.PathStat, g.stat)
	mux.HandleFunc("GET "+control.PathMetrics, g.metrics)
	mux.HandleFunc("GET "+control.PathHealth, g.health)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.Serve(li); !errors.Is(err, http.ErrServerClosed) {
			g.log.Warn("monitoring port closed", "error", err)
		}
	}()
	g.log.Info("listening for monitoring", "addr", li.Addr().String())
	return func() { s.Close() }, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}

func httpError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, control.Error{Error: text})
}

const errNoAnswer = "an event loop does not answer"

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

// figures are what a gateway tells of itself.
type figures struct {
	sum     frontend.Part
	latency latency.Summary
	uptime  time.Duration
	version string
	linked  bool
	loops   int
}

// figures asks all loops; nil: one does not answer.
func (g *gateway) figures(ctx context.Context) *figures {
	type known struct {
		part  frontend.Part
		times *latency.Summary
	}
	all, ok := ask(ctx, g, func(i int) known { return known{g.frontends[i].Part(), g.frontends[i].Latency()} })
	if !ok {
		return nil
	}
	s := &figures{uptime: time.Since(g.started), version: g.cfg.Version, linked: g.linked.Load(), loops: len(g.loops)}
	var parts []frontend.Part
	for _, k := range all {
		parts = append(parts, k.part)
		s.latency.Merge(k.times)
	}
	s.sum = frontend.Sum(parts)
	return s
}

func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	_, ok := ask(r.Context(), g, func(int) struct{} { return struct{}{} })
	switch {
	case !ok:
		http.Error(w, "an event loop does not answer", http.StatusServiceUnavailable)
	case g.member.Map() == nil || len(g.member.Map().Servers) == 0:
		http.Error(w, "no cluster map with a server in it", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

func (g *gateway) metrics(w http.ResponseWriter, r *http.Request) {
	f := g.figures(r.Context())
	if f == nil {
		http.Error(w, errNoAnswer, http.StatusServiceUnavailable)
		return
	}
	c, s := &f.sum.Counters, &f.sum.Router
	linked := uint64(0)
	if f.linked {
		linked = 1
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for _, m := range []struct {
		name, kind, help string
		value            uint64
	}{
		{"commands_get_total", "counter", "Keys asked for.", c.CmdGet},
		{"commands_set_total", "counter", "Storage commands.", c.CmdSet},
		{"commands_touch_total", "counter", "Touches.", c.CmdTouch},
		{"commands_flush_total", "counter", "flush_all commands.", c.CmdFlush},
		{"get_hits_total", "counter", "Keys found.", c.GetHits},
		{"get_misses_total", "counter", "Keys not found.", c.GetMisses},
		{"errors_total", "counter", "Commands that got no answer but an error.", c.Errors},
		{"read_bytes_total", "counter", "Bytes of commands.", c.BytesRead},
		{"written_bytes_total", "counter", "Bytes of answers.", c.BytesWritten},
		{"connections", "gauge", "Clients connected.", c.CurrConnections},
		{"connections_total", "counter", "Clients that have connected.", c.TotalConnections},
		{"connections_rejected_total", "counter", "Clients beyond --max-connections.", c.RejectedConnections},
		{"tls_handshakes_failed_total", "counter", "TLS handshakes of clients that failed.", c.TLSFailed},
		{"tries_sent_total", "counter", "Requests sent to servers.", s.Sent},
		{"tries_refused_total", "counter", "Requests refused by servers and sent again.", s.Refused},
		{"fate_unknown_total", "counter", "Writes whose outcome is unknown.", s.Unknown},
		{"timeouts_total", "counter", "Commands not answered within --timeout.", s.Timeouts},
		{"server_connects_total", "counter", "Connections opened to servers.", s.Connects},
		{"outstanding", "gauge", "Commands not answered yet.", uint64(s.Outstanding)},
		{"outstanding_bytes", "gauge", "Bytes of those.", uint64(s.Bytes)},
		{"map_version", "gauge", "Version of the cluster map.", s.MapVersion},
		{"manager_connected", "gauge", "1 with a link to a manager.", linked},
		{"auth_failures_total", "counter", "Clients that told a wrong user or password.", c.AuthErrors},
		{"loops", "gauge", "Event loops (--loops).", uint64(len(g.loops))},
		{"goroutines", "gauge", "Goroutines of the process.", uint64(runtime.NumGoroutine())},
	} {
		fmt.Fprintf(w, "# HELP kumofs_gateway_%s %s\n# TYPE kumofs_gateway_%s %s\nkumofs_gateway_%s %d\n",
			m.name, m.help, m.name, m.kind, m.name, m.value)
	}
}
