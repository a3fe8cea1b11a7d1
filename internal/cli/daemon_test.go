package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets this test binary be a daemon: the daemonise tests start it
// again with a command line of its own.
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_DAEMON") != "" {
		testDaemon()
	}
	os.Exit(m.Run())
}

// testDaemon is a daemon that serves nothing. --fail makes it fail before it is
// up, --crash end without a word.
func testDaemon() {
	f := NewFlags("testd", "[flags]")
	fail := f.Bool("", "fail", "fail at once")
	crash := f.Bool("", "crash", "end at once")
	slow := f.Bool("", "slow", "take a second to end")
	var c Common
	CommonFlags(f, &c, true)
	RunDaemon(f, &c, func(ctx context.Context, log *slog.Logger, s *Supervisor) error {
		if *fail {
			return errors.New("cannot listen: address in use")
		}
		if *crash {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		log.Info("server connected", "addr", "127.0.0.1:19801")
		s.Watch(func(context.Context) (string, error) { return "serves nothing", nil })
		s.Up()
		log.Warn("up now")
		<-ctx.Done()
		if *slow {
			time.Sleep(time.Second)
		}
		log.Info("stopped")
		return ctx.Err()
	})
}

func runDaemon(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "CLI_TEST_DAEMON=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Run waits for both pipes to close: it would hang if the daemon kept them.
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() < 1 {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func fileHas(path, text string) func() bool {
	return func() bool {
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), text)
	}
}

func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	pidfile, logfile, jsonfile := filepath.Join(dir, "d.pid"), filepath.Join(dir, "d.log"), filepath.Join(dir, "d.json")
	args := []string{"-v", "-d", pidfile, "-o", logfile, "-g", jsonfile}
	if code, stdout, stderr := runDaemon(t, args...); code != 0 || stdout != "" || stderr != "" {
		t.Fatalf("status %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	pid := readPID(t, pidfile)
	defer syscall.Kill(pid, syscall.SIGKILL)
	if sid, err := unix.Getsid(pid); sid != pid {
		t.Errorf("session %d of process %d: %v", sid, pid, err)
	}
	eventually(t, "log", fileHas(logfile, "WARN up now"))
	if !fileHas(logfile, " INFO server connected addr=127.0.0.1:19801\n")() || !fileHas(jsonfile, `"msg":"server connected","addr":"127.0.0.1:19801"`)() {
		t.Error("the event is not in both logs")
	}

	// A second one is refused and changes nothing.
	code, _, stderr := runDaemon(t, args...)
	if code != 1 || !strings.Contains(stderr, "testd: "+pidfile+" belongs to process "+strconv.Itoa(pid)) {
		t.Errorf("second: status %d, %q", code, stderr)
	}
	if readPID(t, pidfile) != pid {
		t.Error("the pidfile was changed")
	}

	// A rotated log is opened anew, and standard error with it.
	if err := os.Rename(logfile, logfile+".1"); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGHUP)
	eventually(t, "new log file", func() bool { _, err := os.Stat(logfile); return err == nil })

	syscall.Kill(pid, syscall.SIGTERM)
	eventually(t, "pidfile removed", func() bool { _, err := os.Stat(pidfile); return os.IsNotExist(err) })
	if !fileHas(logfile, "INFO stopped")() || fileHas(logfile+".1", "INFO stopped")() {
		t.Error("the last event is not in the new file alone")
	}
}

func TestDaemonThatFails(t *testing.T) {
	dir := t.TempDir()
	pidfile, logfile := filepath.Join(dir, "d.pid"), filepath.Join(dir, "d.log")
	code, _, stderr := runDaemon(t, "-d", pidfile, "-o", logfile, "--fail")
	if code != 1 || stderr != "testd: cannot listen: address in use\n" {
		t.Errorf("status %d, %q", code, stderr)
	}
	if !fileHas(logfile, `ERROR ended error="cannot listen: address in use"`)() {
		t.Error("the log does not say why")
	}
	if _, err := os.Stat(pidfile); !os.IsNotExist(err) {
		t.Error("the pidfile was left behind")
	}
	code, _, stderr = runDaemon(t, "-d", pidfile, "--crash")
	if code != 1 || stderr != "testd: testd ended before it was up: signal: killed\n" {
		t.Errorf("status %d, %q", code, stderr)
	}
	// The pidfile of a dead process is no hindrance.
	if code, _, stderr := runDaemon(t, "-d", pidfile); code != 0 {
		t.Fatalf("status %d, %q", code, stderr)
	}
	pid := readPID(t, pidfile)
	syscall.Kill(pid, syscall.SIGTERM)
	eventually(t, "pidfile removed", func() bool { _, err := os.Stat(pidfile); return os.IsNotExist(err) })
}

func TestForeground(t *testing.T) {
	if code, _, stderr := runDaemon(t, "--fail"); code != 1 || stderr != "testd: cannot listen: address in use\n" {
		t.Errorf("status %d, %q", code, stderr)
	}
	if code, _, stderr := runDaemon(t, "--bogus"); code != 2 || stderr != "testd: unknown flag --bogus\nsee testd --help\n" {
		t.Errorf("status %d, %q", code, stderr)
	}
	if code, stdout, _ := runDaemon(t, "--help"); code != 0 || !strings.HasPrefix(stdout, "Usage: testd [flags]\n") {
		t.Errorf("status %d, %q", code, stdout)
	}
}

func TestForegroundStreams(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-v", "-Ci", "8", "--clock-interval", "9")
	cmd.Env = append(os.Environ(), "CLI_TEST_DAEMON=1")
	outPath := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(outPath)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "up", fileHas(outPath, " INFO server connected addr=127.0.0.1:19801\n"))
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, stderr.String())
	}
	stdout, err := os.ReadFile(outPath)
	if s := string(stdout); err != nil || strings.Count(s, "\n") != 2 || !strings.HasSuffix(s, " INFO stopped\n") {
		t.Errorf("stdout %q, %v", s, err)
	}
	if s := stderr.String(); strings.Count(s, "\n") != 2 || !strings.Contains(s, "WARN flag -Ci (--clock-interval) has no effect: no clock takes part in replication\n") {
		t.Errorf("stderr %q", s)
	}
}
