package bench

import (
	"bytes"
	"strconv"
)

// text is memcached's classic protocol.
type text struct{}

func (text) appendGet(b []byte, keys []uint64) []byte {
	b = append(b, "get"...)
	for _, key := range keys {
		b = AppendKey(append(b, ' '), key)
	}
	return append(b, "\r\n"...)
}

func (text) appendSet(b []byte, key uint64, size int, count uint32) []byte {
	b = AppendKey(append(b, "set "...), key)
	b = strconv.AppendInt(append(b, " 0 0 "...), int64(size), 10)
	b = AppendValue(append(b, "\r\n"...), key, size, count)
	return append(b, "\r\n"...)
}

func (text) parse(b []byte, o *op, t *tally) (int, bool, error) {
	line, n, err := cutLine(b)
	if n == 0 {
		return 0, false, err
	}
	rest, isValue := bytes.CutPrefix(line, []byte("VALUE "))
	switch {
	case o.set && string(line) == "STORED":
		return n, true, nil
	case isError(line) || o.set && string(line) == "NOT_STORED":
		t.fail(o, line)
		return n, true, nil
	case !o.set && string(line) == "END":
		t.rest(o)
		return n, true, nil
	case o.set || !isValue:
		return 0, false, strange(line)
	}
	name, rest := word(rest)
	_, rest = word(rest) // flags
	digits, _ := word(rest)
	v, more, err := block(b[n:], digits)
	if more == 0 {
		return 0, false, err
	}
	if err := t.find(o, name); err != nil {
		return 0, false, err
	}
	t.value(o, v)
	return n + more, false, nil
}
