//go:build !unix

package frontend

// cpuMicros: not known on this system.
func cpuMicros() (user, system uint64) { return 0, 0 }
