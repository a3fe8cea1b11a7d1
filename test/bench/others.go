package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// meter tells how much of the machine others used: figures of a machine that was not
// quiet are worth little, and whoever reads them should know.
type meter struct {
	begin time.Time
	busy  time.Duration // of all processors
	ours  time.Duration // this process's, and that of its processes that have ended
}

func startMeter() (m meter, err error) {
	m.begin = time.Now()
	if m.busy, err = busyTime(); err != nil {
		return m, err
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return m, err
		}
		m.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return m, nil
}

// others is the processors that others used since then. The section's processes must
// have ended.
func (m meter) others() (processors float64, err error) {
	now, err := startMeter()
	if err != nil {
		return 0, err
	}
	used := now.busy - m.busy - (now.ours - m.ours)
	return max(0, used.Seconds()/now.begin.Sub(m.begin).Seconds()), nil
}

// busyTime is how long processors were not idle, all together, since the machine started.
func busyTime() (busy time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	const tick = time.Second / 100
	for i, digits := range f[1:8] { // user nice system idle iowait irq softirq
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			busy += time.Duration(n) * tick
		}
	}
	return busy, nil
}
