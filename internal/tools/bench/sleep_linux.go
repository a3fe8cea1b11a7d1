package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is more exact than time.Sleep, which rounds up to a millisecond when nothing
// else runs.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early, which does no harm
}
