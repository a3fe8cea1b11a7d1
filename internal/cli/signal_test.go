package cli

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// timeout(1) signals its child and then the group that the child is in: the
// daemon took that for a second Ctrl-C and ended without a clean stop.
func TestRepeatedSignals(t *testing.T) {
	for _, test := range []struct {
		name   string
		gap    time.Duration
		status int
	}{
		{"at once", 0, 0},
		{"later", 2 * sameSignal, 128 + int(syscall.SIGTERM)},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-v", "--slow")
			cmd.Env = append(os.Environ(), "CLI_TEST_DAEMON=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			if line, err := bufio.NewReader(out).ReadString('\n'); !strings.Contains(line, "server connected") {
				t.Fatalf("%q, %v", line, err)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(test.gap + 50*time.Millisecond) // at once too: two that come together are one
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != test.status {
				t.Errorf("status %d, not %d", got, test.status)
			}
		})
	}
}
