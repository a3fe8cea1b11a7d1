package frontend

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/memproto"
)

// begin begins cmd, or returns false: it must be given again when reading goes on.
func (cl *client) begin(cmd *memproto.Command) bool {
	f := cl.f
	if cl.stranger && cmd.Kind != memproto.KindNone {
		cl.admit(cmd)
		return true
	}
	switch cmd.Kind {
	case memproto.KindRetrieve:
		return cl.beginRetrieval(cmd)
	case memproto.KindRequest:
		cl.beginRequest(cmd)
	case memproto.KindBegin:
		cl.beginUpload(cmd)
	case memproto.KindPart:
		if cl.up != nil { // else it failed, and what comes of it is of no use
			cl.up.part(cmd)
		}
	case memproto.KindTooLarge:
		f.counters.StoreTooLarge++
		cl.beginDrop(cmd)
	case memproto.KindFlushAll:
		return cl.beginFlush(cmd)
	case memproto.KindNoop:
		cl.say(memproto.AppendNoop(nil, &cmd.Form))
	case memproto.KindVersion:
		cl.say(memproto.AppendVersion(nil, &cmd.Form, MemcachedVersion))
	case memproto.KindVerbosity, memproto.KindCacheMemlimit:
		cl.sayLine(cmd, memproto.ReplyOK)
	case memproto.KindStats:
		if cl.head != nil { // the commands before it are to be in it
			cl.waitAlone()
			return false
		}
		if isDump(cmd) {
			cl.beginDump(cmd)
		} else {
			cl.beginStats(cmd)
		}
	case memproto.KindShutdown:
		cl.say([]byte(memproto.ReplyShutdownNotEnabled))
	case memproto.KindAuthList, memproto.KindAuth:
		if f.opt.Auth == nil { // all are let in
			cl.sayLine(cmd, memproto.ReplyError)
		} else {
			cl.admit(cmd)
		}
	case memproto.KindQuit:
		cl.say(memproto.AppendQuit(nil, &cmd.Form))
		cl.closing = true
	case memproto.KindError:
		answer := cmd.Error
		if cmd.Quiet {
			answer = ""
		}
		if cl.up != nil { // the value did not end where it should
			cl.dropUpload(answer)
		} else {
			cl.say([]byte(answer))
		}
		cl.closing = cl.closing || cmd.Closes
	}
	return true
}

// sayLine answers one of the lines of memproto, unless cmd wants no answer.
func (cl *client) sayLine(cmd *memproto.Command, line string) {
	if cmd.Proto != memproto.Text || !cmd.Quiet {
		cl.say(memproto.Say(nil, &cmd.Form, line))
	}
}

func (cl *client) beginRequest(cmd *memproto.Command) {
	f := cl.f
	req := &cmd.Request
	f.counters.begin(req.Op)
	if cmd.Proto == memproto.Meta {
		f.counters.CmdMeta++
	}
	s := f.newSlot(cl, request)
	s.cost = len(req.Value)
	if req.Op.Retrieves() && !req.Has(item.NoValue) {
		s.kind, s.alone, s.last = value, true, true
		s.cost = cl.valueCost(req.Op)
	}
	s.op, s.form, s.began = req.Op, cmd.Form, f.router.Clock()
	s.remember(cmd.Shown, cmd.Flags)
	cl.push(s)
	cl.do(req, s)
}

// beginDrop removes what a set that was refused was to replace.
func (cl *client) beginDrop(cmd *memproto.Command) {
	s := cl.f.newSlot(cl, tooLarge)
	s.op, s.form = cmd.Request.Op, cmd.Form
	cl.push(s)
	cl.do(&cmd.Request, s)
}

// valueCost is what is set aside for a value that op reads.
func (cl *client) valueCost(op item.Op) int {
	if op == item.OpGet {
		return cl.valueSize
	}
	// Its value cannot be declined, for it was done: it may be of any size.
	return max(cl.valueSize, min(cl.f.opt.MaxItemSize, maxHeldBytes))
}

// do routes req, with the prefix before its key.
func (cl *client) do(req *item.Request, s *slot) {
	f := cl.f
	if n := len(f.opt.KeyPrefix); n > 0 {
		f.keyBuf = append(f.keyBuf[:n], req.Key...)
		req.Key = f.keyBuf
	}
	if s.kind == value {
		s.routed = append(s.routed[:0], req.Key...)
	}
	f.router.DoInOrder(cl.stream, req, s)
}

// beginRetrieval asks for each key by itself: a multi-get is a set of
// independent gets. It goes as far as the bounds allow.
func (cl *client) beginRetrieval(cmd *memproto.Command) bool {
	f := cl.f
	alone := len(cmd.Keys) == 1
	for i := cl.keysBegun; i < len(cmd.Keys); i++ {
		if i > cl.keysBegun && cl.full() {
			cl.keysBegun = i
			cl.pause()
			return false
		}
		key := cmd.Keys[i]
		s := f.newSlot(cl, value)
		s.op, s.form, s.began = cmd.Request.Op, cmd.Form, f.router.Clock()
		s.alone, s.last = alone, i == len(cmd.Keys)-1
		s.remember(key, nil)
		s.cost = cl.valueCost(s.op)
		cl.push(s)
		f.counters.begin(s.op)
		cmd.Request.Key = key
		cl.do(&cmd.Request, s)
	}
	cl.keysBegun = 0
	return true
}

// waitAlone holds up everything until all that was begun is answered.
func (cl *client) waitAlone() {
	cl.barrier = true
	cl.pause()
}

// beginFlush waits until everything before it is answered, and holds up
// everything after it: it concerns every key.
func (cl *client) beginFlush(cmd *memproto.Command) bool {
	f := cl.f
	if !f.opt.AllowFlushAll {
		cl.sayLine(cmd, memproto.ReplyFlushNotAllowed)
		return true
	}
	if cl.head != nil {
		cl.waitAlone()
		return false
	}
	f.counters.CmdFlush++
	s := f.newSlot(cl, request)
	s.op, s.form, s.began = item.OpFlush, cmd.Form, f.router.Clock()
	cl.push(s)
	f.router.FlushAll(cmd.Request.Exptime, s)
	if cl.head != nil {
		cl.waitAlone()
	}
	return true
}
