package client

import (
	"context"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
)

// callCost is about what a call costs besides its key and value, in bytes.
const callCost = 500

// work is what a caller waits for and the loop does. All methods but finished run
// on the loop's goroutine.
type work interface {
	// begin is called once, unless cancel was before.
	begin()
	// cancel ends it soon: finished is closed before cancel returns.
	cancel()
	// finished is closed when the results may be read.
	finished() <-chan struct{}
}

// run has the loop do w and waits. cost is in bytes. With an error it was not
// begun, and w is not touched any more. whole is false when the client has ended
// before w has: then nobody touches w any more, but it is not finished.
//
// When ctx is done run does not wait for the servers, but for the loop, which never
// waits itself: only there it is known whether a write may have been done.
func (c *Client) run(ctx context.Context, cost int, w work) (whole bool, err error) {
	n := min(int64(cost)+callCost, int64(c.opt.MaxInFlight))
	if err := c.budget.Acquire(ctx, n); err != nil {
		return false, err
	}
	defer c.budget.Release(n)
	if !c.loop.Post(func() { c.admit(w) }) {
		return false, c.gone()
	}
	select {
	case <-w.finished():
		return true, nil
	case <-c.ended:
	case <-ctx.Done():
		c.loop.Post(w.cancel)
	}
	select {
	case <-w.finished():
		return true, nil
	case <-c.ended:
	}
	select {
	case <-w.finished():
		return true, nil
	default:
		return false, nil
	}
}

// admit begins w, as soon as the router has room.
func (c *Client) admit(w work) {
	if !c.router.Overloaded() {
		w.begin()
		return
	}
	c.held = append(c.held, w)
	if len(c.held) == 1 {
		c.router.WhenRelieved(c.relieved)
	}
}

func (c *Client) relieved() {
	held := c.held
	c.held = nil
	for _, w := range held {
		c.admit(w)
	}
}

// batch is some commands on one key each.
type batch struct {
	c    *Client
	cmds []command
	left int
	done chan struct{}
	// begun and cancelled are the loop's.
	begun, cancelled bool
}

// command is one of a batch. It is the router's Completion.
type command struct {
	b      *batch
	req    item.Request
	going  router.Ongoing
	up     *upload   // of a large value, before the command itself
	down   *download // of a large value, after it
	done   bool
	result item.Result // its value is the caller's
}

func (c *Client) newBatch(reqs ...item.Request) *batch {
	b := &batch{c: c, cmds: make([]command, len(reqs)), left: len(reqs), done: make(chan struct{})}
	for i := range reqs {
		b.cmds[i] = command{b: b, req: reqs[i]}
	}
	return b
}

func (b *batch) finished() <-chan struct{} { return b.done }

func (b *batch) begin() {
	if b.cancelled {
		return
	}
	b.begun = true
	for i := range b.cmds {
		if m := &b.cmds[i]; len(m.req.Value) > item.MaxWhole {
			m.beginUpload()
		} else {
			m.begin()
		}
	}
}

func (b *batch) cancel() {
	if b.left == 0 {
		return
	}
	b.cancelled = true
	for i := range b.cmds {
		m := &b.cmds[i]
		switch {
		case m.done:
		case m.up != nil:
			m.up.End()
			m.finish(&item.Result{Status: item.Failed})
		case m.down != nil:
			m.down.d.End()
			m.finish(m.unread(""))
		case b.begun:
			b.c.router.Cancel(m.going)
		default:
			m.Done(&item.Result{Status: item.Failed})
		}
	}
}

func (m *command) begin() { m.going = m.b.c.router.Begin(&m.req, m) }

// Done implements router.Completion.
func (m *command) Done(res *item.Result) {
	if res.Status == item.OK && res.Item.Large && m.req.Op.Retrieves() {
		m.beginDownload(res)
		return
	}
	taken := *res
	taken.Item.Value = nil
	if res.Status == item.OK && m.req.Op.Retrieves() {
		taken.Item.Value = own(res.Item.Value)
	}
	m.finish(&taken)
}

// finish takes the command's result, with its value.
func (m *command) finish(res *item.Result) {
	m.done, m.result = true, *res
	if m.b.left--; m.b.left == 0 {
		close(m.b.done)
	}
}

// do does one command and returns its result.
func (c *Client) do(ctx context.Context, req item.Request) (*item.Result, error) {
	b := c.newBatch(req)
	if err := b.run(ctx, len(req.Key)+len(req.Value)); err != nil {
		return nil, err
	}
	res := &b.cmds[0].result
	return res, c.result(ctx, res, b.cancelled)
}

// run does the batch. With an error nothing of it was begun.
func (b *batch) run(ctx context.Context, cost int) error {
	whole, err := b.c.run(ctx, cost, b)
	if whole || err != nil {
		return err
	}
	for i := range b.cmds { // the client has ended
		m := &b.cmds[i]
		switch {
		case m.done:
		case b.begun && m.req.Op != item.OpGet:
			m.result = item.Result{Status: item.FateUnknown}
		default:
			m.result = item.Result{Status: item.Failed}
		}
	}
	return nil
}
