package router

import (
	"fmt"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// A PageTaker is the Completion of a scan's request.
type PageTaker interface {
	Completion
	// Page brings the page, just before Done with OK. p is borrowed. Without it
	// Done says what went wrong.
	Page(p *wire.Page)
}

// Scan asks the primary of a partition for a page. s is borrowed; its ID and
// Epoch are the router's. It is retried as a get is, and may be cancelled as what
// Begin began. A Backend is not asked: the request goes over a connection, if
// need be to this process itself.
func (r *Router) Scan(s *wire.Scan, done PageTaker) Ongoing {
	// To everything else it is a get with these for key and value.
	c := r.newCall(&item.Request{Op: item.OpGet, Key: s.From, Value: s.Prefix}, done)
	c.fixed = true
	c.req.Partition = s.Partition
	c.scan = &wire.Scan{Partition: s.Partition, MaxItems: s.MaxItems, MaxBytes: s.MaxBytes, KeysOnly: s.KeysOnly,
		From: c.req.Key, Prefix: c.req.Value}
	if n := len(r.routes); n > 0 && int(s.Partition) >= n {
		r.fail(c, fmt.Sprintf("there is no partition %d", s.Partition))
		return Ongoing{c}
	}
	r.dispatch(c)
	return Ongoing{c}
}

// appendCall appends the request of c, which is about to be written to a connection.
func (r *Router) appendCall(dst []byte, c *call) []byte {
	if c.scan == nil {
		return wire.AppendRequest(dst, &c.req)
	}
	c.scan.ID, c.scan.Epoch = c.req.ID, c.req.Epoch
	return wire.AppendScan(dst, c.scan)
}

// page ends the call that a page is for.
func (l *link) page(body []byte) error {
	p := &l.found
	if err := wire.DecodePage(body, p); err != nil {
		return err
	}
	if p.ID < uint32(len(l.slots)) && l.slots[p.ID].call != nil && l.slots[p.ID].call.scan == nil {
		return fmt.Errorf("%w: a page for what is no scan", wire.ErrCorrupt)
	}
	if c, ok := l.release(p.ID); ok && c != nil {
		c.link = nil
		c.done.(PageTaker).Page(p)
		l.server.r.finish(c, &item.Result{Status: item.OK})
	}
	clear(p.Items) // they would hold on to the connection's buffer
	return nil
}
