package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/inspect"
	"github.com/kumofs/kumofs/internal/metrics"
)

// handler is the tools' interface of a server.
func (n *node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+control.PathStat, n.serveStat)
	mux.HandleFunc("GET "+control.PathHotKeys, n.serveHotKeys)
	mux.HandleFunc("GET "+control.PathMap, n.serveMap)
	mux.HandleFunc("GET "+control.PathVoter, n.witness.serve)
	mux.HandleFunc("POST "+control.PathBackup, control.NotFromBrowser(n.backups.serve))
	mux.HandleFunc("GET "+control.PathScrub, n.serveScrub)
	mux.HandleFunc("POST "+control.PathScrub, control.NotFromBrowser(n.serveScrub))
	mux.Handle("GET "+control.PathMetrics, metrics.Handler(metricList, n.figures))
	mux.HandleFunc("GET "+control.PathHealth, n.serveHealth)
	mux.HandleFunc("GET "+control.PathReady, n.serveReady)
	all := http.NewServeMux()
	all.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if !n.web.TryRLock() {
			httpError(w, http.StatusServiceUnavailable, "this server stops")
			return
		}
		defer n.web.RUnlock()
		mux.ServeHTTP(w, req)
	})
	inspect.Private(all, "server", n.cfg.LogLevel) // does not read the store
	return all
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}

func httpError(w http.ResponseWriter, status int, format string, args ...any) {
	writeJSON(w, status, control.Error{Error: fmt.Sprintf(format, args...)})
}

// onLoop runs fn on the loop and waits for it. After an error fn was not run, and will not be:
// what it writes is its caller's again.
func (n *node) onLoop(ctx context.Context, fn func()) (err error) {
	done := make(chan struct{})
	var taken atomic.Bool // by the loop, or by who gave up waiting
	posted := n.loop.Post(func() {
		if taken.CompareAndSwap(false, true) {
			fn()
			close(done)
		}
	})
	if !posted {
		return context.Canceled
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-n.ctx.Done():
		err = n.ctx.Err()
	}
	if taken.CompareAndSwap(false, true) {
		return err
	}
	<-done // fn runs, and the loop waits for nobody
	return nil
}

func (n *node) serveStat(w http.ResponseWriter, req *http.Request) {
	key := req.URL.Query().Get("key")
	values := map[string]any{}
	c := &n.counters
	switch key {
	case "pid":
		values[key] = os.Getpid()
	case "uptime":
		values[key] = int64(time.Since(n.started).Seconds())
	case "time":
		values[key] = time.Now().Unix()
	case "version":
		values[key] = cli.Version
	case "cmd_get":
		values[key] = c.gets.Load()
	case "cmd_set":
		values[key] = c.sets.Load()
	case "cmd_delete":
		values[key] = c.deletes.Load()
	case "items":
		items, err := n.store.Items(req.Context())
		if err != nil {
			httpError(w, http.StatusInternalServerError, "cannot count the items: %v", err)
			return
		}
		values[key] = items
	case "hscheck":
		values[key] = true // one map routes reads and writes
	case "replstat":
		s, err := n.replicationState(req.Context())
		if err != nil {
			httpError(w, http.StatusServiceUnavailable, "%v", err)
			return
		}
		values[key] = s.State
	case "set_delay", "unset_delay":
		if control.FromBrowser(req) {
			httpError(w, http.StatusForbidden, "%v", control.ErrBrowser)
			return
		}
		c.delay.Store(key == "set_delay")
		values[key] = "ok"
	case "checksum":
		if !n.checksum(w, req, values) {
			return
		}
	case "pairs":
		p, ok := partition(w, req.URL.Query())
		if !ok {
			return
		}
		if err := n.pairs(req.Context(), p, values); err != nil {
			httpError(w, http.StatusInternalServerError, "partition %d: %v", p, err)
			return
		}
	case "", "stats":
		if err := n.allStats(req.Context(), values); err != nil {
			httpError(w, http.StatusServiceUnavailable, "%v", err)
			return
		}
	default:
		httpError(w, http.StatusNotFound, "unknown key %q", key)
		return
	}
	writeJSON(w, http.StatusOK, control.StatResponse{Values: values})
}

// checksum adds the checksums of one partition, or of all that are stored here.
func (n *node) checksum(w http.ResponseWriter, req *http.Request, values map[string]any) bool {
	var parts []uint16
	if query := req.URL.Query(); query.Get("partition") != "" {
		p, ok := partition(w, query)
		if !ok {
			return false
		}
		parts = append(parts, p)
	} else {
		held, err := n.store.Positions()
		if err != nil {
			httpError(w, http.StatusInternalServerError, "%v", err)
			return false
		}
		for i := range held {
			parts = append(parts, i)
		}
	}
	for _, p := range parts {
		count, sum, err := n.store.Checksum(req.Context(), p)
		if err != nil {
			httpError(w, http.StatusInternalServerError, "partition %d: %v", p, err)
			return false
		}
		name := "checksum"
		if len(parts) > 1 {
			name = fmt.Sprintf("%05d", p)
		}
		values[name] = fmt.Sprintf("%016x %d", sum, count)
	}
	if len(values) == 0 {
		values["checksum"] = "nothing is stored here"
	}
	return true
}

// replication is how far this server's partitions are.
type replication struct {
	State                               string
	Primaries, Replicas, Joining, Short int
	CopiesLeft                          int
	NotServing                          int // of Primaries
}

// replicationState is `ready` only when every partition of this server has its copies.
func (n *node) replicationState(ctx context.Context) (rep replication, err error) {
	err = n.onLoop(ctx, func() {
		if !n.member {
			rep.State = "inactive"
			return
		}
		waiting := false
		for i := range n.cmap.Partitions {
			c := &n.cmap.Partitions[i]
			switch {
			case clustermap.Contains(c.Joining, n.self):
				rep.Joining++
			case clustermap.Contains(c.Replicas, n.self):
				rep.Replicas++
			default:
				if !n.replicas[i].Empty() && !clustermap.Contains(c.Assigned, n.self) {
					rep.State = "Deleting"
				}
				continue
			}
			if c.Primary() == n.self {
				rep.Primaries++
			}
			if len(c.Replicas) < len(c.Assigned) || len(c.Assigned) < min(n.cmap.Replication, len(n.cmap.Servers)) {
				rep.Short++
			}
			waiting = waiting || !c.Active
		}
		rep.CopiesLeft, rep.NotServing = n.copiesLeft(), n.notServing()
		switch {
		case rep.Joining > 0 || rep.CopiesLeft > 0:
			rep.State = "Copying"
		case rep.State != "":
		case waiting || rep.Short > 0:
			rep.State = "WAIT"
		default:
			rep.State = "ready"
		}
	})
	return rep, err
}

// probe asks the loop how this server is; an error: it does not turn.
func (n *node) probe(ctx context.Context) (status string, err error) {
	rep, err := n.replicationState(ctx)
	if err != nil {
		return "", err
	}
	if rep.State == "inactive" {
		return "waits to be attached, or for a manager", nil
	}
	return fmt.Sprintf("%s; primary of %d partitions, replica of %d, joins %d", rep.State, rep.Primaries, rep.Replicas, rep.Joining), nil
}

func (n *node) allStats(ctx context.Context, values map[string]any) error {
	rep, err := n.replicationState(ctx)
	if err != nil {
		return err
	}
	times, err := n.requestTimes(ctx)
	if err != nil {
		return err
	}
	times.AddValues(values)
	c := &n.counters
	for k, v := range map[string]any{
		"pid": os.Getpid(), "uptime": int64(time.Since(n.started).Seconds()), "time": time.Now().Unix(),
		"version": cli.Version, "id": n.self.String(), "incarnation": n.incarnation,
		"cmd_get": c.gets.Load(), "cmd_set": c.sets.Load(), "cmd_delete": c.deletes.Load(), "cmd_scan": c.scans.Load(), "chunks_collected": c.collected.Load(),
		"connections": c.connections.Load(), "cache_items": n.cacheLen(),
		"replstat": rep.State, "primaries": rep.Primaries, "replicas": rep.Replicas, "joining": rep.Joining,
		"partitions_short": rep.Short, "copies_left": rep.CopiesLeft, "copies_done": c.copiesDone.Load(),
		"copy_bytes_sent": c.copyBytes.Load(), "copy_items_sent": c.copyItems.Load(), "copy_bytes_received": c.copyReceived.Load(),
		"backup_bytes_sent": c.backupBytes.Load(),
	} {
		values[k] = v
	}
	if items, known := n.items(ctx); known {
		values["items"] = items
	}
	if m := n.shown.Load(); m != nil {
		values["cluster"], values["clock"] = m.ClusterID.String(), m.Version
	}
	if m, ok := n.store.Metrics(); ok {
		values["disk_usage"], values["disk_avail"] = m.DiskUsage, m.DiskAvail
		values["write_stalls"], values["compactions"] = m.WriteStalls, m.Compactions
		values["compaction_debt"], values["disk_garbage"] = m.CompactionDebt, m.Garbage
	}
	values["cluster_secret"], values["fsync"] = n.cfg.Secret != nil, n.cfg.Fsync
	values["scrub_round"], values["scrub_bytes"] = n.scrub.status().Round, n.scrub.bytes.Load()
	values["scrub_found"], values["scrub_mended"] = n.scrub.found.Load(), n.scrub.mends.done.Load()
	if err := n.store.Health(); err != nil {
		values["store"] = err.Error()
	} else {
		values["store"] = "ok"
	}
	return nil
}

// newestMap is the newest map that this server holds, or nil: until a manager
// has sent one, that of an earlier run.
func (n *node) newestMap() *clustermap.Map {
	m := n.shown.Load()
	if s := n.saved.Load(); m == nil || s != nil && s.Version > m.Version {
		m = s
	}
	return m
}

func (n *node) cacheLen() int { return n.rn.Values.(*values).c.Len() }

func (n *node) serveMap(w http.ResponseWriter, _ *http.Request) {
	m := n.newestMap()
	if m == nil {
		httpError(w, http.StatusNotFound, "this server has no cluster map yet")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(clustermap.AppendMap(nil, m)) // the client is gone if it fails
}
