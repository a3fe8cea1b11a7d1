package router

import "github.com/kumofs/kumofs/internal/item"

// Ongoing is a command that was begun by someone who may lose interest in it.
type Ongoing struct{ c *call }

// Begin is Do for a command that may be cancelled. done may be called before it
// returns: then there is nothing to cancel.
func (r *Router) Begin(req *item.Request, done Completion) Ongoing {
	c := r.newCall(req, done)
	r.dispatch(c)
	return Ongoing{c}
}

// Cancel ends a command as if its time were over, and calls its Done: a write that
// may have been done is FateUnknown, anything else has Failed and was not done. It
// must not be called after Done.
func (r *Router) Cancel(o Ongoing) {
	c := o.c
	if c.isWrite() && (c.req.Retry || c.state == sent || c.state == local) {
		r.abandon(c)
		r.finish(c, &item.Result{Status: item.FateUnknown})
		return
	}
	r.abandon(c)
	r.fail(c, "cancelled")
}
