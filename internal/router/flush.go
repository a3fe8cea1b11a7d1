package router

import "github.com/kumofs/kumofs/internal/item"

// FlushAll makes every item older than now a miss once delay (an exptime as
// clients send it) has passed: one write in every partition. It is done when all
// have answered; res is OK, or what went wrong first. done may be called before
// it returns.
func (r *Router) FlushAll(delay int64, done Completion) {
	if len(r.routes) == 0 {
		done.Done(&item.Result{Status: item.Failed, Message: "no cluster map: no manager was reached, or nothing is attached"})
		return
	}
	f := &flush{done: done, left: len(r.routes), res: item.Result{Status: item.OK}}
	for i := range r.routes {
		c := r.newCall(&item.Request{Op: item.OpFlush, Exptime: delay}, f)
		c.fixed = true
		c.req.Partition = uint16(i)
		r.dispatch(c)
	}
}

// flush collects the partitions' answers.
type flush struct {
	done Completion
	left int
	res  item.Result
}

// Done implements Completion.
func (f *flush) Done(res *item.Result) {
	if res.Status != item.OK && f.res.Status == item.OK {
		f.res = item.Result{Status: res.Status, Message: res.Message}
	}
	f.left--
	if f.left == 0 {
		f.done.Done(&f.res)
	}
}
