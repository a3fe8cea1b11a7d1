package router

import "time"

const (
	// directAgain is how long after a server was reached through another one a
	// direct connection is tried; twice as long each time that it did not last.
	directAgain     = 5 * time.Second
	directAgainMost = 5 * time.Minute
)

// detour is how a server is reached that answers others but not this process: a
// partial partition, of which no manager knows. When a direct connection could
// not be opened or was silent, the next goes through another server that answers
// (wire.RelayMagic), and the one after that is a direct one again.
type detour struct {
	failed bool // the last direct connection was silent or could not be opened
	// direct is an attempt at a direct connection beside the one in use.
	direct *link
	again  time.Duration
	ended  int64
}

// choose is the server through which the next connection to s is to go; nil: none.
func (d *detour) choose(s *server) *server {
	if !d.failed {
		return nil
	}
	var best *link
	for _, o := range s.r.servers {
		l := o.link
		if o == s || l == nil || !l.open || l.via != nil || l.live > 0 && s.r.clock()-max(l.heard, l.since) > int64(s.r.opt.Silence)/2 {
			continue
		}
		near := func(l *link) bool { return s.r.opt.Zone != "" && l.server.zone == s.r.opt.Zone }
		if best == nil || near(l) && !near(best) || near(l) == near(best) && l.heard > best.heard {
			best = l
		}
	}
	if best == nil {
		return nil
	}
	return best.server
}

// begun: s is reached through another server. It is left when s is reached directly.
func (d *detour) begun(s *server) {
	r := s.r
	if d.again == 0 || r.clock()-d.ended > 10*int64(d.again) {
		d.again = directAgain
	} else {
		d.again = min(2*d.again, directAgainMost)
	}
	l := s.link
	var try func()
	try = func() {
		if s.link != l || r.stopped {
			return
		}
		if d.direct == nil {
			d.direct = s.newLink(nil)
		}
		r.loop.After(d.again, try)
	}
	r.loop.After(d.again, try)
}

// end has the direct connection, just opened, take over. What was sent through
// the other server is sent again as a retry (R8).
func (d *detour) end(s *server) {
	old := s.link
	s.link, d.direct = d.direct, nil
	d.failed, d.ended = false, s.r.clock()
	if old != nil {
		old.shut()
	}
}
