package router

import (
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// parkDelays are how long a call waits after its first, second ... refusal.
var parkDelays = [...]time.Duration{
	2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

// timedList is a queue of calls that all wait equally long, so that the first is
// the first to be due, and one timer will do.
type timedList struct {
	calls node
	delay time.Duration
	armed bool
	due   func(c *call)
	fire  func() // made once
}

type parking = timedList

func (r *Router) initTimed(t *timedList, delay time.Duration, due func(c *call)) {
	t.calls.init()
	t.delay, t.due = delay, due
	t.fire = func() {
		now := r.clock()
		for c := t.calls.first(); c != nil && c.wake <= now; c = t.calls.first() {
			c.place.unlink()
			t.due(c)
		}
		if c := t.calls.first(); c != nil {
			r.loop.After(time.Duration(c.wake-now), t.fire)
		} else {
			t.armed = false
		}
	}
}

func (r *Router) addTimed(t *timedList, c *call) {
	c.place.unlink()
	c.wake = r.clock() + int64(t.delay)
	t.calls.push(&c.place)
	if !t.armed {
		t.armed = true
		r.loop.After(t.delay, t.fire)
	}
}

func (r *Router) initParking() {
	for i := range r.parking {
		r.initTimed(&r.parking[i], parkDelays[i], r.dispatch)
	}
}

// park keeps c to be sent again a little later.
func (r *Router) park(c *call) {
	if r.stopped {
		r.fail(c, "the gateway is shutting down")
		return
	}
	c.state = parked
	class := min(int(c.refusals), len(parkDelays)-1)
	if c.refusals < 255 {
		c.refusals++
	}
	r.addTimed(&r.parking[class], c)
}

// unpark dispatches at once the parked calls that which chooses.
func (r *Router) unpark(which func(c *call) bool) {
	var chosen node
	chosen.init()
	for i := range r.parking {
		head := &r.parking[i].calls
		for n := head.next; n != head; {
			c := n.call
			n = n.next
			if which(c) {
				c.place.unlink()
				chosen.push(&c.place)
			}
		}
	}
	r.dispatchAll(&chosen)
}

func (r *Router) dispatchAll(list *node) {
	for c := list.first(); c != nil; c = list.first() {
		c.place.unlink()
		r.dispatch(c)
	}
}

// armDeadline sees to a timer for the first deadline. All commands have the same
// timeout, so they are in order, and a timer that comes early is set again.
func (r *Router) armDeadline() {
	c := r.outstanding.first()
	if r.deadlineSet || c == nil {
		return
	}
	r.deadlineSet = true
	r.loop.After(time.Duration(c.deadline-r.clock()), r.expire)
}

// expire ends every call whose time is over.
func (r *Router) expire() {
	now := r.clock()
	for c := r.outstanding.first(); c != nil && c.deadline <= now; c = r.outstanding.first() {
		r.timeout(c)
	}
	r.deadlineSet = false
	r.armDeadline()
}

func (r *Router) timeout(c *call) {
	r.stats.Timeouts++
	if c.isWrite() && (c.req.Retry || c.state == sent || c.state == local) {
		r.abandon(c)
		r.finish(c, &item.Result{Status: item.FateUnknown})
		return
	}
	message := r.why(c)
	r.abandon(c)
	r.fail(c, message)
}

// why says in words what c has been waiting for.
func (r *Router) why(c *call) string {
	after := fmt.Sprintf("for %g s", r.opt.Timeout.Seconds())
	switch {
	case c.state == chained:
		return "timeout: an earlier command on the same key was not answered " + after
	case len(r.routes) == 0:
		return "timeout: no cluster map " + after + ": no manager was reached, or nothing is attached"
	}
	p := c.req.Partition
	rt := &r.routes[p]
	switch {
	case c.state == sent:
		return fmt.Sprintf("timeout: the primary of partition %d (%s) did not answer %s", p, c.link.server.addr, after)
	case c.state == local:
		return fmt.Sprintf("timeout: the primary of partition %d (this server) did not answer %s", p, after)
	case rt.server == nil:
		return fmt.Sprintf("timeout: partition %d has no primary %s", p, after)
	case c.state == waiting && rt.server.link != nil && rt.server.link.open:
		return fmt.Sprintf("timeout: the primary of partition %d (%s) opened no session %s", p, rt.server.addr, after)
	case rt.server.link != nil && rt.server.link.open:
		return fmt.Sprintf("timeout: the primary of partition %d (%s) was not ready %s", p, rt.server.addr, after)
	}
	return fmt.Sprintf("timeout: partition %d has no reachable primary (%s) %s", p, rt.server.addr, after)
}
