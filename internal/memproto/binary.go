package memproto

import (
	"encoding/binary"
	"math"

	"github.com/kumofs/kumofs/internal/item"
)

// A packet of the binary protocol is a header of 24 bytes, extras, key and value:
//
//	byte  0     0x80 request, 0x81 answer
//	byte  1     opcode
//	bytes 2-3   length of the key
//	byte  4     length of the extras
//	byte  5     data type, 0
//	bytes 6-7   reserved in requests, the status of answers
//	bytes 8-11  length of extras, key and value together
//	bytes 12-15 opaque: the answer has the request's
//	bytes 16-23 unique (CAS), 0: none
//
// All numbers are big endian.
const (
	magicRequest = 0x80
	magicAnswer  = 0x81
	headerLen    = 24
)

// Opcodes.
const (
	binGet         = 0x00
	binSet         = 0x01
	binAdd         = 0x02
	binReplace     = 0x03
	binDelete      = 0x04
	binIncr        = 0x05
	binDecr        = 0x06
	binQuit        = 0x07
	binFlush       = 0x08
	binGetQ        = 0x09
	binNoop        = 0x0a
	binVersion     = 0x0b
	binGetK        = 0x0c
	binGetKQ       = 0x0d
	binAppend      = 0x0e
	binPrepend     = 0x0f
	binStat        = 0x10
	binSetQ        = 0x11
	binAddQ        = 0x12
	binReplaceQ    = 0x13
	binDeleteQ     = 0x14
	binIncrQ       = 0x15
	binDecrQ       = 0x16
	binQuitQ       = 0x17
	binFlushQ      = 0x18
	binAppendQ     = 0x19
	binPrependQ    = 0x1a
	binVerbosity   = 0x1b
	binTouch       = 0x1c
	binGAT         = 0x1d
	binGATQ        = 0x1e
	binSASLList    = 0x20
	binSASLAuth    = 0x21
	binSASLStep    = 0x22
	binGATK        = 0x23
	binGATKQ       = 0x24
	binOpcodeCount = 0x25
)

// binaryShape is what a request of an opcode must look like.
type binaryShape struct {
	kind   Kind // KindNone: there is no such opcode
	op     item.Op
	quiet  bool
	extras uint8 // their length
	orNone bool  // or no extras
	key    keyRule
	value  bool // there may be one
}

type keyRule uint8

const (
	noKey keyRule = iota
	withKey
	anyKey
)

var binaryShapes = func() (t [binOpcodeCount]binaryShape) {
	on := func(opcode, quiet byte, s binaryShape) {
		t[opcode] = s
		if quiet != 0 {
			s.quiet = true
			t[quiet] = s
		}
	}
	get := binaryShape{kind: KindRequest, op: item.OpGet, key: withKey}
	gat := binaryShape{kind: KindRequest, op: item.OpGetAndTouch, extras: 4, key: withKey}
	on(binGet, binGetQ, get)
	on(binGetK, binGetKQ, get)
	on(binGAT, binGATQ, gat)
	on(binGATK, binGATKQ, gat)
	on(binTouch, 0, binaryShape{kind: KindRequest, op: item.OpTouch, extras: 4, key: withKey})
	store := func(op item.Op, extras uint8) binaryShape {
		return binaryShape{kind: KindRequest, op: op, extras: extras, key: withKey, value: true}
	}
	on(binSet, binSetQ, store(item.OpSet, 8))
	on(binAdd, binAddQ, store(item.OpAdd, 8))
	on(binReplace, binReplaceQ, store(item.OpReplace, 8))
	on(binAppend, binAppendQ, store(item.OpAppend, 0))
	on(binPrepend, binPrependQ, store(item.OpPrepend, 0))
	on(binDelete, binDeleteQ, binaryShape{kind: KindRequest, op: item.OpDelete, key: withKey})
	on(binIncr, binIncrQ, binaryShape{kind: KindRequest, op: item.OpIncr, extras: 20, key: withKey})
	on(binDecr, binDecrQ, binaryShape{kind: KindRequest, op: item.OpDecr, extras: 20, key: withKey})
	on(binFlush, binFlushQ, binaryShape{kind: KindFlushAll, op: item.OpFlush, extras: 4, orNone: true})
	on(binQuit, binQuitQ, binaryShape{kind: KindQuit})
	on(binNoop, 0, binaryShape{kind: KindNoop})
	on(binVersion, 0, binaryShape{kind: KindVersion})
	on(binVerbosity, 0, binaryShape{kind: KindVerbosity, extras: 4})
	on(binStat, 0, binaryShape{kind: KindStats, key: anyKey})
	on(binSASLList, 0, binaryShape{kind: KindAuthList})
	on(binSASLAuth, 0, binaryShape{kind: KindAuth, key: withKey, value: true})
	on(binSASLStep, 0, binaryShape{kind: KindAuth, key: withKey, value: true})
	return t
}()

// noVivify is the exptime of an incr or decr that must not make an item.
const noVivify = math.MaxUint32

// nextBinary is Next for the binary protocol.
func (p *Parser) nextBinary(buf []byte, cmd *Command) (n int, err error) {
	if buf[0] != magicRequest {
		p.err = ErrNotBinary
		return 0, p.err
	}
	if len(buf) < headerLen {
		p.need = headerLen
		return 0, nil
	}
	be := binary.BigEndian
	keyLen, extras, body := int(be.Uint16(buf[2:])), int(buf[4]), int(be.Uint32(buf[8:]))
	form := Form{Proto: Binary, Code: buf[1], Opaque: be.Uint32(buf[12:])}
	cmd.Form = form
	var shape binaryShape
	if form.Code < binOpcodeCount {
		shape = binaryShapes[form.Code]
	}
	size := body - extras - keyLen
	switch {
	case size < 0:
		return p.breakOff(ReplyError, cmd)
	case keyLen > MaxKey:
		return p.breakOff(ReplyBadFormat, cmd)
	case shape.kind == KindNone:
		cmd.failBinary(ReplyError)
		p.swallow = body
		p.need = 0
		return headerLen, nil
	case extras != int(shape.extras) && !(shape.orNone && extras == 0),
		size > 0 && !shape.value,
		shape.key == noKey && keyLen != 0, shape.key == withKey && keyLen == 0:
		return p.breakOff(ReplyBadFormat, cmd)
	}
	head := headerLen + extras + keyLen
	if len(buf) < head {
		p.need = head
		return 0, nil
	}
	key := buf[headerLen+extras : head : head]
	limit, inParts := p.maxItemSize(), p.inParts(size)
	if shape.kind == KindAuth {
		limit, inParts = maxAuth, false
	}
	switch {
	case size > limit:
		tooLarge(shape.op, key, cmd)
		if cmd.Kind == KindError {
			cmd.failBinary(ReplyTooLarge)
		}
	case len(buf)-head < size && p.givesUp:
		cmd.failBinary(ReplyNoMemory)
	case len(buf)-head < size && !inParts:
		p.need = head + size
		return 0, nil
	default:
		cmd.Quiet, cmd.Size = shape.quiet, uint32(size)
		cmd.Kind, cmd.Shown = shape.kind, key
		cmd.Request.Op, cmd.Request.Key = shape.op, key
		fillBinary(&shape, buf[headerLen:headerLen+extras], be.Uint64(buf[16:]), cmd)
		p.need = 0
		if inParts {
			p.beginParts(size, cmd)
			return head, nil
		}
		cmd.Request.Value = buf[head : head+size : head+size]
		return head + size, nil
	}
	p.swallow, p.need = size, 0
	return head, nil
}

// maxAuth bounds what is sent to authenticate, in bytes.
const maxAuth = 4096

// breakOff answers reply and ends the connection: nobody knows where the next
// request begins.
func (p *Parser) breakOff(reply string, cmd *Command) (int, error) {
	cmd.failBinary(reply)
	cmd.Closes = true
	p.need = 0
	return headerLen, nil
}

func (c *Command) failBinary(reply string) {
	c.fail(string(Say(nil, &c.Form, reply)))
}

// fillBinary gives the request what extras and unique say.
func fillBinary(s *binaryShape, extras []byte, unique uint64, cmd *Command) {
	be := binary.BigEndian
	req := &cmd.Request
	switch s.op {
	case item.OpSet, item.OpAdd, item.OpReplace:
		req.Flags, req.Exptime = be.Uint32(extras), int64(be.Uint32(extras[4:]))
		if unique != 0 {
			req.Op = item.OpCAS
		}
	case item.OpAppend, item.OpPrepend, item.OpDelete:
		if unique != 0 {
			req.Options = item.Compare
		}
	case item.OpIncr, item.OpDecr:
		req.Delta, req.Initial = be.Uint64(extras), be.Uint64(extras[8:])
		if unique != 0 {
			req.Options |= item.Compare
		}
		if exptime := be.Uint32(extras[16:]); exptime != noVivify {
			req.Options |= item.Vivify
			req.VivifyExptime = int64(exptime)
		}
	case item.OpTouch, item.OpGetAndTouch, item.OpFlush:
		if len(extras) > 0 {
			req.Exptime = int64(be.Uint32(extras))
		}
	}
	req.CAS = unique
	switch s.kind {
	case KindVerbosity:
		req.Delta = uint64(be.Uint32(extras))
	case KindStats:
		parseArguments(req.Key, cmd)
	}
}
