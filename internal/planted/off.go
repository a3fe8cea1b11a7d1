//go:build !planted

package planted

// Is tells whether the bug is switched on: never in this build.
func Is(Bug) bool { return false }
