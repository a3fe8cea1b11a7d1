package loop

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rest is a wait for events that is likely to last. The goroutine waits as one does
// for a socket: by the runtime's own poller, to which the epoll descriptor is one that may have
// something to read. In a system call that lasts it would keep a P, which sysmon
// takes from it after 10 ms; up to then it looks fifty times, and again each time that the
// process wakes. That was a third of what an idle daemon used.
type rest struct {
	epfd  int
	timer int // timerfd, edge-triggered: none is read
	file  *os.File
	conn  syscall.RawConn
	evs   []unix.EpollEvent
	n     int
}

// newRest makes one for epfd, to which its timer is added as an event with Pad 0 that nobody needs.
func newRest(epfd int) (*rest, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("loop: timerfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(timer)}
	fd := -1
	if err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, timer, &ev); err == nil {
		fd, err = unix.FcntlInt(uintptr(epfd), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // else the runtime does not poll it
	}
	if err != nil {
		unix.Close(timer)
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("loop: epoll in epoll: %w", err)
	}
	r := &rest{epfd: epfd, timer: timer, file: os.NewFile(uintptr(fd), "epoll")}
	if r.conn, err = r.file.SyscallConn(); err == nil {
		err = r.file.SetReadDeadline(time.Time{}) // the runtime polls it, or says that it cannot
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("loop: epoll in epoll: %w", err)
	}
	return r, nil
}

func (r *rest) close() {
	r.file.Close()
	unix.Close(r.timer)
}

// wait waits for events for d at most; negative: no bound.
func (r *rest) wait(evs []unix.EpollEvent, d time.Duration) int {
	var spec unix.ItimerSpec // zero: never
	if d >= 0 {
		spec.Value = unix.NsecToTimespec(max(1, int64(d)))
	}
	if err := unix.TimerfdSettime(r.timer, 0, &spec, nil); err != nil {
		panic("loop: timerfd_settime: " + err.Error()) // the descriptor is gone: a bug
	}
	r.evs, r.n = evs, 0
	err := r.conn.Read(r.look)
	r.evs = nil
	if err != nil && !errors.Is(err, os.ErrClosed) {
		panic("loop: epoll in epoll: " + err.Error())
	}
	return r.n
}

func (r *rest) look(uintptr) bool {
	r.n = epollNow(r.epfd, r.evs)
	return r.n > 0
}
