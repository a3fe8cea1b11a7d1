package frontend_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// shelf is what item.Execute works on: by the same commands, one that has whole
// values comes to the same as one that has chunks, uniques included.
type shelf struct {
	items  map[string]*item.Item
	writes map[string]uint64 // of a key
	whole  bool              // what append and prepend make large stays whole
}

const shelfNow = 1000

func newShelf(whole bool) *shelf {
	return &shelf{items: map[string]*item.Item{}, writes: map[string]uint64{}, whole: whole}
}

// do executes r.
func (s *shelf) do(r *item.Request) item.Result {
	key := string(r.Key)
	cur := s.items[key]
	if cur != nil && cur.Expired(shelfNow) {
		cur = nil
	}
	version := (s.writes[key] + 1) << 20
	out := item.Execute(r, cur, shelfNow, version)
	if out.Effect == item.None {
		return out.Result
	}
	s.writes[key]++
	if out.Effect == item.Remove {
		delete(s.items, key)
		return out.Result
	}
	it := out.New
	it.Value = bytes.Clone(it.Value)
	if it.Version != version { // chunks were made
		it.Version, out.Result.Item.Version = version, version
	}
	if s.whole && it.Large {
		first, second := cur.Value, r.Value
		if r.Op == item.OpPrepend {
			first, second = second, first
		}
		it.Large, it.Value = false, append(bytes.Clone(first), second...)
	} else {
		for _, c := range out.Chunks {
			s.items[string(c.Key)] = &item.Item{Version: 1, Value: bytes.Clone(c.Value)}
		}
	}
	s.items[key] = &it
	return out.Result
}

// backend is a server in this process with a shelf. It belongs to the loop.
type backend struct {
	*shelf
	loop loop.Loop
	// random, if not nil, has answers come later, in any order, some after a refusal.
	random *rand.Rand
	held   []func()
	posted bool
	// fail, if set, gives a request the answer that it gets instead of being executed.
	fail  func(r *wire.Request) *item.Result
	opens uint64
}

func (b *backend) Local(uint16) bool { return true }

func (b *backend) Submit(r *wire.Request, sink router.Sink) {
	if b.random == nil {
		b.answer(r, sink)
		return
	}
	later := *r
	later.Key, later.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	b.held = append(b.held, func() {
		if later.Op != item.OpOpenSession && b.random.IntN(20) == 0 {
			sink.Nak(&wire.Nak{Reason: wire.NakNotReady})
			return
		}
		b.answer(&later, sink)
	})
	b.wake()
}

// wake has some of what is held answered in the next turn.
func (b *backend) wake() {
	if b.posted || len(b.held) == 0 {
		return
	}
	b.posted = true
	b.loop.Post(func() {
		b.posted = false
		for n := b.random.IntN(len(b.held) + 1); n > 0; n-- {
			i := b.random.IntN(len(b.held))
			do := b.held[i]
			b.held = append(b.held[:i], b.held[i+1:]...)
			do()
		}
		b.wake()
	})
}

func (b *backend) answer(r *wire.Request, sink router.Sink) {
	rep := &wire.Reply{ID: r.ID}
	if b.fail != nil {
		if res := b.fail(r); res != nil {
			rep.Result = *res
			sink.Reply(rep)
			return
		}
	}
	switch r.Op {
	case item.OpOpenSession:
		b.opens++
		rep.Result = item.Result{Status: item.OK, Item: item.Item{Version: b.opens}}
	case item.OpFlush:
		for key := range b.items {
			if !item.IsChunk([]byte(key)) && clustermap.PartitionOf([]byte(key), parts) == r.Partition {
				delete(b.items, key)
				b.writes[key]++
			}
		}
		rep.Result = item.Result{Status: item.OK}
	default:
		rep.Result = b.do(&r.Request)
		rep.Result.Item.Value = bytes.Clone(rep.Result.Item.Value)
	}
	sink.Reply(rep)
	for i := range rep.Result.Item.Value { // it was only lent
		rep.Result.Item.Value[i] = '?'
	}
}

// answers is what a server with whole values answers to input, until quit.
func answers(input []byte, opt frontend.Options, s *shelf) (out []byte) {
	p := memproto.Parser{MaxItemSize: opt.MaxItemSize}
	var cmd memproto.Command
	do := func(r *item.Request) *item.Result {
		r.Key = append([]byte(opt.KeyPrefix), r.Key...)
		res := s.do(r)
		if res.Status == item.MustWrite {
			r.Op = item.OpMetaGet
			res = s.do(r)
		}
		return &res
	}
	for len(input) > 0 {
		n, err := p.Next(input, &cmd)
		if n == 0 || err != nil {
			break
		}
		input = input[n:]
		f := &cmd.Form
		say := func(line string) {
			if cmd.Proto != memproto.Text || !cmd.Quiet {
				out = memproto.Say(out, f, line)
			}
		}
		switch cmd.Kind {
		case memproto.KindNone:
		case memproto.KindRetrieve:
			for _, key := range cmd.Keys {
				cmd.Request.Key = key
				if res := do(&cmd.Request); res.Status == item.OK {
					out = memproto.AppendValue(out, key, res.Item.Flags, res.Item.Value, f.WithCAS, res.Item.CAS())
				}
			}
			out = memproto.AppendEnd(out, f)
		case memproto.KindRequest:
			op := cmd.Request.Op
			res := do(&cmd.Request)
			out = memproto.AppendAnswer(out, f, cmd.Shown, cmd.Flags, op, res)
		case memproto.KindTooLarge:
			do(&cmd.Request)
			say(memproto.ReplyTooLarge)
		case memproto.KindFlushAll:
			for key := range s.items {
				delete(s.items, key)
				s.writes[key]++
			}
			say(memproto.ReplyOK)
		case memproto.KindNoop:
			out = memproto.AppendNoop(out, f)
		case memproto.KindVersion:
			out = memproto.AppendVersion(out, f, frontend.MemcachedVersion)
		case memproto.KindVerbosity:
			say(memproto.ReplyOK)
		case memproto.KindStats:
			out = memproto.Say(out, f, memproto.ReplyReset) // they are all of this kind
		case memproto.KindQuit:
			return memproto.AppendQuit(out, f)
		case memproto.KindError:
			if !cmd.Quiet {
				out = append(out, cmd.Error...)
			}
			if cmd.Closes {
				return out
			}
		default:
			panic("a command that the tests do not know")
		}
	}
	return out
}

// bin is a request of the binary protocol.
func bin(opcode byte, key string, extras, value []byte, unique uint64, opaque uint32) []byte {
	be := binary.BigEndian
	b := []byte{0x80, opcode}
	b = be.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0, 0, 0)
	b = be.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = be.AppendUint32(b, opaque)
	b = be.AppendUint64(b, unique)
	return append(append(append(b, extras...), key...), value...)
}
