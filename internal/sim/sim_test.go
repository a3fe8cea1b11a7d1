package sim

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	seeds  = flag.Int("sim.seeds", 0, "how many seeds to run; 0: as many as fit in -sim.time")
	first  = flag.Uint64("sim.seed", 1, "the first seed")
	trace  = flag.Bool("sim.trace", false, "show what happens in the first seed")
	most   = flag.Int("sim.failures", 3, "stop after so many seeds that fail")
	budget = flag.Duration("sim.time", 20*time.Second, "how long to run when -sim.seeds is not given")
)

// TestCluster runs seeds one after another. A failure names its seed:
//
//	go test ./internal/sim -run TestCluster -sim.seed=N -sim.seeds=1 -sim.trace
func TestCluster(t *testing.T) {
	total := map[string]int{}
	began := time.Now()
	n, bad := 0, 0
	for seed := *first; ; seed++ {
		if bad >= *most || *seeds > 0 && n >= *seeds || *seeds == 0 && time.Since(began) > *budget {
			break
		}
		opt := Options{Seed: seed}
		if *trace && n == 0 {
			opt.Trace = os.Stdout
		}
		r := Run(opt)
		total["events"] += int(r.Events)
		n++
		for k, v := range r.Stats {
			total[k] += v
		}
		if len(r.Failures) > 0 {
			bad++
		}
		for _, f := range r.Failures {
			t.Errorf("seed %d: %s\n\treplay: go test ./internal/sim -run TestCluster -sim.seed=%d -sim.seeds=1 -sim.trace", seed, f, seed)
		}
	}
	t.Logf("%d seeds in %v", n, time.Since(began).Round(time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%8d %s", total[k], k)
	}
}

// TestReplay: a seed always shows the same.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		var one, two bytes.Buffer
		Run(Options{Seed: seed, Trace: &one})
		Run(Options{Seed: seed, Trace: &two})
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			a, b := bytes.Split(one.Bytes(), []byte("\n")), bytes.Split(two.Bytes(), []byte("\n"))
			for i := range min(len(a), len(b)) {
				if !bytes.Equal(a[i], b[i]) {
					t.Fatalf("seed %d differs in line %d:\n%s\n%s", seed, i, a[i], b[i])
				}
			}
			t.Fatal(fmt.Sprintf("seed %d: %d lines, then %d", seed, len(a), len(b)))
		}
	}
}
