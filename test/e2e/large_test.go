package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// TestLargeValues: values of nothing, of memcached's limit and beyond it, up to 100 MiB
// with -e2e.long, go through set, get, append and cas in all protocols, are copied to a
// server that joins, outlive the servers that had them, and are in a backup.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	opt.GatewayArgs = []string{"--max-item-size", "128M", "--timeout", "60"}
	c := harness.Start(t, opt)
	sizes := []int{0, 1 << 20, 1<<20 + 1, size(8<<20, 100<<20)}
	value := func(n int, with byte) string {
		b := bytes.Repeat([]byte{with}, n)
		for i := 0; i < n; i += 997 {
			b[i] = byte(i)
		}
		return string(b)
	}
	wants := map[string]string{}
	key := func(n int, p load.Protocol) string { return fmt.Sprintf("large-%d-%d", n, p) }
	conn := func(c *harness.Cluster, p load.Protocol) *load.Conn {
		t.Helper()
		mc, err := load.Dial(c.Gateway.Addr, 90*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(mc.Close)
		mc.Speak(p)
		return mc
	}
	do := func(mc *load.Conn, op load.Op) load.Result {
		t.Helper()
		r, err := mc.Do(&op)
		if err != nil || r.Status != load.Done {
			t.Fatalf("%v of %s with %d bytes: %v %.100v", op.Kind, op.Key, len(op.Value), err, r)
		}
		return r
	}
	check := func(c *harness.Cluster) {
		t.Helper()
		for _, p := range []load.Protocol{load.Text, load.Meta, load.Binary} {
			mc := conn(c, p)
			for k, want := range wants {
				if got := do(mc, load.Op{Kind: load.Get, Key: k}); got.Value != want {
					t.Errorf("%s has %d bytes, %.20q...; want %d, %.20q...", k, len(got.Value), got.Value, len(want), want)
				}
			}
		}
	}
	for _, p := range []load.Protocol{load.Text, load.Meta, load.Binary} {
		mc := conn(c, p)
		for _, n := range sizes {
			k, v := key(n, p), value(n, 'a'+byte(p))
			do(mc, load.Op{Kind: load.Set, Key: k, Value: v})
			got := do(mc, load.Op{Kind: load.Get, Key: k})
			if got.Value != v {
				t.Errorf("%s has %d bytes", k, len(got.Value))
			}
			do(mc, load.Op{Kind: load.CAS, Key: k, Value: v, Unique: got.Unique})
			do(mc, load.Op{Kind: load.Append, Key: k, Value: "tail"})
			do(mc, load.Op{Kind: load.Prepend, Key: k, Value: "head"})
			wants[k] = "head" + v + "tail"
		}
	}
	check(c)
	// A server that joins gets them, and has them when those that had them are gone.
	p := c.AddServer()
	p.Start()
	c.WaitNotAttached(1)
	c.Ctl("attach", "--wait")
	c.Servers[0].Kill9()
	c.WaitState(c.Servers[0], "fault", time.Minute)
	c.Ctl("detach", "--wait")
	c.WaitReady(2 * time.Minute)
	c.CheckCopies()
	c.Servers[1].Kill9()
	check(c)
	c.Servers[1].Start()
	harness.Until(t, 2*time.Minute, "the cluster is ready", func() error {
		_, err := c.PollReady(2 * time.Second)
		if err != nil {
			_, _ = c.TryCtl("attach") // there may be nothing to attach
		}
		return err
	})

	c.Ctl("backup", "large")
	var parts []string
	for i := range c.Servers {
		found, err := filepath.Glob(filepath.Join(home(t, opt), fmt.Sprintf("kumodb%d*large*", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, found...)
	}
	if len(parts) != 3 {
		t.Fatalf("backups: %v", parts)
	}
	opt2 := options(3)
	opt2.Dir = t.TempDir()
	opt2.GatewayArgs = opt.GatewayArgs
	c2 := harness.New(t, opt2)
	must(t, 2*time.Minute, append([]string{tool(t, "kumomergedb"), filepath.Join(home(t, opt2), "kumodb1")}, parts...)...)
	c2.StartAll()
	c2.WaitNotAttached(3)
	c2.Ctl("attach", "--wait")
	check(c2)

	// Beyond the limit nothing is stored, and the connection is in step.
	small := harness.Start(t, options(1))
	nc := dialRaw(t, small.Gateway.Addr)
	nc.each([]string{"set k 0 0 1\r\nx\r\n"}, "STORED")
	for _, s := range []string{"add k2 0 0 %d\r\n%s\r\n", "ms k2 %d ME\r\n%s\r\n"} {
		if line := nc.ask(fmt.Sprintf(s, 1<<20+1, strings.Repeat("x", 1<<20+1))); line != "SERVER_ERROR object too large for cache" {
			t.Errorf("%.10q: %q", s, line)
		}
	}
	if line := nc.ask("mg k2\r\n"); line != "EN" {
		t.Errorf("%q", line)
	}
}
