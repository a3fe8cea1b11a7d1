//go:build planted

package planted

import (
	"os"
	"sync/atomic"
)

var (
	on   atomic.Uint32
	hits atomic.Uint64
)

// A daemon of a test build has the bug that its environment names
// (KUMOFS_PLANTED), for tests on real processes.
func init() {
	name := os.Getenv("KUMOFS_PLANTED")
	if name == "" {
		return
	}
	for _, b := range All {
		if b.Name == name {
			Switch(b.Bug)
			return
		}
	}
	panic("KUMOFS_PLANTED=" + name + ": there is no such bug")
}

// Is tells whether the bug is switched on, and counts that as a hit: ask it last
// in a condition, where the rule would have made a difference.
func Is(b Bug) bool {
	if b == None || Bug(on.Load()) != b {
		return false
	}
	hits.Add(1)
	return true
}

// Switch turns one bug on and all others off; None is all off. The count of hits
// begins again.
func Switch(b Bug) {
	on.Store(uint32(b))
	hits.Store(0)
}

// Hits is how often the bug that is on has been asked for since Switch.
func Hits() uint64 { return hits.Load() }
