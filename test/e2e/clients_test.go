package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

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
	t.Run("memcdump", func(t *testing.T) {
		if _, err := exec.LookPath("memcdump"); err != nil {
			t.Skip("memcdump is not installed (scripts/deps installs it)")
		}
		mc := memcache.New(c.Gateway.Addr)
		defer mc.Close()
		mc.Timeout = 20 * time.Second
		if err := mc.FlushAll(); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 300 {
			want = append(want, fmt.Sprintf("key%03d", i))
			if err := mc.Set(&memcache.Item{Key: want[i], Value: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("memcdump", "--servers="+c.Gateway.Addr).CombinedOutput()
		got := strings.Fields(string(out))
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("memcdump: %v, %d keys\n%.500s", err, len(got), out)
		}
	})
}
