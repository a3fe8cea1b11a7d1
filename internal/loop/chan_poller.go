package loop

import "time"

// chanPoller is the poller of loops without epoll: their events are posted by
// goroutines or by other loops, so to poll is only to sleep until a post comes.
type chanPoller struct {
	l     *core
	woken chan struct{}
}

func newChanPoller(l *core) *chanPoller {
	return &chanPoller{l, make(chan struct{}, 1)}
}

func (p *chanPoller) poll() {
	d, ok := p.l.sleep()
	if !ok {
		return
	}
	if d < 0 {
		<-p.woken
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.woken:
	case <-t.C:
	}
}

func (p *chanPoller) wake() {
	select {
	case p.woken <- struct{}{}:
	default: // a wake is pending already
	}
}

func (p *chanPoller) release() {}
