package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// flagOf is one flag of the original: both names, a value if it takes one, and
// whether it is taken without effect.
type flagOf struct {
	short, long, value string
	ignored            bool
}

// TestFlagsOfTheOriginal starts the three daemons with every flag that the
// original's had, first the short names, then the long ones. What has no effect
// is said once.
func TestFlagsOfTheOriginal(t *testing.T) {
	t.Parallel()
	for form, name := range []string{"short", "long"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
				t.Fatal(err)
			}
			mgr, srv, text, bin1, bin2 := loopback(t), loopback(t), harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
			common := func(who string) []flagOf {
				return []flagOf{
					{"v", "verbose", "", false}, {"o", "log", who + ".log", false}, {"g", "binary-log", who + ".json", false},
					{"d", "daemon", who + ".pid", false}, {"Ys", "connect-timeout", "0.5", false}, {"Yn", "connect-retry-limit", "4", false},
					{"TR", "read-threads", "4", false}, {"TW", "write-threads", "2", true}, {"Ci", "clock-interval", "8.0", true},
				}
			}
			daemons := []struct {
				name  string
				says  string
				flags []flagOf
			}{
				{"kumo-manager", "start kumo-manager", append(common("kumo-manager"),
					flagOf{"l", "listen", mgr, false}, flagOf{"p", "partner", mgr, false}, flagOf{"a", "auto-replace", "", false},
					flagOf{"Rs", "replace-delay", "4", false}, flagOf{"k", "keepalive-interval", "2", false}, flagOf{"c", "control", "19799", true})},
				{"kumo-server", "connect success", append(common("kumo-server"),
					flagOf{"l", "listen", srv, false}, flagOf{"L", "stream-listen", strconv.Itoa(harness.FreePort(t)), false},
					flagOf{"s", "store", filepath.Join(dir, "kumodb.tch"), false}, flagOf{"m", "manager1", mgr, false}, flagOf{"p", "manager2", mgr, false},
					flagOf{"f", "offer-tmp", "/tmp", true}, flagOf{"S", "replicate-set-retry", "20", true}, flagOf{"D", "replicate-delete-retry", "20", true},
					flagOf{"M", "replace-memory-limit", "0", true}, flagOf{"gN", "garbage-min-time", "60", true},
					flagOf{"gX", "garbage-max-time", "3600", true}, flagOf{"gS", "garbage-mem-limit", "2048", true}, flagOf{"k", "keepalive-interval", "2", true})},
				{"kumo-gateway", "connect success", append(common("kumo-gateway"),
					flagOf{"m", "manager1", mgr, false}, flagOf{"p", "manager2", mgr, false}, flagOf{"t", "memproto-text", "127.0.0.1:" + strconv.Itoa(text), false},
					flagOf{"b", "memproto-binary", strconv.Itoa(bin1), false}, flagOf{"c", "cloudy", strconv.Itoa(bin2), false},
					flagOf{"k", "key-prefix", "app:", false}, flagOf{"F", "memproto-save-flag", "", true}, flagOf{"E", "memproto-save-expire", "", true},
					flagOf{"G", "get-retry", "5", true}, flagOf{"S", "set-retry", "20", true}, flagOf{"D", "delete-retry", "20", true},
					flagOf{"rn", "renew-threshold", "4", true}, flagOf{"As", "async-replicate-set", "", true},
					flagOf{"Ad", "async-replicate-delete", "", true}, flagOf{"lc", "local-cache", "/tmp/x", true})},
			}
			count := 0
			for _, d := range daemons {
				argv := []string{tool(t, d.name)}
				for _, f := range d.flags {
					count++
					if form == 0 {
						argv = append(argv, "-"+f.short)
					} else {
						argv = append(argv, "--"+f.long)
					}
					if f.value != "" {
						argv = append(argv, f.value)
					}
				}
				code, stdout, stderr := run(t, 10*time.Second, dir, argv...)
				if code != 0 || stdout != "" {
					t.Fatalf("%v: status %d\n%s%s", argv, code, stdout, stderr)
				}
				pid := pidOf(t, filepath.Join(dir, d.name+".pid"))
				t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // stopped below if all went well
				log := func() string { b, _ := os.ReadFile(filepath.Join(dir, d.name+".log")); return string(b) }
				harness.Until(t, 10*time.Second, d.name+" says "+d.says, func() error {
					if !strings.Contains(log(), d.says) {
						return fmt.Errorf("its log: %s", log())
					}
					return nil
				})
				for _, f := range d.flags {
					want := 0
					if f.ignored {
						want = 1
					}
					if n := strings.Count(log(), "-"+f.short+" (--"+f.long+") has no effect: "); n != want {
						t.Errorf("%s -%s: %d lines say that it has no effect, not %d", d.name, f.short, n, want)
					}
				}
				if ppid, sid := sessionOf(t, pid); sid != pid || ppid == os.Getpid() {
					t.Errorf("%s -d: process %d has parent %d and session %d", d.name, pid, ppid, sid)
				}
			}
			// -a attaches the server; -k is before every key; all three ports serve.
			key := "k"
			harness.Until(t, 15*time.Second, "a set is stored", func() error {
				c, err := load.Dial("127.0.0.1:"+strconv.Itoa(text), 5*time.Second)
				if err != nil {
					return err
				}
				defer c.Close()
				if r, err := c.Do(&load.Op{Kind: load.Set, Key: key, Value: "v"}); err != nil || r.Status != load.Done {
					return fmt.Errorf("%v %v", r, err)
				}
				return errors.Join(binaryPort(bin1, key), binaryPort(bin2, key))
			})
			if out := must(t, 10*time.Second, tool(t, "kumostat"), srv, "items"); strings.TrimSpace(out) != "1" {
				t.Errorf("items: %q", out)
			}
			// Each is stopped by its pidfile, which goes with it.
			for i := len(daemons) - 1; i >= 0; i-- {
				path := filepath.Join(dir, daemons[i].name+".pid")
				if err := syscall.Kill(pidOf(t, path), syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				harness.Until(t, 10*time.Second, daemons[i].name+" ended", func() error {
					if _, err := os.Stat(path); err == nil {
						return fmt.Errorf("%s is still there", path)
					}
					return nil
				})
			}
			t.Logf("%d flags taken; a cluster of daemons was started with them and stopped by its pidfiles", count)
		})
	}
}

func pidOf(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 2 {
		t.Fatalf("%s has %q", path, b)
	}
	return pid
}

// sessionOf is a process's parent and session.
func sessionOf(t *testing.T, pid int) (ppid, sid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	var pgrp int
	if _, err := fmt.Sscan(string(b[strings.LastIndexByte(string(b), ')')+1:]), &state, &ppid, &pgrp, &sid); err != nil {
		t.Fatal(err)
	}
	return ppid, sid
}

// TestListenAddresses: -l binds the address that it is given and no other, -t
// without one binds them all, and names stand wherever addresses do.
func TestListenAddresses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"localhost"}
	if ips, err := net.LookupIP(name); err == nil && len(ips) > 0 {
		hosts = append(hosts, name)
	}
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			port := func() string { return strconv.Itoa(harness.FreePort(t)) }
			mp, sp, stream, gp, hp, tp := port(), port(), port(), port(), port(), port()
			m := start(t, dir, tool(t, "kumo-manager"), "-v", "-l", host+":"+mp)
			m.says(10*time.Second, "start kumo-manager")
			s := start(t, dir, tool(t, "kumo-server"), "-v", "-l", host+":"+sp, "-L", stream, "-m", host+":"+mp, "-s", "db"+sp, "-t", host+":"+tp)
			s.says(10*time.Second, "connect success")
			g := start(t, dir, tool(t, "kumo-gateway"), "-v", "-m", host+":"+mp, "-t", gp, "--http", host+":"+hp)
			g.says(10*time.Second, "connect success")
			must(t, 10*time.Second, tool(t, "kumoctl"), host+":"+mp, "attach", "--wait")
			must(t, 10*time.Second, tool(t, "kumoctl"), host+":"+mp, "status")
			must(t, 10*time.Second, tool(t, "kumostat"), host+":"+sp, "items")
			must(t, 10*time.Second, tool(t, "kumostat"), "-m", host+":"+mp, "items")
			must(t, 10*time.Second, tool(t, "kumohash"), "-m", host+":"+mp, "assign", "k")
			must(t, 10*time.Second, tool(t, "kumotop"), "-m", host+":"+mp, "--once")
			for _, p := range []string{mp, sp, stream, tp, hp} {
				if _, err := net.DialTimeout("tcp", host+":"+p, time.Second); err != nil {
					t.Errorf("%s: %v", host, err)
				}
				if c, err := net.DialTimeout("tcp", "127.0.0.2:"+p, time.Second); err == nil {
					c.Close()
					t.Errorf("port %s was asked for on %s, but is open on 127.0.0.2 too", p, host)
				}
			}
			for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
				c, err := load.Dial(ip+":"+gp, 5*time.Second)
				if err != nil {
					t.Errorf("-t PORT is not on %s: %v", ip, err)
					continue
				}
				if r, err := c.Do(&load.Op{Kind: load.Set, Key: "k", Value: "v"}); err != nil || r.Status != load.Done {
					t.Errorf("%s: %v %v", ip, r, err)
				}
				c.Close()
			}
		})
	}
	t.Logf("hosts %v", hosts)
}

// binaryPort checks that a port serves the binary protocol, with the value "v" of
// key, and nothing else.
func binaryPort(port int, key string) error {
	ask := func(request string) (string, error) {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), 5*time.Second)
		if err != nil {
			return "", err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(15 * time.Second))
		if _, err := io.WriteString(c, request); err != nil {
			return "", err
		}
		answer, err := io.ReadAll(c)
		return string(answer), err
	}
	header := func(opcode byte, key string) string {
		return "\x80" + string(opcode) + "\x00" + string(byte(len(key))) + "\x00\x00\x00\x00\x00\x00\x00" + string(byte(len(key))) + strings.Repeat("\x00", 12) + key
	}
	if a, err := ask(header(0, key) + header(0x17, "")); err != nil || !strings.HasPrefix(a, "\x81\x00\x00\x00\x04\x00\x00\x00") || !strings.HasSuffix(a, "v") {
		return fmt.Errorf("port %d, binary get: %q %v", port, a, err)
	}
	if a, _ := ask("version\r\n"); a != "" {
		return fmt.Errorf("port %d answers text: %q", port, a)
	}
	return nil
}
