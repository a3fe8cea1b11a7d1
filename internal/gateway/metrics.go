package gateway

import (
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/metrics"
)

// Metrics describes the metrics of a gateway.
func Metrics() []metrics.Desc { return metrics.Descs(metricList) }

var metricList = []metrics.Metric[figures]{
	metrics.GaugeBy("kumo_gateway_build_info", "Always 1; the label is the version of kumofs.", "version", func(f *figures, put func(string, float64)) { put(f.version, 1) }),
	metrics.CounterBy("kumo_gateway_commands_total", "Commands of clients that were begun: get is one for each key, set every command that stores, touch gat too, incr decr too, flush flush_all.", "command",
		func(f *figures, put func(string, float64)) {
			c := &f.sum.Counters
			put("get", float64(c.CmdGet))
			put("set", float64(c.CmdSet))
			put("delete", float64(c.CmdDelete))
			put("touch", float64(c.CmdTouch))
			put("incr", float64(c.CmdIncr))
			put("flush", float64(c.CmdFlush))
		}),
	metrics.HistogramByKind("kumo_gateway_command_duration_seconds", "From when a command was read from its client (of a large value: its end) to when its answer was written, retries and the answers before it included; other is flush_all.",
		func(f *figures) *[latency.Kinds]latency.Histogram { return &f.latency.All }),
	metrics.Counter("kumo_gateway_get_hits_total", "Keys asked for that were found.", func(f *figures) uint64 { return f.sum.Counters.GetHits }),
	metrics.Counter("kumo_gateway_get_misses_total", "Keys asked for that were not found.", func(f *figures) uint64 { return f.sum.Counters.GetMisses }),
	metrics.Counter("kumo_gateway_errors_total", "Commands that were answered SERVER_ERROR.", func(f *figures) uint64 { return f.sum.Counters.Errors }),
	metrics.Counter("kumo_gateway_outcome_unknown_total", "Writes that were answered SERVER_ERROR outcome unknown: they may have been done.", func(f *figures) uint64 { return f.sum.Router.Unknown }),
	metrics.Counter("kumo_gateway_timeouts_total", "Commands that were not answered within --timeout.", func(f *figures) uint64 { return f.sum.Router.Timeouts }),
	metrics.Counter("kumo_gateway_received_bytes_total", "Bytes of commands.", func(f *figures) uint64 { return f.sum.Counters.BytesRead }),
	metrics.Counter("kumo_gateway_sent_bytes_total", "Bytes of answers.", func(f *figures) uint64 { return f.sum.Counters.BytesWritten }),
	metrics.Gauge("kumo_gateway_clients", "Clients connected.", func(f *figures) uint64 { return f.sum.Counters.CurrConnections }),
	metrics.Counter("kumo_gateway_clients_total", "Clients that have connected.", func(f *figures) uint64 { return f.sum.Counters.TotalConnections }),
	metrics.Counter("kumo_gateway_clients_rejected_total", "Clients beyond --max-connections.", func(f *figures) uint64 { return f.sum.Counters.RejectedConnections }),
	metrics.Counter("kumo_gateway_client_pauses_total", "How often a client was not read from, because it, or all clients together, had too much under way.", func(f *figures) uint64 { return f.sum.Counters.ConnYields }),
	metrics.Counter("kumo_gateway_tls_handshakes_failed_total", "TLS handshakes of clients that failed.", func(f *figures) uint64 { return f.sum.Counters.TLSFailed }),
	metrics.Counter("kumo_gateway_auth_failures_total", "Wrong users or passwords of clients.", func(f *figures) uint64 { return f.sum.Counters.AuthErrors }),
	metrics.Counter("kumo_gateway_requests_sent_total", "Requests sent to servers, each try of one.", func(f *figures) uint64 { return f.sum.Router.Sent }),
	metrics.Counter("kumo_gateway_requests_refused_total", "Requests that a server refused, and that were sent again: it is not, or not yet, their partition's primary.", func(f *figures) uint64 { return f.sum.Router.Refused }),
	metrics.Counter("kumo_gateway_server_connections_total", "Connections opened to servers.", func(f *figures) uint64 { return f.sum.Router.Connects }),
	metrics.Gauge("kumo_gateway_outstanding_commands", "Commands that are not answered yet.", func(f *figures) int { return f.sum.Router.Outstanding }),
	metrics.Gauge("kumo_gateway_outstanding_bytes", "Bytes of commands that are not answered yet.", func(f *figures) int { return f.sum.Router.Bytes }),
	metrics.Flag("kumo_gateway_manager_connected", "1 with a link to a manager.", func(f *figures) bool { return f.linked }),
	metrics.Gauge("kumo_gateway_map_version", "Version of the cluster map that it goes by (clock), 0 without one.", func(f *figures) uint64 { return f.sum.Router.MapVersion }),
	metrics.Gauge("kumo_gateway_loops", "Event loops (--loops).", func(f *figures) int { return f.loops }),
}
