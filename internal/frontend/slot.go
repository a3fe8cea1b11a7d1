package frontend

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
)

type slotKind uint8

const (
	request  slotKind = iota // answered by AppendResult
	value                    // one key of a retrieval
	tooLarge                 // the delete that a refused set has become
	text                     // known at once; buf has it
)

// slot is one place in a client's queue of answers: a command, or one key of a
// multi-get. It is the command's Completion. An answer that comes when its slot
// is the first goes straight to the connection's buffer; one that comes too soon
// waits, formatted, in the slot's own.
type slot struct {
	client *client
	next   *slot // in the client's queue, or in the free list

	kind   slotKind
	op     item.Op
	form   memproto.Form
	alone  bool // value: the only key
	last   bool // value: of the last key
	done   bool
	failed bool // value: there is no answer but an error

	declined int // bytes of the value that was not taken; 0: none was
	get      router.Declined
	// asked is the item of a declined value, without it: asking again finds an item
	// that this very command has seen.
	asked item.Item

	large bool         // declined: the value lies in chunks, and is asked for when this slot is the first
	kept  *item.Result // such a value that could not be declined
	down  *download    // such a value on its way out
	// routed is the key of a value as it was routed.
	routed []byte

	began int64  // Router.Clock when it was asked for; 0: it is not measured
	cost  int    // in client.held
	key   []byte // what the answer repeats: the key, and behind shown bytes the flags
	// shown is the length of the key in key.
	shown int
	buf   []byte // the answer, once done; empty when it went straight out
}

// keepBuffer is the largest buffer that a free slot keeps.
const keepBuffer = 4 << 10

func (f *Frontend) newSlot(cl *client, kind slotKind) *slot {
	s := f.freeSlot
	if s == nil {
		s = &slot{}
	} else {
		f.freeSlot = s.next
	}
	s.next, s.client, s.kind = nil, cl, kind
	return s
}

func (f *Frontend) putSlot(s *slot) {
	buf := s.buf[:0]
	if cap(buf) > keepBuffer {
		buf = nil
	}
	*s = slot{next: f.freeSlot, key: s.key[:0], routed: s.routed[:0], buf: buf}
	f.freeSlot = s
}

// Decline implements router.Decliner.
func (s *slot) Decline(res *item.Result, get router.Declined) bool {
	cl, n := s.client, len(res.Item.Value)
	s.large = res.Item.Large && cl.head != s
	if !s.large && (n <= s.cost || cl.hasRoom(n-s.cost)) || cl.closed {
		return false
	}
	if !res.Item.Large {
		cl.sawValue(n)
	}
	cl.hold(-s.cost)
	s.cost, s.declined, s.get = 0, n, get
	if s.asked.Version != res.Item.Version {
		s.asked = res.Item
		s.asked.Value = nil
	}
	cl.declined++
	cl.awaitRoom()
	return true
}

// Done implements router.Completion.
func (s *slot) Done(res *item.Result) {
	cl := s.client
	f := cl.f
	if s.asked.Version != 0 && s.asked.Version == res.Item.Version {
		first := *res
		first.Item.Fetched, first.Item.Accessed = s.asked.Fetched, s.asked.Accessed
		res = &first
	}
	if s.kind != tooLarge {
		f.counters.count(s.op, res)
	}
	if s.kind == value && res.Item.Large && res.Status == item.OK && !cl.closed {
		s.streamOrKeep(res)
		return
	}
	if s.kind == value {
		cl.sawValue(len(res.Item.Value))
	}
	s.done = true
	s.failed = s.kind == value && res.Status != item.OK && res.Status != item.NotFound
	if cl.closed {
		cl.popDone()
		return
	}
	if cl.head != s {
		s.buf = s.append(s.buf[:0], res)
		cl.hold(len(s.buf) - s.cost)
		s.cost = len(s.buf)
		return
	}
	cl.emit(s, res)
	cl.popDone()
}

// remember keeps what the answer will repeat.
func (s *slot) remember(key, flags []byte) {
	s.key = append(append(s.key[:0], key...), flags...)
	s.shown = len(key)
}

// append appends the answer res; a nil res stands for the one kept in buf.
func (s *slot) append(dst []byte, res *item.Result) []byte {
	switch {
	case res == nil:
		return append(dst, s.buf...)
	case s.kind == tooLarge:
		if s.form.Proto == memproto.Text && s.form.Quiet {
			return dst
		}
		return memproto.Say(dst, &s.form, memproto.ReplyTooLarge)
	case s.down != nil:
		return memproto.AppendHead(dst, &s.form, s.key[:s.shown], s.key[s.shown:], s.op, res)
	case s.kind == request || s.failed || s.form.Proto != memproto.Text:
		return memproto.AppendAnswer(dst, &s.form, s.key[:s.shown], s.key[s.shown:], s.op, res)
	}
	if res.Status == item.OK {
		it := &res.Item
		dst = memproto.AppendValue(dst, s.key, it.Flags, it.Value, s.form.WithCAS, it.CAS())
	}
	if s.alone {
		dst = memproto.AppendEnd(dst, &s.form)
	}
	return dst
}

// group collects the answer to a multi-get. It is held back until all keys are
// answered, because one that fails makes the whole an error; but not more of it
// than maxGroupBytes: then the hits begin to go out, and an error that comes
// later follows them, in the place of END.
type group struct {
	buf    []byte
	failed bool
	direct bool
	next   *group // in the free list
}

const maxGroupBytes = 8 << 20

func (f *Frontend) newGroup() *group {
	g := f.freeGroup
	if g == nil {
		return &group{}
	}
	f.freeGroup = g.next
	g.next = nil
	return g
}

func (f *Frontend) putGroup(g *group) {
	buf := g.buf[:0]
	if cap(buf) > 64<<10 {
		buf = nil
	}
	*g = group{buf: buf, next: f.freeGroup}
	f.freeGroup = g
}

// emit lets out the answer of s, the first of the queue. res is nil if it is in buf.
func (cl *client) emit(s *slot, res *item.Result) {
	if s.inGroup() {
		cl.emitPart(s, res)
		return
	}
	if res == nil && len(s.buf) == 0 || s.form.Quiet && s.form.Proto == memproto.Text {
		return
	}
	cl.out(s, res)
}

func (cl *client) out(s *slot, res *item.Result) {
	f := cl.f
	f.answer, f.result = s, res
	cl.conn.Append(f.appendAnswer)
	f.answer, f.result = nil, nil
}

// inGroup tells whether s is answered as a part of a multi-get.
func (s *slot) inGroup() bool { return s.kind == value && !s.alone }

// openGroup is the group of the multi-get at the front of the queue.
func (cl *client) openGroup() *group {
	if cl.group == nil {
		cl.group = cl.f.newGroup()
	}
	return cl.group
}

// letOut has the group's hits go out as they come.
func (cl *client) letOut(g *group) {
	g.direct = true
	cl.f.write(cl, g.buf)
	g.buf = nil
}

func (cl *client) emitPart(s *slot, res *item.Result) {
	g := cl.openGroup()
	switch {
	case g.failed:
	case s.failed:
		g.failed = true
		g.buf = s.append(g.buf[:0], res)
	case g.direct:
		cl.out(s, res)
	default:
		g.buf = s.append(g.buf, res)
		if len(g.buf) > maxGroupBytes {
			cl.letOut(g)
		}
	}
	if s.last {
		cl.closeGroup(s)
	}
}

// closeGroup ends the answer to a multi-get.
func (cl *client) closeGroup(s *slot) {
	g := cl.group
	if !g.failed {
		g.buf = memproto.AppendEnd(g.buf, &s.form)
	}
	cl.f.write(cl, g.buf)
	cl.group = nil
	cl.f.putGroup(g)
}
