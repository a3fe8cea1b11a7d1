package frontend

import (
	"os"
	"strconv"
	"time"

	"github.com/kumofs/kumofs/internal/memproto"
)

// appendStats appends the answer to stats of a group that takes nothing of other loops. All
// that memcached_exporter asks for is in one of the groups, 0 where it means nothing here.
func (f *Frontend) appendStats(dst []byte, form *memproto.Form, args [][]byte) []byte {
	switch string(args[0]) {
	case "settings":
		dst = f.appendSettings(dst, form)
	case "items":
		dst = f.appendItems(dst, form)
	case "slabs":
		dst = memproto.AppendStatUint(dst, form, "active_slabs", 0)
		dst = memproto.AppendStatUint(dst, form, "total_malloced", 0)
	case "sizes":
		dst = memproto.AppendStat(dst, form, "sizes_status", "disabled")
	case "sizes_enable", "sizes_disable":
		if form.Proto == memproto.Binary {
			return memproto.Say(dst, form, memproto.ReplyNotFound)
		}
		return appendSizes(dst, form, string(args[0])) // without END, as memcached
	case "detail":
		return memproto.Say(dst, form, detail(form, args[1:]))
	default:
		if form.Proto == memproto.Binary {
			return memproto.Say(dst, form, memproto.ReplyNotFound)
		}
		return memproto.Say(dst, form, memproto.ReplyError)
	}
	return memproto.AppendEnd(dst, form)
}

// detail is about statistics by key prefix, which are never collected.
func detail(form *memproto.Form, args [][]byte) string {
	if len(args) > 0 {
		switch string(args[0]) {
		case "on", "off":
			return memproto.ReplyOK
		case "dump":
			return memproto.ReplyEnd
		}
	}
	if form.Proto == memproto.Binary {
		return memproto.ReplyNotFound
	}
	return memproto.ReplyDetailUsage
}

// appendSizes is about a histogram of items' sizes, which is never made.
func appendSizes(dst []byte, form *memproto.Form, what string) []byte {
	if what == "sizes_disable" {
		return memproto.AppendStat(dst, form, "sizes_status", "disabled")
	}
	dst = memproto.AppendStat(dst, form, "sizes_status", "error")
	return memproto.AppendStat(dst, form, "sizes_error", "not_supported")
}

// appendItems shows one class that has all items: those who list keys look here
// for what they may ask stats cachedump for.
func (f *Frontend) appendItems(dst []byte, form *memproto.Form) []byte {
	class := "items:" + strconv.Itoa(theClass) + ":"
	dst = memproto.AppendStatUint(dst, form, class+"number", f.usage().Items)
	for _, name := range []string{
		"number_hot", "number_warm", "number_cold", "age_hot", "age_warm", "age", "mem_requested", "evicted", "evicted_nonzero", "evicted_time",
		"outofmemory", "tailrepairs", "reclaimed", "expired_unfetched", "evicted_unfetched", "evicted_active", "crawler_reclaimed",
		"crawler_items_checked", "lrutail_reflocked", "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims",
		"hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp",
	} {
		dst = memproto.AppendStatUint(dst, form, class+name, 0)
	}
	return dst
}

func (f *Frontend) usage() Usage {
	if f.opt.Usage == nil {
		return Usage{}
	}
	return f.opt.Usage()
}

// orNull is what stats shows of a text that may be empty: clients split a line at
// its spaces, and want a value.
func orNull(text string) string {
	if text == "" {
		return "NULL"
	}
	return text
}

// reset forgets what has been counted, but not who is connected.
func (f *Frontend) reset() Part {
	f.counters = Counters{CurrConnections: f.counters.CurrConnections}
	return Part{}
}

func appendReset(dst []byte, form *memproto.Form, _ *Part) []byte {
	return memproto.Say(dst, form, memproto.ReplyReset)
}

// connection is what stats conns shows of a client.
type connection struct {
	id            uint64
	remote, local string
	outstanding   int
}

func (f *Frontend) connsPart() (p Part) {
	f.eachClient(func(cl *client) {
		// Streams are numbered on each loop anew.
		id := uint64(cl.stream)*uint64(len(f.team.all)) + uint64(f.place)
		p.conns = append(p.conns, connection{id, cl.conn.RemoteAddr(), cl.conn.LocalAddr(), cl.outstanding})
	})
	return p
}

func appendConns(dst []byte, form *memproto.Form, sum *Part) []byte {
	for i := range sum.conns {
		c := &sum.conns[i]
		id := strconv.FormatUint(c.id, 10)
		state := "conn_read"
		if c.outstanding > 0 {
			state = "conn_waiting"
		}
		dst = memproto.AppendStat(dst, form, id+":addr", "tcp:"+c.remote)
		dst = memproto.AppendStat(dst, form, id+":listen_addr", "tcp:"+c.local)
		dst = memproto.AppendStat(dst, form, id+":state", state)
		dst = memproto.AppendStatUint(dst, form, id+":outstanding", uint64(c.outstanding))
	}
	return memproto.AppendEnd(dst, form)
}

type stat struct {
	name  string
	value uint64
}

func (f *Frontend) appendGeneral(dst []byte, form *memproto.Form, sum *Part) []byte {
	now := time.Now()
	user, system := cpuMicros()
	n, rs := &sum.Counters, &sum.Router
	use := f.usage()
	dst = memproto.AppendStatUint(dst, form, "pid", uint64(os.Getpid()))
	dst = memproto.AppendStatUint(dst, form, "uptime", uint64(now.Sub(f.started).Seconds()))
	dst = memproto.AppendStatUint(dst, form, "time", uint64(now.Unix()))
	dst = memproto.AppendStat(dst, form, "version", MemcachedVersion)
	dst = memproto.AppendStat(dst, form, "kumofs_version", orNull(f.opt.Version))
	dst = memproto.AppendStat(dst, form, "libevent", "none")
	dst = memproto.AppendStatUint(dst, form, "pointer_size", strconv.IntSize)
	dst = memproto.AppendStatSeconds(dst, form, "rusage_user", user)
	dst = memproto.AppendStatSeconds(dst, form, "rusage_system", system)
	for _, s := range []stat{
		{"max_connections", uint64(f.opt.MaxConnections)},
		{"curr_connections", n.CurrConnections},
		{"total_connections", n.TotalConnections},
		{"rejected_connections", n.RejectedConnections},
		{"connection_structures", n.CurrConnections},
		{"response_obj_oom", 0}, {"response_obj_count", 0}, {"response_obj_bytes", 0},
		{"read_buf_count", 0}, {"read_buf_bytes", 0}, {"read_buf_bytes_free", 0}, {"read_buf_oom", 0},
		{"reserved_fds", 0},
		{"cmd_get", n.CmdGet}, {"cmd_set", n.CmdSet}, {"cmd_flush", n.CmdFlush}, {"cmd_touch", n.CmdTouch}, {"cmd_meta", n.CmdMeta},
		{"get_hits", n.GetHits}, {"get_misses", n.GetMisses}, {"get_expired", 0}, {"get_flushed", 0},
		{"delete_misses", n.DeleteMisses}, {"delete_hits", n.DeleteHits},
		{"incr_misses", n.IncrMisses}, {"incr_hits", n.IncrHits},
		{"decr_misses", n.DecrMisses}, {"decr_hits", n.DecrHits},
		{"cas_misses", n.CasMisses}, {"cas_hits", n.CasHits}, {"cas_badval", n.CasBadval},
		{"touch_hits", n.TouchHits}, {"touch_misses", n.TouchMisses},
		{"store_too_large", n.StoreTooLarge}, {"store_no_memory", n.StoreNoMemory},
		{"auth_cmds", n.AuthCmds}, {"auth_errors", n.AuthErrors},
		{"bytes_read", n.BytesRead}, {"bytes_written", n.BytesWritten},
		{"limit_maxbytes", use.LimitBytes}, {"accepting_conns", 1}, {"listen_disabled_num", 0}, {"time_in_listen_disabled_us", 0},
		{"threads", uint64(len(f.team.all))}, {"conn_yields", n.ConnYields}, {"idle_kicks", n.IdleKicks},
		{"hash_power_level", 0}, {"hash_bytes", 0}, {"hash_is_expanding", 0},
		{"slab_reassign_rescues", 0}, {"slab_reassign_chunk_rescues", 0}, {"slab_reassign_evictions_nomem", 0},
		{"slab_reassign_inline_reclaim", 0}, {"slab_reassign_busy_items", 0}, {"slab_reassign_busy_deletes", 0},
		{"slab_reassign_running", 0}, {"slabs_moved", 0},
		{"lru_crawler_running", 0}, {"lru_crawler_starts", 0}, {"lru_maintainer_juggles", 0},
		{"malloc_fails", 0}, {"log_worker_dropped", 0}, {"log_worker_written", 0}, {"log_watcher_skipped", 0}, {"log_watcher_sent", 0}, {"log_watchers", 0},
		{"unexpected_napi_ids", 0}, {"round_robin_fallback", 0},
		{"bytes", use.Bytes}, {"curr_items", use.Items}, {"total_items", use.TotalItems},
		{"slab_global_page_pool", 0}, {"expired_unfetched", 0}, {"evicted_unfetched", 0}, {"evicted_active", 0},
		{"evictions", 0}, {"reclaimed", 0}, {"crawler_reclaimed", 0}, {"crawler_items_checked", 0}, {"lrutail_reflocked", 0},
		{"moves_to_cold", 0}, {"moves_to_warm", 0}, {"moves_within_lru", 0}, {"direct_reclaims", 0}, {"lru_bumps_dropped", 0},
		{"kumofs_map_version", rs.MapVersion}, {"kumofs_outstanding", uint64(rs.Outstanding)}, {"kumofs_outstanding_bytes", uint64(rs.Bytes)},
		{"kumofs_refused", rs.Refused}, {"kumofs_failed", rs.Failed}, {"kumofs_fate_unknown", rs.Unknown}, {"kumofs_timeouts", rs.Timeouts},
	} {
		dst = memproto.AppendStatUint(dst, form, s.name, s.value)
	}
	return memproto.AppendEnd(dst, form)
}

// appendSettings shows what a stock memcached shows, with our own where we have it.
func (f *Frontend) appendSettings(dst []byte, form *memproto.Form) []byte {
	flush, auth, tls := yesNo(f.opt.AllowFlushAll), yesNo(f.opt.Auth != nil), yesNo(f.opt.TLS != nil)
	for _, s := range [][2]string{
		{"maxbytes", "0"}, {"maxconns", strconv.Itoa(f.opt.MaxConnections)}, {"tcpport", "0"}, {"udpport", "0"}, {"inter", "NULL"}, {"verbosity", "0"},
		{"oldest", "0"}, {"evictions", "on"}, {"domain_socket", "NULL"}, {"umask", "700"}, {"shutdown_command", "no"},
		{"growth_factor", "1.25"}, {"chunk_size", "48"}, {"num_threads", strconv.Itoa(len(f.team.all))}, {"num_threads_per_udp", "1"},
		{"stat_key_prefix", ":"}, {"detail_enabled", "no"}, {"reqs_per_event", strconv.Itoa(maxOutstanding)}, {"cas_enabled", "yes"},
		{"tcp_backlog", "1024"}, {"binding_protocol", "auto-negotiate"}, {"auth_enabled_sasl", auth}, {"auth_enabled_ascii", auth},
		{"item_size_max", strconv.Itoa(f.opt.MaxItemSize)}, {"maxconns_fast", "yes"}, {"hashpower_init", "0"},
		{"slab_reassign", "no"}, {"slab_automove", "0"}, {"slab_automove_ratio", "0.00"}, {"slab_automove_window", "0"},
		{"slab_automove_freeratio", "0.000"}, {"slab_chunk_max", "0"}, {"lru_crawler", "no"}, {"lru_crawler_sleep", "100"}, {"lru_crawler_tocrawl", "0"},
		{"tail_repair_time", "0"}, {"flush_enabled", flush}, {"dump_enabled", "yes"}, {"hash_algorithm", "xxh64"},
		{"lru_maintainer_thread", "no"}, {"lru_segmented", "no"}, {"hot_lru_pct", "0"}, {"warm_lru_pct", "0"},
		{"hot_max_factor", "0.00"}, {"warm_max_factor", "0.00"}, {"temp_lru", "no"}, {"temporary_ttl", "0"},
		{"idle_timeout", strconv.Itoa(int(f.opt.IdleTimeout.Seconds()))}, {"watcher_logbuf_size", "0"}, {"worker_logbuf_size", "0"},
		{"resp_obj_mem_limit", "0"}, {"read_buf_mem_limit", "0"}, {"track_sizes", "no"}, {"inline_ascii_response", "no"},
		{"ssl_enabled", tls}, {"num_napi_ids", "(null)"}, {"memory_file", "(null)"},
		{"kumofs_key_prefix", orNull(f.opt.KeyPrefix)},
	} {
		dst = memproto.AppendStat(dst, form, s[0], s[1])
	}
	return dst
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
