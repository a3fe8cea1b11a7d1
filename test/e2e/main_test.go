// Package e2e tests kumofs as its users have it: real processes, real sockets
// on loopback, real clients, and faults. A test is a bar that was promised; it
// logs its figures.
//
// The everyday run takes about five minutes and is left out by -short. Tests
// that hold waits to stallBar run alone; the others side by side, after them.
// -e2e.long runs the promised sizes and times, best with -parallel 1.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

var (
	long = flag.Bool("e2e.long", false, "run at the promised sizes")
	bin  = flag.String("e2e.bin", "", "directory of programs built before (default: build them)")
	race = flag.Bool("e2e.race", false, "build the programs with the race detector")
	keep = flag.String("e2e.keep", "", "keep data and logs of every test below this directory")
	file = flag.String("e2e.secret", "", "file of a cluster secret for clusters of all tests (those that speak to daemons by themselves fail)")
	seed = flag.Uint64("e2e.seed", 0, "seed of the load (default: another each time)")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("e2e: left out by -short")
		return
	}
	if !*long {
		harness.Patience = 3
	}
	os.Exit(func() int {
		if *bin == "" {
			dir, err := os.MkdirTemp("", "kumofs-e2e-")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer os.RemoveAll(dir)
			var flags []string
			if *race {
				flags = append(flags, "-race")
			}
			if err := harness.Build(dir, flags...); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			*bin = dir
		}
		return m.Run()
	}())
}

// size is short, or full with -e2e.long.
func size[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

func options(servers int) harness.Options {
	return harness.Options{Bin: *bin, Dir: *keep, Servers: servers, Secret: *file}
}

// besideBar is stallBar for tests that run side by side: there the machine itself
// makes clients wait, so the bar finds only what would hang.
func besideBar() time.Duration { return size(10*time.Second, stallBar) }

// fill loads a cluster with keys and starts 16 clients.
func fill(t *testing.T, c *harness.Cluster, keys int) *load.Load {
	t.Helper()
	l := load.New(t, load.Options{Addr: c.Gateway.Addr, Keys: keys, Seed: *seed, Pace: size(8*time.Millisecond, 3*time.Millisecond)})
	l.Fill()
	l.Start()
	l.Run(time.Second)
	return l
}

const unknownWrite = "write: SERVER_ERROR outcome unknown: the write may or may not have been done"

// finish ends the load, logs what it came to, and judges it: errors of the
// allowed kinds only, not more than most, no stall longer than stall, and
// histories that can be.
func finish(t *testing.T, l *load.Load, most int, stall time.Duration, allowed ...string) load.Report {
	t.Helper()
	l.Stop()
	rep := l.Report()
	t.Log(rep.Text)
	n := 0
	for kind, count := range rep.Errors {
		ok := false
		for _, a := range allowed {
			ok = ok || a == kind
		}
		if !ok {
			t.Errorf("%d errors of a kind that is not allowed: %s", count, kind)
		}
		n += count
	}
	if n > most {
		t.Errorf("%d errors; only the operations in flight at a fault may fail, at most %d", n, most)
	}
	if rep.Stall > stall {
		t.Errorf("a client waited %v, more than %v", rep.Stall, stall)
	}
	if rep.Ops == 0 {
		t.Error("no operation succeeded")
	}
	l.Verify()
	return rep
}
