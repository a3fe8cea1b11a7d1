package server

import (
	"context"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/kumofs/kumofs/internal/metrics"
	"github.com/kumofs/kumofs/internal/store"
)

// figures are what a server tells of itself.
type figures struct {
	replication
	*counters
	items, cached int64
	counted       bool // items are known
	member        bool
	linked        bool
	clock         uint64 // the map's version
	full, hangs   bool
	healthy       bool
	committing    int // bytes that wait to be stored
	held          int // bytes, for requests that wait for others
	leaseless     int // partitions with answers that wait for a lease
	stalled       time.Duration
	store         store.Metrics
	stored        bool // the store could tell
	requests      *latency.Summary
	commits       latency.Histogram
	reads         latency.Histogram
	syncs         latency.Histogram
	scrub         control.ScrubStatus
	scrubbed      uint64                        // bytes, since the start
	peers         map[string]*latency.Histogram // appends, by address
	text          *frontend.Part                // nil: memcached is not served here
	commands      *latency.Summary              // the text port's
}

// figures asks the loop and the store.
func (n *node) figures(ctx context.Context) (*figures, error) {
	s := &figures{counters: &n.counters, cached: int64(n.cacheLen()), linked: n.leaving.linked.Load(), peers: map[string]*latency.Histogram{}}
	var err error
	if s.replication, err = n.replicationState(ctx); err != nil {
		return nil, err
	}
	err = n.onLoop(ctx, func() {
		s.member, s.full, s.hangs = n.member, n.commit.isFull(), n.commit.hangs
		s.committing, s.held, s.leaseless = n.commit.bytes(), n.held, len(n.leasing)
		s.stalled = time.Duration(n.rn.Stalled)
		s.requests, s.commits, s.reads = n.meter.requests.Summary(n.clock()), n.meter.commits, n.meter.reads
		for _, p := range n.peers {
			if p.appends.times.Count() > 0 {
				h := p.appends.times
				s.peers[p.addr] = &h
			}
		}
		if n.text != nil {
			p := n.text.Part()
			s.text, s.commands = &p, n.text.Latency()
		}
	})
	if err != nil {
		return nil, err
	}
	s.items, s.counted = n.items(ctx)
	if m := n.shown.Load(); m != nil {
		s.clock = m.Version
	}
	if !s.hangs { // the disk would be asked
		s.store, s.stored = n.store.Metrics()
	}
	s.syncs = n.store.SyncTimes()
	s.healthy = n.store.Health() == nil
	s.scrub, s.scrubbed = n.scrub.status(), n.scrub.bytes.Load()
	return s, nil
}

// stored has a metric of the store, which has none once it has failed.
func stored(kind func(name, help, label string, values func(s *figures, put func(string, float64))) metrics.Metric[figures],
	name, help string, value func(m *store.Metrics) float64) metrics.Metric[figures] {
	return kind(name, help, "", func(s *figures, put func(string, float64)) {
		if s.stored {
			put("", value(&s.store))
		}
	})
}

// texts has a metric of the text port.
func texts(kind func(name, help, label string, values func(s *figures, put func(string, float64))) metrics.Metric[figures],
	name, help string, value func(p *frontend.Part) uint64) metrics.Metric[figures] {
	return kind(name, help, "", func(s *figures, put func(string, float64)) {
		if s.text != nil {
			put("", float64(value(s.text)))
		}
	})
}

// Metrics describes the metrics of a server.
func Metrics() []metrics.Desc { return metrics.Descs(metricList) }

var metricList = []metrics.Metric[figures]{
	metrics.GaugeBy("kumo_server_build_info", "Always 1; the label is the version of kumofs.", "version", func(_ *figures, put func(string, float64)) { put(cli.Version, 1) }),
	metrics.CounterBy("kumo_server_requests_total", "Requests of gateways, other clients of the cluster and the own memcached port that came in: one for each key; set is every command that stores, other sessions and flushes, scan a page of keys.", "command",
		func(s *figures, put func(string, float64)) {
			put("get", float64(s.gets.Load()))
			put("set", float64(s.sets.Load()))
			put("delete", float64(s.deletes.Load()))
			put("other", float64(s.others.Load()))
			put("scan", float64(s.scans.Load()))
		}),
	metrics.HistogramByKind("kumo_server_request_duration_seconds", "From when a request came to when its answer left, waiting for the disk, for other servers and for leases included.",
		func(s *figures) *[latency.Kinds]latency.Histogram { return &s.requests.All }),
	metrics.HistogramByKind("kumo_server_command_duration_seconds", "From when a command of memcached was read on the port of -t to when its answer was written; only with -t.",
		func(s *figures) *[latency.Kinds]latency.Histogram {
			if s.commands == nil {
				return nil
			}
			return &s.commands.All
		}),
	texts(metrics.CounterBy[figures], "kumo_server_errors_total", "Commands on the port of -t that were answered SERVER_ERROR; only with -t.", func(p *frontend.Part) uint64 { return p.Counters.Errors }),
	texts(metrics.GaugeBy[figures], "kumo_server_clients", "Clients connected to the port of -t; only with -t.", func(p *frontend.Part) uint64 { return p.Counters.CurrConnections }),
	metrics.Histogram("kumo_server_commit_duration_seconds", "To write a batch of changes to the store's log and into memory; with --fsync, to sync it too.", func(s *figures) *latency.Histogram { return &s.commits }),
	metrics.Histogram("kumo_server_sync_duration_seconds", "To sync the store's log to the disk: each batch with --fsync, else once in a while, aside.", func(s *figures) *latency.Histogram { return &s.syncs }),
	metrics.Histogram("kumo_server_read_duration_seconds", "To read a value that was not in memory, the wait for a reader included; its count is the gets that missed the cache.", func(s *figures) *latency.Histogram { return &s.reads }),
	metrics.HistogramBy("kumo_server_append_duration_seconds", "From when a change was sent to another server until it said that it is in its store: of one change at a time for each server.", "peer",
		func(s *figures, put func(string, *latency.Histogram)) {
			for addr, h := range s.peers {
				put(addr, h)
			}
		}),
	metrics.Gauge("kumo_server_commit_waiting_bytes", "Changes that wait to be stored.", func(s *figures) int { return s.committing }),
	metrics.Gauge("kumo_server_held_bytes", "Memory of requests that wait for other servers, a lease or an activation.", func(s *figures) int { return s.held }),
	metrics.Gauge("kumo_server_partitions_waiting_for_lease", "Partitions with answers that wait for another server's lease; more than a moment means that it does not answer.", func(s *figures) int { return s.leaseless }),
	metrics.Counter("kumo_server_stalled_seconds_total", "Time in which this process stood still: stopped, suspended, or starved of a processor.", func(s *figures) float64 { return s.stalled.Seconds() }),
	metrics.Flag("kumo_server_active", "1 if it is an active member of the cluster.", func(s *figures) bool { return s.member }),
	metrics.Flag("kumo_server_manager_connected", "1 with a link to a manager.", func(s *figures) bool { return s.linked }),
	metrics.Gauge("kumo_server_map_version", "Version of the cluster map that it goes by (clock).", func(s *figures) uint64 { return s.clock }),
	metrics.Gauge("kumo_server_connections", "Connections of gateways, servers and tools to its port.", func(s *figures) int64 { return s.connections.Load() }),
	metrics.GaugeBy("kumo_server_items", "Pairs stored here, all copies, as counted last.", "", func(s *figures, put func(string, float64)) {
		if s.counted {
			put("", float64(s.items))
		}
	}),
	metrics.Gauge("kumo_server_cached_items", "Pairs in the cache.", func(s *figures) int64 { return s.cached }),
	metrics.Counter("kumo_server_chunks_collected_total", "Chunks of large values removed because no item lists them.", func(s *figures) uint64 { return s.collected.Load() }),
	metrics.GaugeBy("kumo_server_partitions", "Partitions in the configuration of which this server is, as primary, as backup, or joining.", "role", func(s *figures, put func(string, float64)) {
		put("primary", float64(s.Primaries))
		put("backup", float64(s.Replicas-s.Primaries))
		put("joining", float64(s.Joining))
	}),
	metrics.Gauge("kumo_server_partitions_not_serving", "Partitions that it is to lead and does not serve yet, or any more.", func(s *figures) int { return s.NotServing }),
	metrics.Gauge("kumo_server_partitions_short", "Partitions held here that have fewer copies than they should.", func(s *figures) int { return s.Short }),
	metrics.Gauge("kumo_server_copies_left", "Copies that this server is still to send.", func(s *figures) int { return s.CopiesLeft }),
	metrics.Counter("kumo_server_copies_done_total", "Copies sent whole.", func(s *figures) uint64 { return s.copiesDone.Load() }),
	metrics.Counter("kumo_server_copy_sent_bytes_total", "Bytes of copies sent.", func(s *figures) uint64 { return s.copyBytes.Load() }),
	metrics.Counter("kumo_server_copy_sent_items_total", "Pairs of copies sent.", func(s *figures) uint64 { return s.copyItems.Load() }),
	metrics.Counter("kumo_server_copy_received_bytes_total", "Bytes of copies received.", func(s *figures) uint64 { return s.copyReceived.Load() }),
	metrics.Counter("kumo_server_backup_sent_bytes_total", "Bytes of backups sent.", func(s *figures) uint64 { return s.backupBytes.Load() }),
	metrics.Flag("kumo_server_store_healthy", "0 if the store is short of space, damaged, or failing.", func(s *figures) bool { return s.healthy }),
	metrics.Flag("kumo_server_disk_full", "1 while it takes no writes for want of space.", func(s *figures) bool { return s.full }),
	metrics.Flag("kumo_server_disk_hangs", "1 while commits or reads hang, and 3 s longer.", func(s *figures) bool { return s.hangs }),
	stored(metrics.GaugeBy[figures], "kumo_server_disk_used_bytes", "Size of the store's files.", func(m *store.Metrics) float64 { return float64(m.DiskUsage) }),
	stored(metrics.GaugeBy[figures], "kumo_server_disk_available_bytes", "Space left on the store's file system.", func(m *store.Metrics) float64 { return float64(m.DiskAvail) }),
	stored(metrics.GaugeBy[figures], "kumo_server_disk_size_bytes", "Size of the store's file system.", func(m *store.Metrics) float64 { return float64(m.DiskTotal) }),
	stored(metrics.GaugeBy[figures], "kumo_server_log_bytes", "Size of the store's log.", func(m *store.Metrics) float64 { return float64(m.LogSize) }),
	stored(metrics.CounterBy[figures], "kumo_server_log_written_bytes_total", "Bytes written to the store's log.", func(m *store.Metrics) float64 { return float64(m.LogBytesWritten) }),
	stored(metrics.GaugeBy[figures], "kumo_server_memtables_bytes", "Memory of changes that are not in tables yet.", func(m *store.Metrics) float64 { return float64(m.MemTables) }),
	stored(metrics.GaugeBy[figures], "kumo_server_compaction_debt_bytes", "What compactions still have to rewrite.", func(m *store.Metrics) float64 { return float64(m.CompactionDebt) }),
	stored(metrics.CounterBy[figures], "kumo_server_compactions_total", "Compactions done.", func(m *store.Metrics) float64 { return float64(m.Compactions) }),
	stored(metrics.CounterBy[figures], "kumo_server_flushes_total", "Flushes of memory into tables.", func(m *store.Metrics) float64 { return float64(m.Flushes) }),
	stored(metrics.CounterBy[figures], "kumo_server_write_stalls_total", "How often writes waited for flushes or compactions.", func(m *store.Metrics) float64 { return float64(m.WriteStalls) }),
	stored(metrics.CounterBy[figures], "kumo_server_write_stall_seconds_total", "For how long writes waited for flushes or compactions.", func(m *store.Metrics) float64 { return m.WriteStallTime.Seconds() }),
	stored(metrics.GaugeBy[figures], "kumo_server_read_tables", "Tables that a read may have to look into.", func(m *store.Metrics) float64 { return float64(m.ReadAmp) }),
	stored(metrics.GaugeBy[figures], "kumo_server_block_cache_bytes", "Memory of blocks of tables (block cache).", func(m *store.Metrics) float64 { return float64(m.CacheSize) }),
	stored(metrics.CounterBy[figures], "kumo_server_block_cache_hits_total", "Blocks of tables that were found in memory.", func(m *store.Metrics) float64 { return float64(m.CacheHits) }),
	stored(metrics.CounterBy[figures], "kumo_server_block_cache_misses_total", "Blocks of tables that had to be read.", func(m *store.Metrics) float64 { return float64(m.CacheMisses) }),
	stored(metrics.GaugeBy[figures], "kumo_server_garbage_bytes", "What compactions could give back of the store's size.", func(m *store.Metrics) float64 { return float64(m.Garbage) }),
	metrics.Gauge("kumo_server_scrub_round", "Number of the search of the store for damage that is under way, or was last.", func(s *figures) uint64 { return s.scrub.Round }),
	metrics.Counter("kumo_server_scrub_read_bytes_total", "Bytes of the store that were searched for damage.", func(s *figures) uint64 { return s.scrubbed }),
	metrics.Counter("kumo_server_scrub_found_total", "Places of the store that were found damaged, or different from the other copies.", func(s *figures) int64 { return s.scrub.Found }),
	metrics.Counter("kumo_server_scrub_mended_total", "Those of them that were got from other servers.", func(s *figures) int64 { return s.scrub.Mended }),
	metrics.Gauge("kumo_server_scrub_damaged", "Those that are not mended.", func(s *figures) int { return len(s.scrub.Damaged) }),
}
