package router

import "time"

// watchInterval is how often connections are looked at that owe an answer.
const watchInterval = 500 * time.Millisecond

func (r *Router) armWatch() {
	if !r.watching {
		r.watching = true
		r.loop.After(watchInterval, r.watch)
	}
}

// watch gives up connections on which nothing has come for too long: their calls
// are sent again on another (OnClose).
func (r *Router) watch() {
	r.watching = false
	now := r.clock()
	for _, s := range r.servers {
		l := s.link
		if l == nil || l.live == 0 {
			continue
		}
		if now-max(l.heard, l.since) >= int64(r.opt.Silence) {
			r.log.Warn("server is silent", "addr", s.addr, "for", r.opt.Silence)
			if l.via == nil {
				s.detour.failed = true
			}
			l.shut()
			continue
		}
		r.armWatch()
	}
}
