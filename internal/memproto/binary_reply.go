package memproto

import (
	"encoding/binary"

	"github.com/kumofs/kumofs/internal/item"
)

// Statuses of answers.
const (
	binOK          = 0x00
	binNotFound    = 0x01
	binExists      = 0x02
	binTooLarge    = 0x03
	binInvalid     = 0x04
	binNotStored   = 0x05
	binNonNumeric  = 0x06
	binAuthFailure = 0x20
	binUnknown     = 0x81
	binNoMemory    = 0x82
	binInternal    = 0x84
	binTemporary   = 0x86
)

// binaryTexts are what an answer says to a person, as memcached does.
var binaryTexts = map[uint16]string{
	binNotFound:    "Not found",
	binExists:      "Data exists for key.",
	binTooLarge:    "Too large.",
	binInvalid:     "Invalid arguments",
	binNotStored:   "Not stored.",
	binNonNumeric:  "Non-numeric server-side value for incr or decr",
	binAuthFailure: "Auth failure.",
	binUnknown:     "Unknown command",
	binNoMemory:    "Out of memory",
	binInternal:    "outcome unknown: the write may or may not have been done",
}

// binaryStatus is the status that says what a line of text says.
func binaryStatus(line string) uint16 {
	switch line {
	case ReplyOK, ReplyReset, ReplyEnd:
		return binOK
	case ReplyError:
		return binUnknown
	case ReplyTooLarge:
		return binTooLarge
	case ReplyNoMemory:
		return binNoMemory
	case ReplyNotFound:
		return binNotFound
	case ReplyFlushNotAllowed, ReplyAuthFailure, ReplyUnauthenticated:
		return binAuthFailure
	case ReplyFateUnknown:
		return binInternal
	}
	return binInvalid
}

// appendPacket appends an answer without its value, which has size bytes.
func appendPacket(dst []byte, f *Form, status uint16, unique uint64, extras, key []byte, size int) []byte {
	be := binary.BigEndian
	dst = append(dst, magicAnswer, f.Code)
	dst = be.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, byte(len(extras)), 0)
	dst = be.AppendUint16(dst, status)
	dst = be.AppendUint32(dst, uint32(len(extras)+len(key)+size))
	dst = be.AppendUint32(dst, f.Opaque)
	dst = be.AppendUint64(dst, unique)
	return append(append(dst, extras...), key...)
}

// appendStatus appends an answer of a status alone, with its text.
func appendStatus(dst []byte, f *Form, status uint16) []byte {
	text := binaryTexts[status]
	return append(appendPacket(dst, f, status, 0, nil, nil, len(text)), text...)
}

// retrieves tells whether an answer to the opcode has flags.
func (f *Form) retrieves() bool {
	switch f.Code {
	case binGet, binGetQ, binGetK, binGetKQ, binTouch, binGAT, binGATQ, binGATK, binGATKQ:
		return true
	}
	return false
}

// repeatsKey tells whether an answer to the opcode has the key.
func (f *Form) repeatsKey() bool {
	return f.Code == binGetK || f.Code == binGetKQ || f.Code == binGATK || f.Code == binGATKQ
}

// appendBinary appends the answer to a binary command on key.
func appendBinary(dst []byte, f *Form, key []byte, op item.Op, res *item.Result) []byte {
	switch res.Status {
	case item.OK:
		return appendBinaryOK(dst, f, key, op, res)
	case item.NotFound:
		switch {
		case f.Quiet && f.retrieves():
			return dst
		case f.repeatsKey():
			return appendPacket(dst, f, binNotFound, 0, nil, key, 0)
		}
		return appendStatus(dst, f, binNotFound)
	case item.NotStored:
		switch op {
		case item.OpAdd:
			return appendStatus(dst, f, binExists)
		case item.OpReplace:
			return appendStatus(dst, f, binNotFound)
		}
		return appendStatus(dst, f, binNotStored)
	case item.Exists:
		return appendStatus(dst, f, binExists)
	case item.NonNumeric:
		return appendStatus(dst, f, binNonNumeric)
	case item.TooLarge:
		return appendStatus(dst, f, binTooLarge)
	case item.FateUnknown:
		return appendStatus(dst, f, binInternal)
	}
	message := res.Message
	if message == "" {
		message = internalError
	}
	message = message[:min(len(message), maxMessageText)]
	return append(appendPacket(dst, f, binTemporary, 0, nil, nil, len(message)), message...)
}

func appendBinaryOK(dst []byte, f *Form, key []byte, op item.Op, res *item.Result) []byte {
	it := &res.Item
	if f.retrieves() {
		dst = appendBinaryHead(dst, f, key, op, len(it.Value), res)
		if op == item.OpTouch {
			return dst
		}
		return AppendTail(append(dst, it.Value...), f)
	}
	switch {
	case f.Quiet:
		return dst
	case op == item.OpIncr || op == item.OpDecr:
		dst = appendPacket(dst, f, binOK, it.CAS(), nil, nil, 8)
		return binary.BigEndian.AppendUint64(dst, res.Number)
	case op == item.OpDelete || op == item.OpFlush:
		return appendPacket(dst, f, binOK, 0, nil, nil, 0)
	}
	return appendPacket(dst, f, binOK, it.CAS(), nil, nil, 0)
}

// appendBinaryHead appends the answer to a retrieval but its value, which has size
// bytes; a touch shows none.
func appendBinaryHead(dst []byte, f *Form, key []byte, op item.Op, size int, res *item.Result) []byte {
	if op == item.OpTouch {
		size = 0
	}
	if !f.repeatsKey() {
		key = nil
	}
	var flags [4]byte
	binary.BigEndian.PutUint32(flags[:], res.Item.Flags)
	return appendPacket(dst, f, binOK, res.Item.CAS(), flags[:], key, size)
}
