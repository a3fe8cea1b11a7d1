package sim

import (
	"slices"
	"strings"
)

// Shrink looks for few faults with which a failing run still fails in the same
// check, making at most most runs. It returns the options and the result of the
// smallest run that it found, and how many runs it made.
//
// Without a fault everything after it goes differently, so a smaller run may
// miss by chance what it should show: each is tried with a few noises.
func Shrink(opt Options, most int) (Options, Result, int) {
	const noises = 3
	opt.Trace = nil
	best := Run(opt)
	runs := 1
	if len(best.Failures) == 0 {
		return opt, best, runs
	}
	// fails tells whether the run without these faults too still fails.
	fails := func(drop []int) bool {
		for noise := range uint64(noises) {
			if runs >= most {
				return false
			}
			try := opt
			try.Noise = opt.Noise + noise
			try.Without = map[int]bool{}
			for n := range opt.Without {
				try.Without[n] = true
			}
			for _, n := range drop {
				try.Without[n] = true
			}
			r := Run(try)
			runs++
			if len(r.Failures) > 0 && checkOf(r.Failures[0]) == checkOf(best.Failures[0]) {
				opt, best = try, r
				return true
			}
		}
		return false
	}
	for size := max(1, len(best.Faults)/2); ; {
		list := numbers(best.Faults)
		less := false
		for at := 0; at < len(list); at += size {
			if fails(list[at:min(at+size, len(list))]) {
				less = true
			}
		}
		switch {
		case runs >= most, size == 1 && !less:
			return opt, best, runs
		case !less:
			size = max(1, size/2)
		}
		size = min(size, max(1, len(best.Faults)/2))
	}
}

func checkOf(failure string) string {
	name, _, _ := strings.Cut(failure, ":")
	return name
}

// numbers are the faults that happened, the latest first: what came last is the
// least likely to have mattered.
func numbers(list []Fault) []int {
	var out []int
	for _, f := range list {
		if !slices.Contains(out, f.N) {
			out = append(out, f.N)
		}
	}
	slices.Reverse(out)
	return out
}
