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
	name    string // what it answers to version
}

func newFake(now int64) *fake {
	return &fake{items: map[string]item.Item{}, now: now, name: "1.6.18"}
}

// serve answers in as one connection that sends it and then closes. closed tells
// whether the server closed it first.
func (f *fake) serve(in []byte) (out []byte, closed bool) {
	f.parser = Parser{MaxItemSize: f.parser.MaxItemSize}
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
		if cmd.Kind == KindQuit || cmd.Kind == KindBinary {
			return out, true
		}
		if reply := f.run(&cmd); !cmd.NoReply {
			out = append(out, reply...)
		}
	}
}

func (f *fake) run(cmd *Command) (out []byte) {
	switch cmd.Kind {
	case KindRetrieve:
		for _, key := range cmd.Keys {
			req := cmd.Request
			req.Key = key
			res := f.execute(&req)
			if res.Status == item.OK {
				out = AppendValue(out, key, res.Item.Flags, res.Item.Value, cmd.WithCAS, res.Item.CAS())
			}
		}
		return AppendEnd(out)
	case KindRequest:
		res := f.execute(&cmd.Request)
		return AppendResult(nil, cmd.Request.Op, &res)
	case KindTooLarge:
		f.execute(&cmd.Request)
		return []byte(ReplyTooLarge)
	case KindFlushAll:
		if cmd.Request.Exptime == 0 {
			clear(f.items)
		}
		return []byte(ReplyOK)
	case KindVersion:
		return AppendVersion(nil, f.name)
	case KindVerbosity, KindCacheMemlimit:
		return []byte(ReplyOK)
	case KindStats:
		return []byte(ReplyError)
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
	switch out.Effect {
	case item.Put:
		it := out.New
		it.Value = append([]byte(nil), it.Value...)
		f.items[string(req.Key)] = it
	case item.Remove:
		delete(f.items, string(req.Key))
	}
	return out.Result
}
