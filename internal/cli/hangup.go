package cli

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// hangups is what this process does at SIGHUP: all that was registered, one after another, in
// that order.
var hangups struct {
	mu      sync.Mutex // held while they run: who is removed is not running any more
	fns     []*func()
	signals chan os.Signal
	// around runs them, if it is set.
	around func(run func())
}

// onHangup runs fn at each SIGHUP until stop is called, which waits for fn to end. fn must
// not register or stop any.
func onHangup(fn func()) (stop func()) {
	h := &hangups
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.fns) == 0 {
		signals := make(chan os.Signal, 1)
		h.signals = signals
		signal.Notify(signals, syscall.SIGHUP)
		go func() {
			for range signals {
				hangup()
			}
		}()
	}
	h.fns = append(h.fns, &fn)
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, f := range h.fns {
			if f == &fn {
				h.fns = append(h.fns[:i:i], h.fns[i+1:]...)
				break
			}
		}
		if len(h.fns) == 0 {
			signal.Stop(h.signals)
			close(h.signals) // ends the goroutine
		}
	})
}

// hangup does what is registered.
func hangup() {
	h := &hangups
	h.mu.Lock()
	defer h.mu.Unlock()
	run := func() {
		for _, fn := range h.fns {
			(*fn)()
		}
	}
	if h.around != nil {
		h.around(run)
		return
	}
	run()
}

// aroundHangups has around run what is registered from now on; nil: nothing does.
func aroundHangups(around func(run func())) {
	hangups.mu.Lock()
	defer hangups.mu.Unlock()
	hangups.around = around
}
