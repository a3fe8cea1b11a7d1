package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
)

const (
	// leavePoll is how often a server that is about to stop looks whether it may.
	leavePoll = 20 * time.Millisecond
	// leaveAlone is how long it waits for a manager to be there at all.
	leaveAlone = time.Second
)

// leaver is what this server wants to be rid of: nothing, its leadership
// (kumoctl drain), or all its roles before it stops.
type leaver struct {
	level    atomic.Int32 // control.Leaving; reports carry it
	linked   atomic.Bool  // with a manager
	once     sync.Once
	released chan struct{} // closed when a manager says that it may stop
}

// wants is what reports are to say.
func (l *leaver) wants() control.Leaving { return control.Leaving(l.level.Load()) }

// set changes that; who wants to stop does not go back.
func (l *leaver) set(how control.Leaving) {
	for {
		old := l.level.Load()
		if old == int32(control.Stops) || l.level.CompareAndSwap(old, int32(how)) {
			return
		}
	}
}

// onReleased takes the managers' word that nothing more is taken over.
func (l *leaver) onReleased(r control.Released) {
	if r.Leaving == control.Stops {
		l.once.Do(func() { close(l.released) })
	}
}

// leave has others take this server's roles, so that nobody has to find out that it has
// ended. It blocks until they have, or cannot; until no manager is to be had; for
// DrainTimeout at most; or until ctx ends.
func (n *node) leave(ctx context.Context) {
	if n.cfg.DrainTimeout <= 0 {
		return
	}
	limit, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
	defer cancel()
	member := false
	if n.onLoop(limit, func() { member = n.member }) != nil {
		return
	}
	if member {
		n.handOver(ctx, limit)
	}
	n.closeText(ctx)
}

// handOver is what leave does of partitions.
func (n *node) handOver(ctx, limit context.Context) {
	began := time.Now()
	n.leaving.set(control.Stops)
	n.log.Info("handing over before the end")
	poll := time.NewTicker(leavePoll)
	defer poll.Stop()
	for seen := began; ; {
		select {
		case <-n.leaving.released:
			n.log.Info("handed over", "after", time.Since(began).Round(time.Millisecond))
			return
		case <-limit.Done():
			if ctx.Err() == nil {
				n.log.Warn("this server ends before all its partitions were handed over: others take them when they find it gone", "after", n.cfg.DrainTimeout)
			}
			return
		case now := <-poll.C:
			if n.leaving.linked.Load() {
				seen = now
			} else if now.Sub(seen) > leaveAlone {
				n.log.Info("no manager is there to hand over to")
				return
			}
		}
	}
}

// textStops bounds how long clients of the text port have for what they asked for.
const textStops = 2 * time.Second

// closeText answers what clients of the text port have asked for, and closes them.
func (n *node) closeText(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, textStops)
	defer cancel()
	var text *frontend.Frontend
	if n.onLoop(ctx, func() {
		if text = n.text; text != nil {
			n.textPort.Close()
			text.Stop()
		}
	}) != nil || text == nil {
		return
	}
	poll := time.NewTicker(leavePoll / 4)
	defer poll.Stop()
	for text.Clients() > 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
