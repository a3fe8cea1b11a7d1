package e2e

import (
	"os/exec"
	"strings"
	"testing"

	suites "github.com/kumofs/kumofs/test/e2e/clients"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// The clients that applications use, in both protocols. What their suites expect is
// what memcached does: clients' own test shows it.
func TestClients(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.GatewayArgs = []string{"--allow-flush-all"}
	c := harness.Start(t, opt)
	// One after another: each flushes what others have stored.
	for _, s := range suites.Suites() {
		t.Run(s.Name, func(t *testing.T) { s.Run(t, c.Gateway.Addr) })
	}
	t.Run("memcstat", func(t *testing.T) {
		if _, err := exec.LookPath("memcstat"); err != nil {
			t.Skip("memcstat is not installed (scripts/deps installs it)")
		}
		out, err := exec.Command("memcstat", "--servers="+c.Gateway.Addr).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "curr_connections") {
			t.Errorf("memcstat: %v\n%s", err, out)
		}
	})
}
