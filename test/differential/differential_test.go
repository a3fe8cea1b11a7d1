package differential

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/memcached"
)

var (
	seed      = flag.Uint64("seed", 0, "seed of the commands (default: another each time)")
	commands  = flag.Int("commands", 20000, "commands to compare")
	depth     = flag.Int("depth", 100, "of the deepest pipeline")
	protocols = flag.String("protocols", "text,meta,binary", "what to speak")
	subjectAt = flag.String("subject", "", "HOST:PORT of a server that allows flush_all, to be compared with memcached; it is flushed (default: a memcached, and a kumofs of their own)")
)

// start is a memcached that ends with the test.
func start(t *testing.T) *memcached.Server {
	t.Helper()
	mc, err := memcached.Start()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mc.Stop)
	return mc
}

func speak(t *testing.T) (set int) {
	t.Helper()
	for _, name := range strings.Split(*protocols, ",") {
		switch name {
		case "text":
			set |= Text
		case "meta":
			set |= Meta
		case "binary":
			set |= Binary
		default:
			t.Fatalf("-protocols: there is no %q", name)
		}
	}
	return set
}

func compare(t *testing.T, ref, sub string, speak int) {
	t.Helper()
	opt := Options{Reference: ref, Subject: sub, Seed: *seed, Commands: *commands, Depth: *depth, Protocols: speak, Logf: t.Logf}
	if opt.Seed == 0 {
		opt.Seed = uint64(time.Now().UnixNano())
	}
	begin := time.Now()
	rep, err := Run(opt)
	t.Logf("-seed %d -commands %d: %d commands in %d batches, %v", opt.Seed, opt.Commands, rep.Commands, rep.Batches, time.Since(begin).Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(rep.Explained)) {
		t.Log(fmt.Sprintf("  explained, %s: %d", name, rep.Explained[name]))
	}
	if err != nil {
		t.Fatal(err)
	}
	if rep.Difference != "" {
		t.Error(rep.Difference)
	}
}

// TestReference compares memcached with memcached: what differs there is a fault of
// the generator.
func TestReference(t *testing.T) {
	compare(t, start(t).Addr, start(t).Addr, speak(t))
}
