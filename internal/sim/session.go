package sim

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// session is a gateway's session in one partition (R8).
type session struct {
	id      uint64 // 0: none
	next    uint32
	opening bool
	opened  int64 // when it was asked for: the answer may be later than a resume that it is lost in
	keeper  keeper
}

// keeper is the run of a primary in whose table a session was opened: one at rest is
// given up when there is another (internal/router).
type keeper struct {
	id          clustermap.ServerID
	incarnation uint64
}

func (g *gateway) keeper(p uint16) (k keeper) {
	if c := g.config(p); c != nil {
		k.id = c.Primary()
		if s := g.cmap.Server(k.id); s != nil {
			k.incarnation = s.Incarnation
		}
	}
	return k
}

func (c *call) isWrite() bool { return c.req.Op != item.OpGet && c.req.Op != item.OpOpenSession }

// enter gives a write its number. False: there is no session yet.
func (c *call) enter() bool {
	if c.number != 0 {
		return true
	}
	g := c.g
	s := g.sessions[c.part]
	if s == nil {
		s = &session{}
		g.sessions[c.part] = s
	}
	if s.id != 0 && s.keeper != g.keeper(c.part) && g.lowest(s.id, s.next) == s.next {
		s.id = 0
	}
	if s.id == 0 {
		if !s.opening {
			s.opening, s.keeper = true, g.keeper(c.part)
			o := &call{g: g, client: -1, req: item.Request{Op: item.OpOpenSession}, part: c.part, began: g.w.now, deadline: g.w.now + patience}
			g.calls = append(g.calls, o)
			o.send()
		}
		return false
	}
	if s.next-g.lowest(s.id, s.next) >= wire.MaxOutstanding {
		return false
	}
	c.session, c.number = s.id, s.next
	s.next++
	return true
}

// opened ends the opening of a session.
func (g *gateway) opened(c *call, res item.Result, how outcome) {
	s := g.sessions[c.part]
	s.opening = false
	if how == answered && res.Status == item.OK {
		s.id, s.next, s.opened = res.Item.Version, 1, c.began
		g.w.stats["sessions"]++
	}
}

func (c *call) lowest() uint32 {
	if c.number == 0 {
		return 0
	}
	return c.g.lowest(c.session, c.number)
}

// lowest is the session's lowest number that is outstanding.
func (g *gateway) lowest(id uint64, low uint32) uint32 {
	for _, c := range g.calls {
		if c.session == id && c.number != 0 && c.number < low {
			low = c.number
		}
	}
	return low
}

// sessionUnknown: the server does not know the session, which may only be if the
// partition has resumed after a restart since it was opened (R9).
func (c *call) sessionUnknown(s *Server) {
	g, w := c.g, c.g.w
	w.stats["session unknown"]++
	if se := g.sessions[c.part]; se.id == c.session {
		if w.resumed[c.part] < se.opened {
			w.fail(exactlyOnce, "%s does not know session %s of p%d, opened at %.3f; its last resume was at %.3f", s.name,
				version(c.session), c.part, float64(se.opened)/1e6, float64(w.resumed[c.part])/1e6)
		}
		se.id = 0
	}
	if c.retry && !planted.Is(planted.UnknownSessionRepeated) {
		w.stats["outcome unknown: session lost"]++
		c.end(item.Result{}, unknown)
		return
	}
	c.session, c.number = 0, 0
	c.send()
}
