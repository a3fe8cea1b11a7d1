package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// peak is the most memory that a process has had in RAM since the last call, in bytes.
func peak(t *testing.T, pid int) (n int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	// 5 begins the peak anew (proc(5), clear_refs).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// block is what the values of these tests consist of, 1 MiB that does not compress.
var block = func() []byte {
	b := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

// setBlocks sets key to n blocks; after is called when so many were sent.
func (m *raw) setBlocks(key string, n int, after map[int]func()) string {
	m.t.Helper()
	fmt.Fprintf(m.c, "set %s 7 0 %d\r\n", key, n<<20)
	for i := range n {
		if fn := after[i]; fn != nil {
			fn()
		}
		if _, err := m.c.Write(block); err != nil {
			m.t.Fatal(err)
		}
	}
	return m.ask("\r\n")
}

// getBlocks gets key, which must be n blocks.
func (m *raw) getBlocks(key string, n int, after map[int]func()) {
	m.t.Helper()
	if line := m.ask("get " + key + "\r\n"); line != fmt.Sprintf("VALUE %s 7 %d", key, n<<20) {
		m.t.Fatalf("%q", line)
	}
	b := make([]byte, len(block))
	for i := range n {
		if fn := after[i]; fn != nil {
			fn()
		}
		_ = m.c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadFull(m.r, b); err != nil || !bytes.Equal(b, block) {
			m.t.Fatalf("block %d of %d: another one, or %v", i, n, err)
		}
	}
	if a, b := m.line(), m.line(); a != "" || b != "END" {
		m.t.Fatalf("%q %q after the value", a, b)
	}
}

// TestLargeValueIsStreamed: the memory of daemons does not depend on the size of a
// value that passes through them, also when the client reads slowly.
func TestLargeValueIsStreamed(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	n := size(224, 512)
	opt := options(3)
	opt.Text = true
	opt.GatewayArgs = []string{"--max-item-size", "1G", "--timeout", "60"}
	opt.ServerArgs = []string{"--cache-size", "128M"} // full before
	c := harness.Start(t, opt)
	m := dialRaw(t, c.Gateway.Addr)
	// What a store takes for writes of any kind, and its cache of what was read, is
	// there before: each server has led the partitions of some of these.
	for i := range 9 {
		first := fmt.Sprintf("first%d", i)
		if line := m.setBlocks(first, 48, nil); line != "STORED" {
			t.Fatal(line)
		}
		m.getBlocks(first, 48, nil)
	}
	daemons := append([]*harness.Process{c.Gateway}, c.Servers...)
	var before []int64
	for _, p := range daemons {
		peak(t, p.PID())
		before = append(before, int64(usageOf(t, p.PID()).rss))
	}
	if line := m.setBlocks("k", n, nil); line != "STORED" {
		t.Fatal(line)
	}
	m.getBlocks("k", n, map[int]func(){n / 2: func() {
		time.Sleep(2 * time.Second) // it is slow; what is not read must not pile up
	}})
	for i, p := range daemons {
		most := int64(128 * mib) // garbage waits for its collection as long as the heap has not doubled
		if p == c.Gateway {
			most = 48 * mib
		}
		grown := peak(t, p.PID()) - before[i]
		t.Logf("%s: %d MiB more, from %d, for a value of %d MiB", p.Name, grown/mib, before[i]/mib, n)
		if grown > most {
			t.Errorf("%s has taken %d MiB more for a value of %d", p.Name, grown/mib, n)
		}
	}
	// The servers' own port is no other.
	m = dialRaw(t, c.Text(c.Servers[1]))
	m.getBlocks("first0", 48, nil)
}

// TestLargeValueSurvivesKill: a server is killed in the middle of a value on its way
// in, and another on its way out; the client notices nothing.
func TestLargeValueSurvivesKill(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.GatewayArgs = []string{"--max-item-size", "1G"}
	c := harness.Start(t, opt)
	n := size(48, 256)
	back := func(p *harness.Process) {
		p.Start()
		harness.Until(t, 2*time.Minute, "the cluster is ready", func() error {
			_, err := c.PollReady(2 * time.Second)
			if err != nil {
				_, _ = c.TryCtl("attach") // there may be nothing to attach
			}
			return err
		})
	}
	for round := range size(3, 9) {
		p := c.Servers[round%3]
		key := fmt.Sprintf("k%d", round)
		m := dialRaw(t, c.Gateway.Addr)
		if line := m.setBlocks(key, n, map[int]func(){n / 3: p.Kill9}); line != "STORED" {
			t.Fatalf("round %d: %s", round, line)
		}
		back(p)
		p = c.Servers[(round+1)%3]
		m.getBlocks(key, n, map[int]func(){n / 3: p.Kill9})
		back(p)
		m.getBlocks(key, n, nil)
	}
	c.CheckCopies()
}

// TestLargeValuesAreCollected: the chunks of values that were replaced or removed
// go, those of others stay, also those that a client is reading.
func TestLargeValuesAreCollected(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.GatewayArgs = []string{"--max-item-size", "64M"}
	c := harness.Start(t, opt)
	m := dialRaw(t, c.Gateway.Addr)
	set := func(key string, n int) {
		t.Helper()
		if line := m.setBlocks(key, n, nil); line != "STORED" {
			t.Fatal(line)
		}
	}
	for i := range 6 {
		set(fmt.Sprintf("k%d", i), 2)
	}
	set("slow", 24)
	set("k0", 3)
	m.each([]string{"set k1 0 0 5\r\nsmall\r\n", "set k5 0 1 5\r\nsmall\r\n"}, "STORED")
	m.each([]string{"delete k2\r\n"}, "DELETED")
	m.each([]string{"append k3 0 0 5\r\nhello\r\n"}, "STORED")
	m.each([]string{"touch k4 1\r\n"}, "TOUCHED")
	// One that nobody finishes is kept for ten minutes.
	gone := dialRaw(t, c.Gateway.Addr)
	fmt.Fprintf(gone.c, "set unfinished 0 0 %d\r\n%s", 3<<20, block)
	gone.c.Close()

	var wg sync.WaitGroup
	reader := dialRaw(t, c.Gateway.Addr)
	wg.Go(func() { // a value that is replaced while it is read slowly
		pauses := map[int]func(){}
		for i := range 24 {
			pauses[i] = func() { time.Sleep(1500 * time.Millisecond) }
		}
		pauses[2] = func() { m.each([]string{"set slow 0 0 1\r\nx\r\n"}, "STORED") }
		reader.getBlocks("slow", 24, pauses)
	})
	wg.Wait()
	const chunks = 16 // a MiB
	want := int64(4*2*chunks + 2*chunks + 24*chunks)
	harness.Until(t, 2*time.Minute, "chunks are collected", func() error {
		n := int64(0)
		for _, p := range c.Servers {
			n += c.Stats(p)["chunks_collected"]
		}
		if n != want {
			return fmt.Errorf("%d chunks of %d", n, want)
		}
		return nil
	})
	m.getBlocks("k0", 3, nil)
	if line := m.ask("get k3\r\n"); line != fmt.Sprintf("VALUE k3 7 %d", 2<<20+5) {
		t.Errorf("%q", line)
	}
	m = dialRaw(t, c.Gateway.Addr)
	for _, k := range []string{"k2", "k4", "k5"} {
		if line := m.ask("get " + k + "\r\n"); line != "END" {
			t.Errorf("%s: %q", k, line)
		}
	}
	c.CheckCopies()
}
