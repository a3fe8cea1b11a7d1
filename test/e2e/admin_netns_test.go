package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// TestSixNodeForm is the README's cluster of machines by their names, each a
// network namespace, with partitions of one server from the others.
func TestSixNodeForm(t *testing.T) {
	t.Parallel()
	h, err := harness.NewHosts(t, "svr1", "svr2", "svr3", "cli1")
	if err != nil {
		t.Skip("not run: ", err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	prog := func(name string) string { return tool(t, name) }
	mgr := start(t, dir, h.On("svr1", prog("kumo-manager"), "-v", "-l", "svr1")...)
	var servers []*daemon
	for _, s := range []string{"svr1", "svr2", "svr3"} {
		servers = append(servers, start(t, dir, h.On(s, prog("kumo-server"), "-v", "-l", s, "-m", "svr1", "-s", filepath.Join(dir, "kumodb-"+s+".tch"))...))
	}
	gw := start(t, dir, h.On("cli1", prog("kumo-gateway"), "-v", "-m", "svr1", "-t", "11211")...)
	for _, d := range append(servers, gw) {
		d.says(15*time.Second, "connect success")
	}
	_ = mgr
	ctl := func(args ...string) (string, error) {
		code, out, stderr := run(t, 20*time.Second, dir, h.On("cli1", append([]string{prog("kumoctl"), "svr1"}, args...)...)...)
		if code != 0 {
			return out, fmt.Errorf("kumoctl svr1 %v: status %d: %s", args, code, stderr)
		}
		return out, nil
	}
	if out, err := ctl("attach", "--wait"); err != nil {
		t.Fatal(out, err)
	}
	out, err := ctl("status")
	if err != nil || !strings.Contains(out, fmt.Sprintf("attached node:\n  %s:19800  (active)\n  %s:19800  (active)\n  %s:19800  (active)\nnot attached node:\n", h.Addr(0), h.Addr(1), h.Addr(2))) {
		t.Fatalf("%v\n%s", err, out)
	}
	ready := func(what string) time.Duration {
		t.Helper()
		return harness.Until(t, 40*time.Second, what, func() error {
			code, out, stderr := run(t, 10*time.Second, dir, h.On("cli1", prog("kumostat"), "-m", "svr1", "replstat")...)
			if code != 0 || strings.Count(out, "ready") != 3 {
				status, _ := ctl("status")
				return fmt.Errorf("status %d: %s%s%s", code, out, stderr, status)
			}
			return nil
		})
	}
	ready("three ready servers")
	for _, s := range []string{"svr1", "svr2", "svr3"} {
		if code, out, stderr := run(t, 10*time.Second, dir, h.On("cli1", prog("kumostat"), s, "replstat")...); code != 0 || strings.TrimSpace(out) != "ready" {
			t.Errorf("kumostat %s: status %d, %s%s", s, code, out, stderr)
		}
	}
	addr := h.Addr(3) + ":11211" // cli1, as its users reach it
	l := load.New(t, load.Options{Addr: addr, Keys: 3000, Seed: *seed})
	l.Fill()
	l.Start()
	l.Run(time.Second)

	fault := func(name string, cut, mend func(), away time.Duration) {
		l.Mark("%s", name)
		cut()
		// Clients go on while it lasts.
		before := l.Ops()
		took := harness.Until(t, 10*time.Second, "operations succeed although "+name, func() error {
			if l.Ops() < before+500 {
				return errors.New("none")
			}
			return nil
		})
		usable := tryEvery(t, addr, 400)
		l.Run(max(0, away-took))
		status, err := ctl("status")
		t.Logf("%s: 500 operations were answered %v later, keys everywhere after %v", name, took.Round(time.Millisecond), usable.Round(time.Millisecond))
		l.Mark("mended; 500 operations were answered %v after the cut, a key of everywhere after %v; status before: %q, %v",
			took.Round(time.Millisecond), usable.Round(time.Millisecond), strings.Join(states(status), " "), err)
		mend()
		harness.Until(t, 20*time.Second, "the server is heard again", func() error {
			s, err := ctl("status", "--verbose")
			if err == nil && strings.Contains(s, "unreachable") {
				err = errors.New(s)
			}
			return err
		})
		if s, _ := ctl("status"); strings.Contains(s, "(fault)") {
			harness.Until(t, 10*time.Second, "attach", func() error { _, err := ctl("attach"); return err })
		}
		l.Mark("ready %v later", ready("ready after "+name).Round(time.Millisecond))
	}
	fault("svr3's cable is pulled", func() { check(h.Link(2, "down")) }, func() { check(h.Link(2, "up")) }, 5*time.Second)
	fault("what svr2 sends vanishes", func() { check(h.Deaf("svr2", []int{0, 2, 3}, true)) }, func() { check(h.Deaf("svr2", []int{0, 2, 3}, false)) }, 5*time.Second)
	// No manager sees this one: the gateway reaches svr3 through another server.
	fault("what svr3 sends to cli1 vanishes", func() { check(h.Deaf("svr3", []int{3}, true)) }, func() { check(h.Deaf("svr3", []int{3}, false)) }, 5*time.Second)
	if *long {
		fault("what svr3 sends to svr2 vanishes", func() { check(h.Deaf("svr3", []int{1}, true)) }, func() { check(h.Deaf("svr3", []int{1}, false)) }, 5*time.Second)
	}
	l.Run(time.Second)
	finish(t, l, 10*clients, besideBar(), unknownWrite)
	for i, d := range servers {
		if code, ended := d.ended(0); ended {
			t.Errorf("svr%d ended with status %d", i+1, code)
		}
	}
	equal(t, h, dir)
}

// equal compares what the three servers hold.
func equal(t *testing.T, h *harness.Hosts, dir string) {
	t.Helper()
	var first map[string]string
	for _, s := range []string{"svr1", "svr2", "svr3"} {
		code, out, stderr := run(t, 20*time.Second, dir, h.On("cli1", tool(t, "kumostat"), s, "checksum", "--json")...)
		answer := map[string]map[string]string{}
		if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil {
			t.Fatalf("kumostat %s checksum: %v %s", s, err, stderr)
		}
		sums := answer["checksum"]
		for part, sum := range sums {
			if strings.HasSuffix(sum, " 0") {
				delete(sums, part) // nothing, whether the store knows the partition or not
			}
		}
		if first == nil {
			first = sums
			t.Logf("%d partitions with pairs", len(first))
		}
		bad := 0
		for part, sum := range first {
			if sums[part] != sum {
				if bad++; bad < 5 {
					t.Errorf("partition %s: svr1 has %q, %s has %q", part, sum, s, sums[part])
				}
			}
		}
		if bad > 0 || len(sums) != len(first) {
			t.Errorf("%s differs in %d partitions; it has %d, svr1 %d", s, bad, len(sums), len(first))
		}
	}
}

// states are the servers' lines of a status.
func states(status string) (out []string) {
	for line := range strings.SplitSeq(status, "\n") {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[1], "(") {
			out = append(out, f[1])
		}
	}
	return out
}

// tryEvery writes keys all over the partitions, each until it is stored.
func tryEvery(t *testing.T, addr string, keys int) time.Duration {
	t.Helper()
	began := time.Now()
	var todo []load.Op
	for i := range keys {
		todo = append(todo, load.Op{Kind: load.Set, Key: fmt.Sprintf("every-%d", i), Value: "x"})
	}
	for len(todo) > 0 {
		var again []load.Op
		err := load.Pipeline(addr, todo, 30*time.Second, func(i int, r load.Result) {
			if r.Status != load.Done {
				if time.Since(began) > 12*time.Second {
					t.Fatalf("%s: %v", todo[i].Key, r)
				}
				again = append(again, todo[i])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		todo = again
	}
	return time.Since(began)
}
