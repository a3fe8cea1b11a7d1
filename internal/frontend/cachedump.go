package frontend

import (
	"math"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// theClass is the only class of memory that there is as far as clients are told:
// memcached counts from 1.
const theClass = 1

const (
	// maxDumpBytes bounds the answer to stats cachedump, as in memcached.
	maxDumpBytes = 2 << 20
	// dumpWindow is how many pages are asked for at a time, dumpPageBytes their size.
	dumpWindow    = 16
	dumpPageBytes = 32 << 10
)

// dump is a stats cachedump under way: it goes through the partitions until it has
// what was asked for, or all that fits, or there is no more. Which keys are shown of
// more than that is left open, as in memcached.
type dump struct {
	f     *Frontend
	s     *slot  // its place: the only one in the client's queue
	left  uint32 // keys still to be shown
	lines []byte
	next  int // partition
	going int // walks
	full  bool
	fail  []byte // the answer, if a page could not be had
}

// walk asks for the pages of one partition, then for those of another. It is the
// router's PageTaker.
type walk struct {
	d    *dump
	part int
	more bool // there may be more in part, from the key from on
	from []byte
}

var _ router.PageTaker = (*walk)(nil)

// isDump tells whether a KindStats is a stats cachedump. Binary has none.
func isDump(cmd *memproto.Command) bool {
	return cmd.Proto == memproto.Text && len(cmd.Keys) > 0 && string(cmd.Keys[0]) == "cachedump"
}

// beginDump lists keys. It holds up everything behind it, and waits for nothing.
func (cl *client) beginDump(cmd *memproto.Command) {
	f := cl.f
	class, limit, bad := memproto.ParseCachedump(cmd.Keys[1:])
	switch {
	case bad != "":
		cl.say([]byte(bad))
		return
	case class != theClass:
		cl.say([]byte(memproto.ReplyEnd))
		return
	case f.used+maxDumpBytes > f.allBytes:
		cl.say(memproto.AppendServerError(nil, "out of memory listing keys"))
		return
	}
	s := f.newSlot(cl, request)
	s.form, s.cost = cmd.Form, maxDumpBytes
	cl.push(s)
	d := &dump{f: f, s: s, left: limit, going: 1}
	if limit == 0 {
		d.left = math.MaxUint32
	}
	for range dumpWindow {
		d.going++
		(&walk{d: d}).step()
	}
	d.leave()
	if cl.head != nil {
		cl.waitAlone()
	}
}

// step asks for the next page, if there is to be one.
func (w *walk) step() {
	d := w.d
	if !w.more && d.next < d.partitions() {
		w.part, w.from, w.more = d.next, nil, true
		d.next++
	}
	if !w.more || d.full || d.s.client.closed {
		d.leave()
		return
	}
	// Prefix is a copy: what is routed writes behind the prefix in keyBuf.
	d.f.router.Scan(&wire.Scan{Partition: uint16(w.part), KeysOnly: true, From: w.from, Prefix: []byte(d.f.opt.KeyPrefix),
		MaxItems: d.left, MaxBytes: dumpPageBytes}, w)
}

// partitions is their number. While that is not known the first one is asked for:
// its page comes when it is.
func (d *dump) partitions() int {
	if m := d.f.router.Map(); m != nil {
		return len(m.Partitions)
	}
	return 1
}

// Page implements router.PageTaker.
func (w *walk) Page(p *wire.Page) {
	for i := range p.Items {
		w.d.show(&p.Items[i])
	}
	w.more, w.from = p.More, append(w.from[:0], p.Next...)
}

// Done implements router.Completion.
func (w *walk) Done(res *item.Result) {
	if d := w.d; res.Status != item.OK {
		d.full = true
		d.fail = memproto.AppendAnswer(nil, &d.s.form, nil, nil, item.OpGet, res)
	}
	w.step()
}

// show adds a line, if there is room for it.
func (d *dump) show(it *wire.PageItem) {
	if d.full {
		return
	}
	n := len(d.lines)
	d.lines = memproto.AppendDumped(d.lines, it.Key[len(d.f.opt.KeyPrefix):], it.Length, it.Exptime)
	switch {
	case len(d.lines) == n:
		return
	case len(d.lines)+len(memproto.ReplyEnd) > maxDumpBytes:
		d.lines, d.full = d.lines[:n], true
		return
	}
	d.left--
	d.full = d.left == 0
}

// leave ends a walk; with the last one the answer is complete.
func (d *dump) leave() {
	if d.going--; d.going > 0 {
		return
	}
	cl := d.s.client
	if !cl.closed {
		answer := d.fail
		if answer == nil {
			answer = append(d.lines, memproto.ReplyEnd...)
		}
		d.f.write(cl, answer)
	}
	d.s.done = true
	cl.popDone()
}
