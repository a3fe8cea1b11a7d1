package router

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// session is this router's session in one partition (R8). Every write there has
// a number in it, from its first try to its answer, so that replicas know a
// retry from another write. Writes wait here, in order, while no session is open
// or too many numbers are outstanding.
//
// It is opened by a call of the router's own, which may be repeated freely: a
// session that nobody uses ends by itself.
type session struct {
	r         *Router
	partition uint16
	id        uint64 // 0: none is open
	next      uint32 // the number that the next write gets
	opening   bool
	began     int64  // when the opening was
	keeper    keeper // whose table it was opened in
	// numbered are the calls of this session, lowest number first; waiting are
	// those that will get a number.
	numbered node
	waiting  node
}

// keeper is one run of a primary.
type keeper struct {
	server      clustermap.ServerID
	incarnation uint64
}

// keeper is the partition's primary, as far as this router knows.
func (r *Router) keeper(partition uint16) keeper {
	rt := &r.routes[partition]
	k := keeper{server: rt.primary}
	if rt.server != nil {
		k.incarnation = rt.server.incarnation
	}
	return k
}

// refresh gives the session up if nothing is outstanding in it and the partition has
// another primary, or another run of it, than when it was opened. The table has
// outlived that, unless all replicas crashed at once (R9). Then the next write would
// be refused and get another session; but if that refusal is lost, with its
// connection, nobody could say that the write was not done.
func (s *session) refresh() {
	if s.id != 0 && s.numbered.empty() && s.keeper != s.r.keeper(s.partition) {
		s.forget()
	}
}

// maxNumber is when another session is opened: numbers never wrap.
const maxNumber = 1 << 31

func (r *Router) initSessions(partitions int) {
	r.sessions = make([]session, partitions)
	for i := range r.sessions {
		s := &r.sessions[i]
		s.r, s.partition = r, uint16(i)
		s.numbered.init()
		s.waiting.init()
	}
}

// number gives c, which is about to have its first try, a number. False: it
// waits for one, and is dispatched again when it has it.
func (r *Router) number(c *call) bool {
	s := &r.sessions[c.req.Partition]
	s.refresh()
	if s.waiting.empty() && s.hasRoom() {
		s.assign(c)
		return true
	}
	c.state = waiting
	s.waiting.push(&c.place)
	s.open()
	return false
}

func (s *session) hasRoom() bool {
	if s.next > maxNumber {
		s.forget()
	}
	return s.id != 0 && s.next-s.lowest() < wire.MaxOutstanding
}

// lowest is the lowest number that is outstanding.
func (s *session) lowest() uint32 {
	if c := s.numbered.first(); c != nil {
		return c.req.Number
	}
	return s.next
}

func (s *session) assign(c *call) {
	c.req.Session, c.req.Number = s.id, s.next
	s.next++
	s.numbered.push(&c.bySession)
}

// setLowest is for each try: what is acknowledged since need not be kept there.
// Of a session that was given up the first try's lowest stays true.
func (r *Router) setLowest(c *call) {
	if c.req.Number == 0 {
		return
	}
	if s := &r.sessions[c.req.Partition]; s.id == c.req.Session {
		c.req.Lowest = s.lowest()
	}
}

// unnumber takes c, which has ended or is to get another number, out of its
// session, and makes runnable what waited for that.
func (r *Router) unnumber(c *call) {
	if c.req.Number == 0 {
		return
	}
	c.bySession.unlink()
	r.sessions[c.req.Partition].release()
	c.req.Session, c.req.Number, c.req.Lowest = 0, 0, 0
}

// release gives numbers to waiting calls as far as there are any.
func (s *session) release() {
	for c := s.waiting.first(); c != nil && s.hasRoom(); c = s.waiting.first() {
		c.place.unlink()
		s.assign(c)
		c.state = parked // run is about to dispatch it
		s.r.runnable.push(&c.place)
	}
	if !s.waiting.empty() {
		s.open()
	}
}

func (s *session) open() {
	if s.id != 0 || s.opening {
		return
	}
	r := s.r
	s.opening, s.began, s.keeper = true, r.clock(), r.keeper(s.partition)
	c := r.newCall(&item.Request{Op: item.OpOpenSession}, s)
	c.fixed = true
	c.req.Partition = s.partition
	r.dispatch(c)
}

// Done implements Completion: the session is open, or will not be.
func (s *session) Done(res *item.Result) {
	r := s.r
	s.opening = false
	switch {
	case res.Status == item.OK && res.Item.Version != 0:
		s.id, s.next = res.Item.Version, 1
		s.release()
	case s.waiting.empty():
	case r.clock()-s.began >= int64(r.opt.Timeout) && !r.stopped:
		s.open() // for those that came later
	default:
		message := res.Message
		if message == "" {
			message = "no session could be opened"
		}
		var list node
		list.init()
		s.waiting.moveTo(&list)
		for c := list.first(); c != nil; c = list.first() {
			c.place.unlink()
			r.fail(c, message)
		}
	}
}

// forget gives the session up. Its calls go on with the numbers that they have.
func (s *session) forget() {
	s.id = 0
	for c := s.numbered.first(); c != nil; c = s.numbered.first() {
		c.bySession.unlink()
	}
}

// sessionUnknown deals with c after a server said that it does not know its
// session. A first try was not done: it gets another session. Of a retry nobody
// knows any more whether an earlier one was done, and it is never repeated.
func (r *Router) sessionUnknown(c *call) {
	if s := &r.sessions[c.req.Partition]; s.id == c.req.Session {
		s.forget()
	}
	if c.req.Retry {
		r.finish(c, &item.Result{Status: item.FateUnknown})
		return
	}
	r.unnumber(c)
	r.dispatch(c)
	r.run()
}

// forgetSessions is for a map of another cluster: no session means anything
// there. Calls that may have been done end; the others get new numbers.
func (r *Router) forgetSessions(partitions int, again, lost *node) {
	for n := r.outstanding.next; n != &r.outstanding; n = n.next {
		c := n.call
		switch {
		case c.state == waiting:
			c.place.unlink()
			c.state = parked
			again.push(&c.place)
		case c.req.Number == 0:
		case c.req.Retry || c.state == sent || c.state == local:
			r.abandon(c)
			c.state = parked
			lost.push(&c.place)
		}
		c.bySession.unlink()
		c.req.Session, c.req.Number, c.req.Lowest = 0, 0, 0
	}
	r.initSessions(partitions)
}
