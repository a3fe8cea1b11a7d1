package frontend

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/memproto"
)

// begin begins cmd, or returns false: it must be given again when reading goes on.
func (cl *client) begin(cmd *memproto.Command) bool {
	f := cl.f
	switch cmd.Kind {
	case memproto.KindRetrieve:
		return cl.beginRetrieval(cmd)
	case memproto.KindRequest:
		f.counters.begin(cmd.Request.Op)
		cl.beginRequest(cmd, request)
	case memproto.KindTooLarge:
		f.counters.begin(item.OpSet)
		f.counters.StoreTooLarge++
		cl.beginRequest(cmd, tooLarge)
	case memproto.KindFlushAll:
		return cl.beginFlush(cmd)
	case memproto.KindVersion:
		cl.say("VERSION " + MemcachedVersion + "\r\n")
	case memproto.KindVerbosity, memproto.KindCacheMemlimit:
		if !cmd.NoReply {
			cl.say(memproto.ReplyOK)
		}
	case memproto.KindStats:
		if cl.head != nil { // the commands before it are to be in it
			cl.waitAlone()
			return false
		}
		cl.say(string(f.appendStats(nil, cmd.Keys)))
	case memproto.KindShutdown:
		cl.say(memproto.ReplyShutdownNotEnabled)
	case memproto.KindQuit:
		cl.closing = true
	case memproto.KindError:
		if !cmd.NoReply {
			cl.say(cmd.Error)
		}
	}
	return true
}

func (cl *client) beginRequest(cmd *memproto.Command, kind slotKind) {
	s := cl.f.newSlot(cl, kind)
	s.op, s.noReply = cmd.Request.Op, cmd.NoReply
	s.cost = len(cmd.Request.Value)
	cl.push(s)
	cl.do(&cmd.Request, s)
}

// do routes req, with the prefix before its key.
func (cl *client) do(req *item.Request, s *slot) {
	f := cl.f
	if n := len(f.opt.KeyPrefix); n > 0 {
		f.keyBuf = append(f.keyBuf[:n], req.Key...)
		req.Key = f.keyBuf
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
		s.op, s.withCAS = cmd.Request.Op, cmd.WithCAS
		s.alone, s.last = alone, i == len(cmd.Keys)-1
		s.key = append(s.key[:0], key...)
		s.cost = cl.valueSize
		if s.op == item.OpGetAndTouch {
			// Its value cannot be declined, for it was done: it may be of any size.
			s.cost = max(s.cost, min(f.opt.MaxItemSize, maxHeldBytes))
		}
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
		if !cmd.NoReply {
			cl.say(memproto.ReplyFlushNotAllowed)
		}
		return true
	}
	if cl.head != nil {
		cl.waitAlone()
		return false
	}
	f.counters.CmdFlush++
	s := f.newSlot(cl, request)
	s.op, s.noReply = item.OpFlush, cmd.NoReply
	cl.push(s)
	f.router.FlushAll(cmd.Request.Exptime, s)
	if cl.head != nil {
		cl.waitAlone()
	}
	return true
}
