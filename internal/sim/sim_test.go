package sim

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	first   = flag.Uint64("sim.seed", 1, "the first seed; 0: a random one")
	seeds   = flag.Int("sim.seeds", 0, "how many seeds to run; 0: the everyday number, or as many as fit in -sim.time")
	budget  = flag.Duration("sim.time", 0, "for how long to run seeds")
	workers = flag.Int("sim.workers", 0, "how many seeds run side by side; 0: one on each core")
	trace   = flag.Bool("sim.trace", false, "show what happens in the first seed")
	shrink  = flag.Int("sim.shrink", 0, "for a seed that fails, look in so many runs for few faults that make it fail")
	without = flag.String("sim.without", "", "numbers of faults that do not happen, with commas between them")
	noise   = flag.Uint64("sim.noise", 0, "another noise: delays and the like are drawn anew, the faults are the same")
	most    = flag.Int("sim.failures", 3, "stop after so many seeds that fail")
)

const (
	everyday = 2000
	// everydayRace: what runs share by mistake shows in few. A run is one goroutine.
	everydayRace = 40
	// enough seeds for every kind of fault to come.
	enough = 200
)

// tally is what many runs showed together.
type tally struct {
	mu      sync.Mutex
	stats   map[string]int
	seeds   int
	bad     []Options
	results []Result
	events  uint64
}

func (ta *tally) add(opt Options, r Result) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	ta.seeds++
	ta.events += r.Events
	for k, v := range r.Stats {
		if strings.HasPrefix(k, "most: ") {
			ta.stats[k] = max(ta.stats[k], v)
		} else {
			ta.stats[k] += v
		}
	}
	if len(r.Failures) > 0 {
		ta.bad = append(ta.bad, opt)
		ta.results = append(ta.results, r)
	}
}

// runSeeds runs seeds from base on side by side, until there were enough of
// them, or time is over, or enough have failed.
func runSeeds(base uint64, count int, limit time.Duration) *tally {
	ta := &tally{stats: map[string]int{}}
	n := *workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	began := time.Now()
	next := base
	take := func() (seed uint64, ok bool) {
		ta.mu.Lock()
		defer ta.mu.Unlock()
		if len(ta.bad) >= *most || count > 0 && next-base >= uint64(count) || limit > 0 && time.Since(began) > limit {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				seed, ok := take()
				if !ok {
					return
				}
				opt := options(seed)
				if *trace && seed == base {
					opt.Trace = os.Stdout
				}
				ta.add(opt, Run(opt))
			}
		})
	}
	wg.Wait()
	return ta
}

func options(seed uint64) Options {
	opt := Options{Seed: seed, Noise: *noise, Without: map[int]bool{}}
	for _, s := range strings.FieldsFunc(*without, func(r rune) bool { return r == ',' }) {
		if n, err := strconv.Atoi(s); err == nil {
			opt.Without[n] = true
		}
	}
	return opt
}

// replay is the command that shows a run.
func replay(opt Options) string {
	s := fmt.Sprintf("go test ./internal/sim -run TestCluster -sim.seed=%d -sim.seeds=1 -sim.trace", opt.Seed)
	if opt.Noise != 0 {
		s += fmt.Sprintf(" -sim.noise=%d", opt.Noise)
	}
	if len(opt.Without) > 0 {
		var list []string
		for _, n := range slices.Sorted(maps.Keys(opt.Without)) {
			list = append(list, strconv.Itoa(n))
		}
		s += " -sim.without=" + strings.Join(list, ",")
	}
	return s
}

// TestCluster runs seeds. A failure names its seed and how to see it again;
// with -sim.shrink=300 also the few faults that are enough for it.
//
//	go test ./internal/sim -run TestCluster -sim.time=60m -timeout 90m -v
func TestCluster(t *testing.T) {
	base, count := *first, *seeds
	if base == 0 {
		base = rand.Uint64N(1 << 40)
	}
	if count == 0 && *budget == 0 {
		count = everyday
		if raceDetector {
			count = everydayRace
		}
	}
	began := time.Now()
	ta := runSeeds(base, count, *budget)
	took := time.Since(began)
	for i, r := range ta.results {
		opt := ta.bad[i]
		t.Errorf("seed %d: %s\n\treplay: %s", opt.Seed, strings.Join(r.Failures, "\n\t"), replay(opt))
		if *shrink > 0 {
			small, r, runs := Shrink(opt, *shrink)
			t.Errorf("seed %d: with %d faults, found in %d runs: %s\n\treplay: %s", opt.Seed, len(r.Faults), runs, strings.Join(r.Failures, "\n\t"), replay(small))
			for _, f := range r.Faults {
				t.Logf("\t%s", f)
			}
		}
	}
	t.Logf("%d seeds from %d on, %d events (%d a seed), %d operations in %v", ta.seeds, base, ta.events, ta.events/uint64(max(1, ta.seeds)),
		ta.stats["operations"], took.Round(time.Millisecond))
	unknown := ta.stats["verdict unknown"]
	t.Logf("verdicts: %d ok, %d violations, %d unknown", ta.seeds-len(ta.bad), len(ta.bad)-unknown, unknown)
	for _, k := range slices.Sorted(maps.Keys(ta.stats)) {
		t.Logf("%9d %s", ta.stats[k], k)
	}
	if count >= enough && len(ta.bad) == 0 {
		everyFaultHappened(t, ta)
	}
}

// everyFaultHappened: a kind of fault that never comes is not tested.
func everyFaultHappened(t *testing.T, ta *tally) {
	for _, k := range slices.Concat(faultKinds, singleKinds) {
		if ta.stats["fault: "+k.name] == 0 {
			t.Errorf("no seed had a fault of the kind %q", k.name)
		}
	}
	for _, what := range []string{"joins: equal", "joins: tail", "joins: digest", "rings mended", "resumes", "leaders cut off", "stores failed", "reads failed",
		"stores full", "stores hung", "keys swept", "uploads collected", "manifests refused", "chunks missed", "large values at rest", "keys with a clear end", "increments", "outcome unknown"} {
		if ta.stats[what] == 0 {
			t.Errorf("no seed had any %s", what)
		}
	}
}

// TestReplay: a seed always shows the same, in every line of its trace. Once
// those of the first list did not: each in about every other run.
func TestReplay(t *testing.T) {
	seeds := []uint64{9, 106, 208, 213, 426, 1, 2, 3}
	for n := uint64(1); n <= 12; n++ {
		seeds = append(seeds, n*everyday/12)
	}
	if raceDetector {
		seeds = seeds[:2] // one goroutine: it has nothing to find here
	}
	for _, seed := range seeds {
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
			t.Fatalf("seed %d: %d lines, then %d", seed, len(a), len(b))
		}
	}
}

// TestWithout: a fault that is left out leaves the others of the schedule what
// they were.
func TestWithout(t *testing.T) {
	all := Run(Options{Seed: 1})
	if len(all.Faults) < 5 {
		t.Fatalf("seed 1 has %d faults only", len(all.Faults))
	}
	drop := all.Faults[1]
	rest := Run(Options{Seed: 1, Without: map[int]bool{drop.N: true}})
	kinds := map[int]Fault{}
	for _, f := range all.Faults {
		kinds[f.N] = f
	}
	same := 0
	for _, f := range rest.Faults {
		if f.N == drop.N {
			t.Errorf("%s happened, though it was left out", f)
		}
		if was, ok := kinds[f.N]; ok && was.At == f.At && was.Kind == f.Kind {
			same++
		}
	}
	if same < len(all.Faults)/2 {
		t.Errorf("only %d of %d faults are the same", same, len(all.Faults))
	}
}
