package loop

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// epollLoop waits with level-triggered epoll. Its sockets never block, so it
// reads and writes with raw system calls, which the Go scheduler does not hear
// of; only a wait that may last goes through it (sys_linux.go).
type epollLoop struct {
	core
	epfd   int
	wakefd int // eventfd, edge-triggered: each write is one event, none is read

	reg   sync.Mutex // Listen may be called from several goroutines before Run
	slots []slot     // by file descriptor
	gen   int32
	evs   []unix.EpollEvent

	lookout lookout
	rest    *rest
}

// slot is what a descriptor belongs to. The generation is in each event, so an
// event of a connection that was closed earlier in the turn does not reach
// another that has got the same descriptor.
type slot struct {
	gen int32
	src source
}

type source interface {
	event(mask uint32)
}

// New makes a loop of this system's best kind.
func New() (Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: epoll_create: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("loop: eventfd: %w", err)
	}
	l := &epollLoop{epfd: epfd, wakefd: wakefd, evs: make([]unix.EpollEvent, 256), lookout: newLookout()}
	l.init(l)
	if l.rest, err = newRest(epfd); err != nil {
		l.release()
		return nil, err
	}
	if err := l.add(wakefd, unix.EPOLLIN|unix.EPOLLET, wakeSource{}); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

type wakeSource struct{}

func (wakeSource) event(uint32) {}

func (l *epollLoop) wake() {
	one := [8]byte{1}
	rawWrite(l.wakefd, one[:])
}

func (l *epollLoop) release() {
	if l.rest != nil {
		l.rest.close()
	}
	unix.Close(l.epfd)
	unix.Close(l.wakefd)
}

func (l *epollLoop) poll() {
	n := epollNow(l.epfd, l.evs)
	if n == 0 && !l.busy() && l.untilTimer() != 0 {
		if n = l.lookout.look(l.epfd, l.evs, l.busy); n == 0 {
			if d, ok := l.sleep(); ok {
				n = l.lookout.sleep(l.rest, l.evs, d)
			}
		}
	}
	l.dispatch(n)
}

// dispatch gives the first n of evs to whom they are for.
func (l *epollLoop) dispatch(n int) {
	for i := range n {
		ev := &l.evs[i]
		if s := &l.slots[ev.Fd]; s.gen == ev.Pad && s.src != nil {
			s.src.event(ev.Events)
		}
	}
	if n == len(l.evs) && n < 4096 {
		l.evs = make([]unix.EpollEvent, 2*n)
	}
}

// millis rounds up: to wake before a timer is due would be to spin.
func millis(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, 1<<30))
}

func (l *epollLoop) add(fd int, mask uint32, src source) error {
	l.reg.Lock()
	defer l.reg.Unlock()
	for fd >= len(l.slots) {
		l.slots = append(l.slots, slot{})
	}
	l.gen++
	ev := unix.EpollEvent{Events: mask, Fd: int32(fd), Pad: l.gen}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("loop: epoll_ctl: %w", err)
	}
	l.slots[fd] = slot{l.gen, src}
	return nil
}

func (l *epollLoop) change(fd int, mask uint32) {
	ev := unix.EpollEvent{Events: mask, Fd: int32(fd), Pad: l.slots[fd].gen}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, fd, &ev); err != nil {
		panic("loop: epoll_ctl: " + err.Error()) // fd is ours and registered
	}
}

// forget drops fd, which the caller closes next.
func (l *epollLoop) forget(fd int) { l.slots[fd].src = nil }

// unregister is for a socket that lives on under another descriptor.
func (l *epollLoop) unregister(fd int) {
	l.forget(fd)
	unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// lookout decides how long a loop without work looks for events before it sleeps. To be
// woken costs a processor that has gone idle, and who wakes it, more than to look on for so long as
// the next event is likely to take: messages of one operation go to and fro. It is as long as
// sleeps have been worth less than it, and none where they last, as with the kernel's
// halt_poll_ns. With yields between the looks whoever else has work goes first.
//
// (Not runtime.Gosched: since it wakes an idle thread each time, it doubled the
// threads' switches.)
type lookout struct {
	span   time.Duration
	lasted time.Duration // the last sleep
	none   bool          // there is one processor: whoever has the event needs it
}

func newLookout() lookout { return lookout{none: runtime.GOMAXPROCS(0) == 1} }

const (
	maxPatience = 50 * time.Microsecond
	newPatience = 20 * time.Microsecond // after a first short sleep
	minPatience = 5 * time.Microsecond
	// longSleep: after a sleep as long the next one is a rest. Shorter ones are better in the
	// system call: sysmon leaves a P there for 10 ms, and looks ever less often, while each rest
	// that ends has it look fifty times.
	longSleep = 5 * time.Millisecond
)

// look looks until something has come, or for as long as it seems worth it.
func (p *lookout) look(epfd int, evs []unix.EpollEvent, busy func() bool) int {
	if p.span == 0 || p.none {
		return 0
	}
	for end := time.Now().Add(p.span); ; {
		unix.RawSyscallNoError(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if n := epollNow(epfd, evs); n > 0 || busy() || !time.Now().Before(end) {
			return n
		}
	}
}

// sleep waits for events for d at most; negative: no bound. It may end before without any.
func (p *lookout) sleep(r *rest, evs []unix.EpollEvent, d time.Duration) (n int) {
	began := time.Now()
	switch {
	case p.lasted >= longSleep:
		n = r.wait(evs, d)
	case d < 0 || d > longSleep:
		n = epollWait(r.epfd, evs, millis(longSleep))
	default:
		n = epollWait(r.epfd, evs, millis(d))
	}
	p.slept(time.Since(began))
	return n
}

// slept learns from a sleep.
func (p *lookout) slept(d time.Duration) {
	p.lasted = d
	switch {
	case d <= maxPatience:
		p.span = min(max(2*p.span, newPatience), maxPatience)
	case p.span < 2*minPatience:
		p.span = 0
	default:
		p.span /= 2
	}
}
