package memproto

import (
	"encoding/base64"
	"math"

	"github.com/kumofs/kumofs/internal/item"
)

const (
	// maxFlags bounds the flags of a meta command.
	maxFlags = 17
	// maxOpaque bounds an opaque token with its O.
	maxOpaque = 32
)

// parseMeta is a meta command, of which letter is the second one: m? <key>
// <flags>*, and ms <key> <length> <flags>*. The results are parseLine's.
//
// As memcached does, all commands take the flags of all of them, and heed those
// that mean something to them. An error is said whatever the flags are.
func (p *Parser) parseMeta(letter byte, args, rest []byte, cmd *Command) (body int, ok bool) {
	if letter == 'n' {
		cmd.Kind = KindNoop
		cmd.Form = Form{Proto: Meta, Code: 'n'}
		return 0, true
	}
	key, flags := nextToken(args)
	if len(key) == 0 {
		cmd.fail(ReplyError)
		if letter == 'e' {
			cmd.fail(ReplyBadFormat)
		}
		return 0, true
	}
	size := 0
	if letter == 's' {
		var word []byte
		word, flags = nextToken(flags)
		length, ok := parseInt(word)
		if !ok || length < 0 || length > math.MaxInt32-2 {
			cmd.fail(ReplyBadFormat)
			return 0, true
		}
		size = int(length)
	}
	form := Form{Proto: Meta, Code: letter, Size: uint32(size)}
	m := metaFlags{delta: 1}
	problem := m.parse(flags, &form)
	shown := key
	switch {
	case len(key) > MaxKey:
		problem = ReplyBadFormat
	case problem == "" && form.Base64:
		if key = cmd.decode(key); len(key) == 0 {
			problem = ReplyBadBase64
		}
	case problem == "" && !validKey(key):
		problem = ReplyBadFormat
	}
	op := item.OpGet
	if problem == "" {
		op, problem = m.op(letter)
	} else if (letter == 'd' || letter == 'a') && len(key) <= MaxKey && problem != ReplyOpaqueTooLong && problem != ReplyTooManyFlags {
		problem = ReplyMetaFlags
	}
	if problem != "" {
		cmd.fail(problem)
		if letter == 's' {
			p.refuseBody(size)
		}
		return 0, true
	}
	if letter == 's' {
		body, ok = p.takeBody(op, key, size, rest, cmd)
		if !ok || cmd.Kind != KindRequest && cmd.Kind != KindBegin {
			return body, ok
		}
	} else {
		request(cmd, op, key)
	}
	m.fill(letter, &cmd.Request)
	if letter == 'g' && !form.WithValue {
		cmd.Request.Options |= item.NoValue
	}
	cmd.Form, cmd.Shown, cmd.Flags = form, shown, flags
	return body, true
}

// decode is the key of which encoded is the base64 form; empty: it is none.
func (c *Command) decode(encoded []byte) []byte {
	if c.decoded == nil {
		c.decoded = make([]byte, MaxKey)
	}
	n, err := base64.StdEncoding.Decode(c.decoded, encoded)
	if err != nil {
		return nil
	}
	return c.decoded[:n]
}

// metaFlags are what the flags of a meta command ask for.
type metaFlags struct {
	options        item.Option
	mode           byte
	clientFlags    uint32
	exptime        int64 // T
	vivify         int64 // N
	recache        int64 // R
	cas            uint64
	unique         uint64
	delta, initial uint64
}

// parse reads flags; problem is the answer to those that cannot be understood.
func (m *metaFlags) parse(flags []byte, form *Form) (problem string) {
	var seen [2]uint64
	has := func(c byte) bool { return seen[c>>6]&(1<<(c&63)) != 0 }
	for n := 1; ; n++ {
		var word []byte
		if word, flags = nextToken(flags); len(word) == 0 {
			return problem
		}
		c, arg := word[0], word[1:]
		switch {
		case n > maxFlags:
			return ReplyTooManyFlags
		case c >= 127 || has(c):
			return ReplyDuplicateFlag
		}
		seen[c>>6] |= 1 << (c & 63)
		ok := true
		switch c {
		case 'b':
			form.Base64 = true
		case 'q':
			form.Quiet = true
		case 'v':
			form.WithValue = true
		case 'u':
			m.options |= item.NoBump
		case 'I':
			m.options |= item.Invalidate
		case 'x':
			m.options |= item.RemoveValue
		case 'T':
			m.exptime, ok = parseInt32(arg)
			m.options |= item.Touch
			if has('N') {
				m.vivify = m.exptime // the later one stands
			}
			if has('t') {
				m.options |= item.TTLBefore
			}
		case 'N':
			m.vivify, ok = parseInt32(arg)
			m.options |= item.Vivify
			if has('t') && !has('T') {
				m.options |= item.TTLBeforeMade
			}
		case 'R':
			m.recache, ok = parseInt32(arg)
			m.options |= item.Recache
			if has('T') {
				m.options |= item.RecacheNew
			}
		case 'C':
			m.cas, ok = parseUint(arg)
			m.options |= item.Compare
		case 'E':
			m.unique, ok = parseUint(arg)
			m.options |= item.Explicit
		case 'F':
			var n uint64
			if n, ok = parseUint(arg); !ok || n > math.MaxUint32 {
				problem, ok = ReplyBadFormat, true
			}
			m.clientFlags = uint32(n)
		case 'D':
			if m.delta, ok = parseUint(arg); !ok {
				problem, ok = ReplyBadMetaDelta, true
			}
		case 'J':
			if m.initial, ok = parseUint(arg); !ok {
				problem, ok = ReplyBadInitial, true
			}
		case 'M':
			// The first letter counts, as in 1.6.45; 1.6.18 wants no more than one.
			if m.mode = noMode; len(arg) > 0 {
				m.mode = arg[0]
			}
		case 'O':
			if len(word) > maxOpaque {
				return ReplyOpaqueTooLong
			}
		case 'h', 'l':
			m.options |= item.ShowAccess
		case 'c', 'f', 'k', 's', 't', 'P', 'L': // the answer's business, or a proxy's
		default:
			return ReplyInvalidFlag
		}
		if !ok {
			problem = ReplyBadToken
		}
	}
}

// noMode is the mode of an M without a letter.
const noMode = ' '

// parseInt32 reads the exptime of a flag: 32 bits, as in memcached.
func parseInt32(b []byte) (int64, bool) {
	n, ok := parseInt(b)
	return n, ok && n == int64(int32(n))
}

// op is the operation of the command of a letter.
func (m *metaFlags) op(letter byte) (op item.Op, problem string) {
	switch letter {
	case 'g':
		if m.options&item.Touch != 0 {
			return item.OpMetaGet, ""
		}
		return item.OpGet, "" // what else it may write shows at the item
	case 's':
		return m.setOp()
	case 'd':
		return item.OpDelete, ""
	case 'a':
		switch m.mode {
		case 0, 'I', '+':
			return item.OpIncr, ""
		case 'D', '-':
			return item.OpDecr, ""
		}
		return 0, ReplyBadArithmeticMode
	}
	return item.OpGet, ""
}

func (m *metaFlags) setOp() (op item.Op, problem string) {
	switch m.mode {
	case 0, 'S':
		op = item.OpSet
	case 'R':
		op = item.OpReplace
	case 'E':
		return item.OpAdd, ""
	case 'A':
		return item.OpAppend, ""
	case 'P':
		return item.OpPrepend, ""
	default:
		return 0, ReplyBadSetMode
	}
	if m.options&item.Compare != 0 {
		op = item.OpCAS
	}
	return op, ""
}

// fill gives req what the flags ask for, as far as the command of a letter heeds it.
func (m *metaFlags) fill(letter byte, req *item.Request) {
	o := m.options
	switch letter {
	case 'g':
		o = o&(item.Touch|item.Vivify|item.Recache|item.RecacheNew|item.Explicit|item.NoBump|item.TTLBefore|item.TTLBeforeMade|item.ShowAccess) | item.Win
		req.Exptime = m.exptime
	case 's':
		o &= item.Explicit | item.Vivify | item.Compare | item.Invalidate
		req.Flags, req.Exptime = m.clientFlags, m.exptime
		if req.Op != item.OpAppend && req.Op != item.OpPrepend {
			o &^= item.Vivify | item.Compare
		} else if m.cas == 0 {
			o &^= item.Compare
		}
		if req.Op != item.OpCAS {
			o &^= item.Invalidate
		}
	case 'd':
		o &= item.Explicit | item.Compare | item.Invalidate | item.RemoveValue | item.Touch
		req.Flags, req.Exptime = m.clientFlags, m.exptime
	case 'a':
		o &= item.Explicit | item.Compare | item.Vivify | item.Touch | item.TTLBefore | item.TTLBeforeMade
		if m.cas == 0 {
			o &^= item.Compare
		}
		req.Exptime, req.Delta, req.Initial = m.exptime, m.delta, m.initial
	case 'e':
		o = item.NoBump | item.NoValue | item.ShowAccess
	}
	req.Options, req.CAS, req.Unique = o, m.cas, m.unique
	req.VivifyExptime, req.RecacheExptime = m.vivify, m.recache
}
