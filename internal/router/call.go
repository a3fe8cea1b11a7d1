package router

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

type callState uint8

const (
	finished callState = iota
	chained
	waiting
	queued
	sent
	local
	parked
	declined
)

// call is one command from Do to Done. Calls are pooled; each keeps its key and
// value in a buffer of its own, for retries.
type call struct {
	// req's Key and Value lie in buf. Retry is set when a try of a write may have
	// been done, and stays set.
	req   wire.Request
	buf   []byte
	done  Completion
	state callState
	fixed bool       // the partition was chosen by whoever asked, not by the key
	scan  *wire.Scan // instead of req, which has its key, prefix and place; nil: it is none

	refusals uint8 // tells how long to be parked
	deadline int64
	wake     int64 // when it leaves its parking
	sentAt   int64

	link *link // state sent: its slot there
	slot int32
	try  *localTry // state local

	byDeadline node // in Router.outstanding
	place      node // waiting: session.waiting; queued: link.queue; parked: parking, or runnable; else nowhere
	bySession  node // in session.numbered

	stream Stream // 0: no order
	hash   uint64
	before *call // neighbours in the order table's bucket
	after  *call

	nextFree *call
}

// keepBuffer is the largest buffer that a pooled call keeps.
const keepBuffer = 16 << 10

// newCall copies req into a call that is outstanding from now on.
func (r *Router) newCall(req *item.Request, done Completion) *call {
	c := r.freeCall
	if c == nil {
		c = &call{}
		c.byDeadline.call, c.place.call, c.bySession.call = c, c, c
	} else {
		r.freeCall, c.nextFree = c.nextFree, nil
	}
	c.buf = append(append(c.buf[:0], req.Key...), req.Value...)
	c.req.Request = *req
	n := len(req.Key)
	c.req.Key, c.req.Value = c.buf[:n:n], c.buf[n:]
	c.done = done
	r.stats.Commands++
	r.stats.Outstanding++
	r.expect(c)
	return c
}

// expect has c's time begin, and its bytes count.
func (r *Router) expect(c *call) {
	c.deadline = r.clock() + int64(r.opt.Timeout)
	r.outstanding.push(&c.byDeadline)
	r.armDeadline()
	r.bytes += c.size()
	if !r.over && r.bytes > r.opt.MaxBytes {
		r.checkLoad()
	}
}

// free puts c back. Whoever still has a try of it out has forgotten c before.
func (r *Router) free(c *call) {
	buf := c.buf
	if cap(buf) > keepBuffer {
		buf = nil
	}
	*c = call{buf: buf, nextFree: r.freeCall}
	c.byDeadline.call, c.place.call, c.bySession.call = c, c, c
	r.freeCall = c
	r.stats.Outstanding--
}

// size is what c counts in the bounds: its bytes and what keeping it costs.
func (c *call) size() int { return len(c.req.Key) + len(c.req.Value) + callOverhead }

const callOverhead = 64

// isRead tells whether c may go beside others of its stream that read the same
// key. One that may make the item may not, nor one that tells of earlier accesses.
// An OpMetaGet with none of these options began as OpGet, and what it writes no
// read shows.
func (c *call) isRead() bool {
	const exclusive = item.Vivify | item.Recache | item.ShowAccess
	return c.req.Op == item.OpGet && !c.req.Has(exclusive) || c.req.Op == item.OpMetaGet && !c.req.Has(exclusive|item.Touch)
}

// isWrite tells whether c must take effect once: everything but a read and the
// opening of a session, which do no harm twice.
func (c *call) isWrite() bool { return c.req.Op != item.OpGet && c.req.Op != item.OpOpenSession }

// node is a place in a ring; the ring's head is a node without a call.
type node struct {
	prev, next *node
	call       *call
}

func (h *node) init()       { h.prev, h.next = h, h }
func (h *node) empty() bool { return h.next == h }

func (h *node) push(n *node) {
	n.prev, n.next = h.prev, h
	h.prev.next, h.prev = n, n
}

func (n *node) unlink() {
	if n.next != nil {
		n.prev.next, n.next.prev = n.next, n.prev
		n.prev, n.next = nil, nil
	}
}

// first is the ring's first call, or nil.
func (h *node) first() *call { return h.next.call }

// moveTo hangs all of h's calls behind those of to.
func (h *node) moveTo(to *node) {
	if h.empty() {
		return
	}
	h.next.prev, h.prev.next = to.prev, to
	to.prev.next, to.prev = h.next, h.prev
	h.init()
}
