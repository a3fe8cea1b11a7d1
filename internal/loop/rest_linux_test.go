package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A rest ends when its time is over, and at once when there is an event, also one that came
// before it began.
func TestRest(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	e := l.(*epollLoop)
	defer e.release()
	evs := make([]unix.EpollEvent, 4)
	for range 3 {
		began := time.Now()
		e.rest.wait(evs, 20*time.Millisecond)
		if d := time.Since(began); d < 20*time.Millisecond || d > patience {
			t.Errorf("rested %v, want 20ms", d)
		}
	}
	for _, bound := range []time.Duration{-1, time.Hour} {
		e.wake()
		if n := e.rest.wait(evs, bound); n != 1 || evs[0].Fd != int32(e.wakefd) {
			t.Fatalf("%d events, want the wake that was there", n)
		}
		done := make(chan int)
		go func() { done <- e.rest.wait(evs, bound) }()
		select {
		case <-done:
			t.Fatal("ended without an event")
		case <-time.After(20 * time.Millisecond):
		}
		e.wake()
		select {
		case n := <-done:
			if n != 1 || evs[0].Fd != int32(e.wakefd) {
				t.Fatalf("%d events, want the wake", n)
			}
		case <-time.After(patience):
			t.Fatal("the wake did not end it")
		}
	}
}

// A loop rests after a sleep that lasted, and wakes for posts, timers and sockets as from any sleep.
func TestLoopRests(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	e := l.(*epollLoop)
	startLoop(t, l)
	for range 5 {
		fired := make(chan time.Duration, 1)
		began := time.Now()
		l.Post(func() { l.After(30*time.Millisecond, func() { fired <- e.lookout.lasted }) })
		if last := await(t, fired); last < longSleep {
			t.Errorf("slept %v before the timer", last)
		}
		if d := time.Since(began); d < 30*time.Millisecond {
			t.Errorf("a timer of 30ms after %v", d)
		}
	}
}
