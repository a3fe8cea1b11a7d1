package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// TestLocal is `kumofs local`: started, used, ended with Ctrl-C, started again.
func TestLocal(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			dir := t.TempDir()
			port := harness.FreePort(t)
			addr := "127.0.0.1:" + strconv.Itoa(port)
			argv := []string{tool(t, "kumofs"), "local", "--port", strconv.Itoa(port)}
			if servers != 3 { // the default
				argv = append(argv, "--servers", strconv.Itoa(servers))
			}
			const keys = 500
			var ops []load.Op
			for i := range keys {
				ops = append(ops, load.Op{Kind: load.Set, Key: load.Key(i), Value: fmt.Sprintf("value-%d", i)})
			}
			runs := 2
			if servers == 3 {
				runs = 3
			}
			for run := range runs {
				began := time.Now()
				d := start(t, dir, argv...)
				d.says(30*time.Second, "Stop it with Ctrl-C")
				up := time.Since(began)
				out := d.said.String()
				for _, want := range []string{fmt.Sprintf("%d servers, data in ./kumofs-data", servers), "memcached  " + addr, fmt.Sprintf("server %d ", servers), "manager    127.0.0.1:"} {
					if !strings.Contains(out, want) {
						t.Errorf("run %d does not say %q:\n%s", run+1, want, out)
					}
				}
				_, line, _ := strings.Cut(out, "Try it:\n")
				line, _, _ = strings.Cut(line, "\n")
				if tried, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil || string(tried) != "STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\n" {
					t.Errorf("run %d: %s: %q, %v", run+1, line, tried, err)
				}
				kind := load.Get
				if run == 0 {
					kind = load.Set
				}
				for i := range ops {
					ops[i].Kind = kind
				}
				err := load.Pipeline(addr, ops, 10*time.Second, func(i int, r load.Result) {
					if r.Status != load.Done || run > 0 && r.Value != ops[i].Value {
						t.Errorf("run %d: %v %s: %v", run+1, kind, ops[i].Key, r)
					}
				})
				if err != nil {
					t.Errorf("run %d: %v", run+1, err)
				}
				mgr := strings.Fields(out[strings.Index(out, "manager "):])[1]
				if status := must(t, 10*time.Second, tool(t, "kumoctl"), mgr, "status"); strings.Count(status, "(active)") != servers {
					t.Errorf("run %d: %s", run+1, status)
				}
				if run == 0 {
					// The port in use, the data in use: each said, and this one goes on.
					code, _, stderr := runIn(t, dir, argv...)
					if code != 1 || !strings.Contains(stderr, "cannot listen on "+addr) || !strings.Contains(stderr, "--port") {
						t.Errorf("port in use: status %d, %q", code, stderr)
					}
					other := append([]string(nil), argv...)
					other[3] = strconv.Itoa(harness.FreePort(t))
					code, stdout, stderr := runIn(t, dir, other...)
					if code != 1 || !strings.Contains(stderr, "in use") {
						t.Errorf("data in use: status %d, %q %q", code, stdout, stderr)
					}
				}
				began = time.Now()
				sig := syscall.SIGINT
				if run == 1 && runs == 3 {
					sig = syscall.SIGKILL // the third run finds what a killed one left
				}
				code := d.stop(sig, 10*time.Second)
				if sig == syscall.SIGINT && (code != 0 || !strings.Contains(d.said.String(), "stopping")) {
					t.Errorf("run %d: Ctrl-C ended it with status %d\n%s", run+1, code, d.said.String())
				}
				t.Logf("run %d: up after %v, ended by %v after %v", run+1, up.Round(time.Millisecond), sig, time.Since(began).Round(time.Millisecond))
			}
		})
	}
	// Ctrl-C before it is up is clean too.
	dir := t.TempDir()
	d := start(t, dir, tool(t, "kumofs"), "local", "--port", strconv.Itoa(harness.FreePort(t)))
	harness.Until(t, 10*time.Second, "it has begun", func() error {
		if _, err := os.Stat(filepath.Join(dir, "kumofs-data", "server1")); err != nil {
			return err
		}
		return nil
	})
	if code := d.stop(syscall.SIGINT, 10*time.Second); code != 0 {
		t.Errorf("Ctrl-C while it starts: status %d: %s", code, d.said.String())
	}
	if strings.Contains(d.said.String(), "context canceled") {
		t.Errorf("Ctrl-C while it starts: %s", d.said.String())
	}
}

func runIn(t *testing.T, dir string, argv ...string) (int, string, string) {
	t.Helper()
	return run(t, 10*time.Second, dir, argv...)
}
