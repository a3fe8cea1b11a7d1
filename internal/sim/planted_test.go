//go:build planted

package sim

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/planted"
)

var (
	plantedBugs  = flag.String("planted.bugs", "", "only the bugs of these names, separated by commas")
	plantedShard = flag.String("planted.shard", "1/1", "1/2: every other bug from the first on; 2/2: the others")
	plantedBases = flag.Int("planted.bases", 1, "look for each bug so many times, each time in other seeds")
	plantedSeeds = flag.Int("planted.seeds", 0, "look through so many seeds, whatever the table says")
)

// baseStep is how far the first seeds of two bases are apart.
const baseStep = 100_000

// hunt is how one bug was looked for from one first seed.
type hunt struct {
	seeds    int // until it was found, that one included
	found    bool
	events   uint64
	hits     uint64
	check    string // that found it
	failure  string
	atSeed   uint64
	lastSeed uint64
}

// look runs seeds until one shows the bug that is on.
func look(base uint64, most int) (h hunt) {
	for !h.found && h.seeds < most {
		h.seeds++
		h.lastSeed = base + uint64(h.seeds)
		opt := Options{Seed: h.lastSeed}
		if *trace {
			opt.Trace = os.Stdout
		}
		r := Run(opt)
		h.events += r.Events
		if len(r.Failures) > 0 {
			h.found, h.atSeed, h.failure = true, h.lastSeed, r.Failures[0]
			h.check, _, _ = strings.Cut(h.failure, ":")
		}
	}
	h.hits = planted.Hits()
	return h
}

// TestPlanted switches on one bug after another (internal/planted). Each must be
// hit, and found within the number of seeds that its table says; with all of them
// off the same seeds must be clean.
//
//	go test -tags planted ./internal/sim -run TestPlanted -v -planted.bugs=NAME
func TestPlanted(t *testing.T) {
	defer planted.Switch(planted.None)
	var shard, shards int
	if n, _ := fmt.Sscanf(*plantedShard, "%d/%d", &shard, &shards); n != 2 || shard < 1 || shard > shards {
		t.Fatalf("-planted.shard=%s: not such as 1/2", *plantedShard)
	}
	most := uint64(0)
	var rows []string
	for i := range planted.All {
		if i%shards != shard-1 {
			continue
		}
		bug := &planted.All[i]
		only := *plantedBugs != ""
		if only && !slices.Contains(strings.Split(*plantedBugs, ","), bug.Name) || !only && bug.Masked != "" {
			continue
		}
		bound := bug.Seeds
		if *plantedSeeds > 0 {
			bound = *plantedSeeds
		}
		var hunts []hunt
		for n := range *plantedBases {
			planted.Switch(bug.Bug)
			h := look(uint64(n)*baseStep, bound)
			hunts = append(hunts, h)
			if n == 0 {
				most = max(most, h.lastSeed)
			}
			switch {
			case h.hits == 0:
				t.Errorf("%s: no run came to it in %d seeds from %d on", bug.Name, h.seeds, uint64(n)*baseStep+1)
			case !h.found:
				t.Errorf("%s: not found in %d seeds from %d on, with %d hits", bug.Name, h.seeds, uint64(n)*baseStep+1, h.hits)
			default:
				t.Logf("%s: seed %d: %s", bug.Name, h.atSeed, h.failure)
			}
		}
		rows = append(rows, row(bug, hunts))
	}
	t.Logf("the planted bugs:\n| bug | rule | what is broken | seeds to find it%s | within | runs' events | hits | found by |\n|---|---|---|---|---|---|---|---|\n%s",
		map[bool]string{true: ", median and worst", false: ""}[*plantedBases > 1], strings.Join(rows, "\n"))

	planted.Switch(planted.None)
	if h := look(0, int(most)); h.found {
		t.Errorf("with no bug switched on, seed %d: %s", h.atSeed, h.failure)
	}
}

// row is a bug's line of a Markdown table.
func row(bug *planted.Info, hunts []hunt) string {
	slices.SortFunc(hunts, func(a, b hunt) int { return a.seeds - b.seeds })
	mid, worst := hunts[len(hunts)/2], hunts[len(hunts)-1]
	seeds := fmt.Sprint(mid.seeds)
	if len(hunts) > 1 {
		seeds += fmt.Sprintf(", %d", worst.seeds)
	}
	if !worst.found {
		seeds += " (not found)"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %d | %d | %d | %s |", bug.Name, bug.Rule, bug.What, seeds, bug.Seeds, mid.events, mid.hits, mid.check)
}
