package loop

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Group is loops of one process that take turns on one goroutine and reach each
// other without sockets: for several daemons in one process. What would be a wakeup
// of another thread, or another process, is the next turn there.
//
// Each of its loops is a loop as New makes it, with its own turns, and its Run returns when
// that one has ended; only the goroutine is Group.Run's. So a callback that blocks
// holds up all of them.
type Group struct {
	net  *MemNetwork
	epfd int  // of the loops' own
	own  Loop // by it Run hears of its ctx

	mu    sync.Mutex
	added []*groupLoop // not yet among loops
	over  bool         // Run has returned, or is about to
	loops []*groupLoop // Run's
	evs   []unix.EpollEvent

	lookout lookout
	rest    *rest
}

// groupRounds is how many turns in a row the loops have without a look at their sockets
// when they give each other work: what a request leads to is done together, and
// others' requests wait no longer than that.
const groupRounds = 8

// groupLoop is a loop of a group.
type groupLoop struct {
	*epollLoop
	g     *Group
	ready bool // its sockets have events
	ended chan struct{}
}

// NewGroup makes a group without loops. Loops of several groups reach each other
// in memory if they have the same network.
func NewGroup(network *MemNetwork) (*Group, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: epoll_create: %w", err)
	}
	g := &Group{net: network, epfd: epfd, evs: make([]unix.EpollEvent, 64), lookout: newLookout()}
	if g.rest, err = newRest(epfd); err != nil {
		unix.Close(epfd)
		return nil, err
	}
	if g.own, err = g.Loop(); err != nil {
		g.rest.close()
		unix.Close(epfd)
		return nil, err
	}
	return g, nil
}

// Loop makes a loop, which takes its turns on Run's goroutine from when its own Run is called.
func (g *Group) Loop() (Loop, error) {
	l, err := New()
	if err != nil {
		return nil, err
	}
	return &groupLoop{epollLoop: l.(*epollLoop), g: g, ended: make(chan struct{})}, nil
}

// Run takes the loops' turns until ctx is done and all that run have ended.
func (g *Group) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	watch.Go(func() { _ = g.own.Run(ctx) })
	alone := runtime.GOMAXPROCS(0) == 1 // see core.Run
	for g.take(ctx) {
		if alone {
			runtime.Gosched()
		}
		g.poll()
		g.turns()
	}
	watch.Wait()
	g.rest.close()
	unix.Close(g.epfd)
	return nil
}

// take sees loops that have been run since. False: it is over.
func (g *Group) take(ctx context.Context) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loops = append(g.loops, g.added...)
	clear(g.added)
	g.added = g.added[:0]
	g.over = len(g.loops) == 0 && ctx.Err() != nil
	return !g.over
}

// poll runs the callbacks of events, as epollLoop.poll does for one loop.
func (g *Group) poll() {
	n := epollNow(g.epfd, g.evs)
	if n == 0 && !g.busy() {
		if n = g.lookout.look(g.epfd, g.evs, g.busy); n == 0 {
			if d, ok := g.sleep(); ok {
				n = g.lookout.sleep(g.rest, g.evs, d)
			}
		}
	}
	for i := range n {
		for _, m := range g.loops {
			if int32(m.epfd) == g.evs[i].Fd {
				m.ready = true
			}
		}
	}
	for _, m := range g.loops {
		if m.ready {
			m.dispatch(epollNow(m.epfd, m.evs))
		}
	}
}

// busy reports whether a loop has something to do without any event.
func (g *Group) busy() bool {
	for _, m := range g.loops {
		if m.busy() || m.untilTimer() == 0 {
			return true
		}
	}
	return false
}

// sleep announces that poll will wait, as core.sleep does.
func (g *Group) sleep() (wait time.Duration, ok bool) {
	wait = -1
	for _, m := range g.loops {
		d, ok := m.sleep()
		if !ok {
			return 0, false
		}
		if d >= 0 && (wait < 0 || d < wait) {
			wait = d
		}
	}
	return wait, true
}

// turns has every loop that has something to do take its turn, and again while they give
// each other more.
func (g *Group) turns() {
	for range groupRounds {
		again := false
		for i := 0; i < len(g.loops); i++ {
			m := g.loops[i]
			if !m.ready && !m.busy() && m.untilTimer() != 0 {
				m.awake()
				continue
			}
			m.ready = false
			m.turn()
			again = true
			if m.stopping {
				m.end()
				close(m.ended)
				g.loops = append(g.loops[:i], g.loops[i+1:]...)
				i--
			}
		}
		if !again || len(g.loops) == 0 {
			return
		}
	}
}

// awake takes back what sleep announced.
func (l *core) awake() {
	l.mu.Lock()
	l.sleeping = false
	l.mu.Unlock()
}

// Run waits until the loop has ended: its turns are Group.Run's, unless that has returned.
func (m *groupLoop) Run(ctx context.Context) error {
	joined, err := m.join()
	if !joined {
		return errors.Join(err, m.epollLoop.Run(ctx))
	}
	stop := context.AfterFunc(ctx, func() {
		m.Post(func() { m.stopping = true })
	})
	defer stop()
	<-m.ended
	return nil
}

// join has the group take the loop's turns.
func (m *groupLoop) join() (bool, error) {
	g := m.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false, nil
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(m.epfd)}
	if err := unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, m.epfd, &ev); err != nil {
		return false, fmt.Errorf("loop: epoll_ctl: %w", err)
	}
	g.added = append(g.added, m)
	m.wake() // the group's, too
	return true, nil
}

// groupListener takes connections from sockets, and from loops of the network.
type groupListener struct {
	Listener
	near *memListener
}

func (li groupListener) Close() {
	li.near.Close()
	li.Listener.Close()
}

func (m *groupLoop) Listen(addr string, accept func(Conn) Handler) (Listener, error) {
	far, err := m.epollLoop.Listen(addr, accept)
	if err != nil {
		return nil, err
	}
	near, err := m.g.net.listen(&m.core, far.Addr(), accept)
	if err != nil {
		far.Close()
		return nil, err
	}
	m.addListener(near)
	return groupListener{far, near}, nil
}

func (m *groupLoop) Dial(addr string, timeout time.Duration, h Handler) Conn {
	li, hole := m.g.net.find(addr)
	if li == nil && !hole {
		return m.epollLoop.Dial(addr, timeout, h)
	}
	return m.g.net.dial(&m.core, li, hole, addr, timeout, h)
}
