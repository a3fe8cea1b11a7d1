package loop

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// Posts of one goroutine run in their order, and all of them run.
func TestPost(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const goroutines, posts = 8, 5000
		l := r.loop()
		var last [goroutines]int // on the loop
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range posts {
					l.Post(func() {
						if last[g] != i {
							t.Errorf("post %d of %d ran after %d", i, g, last[g])
						}
						last[g]++
					})
				}
			})
		}
		wg.Wait()
		do(t, l, func() {
			for g, n := range last {
				if n != posts {
					t.Errorf("%d posts of %d ran", n, g)
				}
			}
		})
	})
}

// A Post that was true runs, even if the loop ends at the same time.
func TestPostAtEnd(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.make()
		stop := startLoop(t, l)
		ran, accepted := 0, 0
		begun, done := make(chan bool), make(chan bool)
		go func() {
			defer close(done)
			for l.Post(func() { ran++ }) {
				if accepted++; accepted == 100 {
					close(begun)
				}
			}
		}()
		await(t, begun)
		stop()
		await(t, done)
		if ran != accepted {
			t.Errorf("%d ran of %d", ran, accepted)
		}
	})
}

// A turn runs posts, then timers, then hooks, then flushes; what hooks post is
// for the next turn.
func TestTurn(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		addr := r.listen(r.loop(), echo)
		l := r.make()
		var order []string
		on := false
		note := func(s string) {
			if on {
				order = append(order, s)
			}
		}
		posted := false
		var c Conn
		got := make(chan []byte, 1)
		l.OnTurnEnd(func() {
			note("hook 1")
			if on && !posted {
				posted = true
				c.Write([]byte("hook"))
				if c.Buffered() != 8 {
					t.Errorf("%d bytes buffered in the turn", c.Buffered())
				}
				l.Post(func() {
					note("post of hook")
					if c.Buffered() != 0 && r.kind != "net" { // there a goroutine writes
						t.Error("not flushed at the end of the turn")
					}
				})
			}
		})
		l.OnTurnEnd(func() { note("hook 2") })
		opened := make(chan bool)
		startLoop(t, l)
		do(t, l, func() {
			c = l.Dial(addr, patience, &calls{
				open: func(Conn) { close(opened) },
				data: collect(8, got),
			})
		})
		await(t, opened)
		do(t, l, func() {
			on = true
			c.Write([]byte("post"))
			l.After(0, func() { note("timer") })
			l.Post(func() { note("post of post") })
			note("post")
		})
		if b := await(t, got); string(b) != "posthook" {
			t.Errorf("sent %q", b)
		}
		do(t, l, func() {
			on = false
			want := []string{"post", "timer", "hook 1", "hook 2", "post of post", "post of hook"}
			if len(order) < len(want) || !slices.Equal(order[:len(want)], want) {
				t.Errorf("order %q", order)
			}
		})
	})
}

func TestTimers(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.loop()
		var ran []int // in milliseconds
		done := make(chan bool)
		begin := time.Now()
		do(t, l, func() {
			var stopped []Timer
			for _, ms := range []int{30, 10, 20, 5, 40, 20, 0} {
				l.After(time.Duration(ms)*time.Millisecond, func() {
					if d := time.Since(begin); d < time.Duration(ms)*time.Millisecond {
						t.Errorf("timer of %d ms after %v", ms, d)
					}
					ran = append(ran, ms)
				})
				stopped = append(stopped, l.After(time.Duration(ms)*time.Millisecond,
					func() { t.Error("a stopped timer ran") }))
			}
			for _, tm := range stopped {
				if !tm.Stop() || tm.Stop() {
					t.Error("Stop")
				}
			}
			var last Timer
			last = l.After(50*time.Millisecond, func() {
				if last.Stop() {
					t.Error("Stop of a timer that runs")
				}
				close(done)
			})
		})
		await(t, done)
		do(t, l, func() {
			if !slices.Equal(ran, []int{0, 5, 10, 20, 20, 30, 40}) {
				t.Errorf("ran %v", ran)
			}
		})
	})
}

// A timer that sets itself again at once does not keep posts from running.
func TestTimerAgain(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.loop()
		var again func()
		again = func() { l.After(0, again) }
		do(t, l, func() { again() })
		for range 100 {
			do(t, l, func() {})
		}
	})
}

// Idle connections hold no buffers.
func TestIdleMemory(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const conns = 2000
		limit := map[string]int{"new": 1 << 10, "net": 24 << 10, "memory": 6 << 10, "group": 6 << 10}[r.kind]
		l := r.loop()
		echoed := make(chan bool, conns)
		addr := r.listen(l, echo)
		before := inUse()
		do(t, l, func() {
			for range conns {
				l.Dial(addr, patience, &calls{
					open: func(c Conn) { c.Write(make([]byte, 3000)) },
					data: func(c Conn, b []byte) int {
						if len(b) < 3000 {
							return 0
						}
						echoed <- true
						return len(b)
					},
				})
			}
		})
		for range conns {
			await(t, echoed)
		}
		do(t, l, func() {})
		var pool int // is for the whole loop, and bounded
		do(t, l, func() { pool = coreOf(l).bufs.kept })
		if per := (inUse() - before - pool) / (2 * conns); per > limit {
			t.Errorf("%d bytes for each end, want %d at most", per, limit)
		} else {
			t.Logf("%d bytes for each end", per)
		}
	})
}

func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

func coreOf(l Loop) *core {
	switch l := l.(type) {
	case *netLoop:
		return &l.core
	case *memLoop:
		return &l.core
	}
	return nativeCore(l)
}
