package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// tutorial is that of the original, word for word, as README.md has it.
const tutorial = `kumo-manager -v -l localhost
kumo-server  -v -m localhost -l localhost:19801 -L 19901 -s ./kumodb1.tch
kumo-server  -v -m localhost -l localhost:19802 -L 19902 -s ./kumodb2.tch
kumo-server  -v -m localhost -l localhost:19803 -L 19902 -s ./kumodb3.tch
kumo-gateway -v -m localhost -t 11211
kumoctl localhost attach
`

var statusForm = regexp.MustCompile(`^hash space timestamp:
  (Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d [+-]\d{4} \d{4} clock \d+
attached node:
  127\.0\.0\.1:19801  \(active\)
  127\.0\.0\.1:19802  \(active\)
  127\.0\.0\.1:19803  \(active\)
not attached node:
$`)

func TestTutorial(t *testing.T) {
	t.Parallel()
	for _, port := range []int{19700, 19801, 19802, 19803, 19901, 19902, 11211} {
		if !harness.PortFree(port) {
			t.Skipf("port %d of the published tutorial is taken on this machine", port)
		}
	}
	dir := t.TempDir()
	// A shell in which each daemon runs in a window of its own: `&`. The shell
	// becomes the daemons' parent in one process group, which is ended as one.
	lines := strings.Split(strings.TrimSpace(tutorial), "\n")
	var script strings.Builder
	for i, line := range lines[:len(lines)-1] {
		fmt.Fprintf(&script, "%s >log%d 2>&1 &\n", line, i+1)
	}
	script.WriteString(lines[len(lines)-1] + " || exit 1\nprintf 'attached\\n'\nwait\n")
	cmd := exec.Command("sh", "-c", script.String())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+*bin+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(dir, "shell"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the tutorial's programs did not end within 10 s of SIGTERM")
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "log*"))
			for _, f := range append(logs, out.Name()) {
				b, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", filepath.Base(f), b)
			}
		}
	})
	harness.Until(t, 20*time.Second, "the sixth line has ended", func() error {
		b, _ := os.ReadFile(out.Name())
		if !strings.Contains(string(b), "attached\n") {
			return fmt.Errorf("the shell said %q", b)
		}
		return nil
	})
	attached := time.Since(start)
	mc := memcache.New("127.0.0.1:11211")
	mc.Timeout = 20 * time.Second
	defer mc.Close()
	harness.Until(t, 10*time.Second, "a client can set, get, gets, cas and delete", func() error { return tryClient(mc) })
	served := time.Since(start) - attached
	t.Logf("attach ended %v after the first line, a client was served %v after that", attached.Round(time.Millisecond), served.Round(time.Millisecond))
	if served > 10*time.Second {
		t.Errorf("a client was served only %v after attach", served)
	}
	harness.Until(t, 10*time.Second, "status has the published form", func() error {
		b, err := exec.Command(filepath.Join(*bin, "kumoctl"), "localhost", "status").CombinedOutput()
		if err == nil && !statusForm.Match(b) {
			err = fmt.Errorf("it is\n%s", b)
		}
		return err
	})
	// One more round, now that all is at rest.
	if err := tryClient(mc); err != nil {
		t.Error(err)
	}
}

// tryClient does what the tutorial's reader will try.
func tryClient(mc *memcache.Client) error {
	if err := mc.Set(&memcache.Item{Key: "key", Value: []byte("value"), Flags: 7}); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	it, err := mc.Get("key") // gomemcache's Get is gets
	if err != nil || string(it.Value) != "value" || it.Flags != 7 {
		return fmt.Errorf("get: %v %v", it, err)
	}
	other := *it
	it.Value = []byte("new")
	if err := mc.CompareAndSwap(it); err != nil {
		return fmt.Errorf("cas: %w", err)
	}
	if err := mc.CompareAndSwap(&other); err != memcache.ErrCASConflict {
		return fmt.Errorf("cas with an old unique: %v", err)
	}
	if it, err = mc.Get("key"); err != nil || string(it.Value) != "new" {
		return fmt.Errorf("get after cas: %v %v", it, err)
	}
	if err := mc.Delete("key"); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if _, err := mc.Get("key"); err != memcache.ErrCacheMiss {
		return fmt.Errorf("get after delete: %v", err)
	}
	return nil
}
