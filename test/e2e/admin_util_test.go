package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/testlog"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// The admin_ tests are about what an administrator does and what can go wrong
// around it: backups, disks, command lines, strangers on the ports, networks.

// tool is the path of a program; those that TestMain does not build are built here.
func tool(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(*bin, name)
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if out, err := exec.Command("go", "build", "-o", path, "github.com/kumofs/kumofs/cmd/"+name).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", name, err, out)
	}
	return path
}

var building sync.Mutex

// run runs a program that ends by itself within limit; else the code is -1.
func run(t testing.TB, limit time.Duration, dir string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must is run that must succeed; it gives the standard output.
func must(t testing.TB, limit time.Duration, argv ...string) string {
	t.Helper()
	code, stdout, stderr := run(t, limit, "", argv...)
	if code != 0 {
		t.Fatalf("%v: status %d\n%s%s", argv, code, stdout, stderr)
	}
	return stdout
}

// daemon is a process with a command line of a test's own.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	argv []string
	done chan struct{}
	said testlog.Buffer // all that it has said on both streams
}

// start starts a daemon, which ends with the test at the latest.
func start(t testing.TB, dir string, argv ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, argv: argv, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = dir, &d.said, &d.said
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	d.cmd.WaitDelay = 2 * time.Second
	if err := harness.Spawn(d.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // its state is looked at
		close(d.done)
	}()
	t.Cleanup(func() {
		d.stop(syscall.SIGTERM, 10*time.Second)
		if out := d.said.String(); strings.Contains(out, "panic:") || strings.Contains(out, "fatal error:") || t.Failed() {
			if len(out) > 4000 {
				out = out[:2000] + "\n...\n" + out[len(out)-2000:]
			}
			t.Logf("%v said:\n%s", argv, out)
			if strings.Contains(out, "panic:") || strings.Contains(out, "fatal error:") {
				t.Errorf("%v panicked", argv)
			}
		}
	})
	return d
}

// stop signals it and gives its exit status; one that stays is killed and gives -1.
func (d *daemon) stop(sig syscall.Signal, limit time.Duration) int {
	_ = d.cmd.Process.Signal(sig)
	select {
	case <-d.done:
	case <-time.After(limit):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	return d.cmd.ProcessState.ExitCode()
}

// ended tells its exit status if it ends within limit.
func (d *daemon) ended(limit time.Duration) (int, bool) {
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode(), true
	case <-time.After(limit):
		return 0, false
	}
}

// says waits until it has said text.
func (d *daemon) says(limit time.Duration, text string) {
	d.t.Helper()
	harness.Until(d.t, limit, fmt.Sprintf("%v says %q", d.argv, text), func() error {
		if !strings.Contains(d.said.String(), text) {
			return errors.New(d.said.String())
		}
		return nil
	})
}

// loopback is an address of 127.0.0.1 with a free port.
func loopback(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
}

// usage is what a process holds.
type usage struct {
	rss     int64 // bytes
	fds     int
	threads int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB, %d files, %d threads", u.rss>>20, u.fds, u.threads)
}

func usageOf(t testing.TB, pid int) (u usage) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			u.rss = n << 10
		case "Threads:":
			u.threads = int(n)
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	u.fds = len(files)
	return u
}

// needRoot skips a test that changes what only root may.
func needRoot(t testing.TB, what string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("%s: not run: it needs root for %s", t.Name(), what)
	}
}

// httpGet is the body of an answer of a daemon's HTTP, whatever its status.
func httpGet(t testing.TB, addr, path string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
