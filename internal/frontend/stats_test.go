package frontend_test

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
	"github.com/kumofs/kumofs/test/memcached"
)

// dialReal is a connection to a memcached of its own, or skips.
func dialReal(t *testing.T) *socket {
	t.Helper()
	mc, err := memcached.Start()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mc.Stop)
	return dialAddr(t, mc.Addr)
}

// stats asks for a group and wants a name and a value in each line, as clients that
// split it at its spaces do.
func (s *socket) stats(group string) map[string]string {
	s.t.Helper()
	s.send(strings.TrimSpace("stats "+group) + "\r\n")
	all := map[string]string{}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if line == end {
			return all
		}
		f := strings.Split(strings.TrimSuffix(line, "\r\n"), " ")
		if len(f) != 3 || f[0] != "STAT" || f[2] == "" || all[f[1]] != "" {
			s.t.Fatalf("line %q", line)
		}
		all[f[1]] = f[2]
	}
}

// What memcached_exporter reads as numbers; it reports a server without one of them,
// or with one that is none, as down.
const (
	exported = `uptime time get_hits get_misses delete_hits delete_misses incr_hits incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval
		touch_hits touch_misses cmd_flush cmd_set bytes limit_maxbytes curr_items total_items bytes_read bytes_written curr_connections
		total_connections rejected_connections conn_yields listen_disabled_num evictions reclaimed store_too_large store_no_memory
		lru_crawler_starts direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm moves_within_lru accepting_conns`
	exportedItems = `number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed evicted evicted_nonzero evicted_time
		evicted_unfetched expired_unfetched outofmemory reclaimed tailrepairs mem_requested moves_to_cold moves_to_warm moves_within_lru
		number_hot number_warm number_cold age_hot age_warm`
)

func TestStatsForTheExporter(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{MaxConnections: 7})
	s := g.dial()
	number := func(stats map[string]string, name string) {
		t.Helper()
		if _, err := strconv.ParseUint(stats[name], 10, 64); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	general, items, slabs, settings := s.stats(""), s.stats("items"), s.stats("slabs"), s.stats("settings")
	for _, name := range strings.Fields(exported) {
		number(general, name)
	}
	for _, name := range strings.Fields(exportedItems) {
		number(items, "items:1:"+name)
	}
	number(slabs, "total_malloced")
	for name := range slabs {
		if strings.Contains(name, ":") { // then all of that class would have to be there
			t.Errorf("slabs have %s", name)
		}
	}
	for _, name := range []string{"rusage_user", "rusage_system"} {
		sec, micro, ok := strings.Cut(general[name], ".")
		if number(map[string]string{"s": sec}, "s"); !ok || len(micro) != 6 {
			t.Errorf("%s is %q", name, general[name])
		}
	}
	number(settings, "maxconns")
	for name, want := range map[string]string{"maxconns": "7", "lru_crawler": "no", "evictions": "on", "cas_enabled": "yes", "flush_enabled": "no",
		"domain_socket": "NULL", "item_size_max": "1048576", "dump_enabled": "yes", "kumofs_key_prefix": "NULL"} {
		if settings[name] != want {
			t.Errorf("setting %s is %q, want %q", name, settings[name], want)
		}
	}
}

// Every name that memcached shows is there, and a number where it has one.
func TestStatsAsMemcached(t *testing.T) {
	mc := dialReal(t)
	mc.send(set("a", "1"))
	mc.want(stored)
	g := newRig(t, router.Options{}, frontend.Options{Version: "0.1.0"})
	s := g.dial()
	for _, group := range []string{"", "settings", "items"} {
		ours := s.stats(group)
		for name, theirs := range mc.stats(group) {
			// These are of a memcached that was built for storage, or with TLS.
			if strings.HasPrefix(name, "ext_") || strings.HasPrefix(name, "ssl_") && name != "ssl_enabled" {
				continue
			}
			if ours[name] == "" {
				t.Errorf("stats %s lacks %s", group, name)
			}
			if _, err := strconv.ParseFloat(theirs, 64); err == nil {
				if _, err := strconv.ParseFloat(ours[name], 64); err != nil {
					t.Errorf("stats %s: %s is %q, memcached says %s", group, name, ours[name], theirs)
				}
			}
		}
	}
	if all := s.stats(""); all["kumofs_version"] != "0.1.0" || all["version"] != frontend.MemcachedVersion {
		t.Errorf("versions %s and %s", all["version"], all["kumofs_version"])
	}
}

// The answers to all other forms, to a memcached that has no items; both stay in step.
func TestStatsForms(t *testing.T) {
	const usage = "CLIENT_ERROR usage: stats detail on|off|dump\r\n"
	forms := []struct{ in, out string }{
		{"stats reset", "RESET\r\n"}, {"stats reset x", "RESET\r\n"}, {"stats bogus", "ERROR\r\n"}, {"STATS", "ERROR\r\n"}, {"stats noreply", "ERROR\r\n"},
		{"stats sizes", "STAT sizes_status disabled\r\n" + end}, {"stats sizes_disable", "STAT sizes_status disabled\r\n"},
		{"stats detail", usage}, {"stats detail x", usage}, {"stats detail on", "OK\r\n"}, {"stats detail dump", end}, {"stats detail dump x", end},
		{"stats detail off x", "OK\r\n"},
		{"stats cachedump", "CLIENT_ERROR bad command line\r\n"}, {"stats cachedump 1", "CLIENT_ERROR bad command line\r\n"},
		{"stats cachedump x 0", "CLIENT_ERROR bad command line format\r\n"}, {"stats cachedump 1 x", "CLIENT_ERROR bad command line format\r\n"},
		{"stats cachedump -1 0", "CLIENT_ERROR bad command line format\r\n"}, {"stats cachedump 1 4294967296", end},
		{"stats cachedump 64 0", "CLIENT_ERROR Illegal slab id\r\n"}, {"stats cachedump 63 0", end}, {"stats cachedump 0 0", end},
		{"stats cachedump 1 0", end}, {"stats cachedump 1 1 1", end},
	}
	const marker = "version\r\n"
	try := func(s *socket, version string) {
		t.Helper()
		for _, f := range forms {
			s.send(f.in + "\r\n" + marker)
			s.want(f.out + "VERSION " + version + "\r\n")
		}
	}
	g := newRig(t, router.Options{}, frontend.Options{})
	ours := g.dial()
	try(ours, frontend.MemcachedVersion)
	ours.send("stats sizes_enable\r\nwatch\r\nwatch fetchers mutations\r\nversion\r\n")
	ours.want("STAT sizes_status error\r\nSTAT sizes_error not_supported\r\n" +
		strings.Repeat("CLIENT_ERROR watch commands not allowed\r\n", 2) + "VERSION " + frontend.MemcachedVersion + "\r\n")
	mc := dialReal(t)
	mc.send(marker)
	line, err := mc.r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	try(mc, strings.TrimSpace(strings.TrimPrefix(line, "VERSION ")))
}

func TestNoWatch(t *testing.T) {
	mc, err := memcached.Start("-W")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mc.Stop)
	g := newRig(t, router.Options{}, frontend.Options{})
	for _, s := range []*socket{dialAddr(t, mc.Addr), g.dial()} {
		s.send("watch\r\nwatch evictions\r\nwatch bogus\r\nget a\r\n")
		s.want(strings.Repeat("CLIENT_ERROR watch commands not allowed\r\n", 3) + end)
	}
}

func TestBinaryStats(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	mc := dialReal(t)
	for _, s := range []*socket{g.dial(), mc} {
		for _, c := range []struct {
			group string
			body  string // of the last answer
			more  bool   // there are others before it
		}{
			{group: "", more: true}, {group: "settings", more: true}, {group: "slabs", more: true}, {group: "sizes", more: true},
			{group: "reset"}, {group: "detail on"}, {group: "detail off"}, {group: "detail", body: "Not found"}, {group: "detail x", body: "Not found"},
			{group: "bogus", body: "Not found"}, {group: "cachedump 1 0", body: "Not found"}, {group: "cachedump", body: "Not found"},
		} {
			s.send(packet(0x10, 0, "", c.group, "") + packet(0x0a, 0, "", "", ""))
			var bodies []string
			for {
				h := make([]byte, 24)
				s.read(h)
				b := make([]byte, binary.BigEndian.Uint32(h[8:]))
				s.read(b)
				if h[1] == 0x0a {
					break
				}
				bodies = append(bodies, string(b))
			}
			if n := len(bodies); n == 0 || bodies[n-1] != c.body || (n > 1) != c.more {
				t.Errorf("%s: %q", c.group, bodies)
			}
		}
	}
}

// Each command changes the counters that it changes in memcached. (1.6.18 does not
// count meta commands as such, later ones do; mg that touches, me, and ma that makes
// its item are counted by what they are here, a get and an increment.)
func TestCountersAsMemcached(t *testing.T) {
	counters := strings.Fields(`cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses delete_hits delete_misses incr_hits incr_misses
		decr_hits decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses store_too_large`)
	large := strings.Repeat("x", 1<<20+1)
	g := newRig(t, router.Options{}, frontend.Options{AllowFlushAll: true})
	ours, mc := g.dial(), dialReal(t)
	measure := func(s *socket, cmd string) string {
		before := s.stats("")
		s.send(strings.NewReplacer("UNIQUE", s.unique("n")).Replace(cmd) + "version\r\n")
		for line := ""; !strings.HasPrefix(line, "VERSION "); {
			var err error
			if line, err = s.r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		after := s.stats("")
		var b strings.Builder
		for _, name := range counters {
			x, _ := strconv.Atoi(before[name])
			y, _ := strconv.Atoi(after[name])
			if x != y {
				fmt.Fprintf(&b, " %s+%d", name, y-x)
			}
		}
		return b.String()
	}
	for _, cmd := range []string{
		"set n 0 0 1\r\n1\r\n", "get n\r\n", "gets n x n\r\n", "get x\r\n", "gat 0 n\r\n", "gats 0 n x\r\n", "touch n 0\r\n", "touch x 0\r\n",
		"add n 0 0 1\r\n1\r\n", "replace x 0 0 1\r\n1\r\n", "append x 0 0 1\r\n1\r\n", "append n 0 0 1\r\n1\r\n", "prepend n 0 0 1\r\n1\r\n",
		"cas n 0 0 1 UNIQUE\r\n1\r\n", "cas n 0 0 1 1\r\n1\r\n", "cas x 0 0 1 1\r\n1\r\n", "incr n 1\r\n", "incr x 1\r\n", "decr n 1\r\n", "decr x 1\r\n",
		"delete x\r\n", "set y 0 0 1\r\n1\r\ndelete y\r\n", "set y 0 0 1048577\r\n" + large + "\r\n", "set w 0 0 1\r\nx\r\nincr w 1\r\n",
		"set n 0 0 1 noreply\r\n1\r\n", "delete x noreply\r\n",
		"mg n v\r\n", "mg n\r\n", "mg x v\r\n", "mg x T0 v\r\n", "mg vivid N30 v\r\n", "mn\r\n",
		"ms n 1\r\n1\r\n", "ms n 1 ME\r\n1\r\n", "ms x 1 MR\r\n1\r\n", "ms n 1 CUNIQUE\r\n1\r\n", "ms n 1 C1\r\n1\r\n", "ms x 1 C1\r\n1\r\n",
		"md x\r\n", "md n C1\r\n", "ms z 1\r\n1\r\nmd z\r\n", "ma n\r\n", "ma n MD\r\n", "ma x\r\n", "ma x MD\r\n", "flush_all\r\n",
	} {
		got, want := measure(ours, cmd), measure(mc, cmd)
		if got != want {
			t.Errorf("%.40q:%s, memcached%s", cmd, got, want)
		}
	}
}

// unique is the cas unique of key now, or 0.
func (s *socket) unique(key string) string {
	s.t.Helper()
	s.send("mg " + key + " c\r\n")
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	_, unique, _ := strings.Cut(strings.TrimSpace(line), " c")
	return unique
}

func TestCachedump(t *testing.T) {
	for _, prefix := range []string{"", "app:"} {
		g := newRig(t, router.Options{}, frontend.Options{KeyPrefix: prefix})
		g.on(func() {
			for _, s := range g.servers {
				s.Partitions = parts
			}
		})
		s := g.dial()
		want := map[string]string{}
		for i := range 200 {
			key := fmt.Sprintf("k%03d", i)
			value := strings.Repeat("x", i)
			s.send(set(key, value))
			s.want(stored)
			want[key] = fmt.Sprintf("[%d b; 0 s]", i)
		}
		const at = 4000000000
		s.send(fmt.Sprintf("set until 5 %d 3\r\nabc\r\nms aSBi 1 b\r\nx\r\n", at)) // the other's key has a space
		s.want(stored + "HD\r\n")
		want["until"] = fmt.Sprintf("[3 b; %d s]", at)
		if prefix != "" {
			g.on(func() { g.servers[0].Store.Items["other"] = &item.Item{} })
		}
		for _, limit := range []int{0, 1, 7, 201, 1000} {
			s.send(fmt.Sprintf("get k001\r\nstats cachedump 1 %d\r\nget k002\r\n", limit))
			s.want(hit("k001", "x") + end)
			got := s.dumped()
			s.want(hit("k002", "xx") + end)
			if n := min(max(limit, 1), len(want)); limit > 0 && len(got) != n || limit == 0 && len(got) != len(want) {
				t.Errorf("limit %d: %d keys", limit, len(got))
			}
			for key, line := range got {
				if want[key] != line {
					t.Errorf("%s is shown as %q, want %q", key, line, want[key])
				}
			}
		}
		// A client that has gone is no trouble, and one that has sent all is answered.
		gone := g.dial()
		gone.send("stats cachedump 1 0\r\n")
		gone.Close()
		last := g.dial()
		last.send("stats cachedump 1 0\r\nquit\r\n")
		if n := len(last.dumped()); n != len(want) {
			t.Errorf("%d keys", n)
		}
		last.wantEnd()
	}
}

// dumped reads an answer to stats cachedump.
func (s *socket) dumped() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if line == end {
			return all
		}
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) != 3 || f[0] != "ITEM" || all[f[1]] != "" {
			s.t.Fatalf("line %q", line)
		}
		all[f[1]] = f[2]
	}
}

// However much there is, an answer has 2 MiB at most, and all that are being made have
// no more than clients may hold together.
func TestCachedumpBounds(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{})
	key := strings.Repeat("k", 200)
	g.on(func() {
		for _, s := range g.servers {
			s.ScanScript = func(q *wire.Scan, reply func(func([]byte) []byte)) bool {
				if q.MaxBytes > 64<<10 || !q.KeysOnly {
					t.Errorf("a page of %d bytes is asked for", q.MaxBytes)
				}
				p := wire.Page{ID: q.ID, More: true, Next: []byte("next")} // there is no end of it
				for range 50 {
					p.Items = append(p.Items, wire.PageItem{Key: []byte(key), Length: 1 << 30})
				}
				reply(func(b []byte) []byte { return wire.AppendPage(b, &p) })
				return true
			}
		}
	})
	s := g.dial()
	s.send("stats cachedump 1 0\r\n")
	size, line := 0, ""
	for line != end {
		var err error
		if line, err = s.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		size += len(line)
	}
	if size > 2<<20 || size < 2<<20-300 {
		t.Errorf("an answer of %d bytes", size)
	}
	s.send("stats cachedump 1 1000\r\n")
	for range 1000 {
		s.want(fmt.Sprintf("ITEM %s [1073741824 b; 0 s]\r\n", key))
	}
	s.want(end)
	g.on(func() {
		for _, s := range g.servers {
			s.ScanScript = func(*wire.Scan, func(func([]byte) []byte)) bool { return true } // it does not answer
		}
	})
	for range 32 {
		c := g.dial()
		c.send("stats cachedump 1 0\r\n")
	}
	g.settled("not all are under way", func() bool { return g.r.Stats().Outstanding == 32*16 })
	s.send("stats cachedump 1 0\r\nversion\r\n")
	s.want("SERVER_ERROR out of memory listing keys\r\nVERSION ")
}

// Without an answer of a partition there is none.
func TestCachedumpFails(t *testing.T) {
	g := newRig(t, router.Options{Timeout: 300 * time.Millisecond}, frontend.Options{})
	g.on(func() {
		for _, s := range g.servers {
			s.Partitions = parts
			s.ScanScript = func(q *wire.Scan, _ func(func([]byte) []byte)) bool { return q.Partition == 5 }
		}
	})
	s := g.dial()
	s.send(set("a", "1") + "stats cachedump 1 0\r\nget a\r\n")
	s.want(stored + "SERVER_ERROR ")
	if line, err := s.r.ReadString('\n'); err != nil || strings.Contains(line, "ITEM") {
		t.Fatal(line, err)
	}
	s.want(hit("a", "1") + end)
}
