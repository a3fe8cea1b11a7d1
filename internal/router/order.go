package router

import "hash/maphash"

// orderTable holds every outstanding call that belongs to a stream, in the
// order they came, in buckets by the hash of stream and key. Two calls of one
// hash are taken for the same key: at worst one waits without need.
//
// Invariant: among the calls of one hash those that are not chained come first,
// and they are one write or any number of reads. So the newest call of a hash
// tells whether one more must wait.
type orderTable struct {
	buckets [orderBuckets]struct{ first, last *call }
}

const orderBuckets = 4096

// enter puts c into the table and tells whether it must wait.
func (r *Router) enter(c *call, s Stream) (wait bool) {
	c.stream = s
	// The seed keeps clients from choosing keys that all meet in one bucket.
	c.hash = maphash.Bytes(r.seed, c.req.Key) ^ uint64(s)*0x9e3779b97f4a7c15
	b := &r.order.buckets[c.hash%orderBuckets]
	if p := b.last; p != nil {
		for p != nil && p.hash != c.hash {
			p = p.before
		}
		wait = p != nil && (p.state == chained || !p.isRead() || !c.isRead())
		c.before = b.last
		b.last.after = c
	} else {
		b.first = c
	}
	b.last = c
	return wait
}

// leave takes c out and makes runnable whatever waited for it alone.
func (r *Router) leave(c *call) {
	b := &r.order.buckets[c.hash%orderBuckets]
	if c.before != nil {
		c.before.after = c.after
	} else {
		b.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		b.last = c.before
	}
	prev, next := c.before, sameHash(c.after, c.hash)
	c.before, c.after = nil, nil
	if next == nil || next.state != chained {
		return
	}
	for prev != nil && prev.hash != c.hash {
		prev = prev.before
	}
	if prev != nil && (prev.state == chained || !prev.isRead() || !next.isRead()) {
		return
	}
	for {
		next.state = parked // not chained, not anywhere yet: run is about to dispatch it
		r.runnable.push(&next.place)
		if !next.isRead() {
			return
		}
		next = sameHash(next.after, next.hash)
		if next == nil || next.state != chained || !next.isRead() {
			return
		}
	}
}

func sameHash(c *call, hash uint64) *call {
	for c != nil && c.hash != hash {
		c = c.after
	}
	return c
}
