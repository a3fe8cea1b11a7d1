package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// These system calls return at once on non-blocking descriptors, so they are
// made raw: entering and leaving the scheduler would cost more than it gives.

// rawMax bounds one call, because the runtime cannot stop the goroutine in it.
const rawMax = 256 << 10

func rawRead(fd int, p []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(min(len(p), rawMax)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(min(len(p), rawMax)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

// epollNow takes the events that are there.
func epollNow(epfd int, evs []unix.EpollEvent) int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(evs))), uintptr(len(evs)), 0, 0, 0)
	return events(int(n), e)
}

// epollWait waits for events; the scheduler gives the processor to others.
func epollWait(epfd int, evs []unix.EpollEvent, ms int) int {
	n, err := unix.EpollWait(epfd, evs, ms)
	e, _ := err.(unix.Errno)
	return events(n, e)
}

func events(n int, e unix.Errno) int {
	if e == unix.EINTR {
		return 0
	}
	if e != 0 {
		panic("loop: epoll_wait: " + e.Error()) // the descriptor is gone: a bug
	}
	return n
}
