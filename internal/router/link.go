package router

import (
	"errors"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/wire"
)

// server is one kumo-server of the map.
type server struct {
	r    *Router
	id   clustermap.ServerID
	addr string
	zone string
	// incarnation is its run in the newest map.
	incarnation uint64
	// link is the connection, or the attempt at one; nil if there is none.
	link    *link
	backoff time.Duration
	retryAt int64 // not dialed before
	detour  detour
}

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
	// dialTimeout: a host that drops packets must not hold up what could be
	// routed elsewhere for longer.
	dialTimeout = time.Second
)

// link is one connection to a server. It outlives its place in server.link
// until OnClose.
type link struct {
	server *server
	via    *server // the connection goes through this one; nil: directly
	conn   loop.Conn
	open   bool
	queue  node // calls that wait for it to open

	slots []slot // by request ID
	free  int32  // first free slot, -1: none
	live  int    // slots whose call still waits here
	bytes int    // of all slots in use
	full  bool   // bytes exceed MaxServerBytes

	heard int64 // when something came last
	since int64 // since when at least one call has been waiting here
	reply wire.Reply
	nak   wire.Nak
	found wire.Page
}

// slot is one try. Its call may have given up on it (nil): then the slot is kept
// until the answer comes, so that the answer is not taken for another's.
type slot struct {
	call *call
	size int
	next int32 // in the free list
}

// take sends c to the server, waits for the connection, or parks c.
func (s *server) take(c *call) {
	if s.link == nil {
		if s.r.clock() < s.retryAt {
			s.r.park(c)
			return
		}
		s.dial()
	}
	if !s.link.open {
		c.state = queued
		c.link = s.link
		s.link.queue.push(&c.place)
		return
	}
	s.link.send(c)
}

func (s *server) dial() {
	s.link = s.newLink(s.detour.choose(s))
}

// newLink begins a connection to s, through via if that is not nil.
func (s *server) newLink(via *server) *link {
	l := &link{server: s, via: via, free: -1}
	l.queue.init()
	addr := s.addr
	if via != nil {
		addr = via.addr
	}
	l.conn = s.r.opt.Secret.DialLoop(s.r.loop, addr, min(dialTimeout, s.r.opt.Timeout), l)
	return l
}

func (l *link) send(c *call) {
	r := l.server.r
	i := l.free
	if i < 0 {
		i = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	} else {
		l.free = l.slots[i].next
	}
	l.slots[i] = slot{call: c, size: c.size(), next: inUse}
	if l.live == 0 {
		l.since = r.clock()
		r.armWatch()
	}
	l.live++
	l.bytes += c.size()
	c.state, c.link, c.slot, c.sentAt = sent, l, i, r.clock()
	c.req.ID = uint32(i)
	r.setLowest(c)
	r.writing = c
	l.conn.Append(r.appendRequest)
	r.stats.Sent++
	if !l.full && l.bytes > r.opt.MaxServerBytes {
		l.full = true
		r.full++
		r.checkLoad()
	}
}

// inUse marks a slot that is not in the free list.
const inUse = -2

// release frees a slot whose answer has come and gives its call, if that still
// waits.
func (l *link) release(id uint32) (c *call, ok bool) {
	if id >= uint32(len(l.slots)) || l.slots[id].next != inUse {
		return nil, false
	}
	s := &l.slots[id]
	c = s.call
	l.bytes -= s.size
	*s = slot{next: l.free}
	l.free = int32(id)
	if c != nil {
		l.live--
	}
	if l.full && l.bytes <= l.server.r.opt.MaxServerBytes/2 {
		l.drained()
	}
	if l.full && l.live == 0 {
		l.shut() // as in abandon: only what nobody waits for fills it
	}
	return c, true
}

func (l *link) drained() {
	if l.full {
		l.full = false
		l.server.r.full--
		l.server.r.checkLoad()
	}
}

// abandon takes c away from wherever a try of it is: that try's answer will not
// be heeded.
func (r *Router) abandon(c *call) {
	switch c.state {
	case sent:
		l := c.link
		l.slots[c.slot].call = nil
		l.live--
		// What is left there nobody waits for. A connection that is silent
		// while requests pile up is given up, to be rid of them.
		if l.full && l.live == 0 || l.heard < c.sentAt && r.clock()-c.sentAt >= int64(r.opt.Timeout) {
			l.shut()
		}
	case local:
		c.try.call = nil
	}
	c.place.unlink()
	c.link, c.try = nil, nil
}

// OnOpen sends what has been waiting.
func (l *link) OnOpen(c loop.Conn) {
	s, r := l.server, l.server.r
	l.open = true
	r.stats.Connects++
	if l.via != nil {
		r.log.Warn("server reached through another one: is the network between them whole?", "addr", s.addr, "through", l.via.addr)
		c.Append(func(b []byte) []byte { return wire.AppendRelay(b, s.id) })
		s.detour.begun(s)
	} else {
		r.log.Info("connected to server", "addr", s.addr)
	}
	c.Write([]byte(wire.Magic))
	if s.detour.direct == l {
		s.detour.end(s)
	}
	for q := l.queue.first(); q != nil; q = l.queue.first() {
		q.place.unlink()
		l.send(q)
	}
	r.unpark(func(c *call) bool {
		return len(r.routes) > 0 && r.routes[c.req.Partition].server == l.server
	})
}

// OnData takes answers.
func (l *link) OnData(c loop.Conn, b []byte) int {
	r := l.server.r
	l.heard = r.clock()
	l.server.backoff = 0
	l.server.detour.failed = false
	used := 0
	for {
		kind, body, n, err := wire.Frame(b[used:])
		if err == nil && n == 0 {
			return used
		}
		if err == nil {
			err = l.frame(kind, body)
		}
		if err != nil {
			r.log.Warn("connection to server closed", "addr", l.server.addr, "error", err)
			l.shut()
			return len(b)
		}
		used += n
	}
}

func (l *link) frame(kind wire.Kind, body []byte) error {
	switch kind {
	case wire.KindReply:
		if err := wire.DecodeReply(body, &l.reply); err != nil {
			return err
		}
		if c, ok := l.release(l.reply.ID); ok && c != nil {
			l.server.r.answered(c, &l.reply.Result)
		}
	case wire.KindPage:
		return l.page(body)
	case wire.KindNak:
		if err := wire.DecodeNak(body, &l.nak); err != nil {
			return err
		}
		if c, ok := l.release(l.nak.ID); ok && c != nil {
			l.server.r.refused(c, &l.nak)
		}
	}
	return nil
}

// shut closes the connection: nothing more is sent there.
func (l *link) shut() {
	l.leaveServer()
	l.conn.Close()
}

// leaveServer makes room for the next connection, not at once.
func (l *link) leaveServer() {
	s := l.server
	if s.detour.direct == l {
		s.detour.direct = nil
	}
	if s.link != l {
		return
	}
	s.link = nil
	if l.via != nil {
		s.detour.failed = false // a direct one again
	}
	s.backoff = min(max(2*s.backoff, backoffMin), backoffMax)
	s.retryAt = s.r.clock() + int64(s.backoff)
}

// OnClose: what was sent may have been done, and is sent again as a retry (R8);
// the rest surely was not done.
func (l *link) OnClose(_ loop.Conn, err error) {
	s, r := l.server, l.server.r
	if err == loop.ErrStopped {
		r.stopped = true
	}
	l.leaveServer()
	if l.open {
		r.log.Info("lost server", "addr", s.addr, "error", err)
	} else if l.via == nil && !errors.Is(err, syscall.ECONNREFUSED) {
		s.detour.failed = true
	}
	l.open = false
	l.drained()
	var waiting node
	waiting.init()
	l.queue.moveTo(&waiting)
	for c := waiting.first(); c != nil; c = waiting.first() {
		c.place.unlink()
		c.link = nil
		r.park(c)
	}
	for i := range l.slots {
		c := l.slots[i].call
		l.slots[i].call = nil
		if c == nil {
			continue
		}
		c.link = nil
		c.place.unlink()
		c.req.Retry = c.isWrite()
		r.dispatch(c)
	}
	l.slots = nil
}
