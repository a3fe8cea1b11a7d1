package e2e

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// pymemcacheScript is what applications do with pymemcache: noreply by default,
// tokens of gets given back to cas, many keys at once.
const pymemcacheScript = `
import sys
from pymemcache.client.base import Client
c = Client((sys.argv[1], int(sys.argv[2])), timeout=10)
assert c.version()
c.set('a', 'one')                       # noreply
assert c.get('a') == b'one'
assert c.add('a', 'x', noreply=False) is False
assert c.add('b', 'two', noreply=False) is True
value, token = c.gets('a')
assert c.cas('a', 'three', token) is True
assert c.cas('a', 'four', token) is False
assert c.cas('none', 'four', token) is None
assert c.append('a', '!', noreply=False) and c.get('a') == b'three!'
c.set('n', '10')
assert c.incr('n', 5) == 15 and c.decr('n', 20) == 0
assert c.incr('none', 1) is None
many = {'m%d' % i: b'v%d' % i for i in range(1000)}
assert c.set_many(many, noreply=False) == []
assert c.get_many(list(many)) == many
assert c.touch('a', 100, noreply=False) is True
assert c.delete('a', noreply=False) is True and c.get('a') is None
assert c.stats()
print('ok')
`

// pylibmcScript does the same through libmemcached, which sends flags.
const pylibmcScript = `
import sys, pylibmc
c = pylibmc.Client([sys.argv[1] + ':' + sys.argv[2]])
c['a'] = {'a': [1, 2]}                  # pickled: flags are not zero
assert c['a'] == {'a': [1, 2]}
assert c.set('n', 7) and c.incr('n') == 8
assert c.add('n', 1) is False and c.replace('n', 2) is True
many = {'p%d' % i: i for i in range(200)}
assert c.set_multi(many) == [] and c.get_multi(list(many)) == many
assert c.delete('n') is True and c.get('n') is None
assert c.get_stats()
print('ok')
`

// The clients that applications use, as Debian has them.
func TestPythonClients(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	host, port, err := net.SplitHostPort(c.Gateway.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for module, script := range map[string]string{"pymemcache": pymemcacheScript, "pylibmc": pylibmcScript} {
		t.Run(module, func(t *testing.T) {
			// Debian's own Python: another one in PATH does not see its modules.
			const python = "/usr/bin/python3"
			if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
				t.Skipf("%s is not installed for %s (scripts/deps installs it): %v", module, python, err)
			}
			out, err := exec.Command(python, "-c", script, host, port).CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), "ok\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("libmemcached-tools", func(t *testing.T) {
		if _, err := exec.LookPath("memcstat"); err != nil {
			t.Skip("memcstat is not installed (scripts/deps installs it)")
		}
		out, err := exec.Command("memcstat", "--servers="+c.Gateway.Addr).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "curr_connections") {
			t.Errorf("memcstat: %v\n%s", err, out)
		}
	})
}
