package server

import (
	"bytes"
	"sync"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

// A client scans a partition page by page (wire.Scan). Each page is read from a
// snapshot of the store, off the loop, and answered as a get is
// (replica.Scan). Nothing is kept from one page to the next: a client that does
// not come again costs nothing, and one that goes on at another server after a
// failover need not be known there.
const (
	// scanWorkers read pages: so many goroutines, so many snapshots.
	scanWorkers = 2
	// maxScans bounds the requests that wait for a worker, and maxScanBytes the
	// pages that were read and not answered yet; beyond either they are refused, and
	// come again soon.
	maxScans     = 1024
	maxScanBytes = 32 << 20
	// maxPageBytes and maxPageItems bound a page; maxPageReads the items looked at
	// for one, shown or not (expired, flushed).
	maxPageBytes = 1 << 20
	maxPageItems = 10_000
	maxPageReads = 20_000
)

// scanner has the scans of all connections.
type scanner struct {
	n *node
	// held is the bytes of pages that wait for their answer. It is the loop's.
	held int

	mu    sync.Mutex
	cond  *sync.Cond
	queue []*scanJob
	done  bool
}

// scanJob is one page. It is the Owner of the request's token.
type scanJob struct {
	c    *dataConn
	req  wire.Scan // owns its keys
	scan replica.Scan

	// What a worker found.
	items    []byte // encoded
	more     bool
	next     []byte
	position uint64
	flush    wire.Flush
	err      error
}

func newScanner(n *node) *scanner {
	s := &scanner{n: n}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// scan takes a request.
func (c *dataConn) scan(body []byte) error {
	n := c.n
	j := &scanJob{c: c}
	if err := wire.DecodeScan(body, &j.req); err != nil {
		return err
	}
	c.holdBack()
	part := j.req.Partition
	if int(part) >= len(n.replicas) || n.scans.held > maxScanBytes || n.held > n.heldLimit {
		j.Nak(&wire.Nak{ID: j.req.ID, Index: part, Reason: wire.NakNotReady})
		return nil
	}
	r := n.replicas[part]
	var ok bool
	if j.scan, ok = r.BeginScan(j.req.Epoch, replica.Token{Owner: j, ID: j.req.ID}, &n.fx); !ok {
		return nil
	}
	n.counters.scans.Add(1)
	if j.scan.Empty {
		j.answer()
		return nil
	}
	j.req.From, j.req.Prefix = bytes.Clone(j.req.From), bytes.Clone(j.req.Prefix)
	if !n.scans.submit(j) {
		j.Nak(&wire.Nak{ID: j.req.ID, Index: part, Reason: wire.NakNotReady})
	}
	return nil
}

// readDone takes what a worker has read.
func (j *scanJob) readDone() {
	j.c.n.touchClock()
	if j.err != nil {
		j.c.n.unreadable(j.req.Partition, j.err)
	}
	j.answer()
}

// answer hands the page to the core, on the loop.
func (j *scanJob) answer() {
	j.c.n.scans.held += len(j.items)
	j.scan.Done(j.items, j.position, j.flush, j.err, &j.c.n.fx)
}

// Reply and Nak make a job a sink: what the core lets out is the page.
func (j *scanJob) Reply(r *wire.Reply) {
	j.forget()
	c := j.c
	switch {
	case r.Status != item.OK:
		c.Reply(r)
	case c.conn.Buffered() > maxLate:
		c.Nak(&wire.Nak{ID: r.ID, Index: j.req.Partition, Reason: wire.NakNotReady}) // as with a value: asked for again
	default:
		c.conn.Append(func(b []byte) []byte { return wire.AppendPageOf(b, r.ID, j.more, j.next, r.Item.Value) })
	}
}

// Nak refuses.
func (j *scanJob) Nak(k *wire.Nak) {
	j.forget()
	j.c.Nak(k)
}

func (j *scanJob) forget() {
	j.c.n.scans.held -= len(j.items)
	j.items = nil
}

// submit gives a job to the workers; false: too many wait.
func (s *scanner) submit(j *scanJob) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= maxScans || s.done {
		return false
	}
	s.queue = append(s.queue, j)
	s.cond.Signal()
	return true
}

func (s *scanner) stop() {
	s.mu.Lock()
	s.done, s.queue = true, nil
	s.mu.Unlock()
	s.cond.Broadcast()
}

// take waits for a job; nil: stop was called.
func (s *scanner) take() *scanJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.done {
		s.cond.Wait()
	}
	if s.done {
		return nil
	}
	j := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return j
}

// run reads pages until stop.
func (s *scanner) run() {
	for {
		j := s.take()
		if j == nil {
			return
		}
		s.read(j)
		s.n.loop.Post(j.readDone)
	}
}

// read reads a page from a snapshot that it takes.
func (s *scanner) read(j *scanJob) {
	sn := s.n.store.Snapshot()
	defer sn.Close()
	b, err := sn.Bookkeeping(j.req.Partition)
	if err != nil {
		j.err = err
		return
	}
	j.position, j.flush = b.Position.Version, wire.Flush{Version: b.Flushed.Version, At: b.Flushed.At}
	from := j.req.From
	if bytes.Compare(from, j.req.Prefix) < 0 {
		from = j.req.Prefix
	}
	it := sn.Iter(j.req.Partition, from)
	p := pageMaker{j: j, maxItems: bound(j.req.MaxItems, maxPageItems), maxBytes: bound(j.req.MaxBytes, maxPageBytes)}
	for it.Next() && bytes.HasPrefix(it.Key(), j.req.Prefix) && !item.IsChunk(it.Key()) {
		rec, err := it.Record()
		if err == nil {
			err = s.n.ctx.Err() // the server stops
		}
		var full bool
		if err == nil {
			full, err = p.add(it.Key(), rec)
		}
		if err != nil {
			_ = it.Close() // the first error says more
			j.err = err
			return
		}
		if full {
			j.more, j.next = true, bytes.Clone(it.Key())
			break
		}
	}
	// What could not be read must not be taken for what is not there.
	j.err = it.Close()
}

// bound is what was asked for, within what is given.
func bound(asked uint32, most int) int {
	if asked == 0 || int64(asked) > int64(most) {
		return most
	}
	return int(asked)
}

// pageMaker puts items into a page.
type pageMaker struct {
	j                  *scanJob
	maxItems, maxBytes int
	items, reads       int
}

// add puts an item into the page if it is to be seen; full: the page ends before it.
func (p *pageMaker) add(key, rec []byte) (full bool, err error) {
	j := p.j
	if p.items == p.maxItems || p.reads == maxPageReads {
		return true, nil
	}
	p.reads++
	it, err := item.ParseRecord(rec)
	if err != nil {
		return false, err
	}
	if j.scan.Flushed(it.Version, j.flush) || it.Expired(j.scan.Unix) {
		return false, nil
	}
	e := wire.PageItem{Key: key, Flags: it.Flags, Exptime: it.Exptime, CAS: it.CAS(), Length: it.Size()}
	if !j.req.KeysOnly {
		e.Value = it.Value
	}
	if it.Large && !j.req.KeysOnly {
		e.Value, e.Omitted = nil, true
	}
	if size := e.Size(); len(j.items)+size > p.maxBytes {
		if p.items > 0 {
			return true, nil
		}
		e.Value, e.Omitted = nil, !j.req.KeysOnly // the first one there is room for in any case
	}
	p.items++
	j.items = wire.AppendPageItem(j.items, &e)
	return false, nil
}
