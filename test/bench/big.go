package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// big is many keys in one server without a cache: its memory, and how soon it is back.
func (r *run) big() error {
	c, err := r.cluster(clusterOptions{name: "kumofs, 1 server, -t, no cache", servers: 1, direct: true, args: []string{"--cache-size", "0"}})
	if err != nil {
		return err
	}
	sv := c.servers[0]
	empty, err := memoryOf(sv.proc.pid())
	if err != nil {
		return err
	}
	if err := r.fill(c.system, r.bigKeys); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	load := r.load()
	load.Keys = r.bigKeys
	if _, err := r.turns("GET", load, false, c.system); err != nil {
		return err
	}
	used, err := memoryOf(sv.proc.pid())
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(r.bigKeys) }
	r.atMost(fmt.Sprintf("memory per key beyond the value, %d keys of 100 B, cache off", r.bigKeys), spread(each(used-empty)), 20, "B")
	r.note("Memory is what the server's process has of its own (RssAnon), after %d random GETs, less the %.0f MB of the same server when it was empty; all of it is %.1f B a key. Files that the kernel caches are not counted.",
		int64(r.rounds)*load.Operations, float64(empty)/1e6, each(used))
	var starts []float64
	for i := range r.rounds {
		r.say("kill -9 %d of %d", i+1, r.rounds)
		took, err := r.restart(c, sv, load)
		if err != nil {
			return err
		}
		starts = append(starts, took.Seconds())
	}
	r.atMost(fmt.Sprintf("start after `kill -9`, %d keys: until a GET is answered", r.bigKeys), spread(starts...), 5, "s")
	return nil
}

// restart kills the server right after writes, starts it again, and tells how long it
// takes until a key is read.
func (r *run) restart(c *cluster, sv *server, load bench.Load) (time.Duration, error) {
	load.Sets = 100
	session, err := bench.Open(r.ctx, c.System, load)
	if err != nil {
		return 0, err
	}
	result, err := session.Measure(r.ctx)
	session.Close()
	if err == nil {
		err = result.Check()
	}
	if err != nil {
		return 0, err
	}
	c.drop(sv.proc, syscall.SIGKILL)
	begin := time.Now()
	if err := c.startServer(sv); err != nil {
		return 0, err
	}
	err = r.until(2*time.Minute, func() error { return answers(sv.text, bench.AppendKey(nil, 0)) })
	if err != nil {
		err = fmt.Errorf("after kill -9: %w%s", err, c.logs())
	}
	return time.Since(begin), err
}

// answers is an error unless a server has a value for a key.
func answers(addr string, key []byte) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "get %s\r\n", key); err != nil {
		return err
	}
	b := make([]byte, 8)
	n, err := conn.Read(b)
	if err == nil && !strings.HasPrefix(string(b[:n]), "VALUE") {
		err = fmt.Errorf("it answers %q", b[:n])
	}
	return err
}

// memoryOf is the memory that a process has of its own, in bytes.
func memoryOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: its status has no RssAnon", pid)
}
