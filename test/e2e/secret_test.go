package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// secretFile is a file with these secrets.
func secretFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	writeSecret(t, path, lines...)
	return path
}

func writeSecret(t testing.TB, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// set stores a pair and reads it back.
func set(t *testing.T, addr, key, value string) {
	t.Helper()
	c, err := load.Dial(addr, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Do(&load.Op{Kind: load.Set, Key: key, Value: value}); err != nil || r.Status != load.Done {
		t.Errorf("set %s: %v %v", key, r, err)
	}
	if r, err := c.Do(&load.Op{Kind: load.Get, Key: key}); err != nil || r.Value != value {
		t.Errorf("get %s: %v %v", key, r, err)
	}
}

// TestClusterSecret is a cluster with a secret: two managers and witnesses that agree,
// servers that replicate and copy, a gateway, the tools. Who has not got it is kept out
// of everything, and is told.
func TestClusterSecret(t *testing.T) {
	t.Parallel()
	const line, strange = "the secret of this cluster", "the secret of another cluster"
	opt := options(3)
	opt.Managers = 2
	opt.Secret = secretFile(t, line)
	opt.ServerArgs = []string{"--open-metrics"}
	c := harness.Start(t, opt)
	harness.Until(t, 30*time.Second, "five voters", func() error {
		s, err := c.TryStatus()
		if err != nil {
			return err
		}
		voters := 0
		for _, m := range s.Managers {
			if m.Voter && m.Reachable {
				voters++
			}
		}
		for _, w := range s.Witnesses {
			if w.Voter && w.Reachable {
				voters++
			}
		}
		if voters != 5 {
			err = fmt.Errorf("managers %+v, witnesses %+v", s.Managers, s.Witnesses)
		}
		return err
	})
	// On a slow machine who restarts is away for so long that it is at fault.
	ready := func() {
		t.Helper()
		harness.Until(t, 30*time.Second, "the cluster is ready", func() error {
			_, err := c.PollReady(2 * time.Second)
			if err != nil {
				_, _ = c.TryCtl("attach") // there may be nothing to attach
			}
			return err
		})
	}
	// Faults under load are borne as without a secret: every connection is made anew.
	l := fill(t, c, 2000)
	for _, p := range []*harness.Process{c.Servers[1], c.Managers[0], c.Servers[2]} {
		l.Mark("kill -9 %s and start it again", p.Name)
		p.Restart(500 * time.Millisecond)
		l.Run(time.Second)
		ready()
	}
	l.Mark("pause %s", c.Servers[0].Name)
	c.Servers[0].Stop()
	l.Run(time.Second)
	c.Servers[0].Cont()
	ready()
	finish(t, l, 16*4, besideBar(), unknownWrite)
	// Copies travel over the stream port, and a server that comes back joins again.
	c.AddServer().Start()
	c.WaitNotAttached(1)
	c.Ctl("attach", "--wait")
	ready()
	c.Servers[0].Restart(0)
	ready()
	// Any manager takes a command, and passes it on.
	for _, m := range c.Managers {
		if out, err := c.CtlOn(m, "status"); err != nil || strings.Count(out, "(active)") != 4 {
			t.Errorf("%s: %s %v", m.Name, out, err)
		}
	}
	set(t, c.Gateway.Addr, "key", "value")

	t.Run("tools", func(t *testing.T) {
		const needs, other = "asks for the cluster secret: give the same --cluster-secret-file", "it has another cluster secret"
		wrong, short := secretFile(t, strange), secretFile(t, "short")
		for _, argv := range [][]string{
			{"kumoctl", c.Manager.Addr, "status"}, {"kumoctl", c.Manager.Addr, "detach"}, {"kumostat", c.Servers[1].Addr, "items"},
			{"kumostat", "-m", c.Manager.Addr, "items"}, {"kumohash", "-m", c.Manager.Addr, "assign", "k"},
			{"kumotop", "-m", c.Manager.Addr, "--once"}, {"kumotop", c.Servers[1].Addr, "--once"},
		} {
			argv[0] = tool(t, argv[0])
			with := func(file string) []string {
				return append(append([]string(nil), argv...), "--cluster-secret-file", file)
			}
			for _, try := range []struct {
				argv []string
				says string
			}{{argv, needs}, {with(wrong), other}, {with(short), "a line has 5 bytes"}, {with("no-such-file"), "no such file"}} {
				if code, stdout, stderr := run(t, 15*time.Second, "", try.argv...); code != 1 || !strings.Contains(stderr, try.says) {
					t.Errorf("%v: status %d, %q %q", try.argv, code, stdout, stderr)
				}
			}
			if strings.Contains(strings.Join(argv, " "), "detach") {
				continue
			}
			if code, stdout, stderr := run(t, 15*time.Second, "", with(opt.Secret)...); code != 0 {
				t.Errorf("%v with the secret: status %d, %q %q", argv, code, stdout, stderr)
			}
		}
	})

	t.Run("monitoring", func(t *testing.T) {
		// The servers have --open-metrics, the managers have not.
		for addr, open := range map[string]int{c.Manager.Addr: 403, c.Servers[1].Addr: 200} {
			for path, want := range map[string]int{control.PathMetrics: open, control.PathHealth: open, control.PathReady: open, control.PathMap: 403, control.PathVoter: 403} {
				resp, err := http.Get("http://" + addr + path)
				if err != nil {
					t.Error(err)
					continue
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s%s: %s", addr, path, resp.Status)
				}
			}
		}
	})

	t.Run("strangers", func(t *testing.T) {
		dir := t.TempDir()
		server := func(name string, more ...string) *daemon {
			argv := append([]string{tool(t, "kumo-server"), "-v", "-m", c.Manager.Addr, "-l", loopback(t), "-s", filepath.Join(dir, name)}, more...)
			return start(t, dir, argv...)
		}
		server("none").says(15*time.Second, "asks for the cluster secret: give the same --cluster-secret-file")
		server("other", "--cluster-secret-file", secretFile(t, strange)).says(15*time.Second, "it has another cluster secret")
		start(t, dir, tool(t, "kumo-gateway"), "-v", "-m", c.Manager.Addr, "-t", loopback(t)).says(15*time.Second, "asks for the cluster secret")
		start(t, dir, tool(t, "kumo-manager"), "-v", "-l", loopback(t), "-p", c.Manager.Addr, "-s", filepath.Join(dir, "m"),
			"--cluster-secret-file", secretFile(t, strange)).says(15*time.Second, "it has another cluster secret")
		bare := loopback(t) // and who dials one that has none
		start(t, dir, tool(t, "kumo-manager"), "-v", "-l", bare, "-s", filepath.Join(dir, "bare")).says(15*time.Second, "start kumo-manager")
		if code, _, stderr := run(t, 15*time.Second, "", tool(t, "kumoctl"), bare, "status", "--cluster-secret-file", opt.Secret); code != 1 || !strings.Contains(stderr, "it has no cluster secret") {
			t.Errorf("status %d, %q", code, stderr)
		}
		if s := c.Status(); len(s.NotAttached) != 0 || len(s.Managers) != 2 {
			t.Errorf("a stranger is listed: %+v", s)
		}
		if !strings.Contains(c.Manager.Log()+c.Managers[1].Log(), "refused a connection from 127.0.0.1:") {
			t.Error("no manager says whom it refused")
		}
	})

	// Another secret without a stop: the next one is taken, then used, then the only one.
	t.Run("rotation", func(t *testing.T) {
		const next = "the next secret of this cluster"
		hangUp := func(lines ...string) {
			writeSecret(t, opt.Secret, lines...)
			for i, p := range c.All() {
				said := strings.Count(p.Log(), "read again at SIGHUP: the cluster secret")
				p.HangUp()
				harness.Until(t, 10*time.Second, fmt.Sprintf("%s (%d) has read it", p.Name, i), func() error {
					if strings.Count(p.Log(), "read again at SIGHUP: the cluster secret") == said {
						return fmt.Errorf("%s", p.Tail(3))
					}
					return nil
				})
			}
		}
		status := func(line string) error {
			code, _, stderr := run(t, 15*time.Second, "", tool(t, "kumoctl"), c.Manager.Addr, "status", "--cluster-secret-file", secretFile(t, line))
			if code != 0 {
				return fmt.Errorf("status %d: %s", code, stderr)
			}
			return nil
		}
		hangUp(line, next)
		hangUp(next, line)
		if err1, err2 := status(line), status(next); err1 != nil || err2 != nil {
			t.Error(err1, err2)
		}
		hangUp(next)
		if err := status(line); err == nil || !strings.Contains(err.Error(), "another cluster secret") {
			t.Error("the old secret: ", err)
		}
		if err := status(next); err != nil {
			t.Error(err)
		}
		c.Servers[1].Restart(0) // all of its connections are new
		ready()
		set(t, c.Gateway.Addr, "rotated", "value")
	})
}
