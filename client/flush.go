package client

import (
	"context"
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// FlushAll removes every item that is older than the moment delay from now (whole
// seconds; a fraction is rounded up; 0 is at once). It needs Options.AllowFlushAll.
// It is one write in every partition, not one instant across them: after an error
// some may be flushed. A client does one at a time.
func (c *Client) FlushAll(ctx context.Context, delay time.Duration) error {
	if !c.opt.AllowFlushAll {
		return fmt.Errorf("%w: AllowFlushAll", ErrNotAllowed)
	}
	f := &flush{c: c, done: make(chan struct{})}
	if delay > 0 {
		if f.delay = int64((delay + time.Second - 1) / time.Second); f.delay > relativeLimit {
			f.delay = exptime(time.Now().Add(delay))
		}
	}
	whole, err := c.run(ctx, int(c.partitions.Load())*callCost/4, f)
	if err != nil {
		return err
	}
	if !whole {
		f.result = item.Result{Status: item.FateUnknown}
	}
	return c.result(ctx, &f.result, f.cancelled)
}

// flush is the work of a FlushAll. Cancelled, it goes on in the router, for as long
// as a call may take.
type flush struct {
	c                *Client
	delay            int64
	done             chan struct{}
	begun, cancelled bool
	ended            bool
	result           item.Result
}

func (f *flush) finished() <-chan struct{} { return f.done }

func (f *flush) begin() {
	switch {
	case f.cancelled:
	case f.c.flushing:
		f.end(&item.Result{Status: item.Failed, Message: "this client is at another FlushAll"})
	default:
		f.begun, f.c.flushing = true, true
		f.c.router.FlushAll(f.delay, f)
	}
}

func (f *flush) cancel() {
	if f.ended {
		return
	}
	f.cancelled = true
	if f.begun {
		f.end(&item.Result{Status: item.FateUnknown})
	} else {
		f.end(&item.Result{Status: item.Failed})
	}
}

// Done implements router.Completion.
func (f *flush) Done(res *item.Result) {
	f.c.flushing = false
	if res.Status == item.Failed {
		// A partition was not flushed; others may have been.
		res = &item.Result{Status: item.FateUnknown, Message: res.Message}
	}
	f.end(res)
}

func (f *flush) end(res *item.Result) {
	if !f.ended {
		f.ended, f.result = true, *res
		close(f.done)
	}
}
