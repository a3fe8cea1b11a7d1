package router

import "time"

// watchInterval is how often connections are looked at that owe an answer.
const watchInterval = 500 * time.Millisecond

func (r *Router) armWatch() {
	if !r.watching {
		r.watching, r.watchDue = true, r.clock()+int64(watchInterval)
		r.loop.After(watchInterval, r.watch)
	}
}

// watch gives up connections on which nothing has come for too long: their calls
// are sent again on another (OnClose). A process that stood still itself, or was busy
// for so long that this comes late, says nothing: it may not have read what came.
func (r *Router) watch() {
	r.watching = false
	now := r.clock()
	if now-r.watchDue >= int64(watchInterval) {
		r.armWatch()
		return
	}
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
