//go:build planted

package planted

import "sync/atomic"

var (
	on   atomic.Uint32
	hits atomic.Uint64
)

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
