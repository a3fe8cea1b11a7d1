package frontend

import (
	"bytes"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/large"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/memproto"
)

// Values that are longer than item.MaxWhole pass through in parts: a client that
// sends one or reads one costs large.MaxHeld and its connection's buffers.

// uploadSilence is how long a client may say nothing in the middle of a value. The
// servers keep what they have of it for twice as long (unlistedGrace).
const uploadSilence = 5 * time.Minute

// upload is a command whose value is on its way in.
type upload struct {
	cl   *client
	slot *slot
	req  item.Request // with a key of its own
	*large.Upload
	whole  bool // all of the value has come
	silent bool // since the timer was set
	timer  loop.Timer
}

// beginUpload begins a command whose value comes in parts.
func (cl *client) beginUpload(cmd *memproto.Command) {
	f := cl.f
	f.counters.begin(cmd.Request.Op)
	if cmd.Proto == memproto.Meta {
		f.counters.CmdMeta++
	}
	s := f.newSlot(cl, request)
	s.op, s.form, s.cost = cmd.Request.Op, cmd.Form, large.MaxHeld
	s.remember(cmd.Shown, cmd.Flags)
	cl.push(s)
	up := &upload{cl: cl, slot: s, req: cmd.Request}
	up.req.Key = append([]byte(f.opt.KeyPrefix), cmd.Request.Key...)
	up.Upload = large.NewUpload(f.router, up.req.Key, int(cmd.Size), up.changed)
	cl.up = up
	up.watch()
	up.changed() // it may have failed at once
}

// watch ends the connection of a client that stopped in the middle of a value.
func (up *upload) watch() {
	up.silent = true
	up.timer = up.cl.f.loop.After(uploadSilence, func() {
		if up.silent && !up.whole {
			up.cl.conn.Close()
			return
		}
		up.watch()
	})
}

// part takes the next piece of the value.
func (up *upload) part(cmd *memproto.Command) {
	up.silent = false
	if up.whole = cmd.Last; up.whole {
		up.slot.began = up.cl.f.router.Clock()
	}
	up.Write(cmd.Part)
	up.changed() // what was written may have ended at once
}

// changed goes on when parts were stored, or could not be.
func (up *upload) changed() {
	cl := up.cl
	if cl.up != up {
		return
	}
	switch {
	case up.Failed() != nil:
		cl.endUpload()
		if !up.whole {
			cl.parser.SkipValue()
		}
		up.slot.Done(up.Failed())
	case up.Stored():
		cl.endUpload()
		up.req.Value, up.req.Options = up.Manifest(), up.req.Options|item.Large
		cl.f.router.DoInOrder(cl.stream, &up.req, up.slot)
	}
	cl.tryResume()
}

// endUpload ends the part of a command that is about its value.
func (cl *client) endUpload() {
	cl.up.End()
	cl.up.timer.Stop()
	cl.up = nil
}

// dropUpload ends a command that will never be whole; answer is what is said of it.
func (cl *client) dropUpload(answer string) {
	s := cl.up.slot
	cl.endUpload()
	s.kind, s.done = text, true
	s.buf = append(s.buf[:0], answer...)
	if cl.head == s && !cl.closed {
		cl.emit(s, nil)
	}
	cl.popDone()
}

// awaits tells that nothing more may be parsed until parts of a value are stored.
func (cl *client) awaits() bool { return cl.up != nil && !cl.up.Ready() }

// download is a value on its way out: that of the first slot of its client's queue.
type download struct {
	s     *slot
	d     *large.Download
	res   item.Result // of the get, without the manifest
	begun bool        // something was said of it
	waits bool        // OnDrain will resume it
}

// streamOrKeep takes a large value: its turn has come, or it is kept until it has.
func (s *slot) streamOrKeep(res *item.Result) {
	cl := s.client
	if cl.head == s {
		s.stream(res)
		return
	}
	kept := *res
	kept.Item.Value = bytes.Clone(res.Item.Value)
	s.kept = &kept
}

// streamKept streams what was kept.
func (s *slot) streamKept() {
	kept := s.kept
	s.kept = nil
	s.stream(kept)
}

// stream answers s, the first of the queue, with a large value.
func (s *slot) stream(res *item.Result) {
	cl := s.client
	if s.inGroup() {
		g := cl.openGroup()
		if g.failed { // nobody is shown this value
			s.done = true
			cl.emit(s, nil)
			cl.popDone()
			return
		}
		if !g.direct {
			cl.letOut(g)
		}
	}
	down := &download{s: s, res: *res}
	down.res.Item.Value = nil
	s.down = down
	cl.hold(large.MaxHeld - s.cost)
	s.cost = large.MaxHeld
	down.d = large.NewDownload(cl.f.router, s.routed, res.Item.Value, down)
	down.d.Resume()
}

// dropLarge ends what was on its way to a client that has gone, or from it.
func (cl *client) dropLarge() {
	if cl.up != nil && !cl.up.whole {
		cl.dropUpload("")
	}
	for s := cl.head; s != nil; s = s.next {
		if s.down != nil {
			s.down.d.End()
		}
		if s.down != nil || s.kept != nil {
			s.down, s.kept, s.done = nil, nil, true
		}
	}
}

// Part implements large.Sink.
func (down *download) Part(p []byte) {
	cl := down.s.client
	if !down.begun {
		down.begun = true
		cl.out(down.s, &down.res)
	}
	cl.f.write(cl, p)
}

// Room implements large.Sink.
func (down *download) Room() bool {
	cl := down.s.client
	if cl.conn.Buffered() <= maxOutBytes/2 {
		return true
	}
	if !down.waits {
		down.waits = true
		cl.conn.OnDrain(maxOutBytes/4, func() {
			down.waits = false
			if down.s.down == down {
				down.d.Resume()
			}
		})
	}
	return false
}

// End implements large.Sink.
func (down *download) End(failed *item.Result) {
	s := down.s
	cl := s.client
	f := cl.f
	if failed == nil && !down.begun {
		down.Part(nil) // a value without bytes
	}
	s.down, s.done = nil, true
	switch {
	case failed != nil && down.begun:
		// There is no way to say it in the middle of a value.
		f.log.Warn("client closed in the middle of a value", "addr", cl.conn.RemoteAddr(), "reason", failed.Message)
		f.counters.Errors++
		cl.closing = true
		cl.linger = f.closeAfterFlush(cl.conn) // what was answered before is to arrive
		return                                 // OnClose goes on
	case failed != nil:
		f.counters.Errors++
		s.failed = true
		cl.emit(s, failed)
	default:
		tail := memproto.AppendTail(nil, &s.form)
		if s.alone && s.form.Proto == memproto.Text {
			tail = memproto.AppendEnd(tail, &s.form)
		}
		f.write(cl, tail)
		if s.inGroup() && s.last {
			cl.closeGroup(s)
		}
	}
	cl.popDone()
}
