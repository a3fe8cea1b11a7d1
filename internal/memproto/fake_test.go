package memproto

import (
	"github.com/kumofs/kumofs/internal/item"
)

// fake is the smallest server: a Parser, Execute and a map.
type fake struct {
	parser  Parser
	items   map[string]item.Item
	version uint64
	now     int64
	name    string  // what it answers to version
	begun   Command // whose value comes in parts
}

func newFake(now int64) *fake {
	return &fake{items: map[string]item.Item{}, now: now, name: "1.6.18"}
}

// serve answers in as one connection that sends it and then closes. closed tells
// whether the server closed it first.
func (f *fake) serve(in []byte) (out []byte, closed bool) {
	p := &f.parser
	*p = Parser{MaxItemSize: p.MaxItemSize, Whole: p.Whole, PartSize: p.PartSize}
	return f.feed(in)
}

// feed answers more bytes of the same connection. in ends with a whole command.
func (f *fake) feed(in []byte) (out []byte, closed bool) {
	var cmd Command
	for {
		n, err := f.parser.Next(in, &cmd)
		if err != nil {
			return out, true
		}
		if n == 0 {
			return out, false
		}
		in = in[n:]
		if cmd.Kind == KindBegin || cmd.Kind == KindPart {
			if !f.addPart(&cmd) {
				continue
			}
		}
		if cmd.Kind == KindQuit {
			return AppendQuit(out, &cmd.Form), true
		}
		if reply := f.run(&cmd); !cmd.Quiet || cmd.Proto != Text {
			out = append(out, reply...)
		}
		if cmd.Closes {
			return out, true
		}
	}
}

// addPart makes cmd, if it is the last part of a value, the whole command.
func (f *fake) addPart(cmd *Command) (whole bool) {
	if cmd.Kind == KindBegin {
		f.begun = *cmd
		f.begun.Kind = KindRequest
		f.begun.Request.Key = append([]byte{}, cmd.Request.Key...)
		return false
	}
	f.begun.Request.Value = append(f.begun.Request.Value, cmd.Part...)
	if cmd.Last {
		*cmd = f.begun
	}
	return cmd.Kind == KindRequest
}

func (f *fake) run(cmd *Command) (out []byte) {
	switch cmd.Kind {
	case KindRetrieve:
		for _, key := range cmd.Keys {
			req := cmd.Request
			req.Key = key
			res := f.execute(&req)
			if res.Status == item.OK {
				if f.parser.inParts(len(res.Item.Value)) {
					out = appendInPieces(out, &cmd.Form, key, nil, req.Op, &res)
				} else {
					out = AppendValue(out, key, res.Item.Flags, res.Item.Value, cmd.WithCAS, res.Item.CAS())
				}
			}
		}
		return AppendEnd(out, &cmd.Form)
	case KindRequest:
		op := cmd.Request.Op
		res := f.execute(&cmd.Request)
		if res.Status == item.MustWrite {
			cmd.Request.Op = item.OpMetaGet
			res = f.execute(&cmd.Request)
		}
		if cmd.Proto == Text && op.Retrieves() {
			panic("a retrieval of text is KindRetrieve")
		}
		if f.parser.inParts(len(res.Item.Value)) && res.Status == item.OK && showsValue(&cmd.Form, op) {
			return appendInPieces(nil, &cmd.Form, cmd.Shown, cmd.Flags, op, &res)
		}
		return AppendAnswer(nil, &cmd.Form, cmd.Shown, cmd.Flags, op, &res)
	case KindTooLarge:
		f.execute(&cmd.Request)
		return Say(nil, &cmd.Form, ReplyTooLarge)
	case KindNoop:
		return AppendNoop(nil, &cmd.Form)
	case KindAuthList, KindAuth:
		return Say(nil, &cmd.Form, ReplyError)
	case KindFlushAll:
		if cmd.Request.Exptime == 0 {
			clear(f.items)
		}
		return Say(nil, &cmd.Form, ReplyOK)
	case KindVersion:
		return AppendVersion(nil, &cmd.Form, f.name)
	case KindVerbosity, KindCacheMemlimit:
		return Say(nil, &cmd.Form, ReplyOK)
	case KindStats:
		return Say(nil, &cmd.Form, ReplyError)
	case KindShutdown:
		return []byte(ReplyShutdownNotEnabled)
	case KindError:
		return []byte(cmd.Error)
	}
	return nil
}

func (f *fake) execute(req *item.Request) item.Result {
	var cur *item.Item
	if it, ok := f.items[string(req.Key)]; ok && !it.Expired(f.now) {
		cur = &it
	}
	f.version++
	out := item.Execute(req, cur, f.now, f.version)
	if out.Effect == item.None && out.Result.Status == item.OK && !req.Has(item.NoBump) {
		it := *cur
		it.Bump(f.now)
		f.items[string(req.Key)] = it
	}
	switch out.Effect {
	case item.Put:
		it := out.New
		it.Value = append([]byte{}, it.Value...)
		f.items[string(req.Key)] = it
	case item.Remove:
		delete(f.items, string(req.Key))
	}
	return out.Result
}
