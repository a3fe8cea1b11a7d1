package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/wire"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// garbage is what strangers send to a port; silent ones keep the connection.
func garbage(rnd *rand.Rand, magic string, big bool) (sends [][]byte, silent []int) {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	add := func(parts ...[]byte) { sends = append(sends, bytes.Join(parts, nil)) }
	for range 20 {
		add(noise(1 + rnd.IntN(2000)))
	}
	add(noise(4 << 20))
	header := []byte("GET /v1/stat?key=pid HTTP/1.1\r\nHost: x\r\n")
	add(header, []byte("X: "), bytes.Repeat([]byte("a"), 8<<20))
	for range 3 {
		add(header, bytes.Repeat([]byte("X-Header: aaaaaaaaaaaaaaaa\r\n"), 100_000), []byte("\r\n"))
	}
	add([]byte("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"), noise(100_000))
	add([]byte("POST /v1/command HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"), noise(100_000))
	add([]byte("GET / HTTP/9.9\r\n\r\n"))
	add([]byte("DELETE /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"))
	add(bytes.Repeat([]byte("a"), 4<<20)) // a line without an end
	hold := func(b []byte) {
		silent = append(silent, len(sends))
		sends = append(sends, b)
	}
	for i := range len(magic) + 1 {
		hold([]byte(magic[:i]))
	}
	hold([]byte("GET /v1/stat HTTP/1.1\r\nHost: "))
	for _, size := range []uint32{0, 1, 1 << 16, 1 << 26, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		var h [5]byte
		if big {
			binary.BigEndian.PutUint32(h[:], size)
		} else {
			binary.LittleEndian.PutUint32(h[:], size)
		}
		h[4] = 1
		add([]byte(magic), h[:], noise(1000))
		hold(append([]byte(magic), h[:]...))
	}
	for kind := range 256 { // each kind of frame with noise in it
		body := noise(rnd.IntN(300))
		if rnd.IntN(4) == 0 {
			body = []byte(`{"Role":"server","Addr":"x","ID":1,"Incarnation":18446744073709551615,"Positions":"////"}`)
		}
		var h [5]byte
		if big {
			n := len(body)
			if magic == control.Magic {
				n++ // there the kind is counted
			}
			binary.BigEndian.PutUint32(h[:], uint32(n))
		} else {
			binary.LittleEndian.PutUint32(h[:], uint32(len(body)+1))
		}
		h[4] = byte(kind)
		one := append(h[:], body...)
		add([]byte(magic), one, one, one)
	}
	return sends, silent
}

// memcachedGarbage is for the gateway's port.
func memcachedGarbage(rnd *rand.Rand) (sends [][]byte) {
	for _, s := range []string{
		"set k 0 0 4294967295\r\n", "set k 0 0 99999999999999999999\r\n", "set k 0 0 -1\r\n", "set k 99999999999 0 1\r\nx\r\n", "set\r\n", "\r\n\r\n\r\n",
		"set k 0 0 1048576\r\n" + strings.Repeat("x", 1000), "get " + strings.Repeat("k ", 100_000) + "\r\n", "get " + strings.Repeat("k", 1<<20),
		"set k 0 0 10000000000\r\n" + strings.Repeat("x", 1<<20), "incr k 99999999999999999999999\r\n", "ms k " + strings.Repeat("9", 1000) + "\r\n",
		"mg " + strings.Repeat("a ", 5000) + "\r\n", "stats cachedump 1 99999999999\r\n", "cas k 0 0 1 x\r\nx\r\n", "verbosity\r\n",
	} {
		sends = append(sends, []byte(s))
	}
	for range 100 { // the binary protocol, with lies
		b := make([]byte, 24+rnd.IntN(100))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		b[0] = 0x80
		sends = append(sends, b)
	}
	return sends
}

// TestGarbageOnEveryPort: strangers' bytes harm nobody, and leave nothing behind.
func TestGarbageOnEveryPort(t *testing.T) {
	t.Parallel()
	opt := options(3)
	c := harness.Start(t, opt)
	l := fill(t, c, 2000)
	rnd := rand.New(rand.NewPCG(1, *seed))
	status := c.Status()
	victim := c.Servers[1]
	stream := ""
	for _, n := range c.Map().Servers {
		if n.Addr == victim.Addr {
			stream = n.StreamAddr
		}
	}
	ports := []struct {
		name, addr string
		p          *harness.Process
		magic      string
		big        bool
	}{
		{"manager", c.Manager.Addr, c.Manager, control.Magic, true},
		{"manager's raft", c.Manager.Addr, c.Manager, "KMRF\x01", true},
		{"server", victim.Addr, victim, wire.Magic, false},
		{"stream", stream, victim, "KMST\x01", true},
		{"gateway", c.Gateway.Addr, c.Gateway, "\x80\x00\x00\x00\x00", true},
		{"server as a member", victim.Addr, victim, control.Magic, true},
		{"gateway as a server", c.Gateway.Addr, c.Gateway, wire.Magic, false},
	}
	for _, port := range ports {
		sends, silent := garbage(rnd, port.magic, port.big)
		if port.name == "gateway" {
			sends = append(sends, memcachedGarbage(rnd)...)
		}
		before := usageOf(t, port.p.PID())
		ops, began := l.Ops(), time.Now()
		keep := map[int]bool{}
		for _, i := range silent {
			keep[i] = true
		}
		var held []net.Conn
		var mu sync.Mutex
		var wg sync.WaitGroup
		slots := make(chan struct{}, 16)
		answered := 0
		for i, b := range sends {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer wg.Done()
				defer func() { <-slots }()
				nc, err := net.DialTimeout("tcp", port.addr, 5*time.Second)
				if err != nil {
					t.Errorf("%s: %v", port.name, err)
					return
				}
				_ = nc.SetDeadline(time.Now().Add(150 * time.Millisecond))
				_, _ = nc.Write(b) // the other side may close at any time
				if keep[i] {
					mu.Lock()
					held = append(held, nc)
					mu.Unlock()
					return
				}
				if n, _ := io.Copy(io.Discard, nc); n > 0 {
					mu.Lock()
					answered++
					mu.Unlock()
				}
				nc.Close()
			}()
		}
		wg.Wait()
		took := time.Since(began)
		during := usageOf(t, port.p.PID())
		served(t, l, ops+100)
		// Who has shown nothing for a while is let go, except by the gateway,
		// whose clients may be idle.
		closed := 0
		if port.p != c.Gateway && (*long || !strings.Contains(port.name, " ")) {
			time.Sleep(6 * time.Second)
			for _, nc := range held {
				_ = nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := io.Copy(io.Discard, nc); err == nil || !strings.Contains(err.Error(), "timeout") {
					closed++
				}
			}
			// Five that have shown less than what tells who they are, and HTTP.
			if closed < 6 {
				t.Errorf("%s: only %d of %d strangers that say nothing are let go", port.name, closed, len(held))
			}
		}
		for _, nc := range held {
			nc.Close()
		}
		harness.Until(t, 20*time.Second, port.name+": files are given back", func() error {
			if u := usageOf(t, port.p.PID()); u.fds > before.fds+3 {
				return fmt.Errorf("before %v, now %v", before, u)
			}
			return nil
		})
		after := usageOf(t, port.p.PID())
		t.Logf("%s: %d strangers in %v, %d of %d silent ones let go; before %v; meanwhile %v; after %v; %d operations of clients meanwhile",
			port.name, len(sends), took.Round(time.Millisecond), closed, len(held), before, during, after, l.Ops()-ops)
		if after.rss > before.rss+96<<20 || during.rss > before.rss+256<<20 {
			t.Errorf("%s: memory: before %v, meanwhile %v, after %v", port.name, before, during, after)
		}
		if after.threads > before.threads+8 {
			t.Errorf("%s: threads: before %v, after %v", port.name, before, after)
		}
	}
	finish(t, l, 0, besideBar())
	c.WaitReady(10 * time.Second)
	c.CheckCopies()
	if now := c.Status(); len(now.Attached) != len(status.Attached) || len(now.NotAttached) != 0 || now.Clock != status.Clock {
		t.Errorf("the status has changed: %+v", now)
	}
}

// served waits until clients have done so many operations.
func served(t *testing.T, l *load.Load, ops int64) {
	t.Helper()
	harness.Until(t, 5*time.Second, "clients are served", func() error {
		if n := l.Ops(); n < ops {
			return fmt.Errorf("%d of %d operations", n, ops)
		}
		return nil
	})
}

// TestClientThatDoesNotRead: one that asks for gigabytes and reads nothing costs
// the gateway a bounded amount of memory, and others nothing.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	l := fill(t, c, 2000)
	mc := dialRaw(t, c.Gateway.Addr)
	value := strings.Repeat("v", 1<<20)
	for i := range 8 {
		if line := mc.ask(fmt.Sprintf("set big%d 0 0 %d\r\n%s\r\n", i, len(value), value)); line != "STORED" {
			t.Fatal(line)
		}
	}
	before := usageOf(t, c.Gateway.PID())
	const greedy = 8
	var held []net.Conn
	for range greedy {
		nc, err := net.DialTimeout("tcp", c.Gateway.Addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		held = append(held, nc)
		go func() {
			_, _ = io.WriteString(nc, strings.Repeat("get big0 big1 big2 big3 big4 big5 big6 big7\r\n", 1000)) // 8 GB
		}()
	}
	ops, peak := l.Ops(), usage{}
	for range 30 {
		l.Run(100 * time.Millisecond)
		if u := usageOf(t, c.Gateway.PID()); u.rss > peak.rss {
			peak = u
		}
	}
	t.Logf("%d clients asked for 8 GB each and read nothing for 3 s: gateway before %v, peak %v; %d operations of others", greedy, before, peak, l.Ops()-ops)
	if limit := before.rss + 512<<20; peak.rss > limit {
		t.Errorf("the gateway took %v", peak)
	}
	served(t, l, ops+1000)
	// One of them reads after all, and gets what it asked for.
	m := &raw{t, held[0], nil}
	m.r = newReader(held[0])
	for i := range 20 {
		if got := m.values(); len(got) != 8 || got["big3"].value != value {
			t.Fatalf("answer %d: %d values", i, len(got))
		}
	}
	for _, nc := range held {
		nc.Close()
	}
	finish(t, l, 0, besideBar())
	after := usageOf(t, c.Gateway.PID())
	t.Logf("when they are gone: %v", after)
	if after.fds > before.fds+3 {
		t.Errorf("files: before %v, after %v", before, after)
	}
}

// TestManyIdleConnections: ten thousand clients that say nothing.
func TestManyIdleConnections(t *testing.T) {
	t.Parallel()
	n := 10_000
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if uint64(n)+500 > lim.Max {
		n = int(lim.Max) - 500
		t.Logf("only %d files are allowed here", lim.Max)
	}
	c := harness.Start(t, options(3))
	l := fill(t, c, 2000)
	before := usageOf(t, c.Gateway.PID())
	began := time.Now()
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
	}()
	for i := range n {
		nc, err := net.DialTimeout("tcp", c.Gateway.Addr, 10*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, nc)
		if i%10 == 0 { // some have said something once
			if _, err := io.WriteString(nc, "get nothing\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := time.Since(began)
	ops := l.Ops()
	l.Run(2 * time.Second)
	idle := usageOf(t, c.Gateway.PID())
	t.Logf("%d idle connections, made in %v: gateway before %v, now %v (%d bytes each); %d operations a second of others",
		n, took.Round(time.Millisecond), before, idle, (idle.rss-before.rss)/int64(n), (l.Ops()-ops)/2)
	if idle.fds < n {
		t.Errorf("only %d files", idle.fds)
	}
	if per := (idle.rss - before.rss) / int64(n); per > 32<<10 {
		t.Errorf("%d bytes for each idle connection", per)
	}
	// They are served.
	for i := 0; i < n; i += n / 50 {
		m := &raw{t, conns[i], newReader(conns[i])}
		if i%10 == 0 {
			if line := m.line(); line != "END" {
				t.Fatal(line)
			}
		}
		if line := m.ask("set idle 0 0 1\r\nx\r\n"); line != "STORED" {
			t.Fatal(line)
		}
	}
	for _, nc := range conns {
		nc.Close()
	}
	conns = conns[:0]
	harness.Until(t, 10*time.Second, "their files are given back", func() error {
		if u := usageOf(t, c.Gateway.PID()); u.fds > before.fds+3 {
			return fmt.Errorf("before %v, now %v", before, u)
		}
		return nil
	})
	finish(t, l, 0, besideBar())
}

// TestSizes: keys and values at the limits, through every command that stores.
func TestSizes(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	const mib = 1 << 20
	ok, long := strings.Repeat("k", 250), strings.Repeat("k", 251)
	full := strings.Repeat("v", mib)
	client := func() *raw { return dialRaw(t, c.Gateway.Addr) }
	get := func(key string) (found, bool) {
		m := client()
		v, there := m.getAll([]string{key})[key]
		return v, there
	}
	store := func(m *raw, cmd, key, value string) string {
		m.t.Helper()
		unique := ""
		if cmd == "cas" {
			_, _ = io.WriteString(m.c, "gets "+key+"\r\n")
			line := m.line()
			if f := strings.Fields(line); len(f) == 5 {
				unique = " " + f[4]
				var n int
				_, _ = fmt.Sscan(f[3], &n)
				if _, err := io.ReadFull(m.r, make([]byte, n+2)); err != nil {
					t.Fatal(err)
				}
				m.line()
			} else {
				unique = " 1"
			}
		}
		return m.ask(fmt.Sprintf("%s %s 7 0 %d%s\r\n%s\r\n", cmd, key, len(value), unique, value))
	}
	for _, cmd := range []string{"set", "add", "replace", "append", "prepend", "cas"} {
		needs := cmd != "set" && cmd != "add" // something to be there
		prepare := func(key string) {
			t.Helper()
			m := client()
			m.ask("delete " + key + "\r\n")
			if needs {
				if line := m.ask("set " + key + " 7 0 0\r\n\r\n"); line != "STORED" {
					t.Fatalf("set of an empty value: %q", line)
				}
			}
		}
		// Keys.
		prepare(ok)
		if line := store(client(), cmd, ok, "x"); line != "STORED" {
			t.Errorf("%s, a key of 250 bytes: %q", cmd, line)
		}
		if v, there := get(ok); !there || v.value != "x" {
			t.Errorf("%s, a key of 250 bytes: %v %v", cmd, v, there)
		}
		m := client()
		line := m.ask(fmt.Sprintf("%s %s 0 0 1%s\r\nx\r\n", cmd, long, map[bool]string{true: " 1"}[cmd == "cas"]))
		if line != "CLIENT_ERROR bad command line format" {
			t.Errorf("%s, a key of 251 bytes: %q", cmd, line)
		}
		// Values: empty, 1 MiB, and one byte more.
		for _, value := range []string{"", full} {
			prepare("size")
			if line := store(client(), cmd, "size", value); line != "STORED" {
				t.Errorf("%s of %d bytes: %q", cmd, len(value), line)
			}
			if v, there := get("size"); !there || v.value != value || v.flags != 7 {
				t.Errorf("%s of %d bytes: there %v, %d bytes, flags %d", cmd, len(value), there, len(v.value), v.flags)
			}
		}
		prepare("size")
		m = client()
		if line := store(m, cmd, "size", full+"x"); line != "SERVER_ERROR object too large for cache" {
			t.Errorf("%s of 1 MiB + 1: %.80q", cmd, line)
		}
		if line := m.ask("get nothing\r\n"); line != "END" {
			t.Errorf("%s of 1 MiB + 1: then %.80q", cmd, line)
		}
		// What grows beyond the limit.
		if cmd == "append" || cmd == "prepend" {
			client().ask("delete grown\r\n")
			if line := client().ask(fmt.Sprintf("set grown 0 0 %d\r\n%s\r\n", mib, full)); line != "STORED" {
				t.Error(line)
			}
			if line := store(client(), cmd, "grown", "x"); !strings.HasPrefix(line, "SERVER_ERROR ") {
				t.Errorf("%s of a byte to 1 MiB: %q", cmd, line)
			}
			if v, there := get("grown"); !there || v.value != full {
				t.Errorf("%s of a byte to 1 MiB: there %v, %d bytes", cmd, there, len(v.value))
			}
			if line := store(client(), cmd, "grown", ""); line != "STORED" {
				t.Errorf("%s of nothing to 1 MiB: %q", cmd, line)
			}
		}
	}
	for _, cmd := range []string{"get", "gets", "delete", "touch", "incr", "decr", "gat"} {
		argv := map[string]string{"touch": "touch " + long + " 0", "incr": "incr " + long + " 1", "decr": "decr " + long + " 1", "gat": "gat 0 " + long}[cmd]
		if argv == "" {
			argv = cmd + " " + long
		}
		m := client()
		if line := m.ask(argv + "\r\n"); line != "CLIENT_ERROR bad command line format" {
			t.Errorf("%s, a key of 251 bytes: %q", cmd, line)
		}
		if line := m.ask("get nothing\r\n"); line != "END" {
			t.Errorf("%s, a key of 251 bytes: then %q", cmd, line)
		}
	}
	c.CheckCopies()
}
