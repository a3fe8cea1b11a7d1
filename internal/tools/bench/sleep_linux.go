package bench

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exact makes the calling goroutine's sleeps exact until undo.
func exact() (undo func()) {
	runtime.LockOSThread()
	// The kernel adds 50 us otherwise, so as to wake for several sleepers at once.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // as it was
		// Were it not unlocked the thread would end, and its CPU time would not be
		// counted any more.
		runtime.UnlockOSThread()
	}
}

// sleep is more exact than time.Sleep, which rounds up to a millisecond when nothing
// else runs. A signal ends it early, which does no harm.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	if d > time.Millisecond {
		_ = unix.Nanosleep(&ts, nil)
		return
	}
	// Raw: the scheduler would hand this thread's processor to another, which costs
	// more than the sleep. It waits this long at most where it wants to stop all.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}
