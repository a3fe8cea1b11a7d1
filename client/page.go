package client

import (
	"bytes"
	"context"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// scan is one run of a Scan. It belongs to the goroutine of its reader, which asks
// the loop for pages and is given them through a channel.
type scan struct {
	c       *Client
	ctx     context.Context
	prefix  []byte
	opt     ScanOptions
	page    int // bytes of a page
	cursors []cursor
	heap    heap
	// under are the requests under way. results has room for all of them, so that
	// the loop never waits.
	under   map[*pageRequest]struct{}
	results chan *pageRequest
	stopped bool // the loop's
}

// cursor is how far a scan is in one partition.
type cursor struct {
	part  uint16
	from  []byte // where the next page begins
	items []found
	first int  // items of the last page, when it came
	more  bool // there may be more
	asked bool // for the next page
}

// found is an item of a page; omitted: without its value, which is to be got.
type found struct {
	item    Item
	omitted bool
}

// pop takes the first item.
func (cur *cursor) pop() found {
	f := cur.items[0]
	cur.items[0] = found{}
	cur.items = cur.items[1:]
	return f
}

// wants tells whether it is time for the next page: half of the last one is used.
func (cur *cursor) wants() bool { return cur.more && !cur.asked && len(cur.items) <= cur.first/2 }

func newScan(c *Client, ctx context.Context, prefix []byte, opt ScanOptions) *scan {
	n := int(c.partitions.Load())
	window, pages := orderedWindow, n
	if opt.Unordered {
		window, pages = unorderedWindow, unorderedWindow
	}
	s := &scan{c: c, ctx: ctx, prefix: prefix, opt: opt, cursors: make([]cursor, n), under: map[*pageRequest]struct{}{},
		results: make(chan *pageRequest, window)}
	// A cursor may hold a page and a half; what is held costs more than on the wire.
	s.page = min(max(opt.MaxMemory/(4*pages), minPage), maxPage)
	var from []byte
	if opt.After != "" {
		from = append([]byte(opt.After), 0) // the next key that there can be
	}
	for i := range s.cursors {
		s.cursors[i] = cursor{part: uint16(i), more: true}
		if !opt.Unordered || i == partitionOf(opt.After, n) {
			s.cursors[i].from = from
		}
	}
	return s
}

// pageRequest is a request for a page. It is the router's PageTaker.
type pageRequest struct {
	s      *scan
	cursor *cursor
	req    wire.Scan
	had    bool // the cursor had items when the answer was taken

	// The loop's, until it is in results.
	going       router.Ongoing
	begun, done bool
	items       []found
	more        bool
	next        []byte
	result      item.Result
}

// ask asks for the cursor's next page.
func (s *scan) ask(cur *cursor) {
	q := &pageRequest{s: s, cursor: cur, req: wire.Scan{Partition: cur.part, MaxBytes: uint32(s.page), KeysOnly: s.opt.KeysOnly, From: cur.from, Prefix: s.prefix}}
	cur.asked = true
	s.under[q] = struct{}{}
	s.c.loop.Post(func() { s.c.admit(q) }) // false: wait finds that the client has ended
}

// poll gives an answer that has come, or nil.
func (s *scan) poll() *pageRequest {
	select {
	case q := <-s.results:
		return q
	default:
		return nil
	}
}

// wait waits for an answer and takes it.
func (s *scan) wait() (*pageRequest, error) {
	select {
	case q := <-s.results:
		q.had = len(q.cursor.items) > 0
		return q, s.fill(q)
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	case <-s.c.ended:
		return nil, s.c.gone()
	}
}

// fill gives an answer's items to its cursor.
func (s *scan) fill(q *pageRequest) error {
	delete(s.under, q)
	if q.result.Status != item.OK {
		return s.c.result(s.ctx, &q.result, false)
	}
	cur := q.cursor
	cur.asked, cur.more = false, q.more
	cur.items = append(cur.items, q.items...)
	cur.first = len(q.items)
	cur.from = q.next
	return nil
}

// stop gives up what is under way.
func (s *scan) stop() {
	s.c.loop.Post(func() {
		s.stopped = true
		for q := range s.under {
			q.cancel()
		}
	})
}

// begin, cancel and finished make it work for the loop.
func (q *pageRequest) begin() {
	if q.s.stopped {
		return
	}
	q.begun = true
	q.going = q.s.c.router.Scan(&q.req, q)
}

func (q *pageRequest) cancel() {
	if q.begun && !q.done {
		q.s.c.router.Cancel(q.going)
	}
}

func (q *pageRequest) finished() <-chan struct{} { return nil }

// Page implements router.PageTaker: it copies everything.
func (q *pageRequest) Page(p *wire.Page) {
	q.more, q.next = p.More, bytes.Clone(p.Next)
	q.items = make([]found, len(p.Items))
	for i := range p.Items {
		e := &p.Items[i]
		f := &q.items[i]
		f.item = Item{Key: string(e.Key), Flags: e.Flags, Expires: expires(e.Exptime), CAS: e.CAS}
		f.omitted = e.Omitted
		if !q.req.KeysOnly && !e.Omitted {
			f.item.Value = own(e.Value)
		}
	}
	q.result = item.Result{Status: item.OK}
	if p.More && bytes.Compare(p.Next, q.req.From) <= 0 {
		q.result = status("a server gives a page that does not come further")
	}
}

// Done implements router.Completion.
func (q *pageRequest) Done(res *item.Result) {
	q.done = true
	switch {
	case q.result.Status != 0: // Page was called
	case res.Status == item.OK:
		q.result = status("a server answers a scan without a page")
	default:
		q.result = item.Result{Status: res.Status, Message: res.Message}
	}
	q.s.results <- q
}
