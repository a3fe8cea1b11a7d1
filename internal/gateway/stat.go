package gateway

import (
	"net/http"
	"os"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// stat answers kumostat and what else reads a server's stats: the same names, where they mean something here.
func (g *gateway) stat(w http.ResponseWriter, r *http.Request) {
	s, err := g.figures(r.Context())
	if err != nil {
		httpError(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	values := s.values()
	if key := r.URL.Query().Get("key"); key != "" && key != "stats" {
		v, ok := values[key]
		if !ok {
			httpError(w, http.StatusNotFound, "a gateway has no value for "+key)
			return
		}
		values = map[string]any{key: v}
	}
	writeJSON(w, http.StatusOK, control.StatResponse{Values: values})
}

func (s *figures) values() map[string]any {
	c := &s.sum.Counters
	values := map[string]any{
		"pid": os.Getpid(), "uptime": int64(s.uptime.Seconds()), "time": time.Now().Unix(), "version": s.version,
		"cmd_get": c.CmdGet, "cmd_set": c.CmdSet, "cmd_delete": c.CmdDelete, "cmd_touch": c.CmdTouch, "cmd_incr": c.CmdIncr, "cmd_flush": c.CmdFlush,
		"get_hits": c.GetHits, "get_misses": c.GetMisses, "errors": c.Errors, "bytes_read": c.BytesRead, "bytes_written": c.BytesWritten,
		"connections": c.CurrConnections, "total_connections": c.TotalConnections, "rejected_connections": c.RejectedConnections,
		"outstanding": s.sum.Router.Outstanding, "outstanding_bytes": s.sum.Router.Bytes, "clock": s.sum.Router.MapVersion,
		"manager_connected": s.linked, "loops": s.loops,
	}
	s.latency.AddValues(values)
	return values
}
