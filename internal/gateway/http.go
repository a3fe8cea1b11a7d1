package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
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

// ask is what all loops know; it waits for them. False: one does not answer.
func (g *gateway) ask(ctx context.Context) (sum frontend.Part, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	come := make(chan frontend.Part, len(g.loops))
	for i, l := range g.loops {
		if !l.Post(func() { come <- g.frontends[i].Part() }) {
			return sum, false
		}
	}
	var parts []frontend.Part
	for range g.loops {
		select {
		case p := <-come:
			parts = append(parts, p)
		case <-ctx.Done():
			return sum, false
		}
	}
	return frontend.Sum(parts), true
}

// health is 200 when requests can be routed: there is a map and the loops turn.
// The managers may be away; that does not stop a gateway that has a map.
func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	_, ok := g.ask(r.Context())
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
	sum, ok := g.ask(r.Context())
	if !ok {
		http.Error(w, "an event loop does not answer", http.StatusServiceUnavailable)
		return
	}
	c, s := &sum.Counters, &sum.Router
	linked := uint64(0)
	if g.linked.Load() {
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
