package loop

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

// acceptPause is for how long a listener rests when the process or the system
// has no room for another connection. The event would come again at once, and
// nothing changes until some connection closes.
const acceptPause = 100 * time.Millisecond

// A poller is where a loop sleeps and its events come from.
type poller interface {
	// poll runs the callbacks of the events that have come. If the core is idle
	// it first waits for one, no longer than to the core's next timer.
	poll()
	// wake ends a wait of poll. Any goroutine.
	wake()
	// release closes what the loop itself holds, after the last turn.
	release()
}

// core is what all loops share: turns, posted functions, timers, hooks, the set
// of connections and their buffers.
type core struct {
	poller poller

	mu       sync.Mutex
	posts    []func()
	sleeping bool // poll waits, or is about to: the next Post must wake it
	ended    bool
	waking   sync.WaitGroup // calls of wake: release must come after them
	aside    sync.WaitGroup // goroutines of TLS connections that are not the loop's yet, or no more

	running   []func() // the posts being run; swapped with posts
	stopping  bool
	late      []func() // made by callbacks for the next turn
	lateSpare []func()
	timers    timerHeap
	hooks     []func()
	onError   func(error)

	dirty      []*conn // to be flushed at the turn's end
	dirtySpare []*conn
	conns      map[*conn]struct{}
	listeners  map[Listener]struct{} // under mu: Listen before Run
	bufs       bufPool
	scratch    []byte // all reads go through it, unless a long tail is kept
}

func (l *core) init(p poller) {
	l.poller = p
	l.conns = map[*conn]struct{}{}
	l.listeners = map[Listener]struct{}{}
	l.scratch = make([]byte, scratchSize)
	l.onError = func(err error) { slog.Warn("event loop", "err", err) }
}

func (l *core) OnTurnEnd(fn func())    { l.hooks = append(l.hooks, fn) }
func (l *core) OnError(fn func(error)) { l.onError = fn }

func (l *core) Post(fn func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, fn)
	wake := l.sleeping
	l.sleeping = false // one wake for each sleep
	if wake {
		l.waking.Add(1)
	}
	l.mu.Unlock()
	if wake {
		l.poller.wake()
		l.waking.Done()
	}
	return true
}

func (l *core) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.Post(func() { l.stopping = true })
	})
	defer stop()
	// A busy loop never blocks. With one processor it would leave others only
	// what the runtime takes from it every 10 ms; with more it must not yield
	// while busy, as it may get no processor back for as long.
	alone := runtime.GOMAXPROCS(0) == 1
	for !l.stopping {
		if alone {
			runtime.Gosched()
		}
		l.poller.poll()
		l.turn()
	}
	l.end()
	return nil
}

// turn is what follows the events.
func (l *core) turn() {
	l.runLate()
	l.runPosts()
	l.runTimers()
	for _, fn := range l.hooks {
		fn()
	}
	l.flush()
}

// end is the loop's last act. Callbacks may still post and write here; posts are
// refused, so whoever waits for one to run knows.
func (l *core) end() {
	l.mu.Lock()
	l.ended = true
	posts := l.posts
	l.posts = nil
	l.mu.Unlock()
	for _, fn := range posts {
		fn()
	}
	for _, fn := range l.hooks {
		fn()
	}
	l.flush()
	for li := range l.listeners { // Close deletes them
		li.Close()
	}
	// OnClose may dial, and what it dials must be closed too.
	for len(l.conns) > 0 || len(l.late) > 0 {
		for c := range l.conns {
			c.end(ErrStopped)
		}
		l.runLate()
	}
	l.aside.Wait() // they may still post
	l.waking.Wait()
	l.poller.release()
}

// later runs fn in the next turn, or in this one if its events are not done.
func (l *core) later(fn func()) { l.late = append(l.late, fn) }

func (l *core) runLate() {
	late := l.late
	l.late = l.lateSpare[:0]
	for i, fn := range late {
		late[i] = nil
		fn()
	}
	l.lateSpare = late
}

func (l *core) runPosts() {
	l.mu.Lock()
	l.sleeping = false
	l.posts, l.running = l.running[:0], l.posts
	l.mu.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		fn()
	}
	if cap(l.running) > 1<<16 { // a burst must not stay in memory for ever
		l.running = nil
	}
}

// busy reports whether the loop has something to do without any event.
func (l *core) busy() bool {
	if len(l.late) > 0 || len(l.dirty) > 0 {
		return true
	}
	l.mu.Lock()
	n := len(l.posts)
	l.mu.Unlock()
	return n > 0
}

// sleep announces that poll will wait, and for how long at most (negative: no
// bound). False: it must not, something is due.
func (l *core) sleep() (time.Duration, bool) {
	d := l.untilTimer()
	if d == 0 || len(l.late) > 0 || len(l.dirty) > 0 {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posts) > 0 {
		return 0, false
	}
	l.sleeping = true // runPosts, or a Post, takes it back
	return d, true
}

// touch has c flushed, and its interest in events renewed, at the turn's end.
func (l *core) touch(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

func (l *core) flush() {
	dirty := l.dirty
	l.dirty = l.dirtySpare[:0]
	for i, c := range dirty {
		dirty[i] = nil
		c.dirty = false
		c.flush()
	}
	l.dirtySpare = dirty
}

func (l *core) addListener(li Listener) {
	l.mu.Lock()
	l.listeners[li] = struct{}{}
	l.mu.Unlock()
}

func (l *core) dropListener(li Listener) {
	l.mu.Lock()
	delete(l.listeners, li)
	l.mu.Unlock()
}
