package clients

import (
	"flag"
	"testing"

	"github.com/kumofs/kumofs/test/memcached"
)

var addr = flag.String("addr", "", "HOST:PORT of a server to run the suites against; it is flushed (default: a memcached of their own)")

// TestSuites runs every suite against memcached: what they expect is what it does.
func TestSuites(t *testing.T) {
	at := *addr
	if at == "" {
		mc, err := memcached.Start()
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(mc.Stop)
		at = mc.Addr
		t.Logf("memcached %s", mc.Version)
	}
	for _, s := range Suites() {
		t.Run(s.Name, func(t *testing.T) { s.Run(t, at) })
	}
}
