package load

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Protocol is one of memcached's, in which a Conn says its operations.
type Protocol uint8

// The protocols.
const (
	Text Protocol = iota
	Meta
	Binary
	protocols
)

// AnyProtocol is one that chance chooses.
func AnyProtocol(rnd *rand.Rand) Protocol { return Protocol(rnd.IntN(int(protocols))) }

// Speak has Do and MultiGet use p from now on; binary must be chosen before
// anything is sent. A flush_all is always text, or binary.
func (c *Conn) Speak(p Protocol) { c.protocol = p }

// metaOp is op as a meta command.
func metaOp(b []byte, op *Op) []byte {
	switch op.Kind {
	case Get:
		return fmt.Appendf(b, "mg %s v c k\r\n", op.Key)
	case GetTouch:
		return fmt.Appendf(b, "mg %s v c k T%d\r\n", op.Key, op.Exptime)
	case Touch:
		return fmt.Appendf(b, "mg %s T%d\r\n", op.Key, op.Exptime)
	case Delete:
		return fmt.Appendf(b, "md %s\r\n", op.Key)
	case Incr:
		return fmt.Appendf(b, "ma %s v\r\n", op.Key)
	case Decr:
		return fmt.Appendf(b, "ma %s v MD\r\n", op.Key)
	}
	b = fmt.Appendf(b, "ms %s %d T%d", op.Key, len(op.Value), op.Exptime)
	switch op.Kind {
	case Add:
		b = append(b, " ME"...)
	case Replace:
		b = append(b, " MR"...)
	case Append:
		b = append(b, " MA"...)
	case Prepend:
		b = append(b, " MP"...)
	case CAS:
		b = fmt.Appendf(b, " C%d", op.Unique)
	}
	return append(append(append(b, "\r\n"...), op.Value...), "\r\n"...)
}

// metaResult reads the answer to a meta command.
func (c *Conn) metaResult() (key string, r Result, err error) {
	line, err := c.line()
	if err != nil {
		return "", Result{}, err
	}
	code, rest, _ := strings.Cut(line, " ")
	switch code {
	case "HD":
		return "", Result{Status: Done}, nil
	case "EN", "NF":
		return "", Result{Status: Missing}, nil
	case "NS", "EX":
		return "", Result{Status: Refused}, nil
	case "VA":
	default:
		return "", errorLine(line), nil
	}
	r.Status = Done
	words := strings.Fields(rest)
	if len(words) == 0 {
		return "", Result{}, fmt.Errorf("bad line %q", line)
	}
	size, err := strconv.Atoi(words[0])
	if err != nil {
		return "", Result{}, fmt.Errorf("bad line %q", line)
	}
	for _, w := range words[1:] {
		switch w[0] {
		case 'k':
			key = w[1:]
		case 'c':
			if r.Unique, err = strconv.ParseUint(w[1:], 10, 64); err != nil {
				return "", Result{}, fmt.Errorf("bad line %q", line)
			}
		}
	}
	value := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, value); err != nil {
		return "", Result{}, err
	}
	if string(value[size:]) != "\r\n" {
		return "", Result{}, fmt.Errorf("no line end after the value that %q announces", line)
	}
	r.Value = string(value[:size])
	return key, r, nil
}

// Opcodes of the binary protocol.
const (
	opGet, opSet, opAdd, opReplace, opDelete, opIncr, opDecr = 0, 1, 2, 3, 4, 5, 6
	opFlush, opNoop, opGetKQ, opAppend, opPrepend            = 8, 10, 13, 14, 15
	opTouch, opGAT                                           = 28, 29
)

// packet appends a request of the binary protocol.
func packet(b []byte, opcode byte, unique uint64, extras []byte, key, value string) []byte {
	be := binary.BigEndian
	b = append(b, 0x80, opcode)
	b = be.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0, 0, 0)
	b = be.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = append(b, "opaq"...)
	b = be.AppendUint64(b, unique)
	return append(append(append(b, extras...), key...), value...)
}

// binaryOp is op as a binary request.
func binaryOp(b []byte, op *Op) []byte {
	be := binary.BigEndian
	exptime := be.AppendUint32(nil, uint32(op.Exptime))
	stored := append(make([]byte, 4), exptime...)
	one := be.AppendUint32(be.AppendUint64(be.AppendUint64(nil, 1), 0), 0xffffffff)
	switch op.Kind {
	case Get:
		return packet(b, opGet, 0, nil, op.Key, "")
	case GetTouch:
		return packet(b, opGAT, 0, exptime, op.Key, "")
	case Touch:
		return packet(b, opTouch, 0, exptime, op.Key, "")
	case Delete:
		return packet(b, opDelete, 0, nil, op.Key, "")
	case Incr:
		return packet(b, opIncr, 0, one, op.Key, "")
	case Decr:
		return packet(b, opDecr, 0, one, op.Key, "")
	case Append:
		return packet(b, opAppend, 0, nil, op.Key, op.Value)
	case Prepend:
		return packet(b, opPrepend, 0, nil, op.Key, op.Value)
	case Add:
		return packet(b, opAdd, 0, stored, op.Key, op.Value)
	case Replace:
		return packet(b, opReplace, 0, stored, op.Key, op.Value)
	case FlushAll:
		return packet(b, opFlush, 0, nil, "", "")
	}
	return packet(b, opSet, op.Unique, stored, op.Key, op.Value)
}

// binaryResult reads the answer to a binary request of op.
func (c *Conn) binaryResult(op *Op) (opcode byte, key string, r Result, err error) {
	be := binary.BigEndian
	h := make([]byte, 24)
	if _, err := io.ReadFull(c.r, h); err != nil {
		return 0, "", Result{}, err
	}
	body := make([]byte, be.Uint32(h[8:]))
	extras, keyLen := int(h[4]), int(be.Uint16(h[2:]))
	if h[0] != 0x81 || string(h[12:16]) != "opaq" || len(body) < extras+keyLen {
		return 0, "", Result{}, fmt.Errorf("bad header %x", h)
	}
	if _, err := io.ReadFull(c.r, body); err != nil {
		return 0, "", Result{}, err
	}
	key, value := string(body[extras:extras+keyLen]), string(body[extras+keyLen:])
	switch status := be.Uint16(h[6:]); status {
	case 0:
		r = Result{Status: Done, Unique: be.Uint64(h[16:])}
		switch op.Kind {
		case Incr, Decr:
			if len(value) != 8 {
				return 0, "", Result{}, fmt.Errorf("a number of %d bytes", len(value))
			}
			r = Result{Status: Done, Value: strconv.FormatUint(be.Uint64([]byte(value)), 10)}
		case Get, GetTouch:
			r.Value = value
		default:
			r.Unique = 0 // as in text
		}
	case 1:
		r.Status = Missing
		if op.Kind == Replace {
			r.Status = Refused
		}
	case 2, 5:
		r.Status = Refused
	default:
		r = errorLine("SERVER_ERROR " + value)
	}
	return h[1], key, r, nil
}

// doOther is Do in another protocol than text.
func (c *Conn) doOther(op *Op) (Result, error) {
	var b []byte
	if c.protocol == Meta {
		b = metaOp(nil, op)
	} else {
		b = binaryOp(nil, op)
	}
	if err := c.Send(b); err != nil {
		return Result{}, err
	}
	c.c.SetReadDeadline(time.Now().Add(c.timeout))
	if c.protocol == Meta {
		_, r, err := c.metaResult()
		return r, err
	}
	_, _, r, err := c.binaryResult(op)
	return r, err
}

// multiGetOther is MultiGet as a run of quiet gets and what ends it.
func (c *Conn) multiGetOther(keys []string) (found map[string]Result, res Result, err error) {
	var b []byte
	for _, k := range keys {
		if c.protocol == Meta {
			b = fmt.Appendf(b, "mg %s v c k q\r\n", k)
		} else {
			b = packet(b, opGetKQ, 0, nil, k, "")
		}
	}
	if c.protocol == Meta {
		b = append(b, "mn\r\n"...)
	} else {
		b = packet(b, opNoop, 0, nil, "", "")
	}
	if err := c.Send(b); err != nil {
		return nil, Result{}, err
	}
	c.c.SetReadDeadline(time.Now().Add(c.timeout))
	found = map[string]Result{}
	for {
		var key string
		var r Result
		if c.protocol == Meta {
			if line, err := c.r.Peek(4); err == nil && string(line) == "MN\r\n" {
				c.r.Discard(4)
				return found, res, nil
			}
			key, r, err = c.metaResult()
		} else {
			var opcode byte
			if opcode, key, r, err = c.binaryResult(&Op{Kind: Get}); opcode == opNoop && err == nil {
				return found, res, nil
			}
		}
		switch {
		case err != nil:
			return nil, Result{}, err
		case r.Error != "": // the whole is an error then, as in text
			found, res = nil, r
		case found != nil:
			found[key] = r
		}
	}
}
