package bench

import (
	"fmt"
	"strconv"
)

// redis is RESP, for comparison.
type redis struct{}

var redisKey = "$" + strconv.Itoa(KeySize) + "\r\n"

func (redis) appendGet(b []byte, keys []uint64) []byte {
	if len(keys) == 1 {
		b = append(b, "*2\r\n$3\r\nGET\r\n"...)
	} else {
		b = strconv.AppendInt(append(b, '*'), int64(len(keys)+1), 10)
		b = append(b, "\r\n$4\r\nMGET\r\n"...)
	}
	for _, key := range keys {
		b = append(AppendKey(append(b, redisKey...), key), "\r\n"...)
	}
	return b
}

func (redis) appendSet(b []byte, key uint64, size int, count uint32) []byte {
	b = append(b, "*3\r\n$3\r\nSET\r\n"...)
	b = AppendKey(append(b, redisKey...), key)
	b = strconv.AppendInt(append(b, "\r\n$"...), int64(size), 10)
	b = AppendValue(append(b, "\r\n"...), key, size, count)
	return append(b, "\r\n"...)
}

func (redis) parse(b []byte, o *op, t *tally) (int, bool, error) {
	line, n, err := cutLine(b)
	if n == 0 {
		return 0, false, err
	}
	if len(line) == 0 {
		return 0, false, strange(b[:n])
	}
	switch {
	case line[0] == '-':
		t.fail(o, line[1:])
		return n, true, nil
	case o.set && string(line) == "+OK":
		return n, true, nil
	case !o.set && len(o.keys) > 1 && !o.begun && line[0] == '*':
		if count, ok := parseNumber(line[1:]); !ok || count != uint64(len(o.keys)) {
			return 0, false, fmt.Errorf("answered %d keys with %q", len(o.keys), line)
		}
		o.begun = true
		return n, false, nil
	case o.set || line[0] != '$':
		return 0, false, strange(line)
	case string(line) == "$-1":
		t.miss(o)
		return n, o.next == len(o.keys), nil
	}
	v, more, err := block(b[n:], line[1:])
	if more == 0 {
		return 0, false, err
	}
	t.value(o, v)
	return n + more, o.next == len(o.keys), nil
}
