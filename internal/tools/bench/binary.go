package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// binaryProtocol is memcached's binary protocol. Several keys are quiet gets with a
// no-op behind them.
type binaryProtocol struct{}

const (
	headerSize = 24
	opGet      = 0x00
	opSet      = 0x01
	opNoop     = 0x0a
	opGetKQ    = 0x0d
)

// appendHeader appends a request's header. The opaque number is the key, and comes
// back in the answer.
func appendHeader(b []byte, opcode byte, key uint64, keyLen, extras, size int) []byte {
	b = append(b, 0x80, opcode, 0, byte(keyLen), byte(extras), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(extras+keyLen+size))
	b = binary.BigEndian.AppendUint32(b, uint32(key))
	return binary.BigEndian.AppendUint64(b, 0) // cas
}

func (binaryProtocol) appendGet(b []byte, keys []uint64) []byte {
	if len(keys) == 1 {
		return AppendKey(appendHeader(b, opGet, keys[0], KeySize, 0, 0), keys[0])
	}
	for _, key := range keys {
		b = AppendKey(appendHeader(b, opGetKQ, key, KeySize, 0, 0), key)
	}
	return appendHeader(b, opNoop, 0, 0, 0, 0)
}

func (binaryProtocol) appendSet(b []byte, key uint64, size int, count uint32) []byte {
	b = appendHeader(b, opSet, key, KeySize, 8, size)
	b = binary.BigEndian.AppendUint64(b, 0) // flags, expiry
	return AppendValue(AppendKey(b, key), key, size, count)
}

func (binaryProtocol) parse(b []byte, o *op, t *tally) (int, bool, error) {
	if len(b) < headerSize {
		if len(b) > 0 && b[0] != 0x81 {
			return 0, false, strange(b)
		}
		return 0, false, nil
	}
	opcode, keyLen, extras := b[1], int(binary.BigEndian.Uint16(b[2:])), int(b[4])
	status, body := binary.BigEndian.Uint16(b[6:]), int(binary.BigEndian.Uint32(b[8:]))
	if b[0] != 0x81 || body > 1<<30 || keyLen+extras > body {
		return 0, false, strange(b[:headerSize])
	}
	n := headerSize + body
	if len(b) < n {
		return 0, false, nil
	}
	single := len(o.keys) == 1
	want := byte(opGet)
	switch {
	case o.set:
		want = opSet
	case !single && opcode == opNoop:
		if !o.failed {
			t.rest(o)
		}
		return n, true, nil
	case !single:
		want = opGetKQ
	}
	if opcode != want {
		return 0, false, fmt.Errorf("answered a request 0x%02x with 0x%02x", want, opcode)
	}
	if single && binary.BigEndian.Uint32(b[12:]) != uint32(o.keys[0]) {
		return 0, false, errors.New("answered with the opaque number of another request")
	}
	const notFound = 1
	name, v := b[headerSize+extras:headerSize+extras+keyLen], b[headerSize+extras+keyLen:n]
	switch {
	case status == notFound && !o.set && single:
		t.rest(o)
	case status != 0:
		t.fail(o, fmt.Appendf(nil, "status 0x%04x: %s", status, v))
	case o.set:
	default:
		if !single {
			if err := t.find(o, name); err != nil {
				return 0, false, err
			}
		}
		t.value(o, v)
	}
	return n, single, nil
}
