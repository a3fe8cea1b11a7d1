package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// statusEvery is how often the service manager is told how the daemon is, where it asks for
// no signs of life.
const statusEvery = 10 * time.Second

// Supervisor tells who started a daemon how it is: the command line that -d gave back to
// when it is up, and the service manager (systemd's protocol: $NOTIFY_SOCKET, $WATCHDOG_USEC) when it
// is up, reads its files again, stops, and that it lives. Without these it does nothing.
type Supervisor struct {
	log    *slog.Logger
	detach func() // of -d; nil: none

	notify bool          // there is a service manager
	every  time.Duration // between signs of life
	probe  atomic.Pointer[func(context.Context) (string, error)]
	ready  chan struct{} // closed by Up
	once   sync.Once
	life   context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // the goroutine has ended
	unhang func()
}

// Supervise makes the Supervisor of a daemon whose body ends with ctx; Close ends it.
func Supervise(ctx context.Context, log *slog.Logger) *Supervisor {
	s := &Supervisor{log: log, ready: make(chan struct{}), done: make(chan struct{}), every: statusEvery}
	s.life, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if os.Getenv("NOTIFY_SOCKET") == "" {
		close(s.done)
		return s
	}
	s.notify = true
	switch watchdog, err := daemon.SdWatchdogEnabled(false); {
	case err != nil:
		log.Warn("the service manager gets no signs of life, for how often it wants them is not understood", "error", err)
	case watchdog > 0:
		// Not half of it: one probe that is not answered in time must not end a daemon.
		s.every = max(watchdog/4, time.Millisecond)
	}
	// SIGHUP ends a process that has nothing to read again; "systemctl reload" must not.
	s.unhang = onHangup(func() {})
	aroundHangups(s.reload)
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
	return s
}

// Watch has signs of life depend on probe, which asks the event loop and tells in a few words
// how the daemon is. It is called on another goroutine, one at a time, and should heed its context. The
// newest probe counts.
func (s *Supervisor) Watch(probe func(context.Context) (status string, err error)) {
	s.probe.Store(&probe)
}

// Up says that the daemon is up: it listens, and what it needs to begin is there. Any
// goroutine may call it; once is enough.
func (s *Supervisor) Up() {
	s.once.Do(func() {
		if s.detach != nil {
			s.detach()
		}
		s.say(daemon.SdNotifyReady)
		close(s.ready)
	})
}

// Close says that the daemon stops, if that was not said.
func (s *Supervisor) Close() {
	if s.notify {
		aroundHangups(nil)
		s.unhang()
	}
	s.cancel()
	<-s.done
}

// say sends a message; one that cannot be sent is no reason not to serve.
func (s *Supervisor) say(state string) {
	if !s.notify {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Debug("cannot tell the service manager", "state", state, "error", err)
	}
}

// run gives signs of life until Close, and says when ctx ends that the daemon stops: it may hand
// its work over meanwhile.
func (s *Supervisor) run(ctx context.Context) {
	stopping := sync.OnceFunc(func() { s.say(daemon.SdNotifyStopping) })
	up, stops := s.ready, ctx.Done()
	var ticks <-chan time.Time
	said, silent := "", false
	for {
		select {
		case <-s.life.Done():
			stopping()
			return
		case <-stops:
			stops = nil
			stopping()
			continue
		case <-up:
			up = nil
			t := time.NewTicker(s.every)
			defer t.Stop()
			ticks = t.C
		case <-ticks:
		}
		status, err := s.ask()
		if err != nil && (s.life.Err() != nil || ctx.Err() != nil) {
			continue // a daemon that stops need not answer
		}
		state := daemon.SdNotifyWatchdog
		if err != nil {
			state, status = "", fmt.Sprintf("the event loop does not answer: %v", err)
			if !silent {
				s.log.Warn("the service manager gets no sign of life, for the event loop does not answer", "error", err)
			}
		}
		silent = err != nil
		if status != said {
			said = status
			state += "\nSTATUS=" + status
		}
		if state != "" {
			s.say(state)
		}
	}
}

// ask asks the event loop.
func (s *Supervisor) ask() (status string, err error) {
	probe := s.probe.Load()
	if probe == nil {
		return "up", nil
	}
	ctx, cancel := context.WithTimeout(s.life, s.every)
	defer cancel()
	return (*probe)(ctx)
}

// reload tells of what is done at SIGHUP, if the daemon is up: READY=1 before would say that it is.
func (s *Supervisor) reload(run func()) {
	select {
	case <-s.ready:
	default:
		run()
		return
	}
	state := daemon.SdNotifyReloading
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
		state += fmt.Sprintf("\nMONOTONIC_USEC=%d", ts.Nano()/1000)
	}
	s.say(state)
	run()
	s.say(daemon.SdNotifyReady)
}
