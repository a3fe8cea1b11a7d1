//go:build unix

package frontend

import "syscall"

// cpuMicros is the process's CPU time in microseconds.
func cpuMicros() (user, system uint64) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, 0
	}
	return micros(r.Utime), micros(r.Stime)
}

func micros(t syscall.Timeval) uint64 { return uint64(t.Nano() / 1000) }
