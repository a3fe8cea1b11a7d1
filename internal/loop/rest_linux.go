package loop

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rest is a wait for events that is likely to last. The goroutine waits as one does
// for a socket: by the runtime's own poller, to which an epoll descriptor is one that may have
// something to read. In a system call that lasts it would keep a P, which sysmon
// takes from it after 10 ms; up to then it looks fifty times, and again each time that the
// process wakes. That was a third of what an idle daemon used.
//
// The runtime polls outer, in which the loop's descriptor is armed only while it rests: else each
// of its events would wake a thread of the runtime's, too.
type rest struct {
	epfd  int
	outer int
	timer int // timerfd, in outer
	file  *os.File
	conn  syscall.RawConn
	own   [2]unix.EpollEvent
	evs   []unix.EpollEvent
	n     int
}

func newRest(epfd int) (_ *rest, err error) {
	r := &rest{epfd: epfd, timer: -1}
	if r.outer, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("loop: epoll_create: %w", err)
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("loop: timerfd: %w", err)
	}
	// Edge-triggered: it is never read.
	timer := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(r.timer)}
	if err = unix.EpollCtl(r.outer, unix.EPOLL_CTL_ADD, r.timer, &timer); err == nil {
		err = unix.EpollCtl(r.outer, unix.EPOLL_CTL_ADD, epfd, &unix.EpollEvent{Fd: int32(epfd)})
	}
	if err == nil {
		err = unix.SetNonblock(r.outer, true) // else the runtime does not poll it
	}
	if err == nil {
		r.file = os.NewFile(uintptr(r.outer), "epoll")
		err = r.file.SetReadDeadline(time.Time{}) // it says so if it cannot
	}
	if err == nil {
		r.conn, err = r.file.SyscallConn()
	}
	if err != nil {
		return nil, fmt.Errorf("loop: epoll in epoll: %w", err)
	}
	return r, nil
}

func (r *rest) close() {
	if r.timer >= 0 {
		unix.Close(r.timer)
	}
	if r.file != nil {
		r.file.Close() // outer
	} else {
		unix.Close(r.outer)
	}
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
	r.arm(unix.EPOLLIN)
	r.evs, r.n = evs, 0
	err := r.conn.Read(r.look)
	r.evs = nil
	r.arm(0)
	if err != nil {
		panic("loop: epoll in epoll: " + err.Error())
	}
	return r.n
}

func (r *rest) arm(events uint32) {
	if err := unix.EpollCtl(r.outer, unix.EPOLL_CTL_MOD, r.epfd, &unix.EpollEvent{Events: events, Fd: int32(r.epfd)}); err != nil {
		panic("loop: epoll_ctl: " + err.Error()) // the descriptors are ours
	}
}

// look tells whether the rest is over.
func (r *rest) look(uintptr) bool {
	if r.n = epollNow(r.epfd, r.evs); r.n > 0 {
		return true
	}
	for i := range epollNow(r.outer, r.own[:]) {
		if r.own[i].Fd == int32(r.timer) {
			return true
		}
	}
	return false
}
