package bench

import (
	"bytes"
	"strconv"
)

// meta is memcached's meta protocol. Several keys are quiet gets and an mn, which is
// answered behind them.
type meta struct{}

func (meta) appendGet(b []byte, keys []uint64) []byte {
	if len(keys) == 1 {
		b = AppendKey(append(b, "mg "...), keys[0])
		return append(b, " v\r\n"...)
	}
	for _, key := range keys {
		b = AppendKey(append(b, "mg "...), key)
		b = append(b, " k v q\r\n"...)
	}
	return append(b, "mn\r\n"...)
}

func (meta) appendSet(b []byte, key uint64, size int, count uint32) []byte {
	b = AppendKey(append(b, "ms "...), key)
	b = strconv.AppendInt(append(b, ' '), int64(size), 10)
	b = AppendValue(append(b, "\r\n"...), key, size, count)
	return append(b, "\r\n"...)
}

func (meta) parse(b []byte, o *op, t *tally) (int, bool, error) {
	line, n, err := cutLine(b)
	if n == 0 {
		return 0, false, err
	}
	single := len(o.keys) == 1
	code, flags := word(line)
	switch {
	case isError(line):
		t.fail(o, line)
		return n, single, nil // of several keys the others are still answered
	case o.set && string(code) == "HD":
		return n, true, nil
	case o.set && string(code) == "NS":
		t.fail(o, line)
		return n, true, nil
	case !o.set && single && string(code) == "EN":
		t.rest(o)
		return n, true, nil
	case !o.set && !single && string(code) == "MN":
		if !o.failed { // else it is not known which of them missed
			t.rest(o)
		}
		return n, true, nil
	case o.set || string(code) != "VA":
		return 0, false, strange(line)
	}
	digits, flags := word(flags)
	v, more, err := block(b[n:], digits)
	if more == 0 {
		return 0, false, err
	}
	if !single {
		var flag, name []byte
		for len(flags) > 0 && name == nil {
			flag, flags = word(flags)
			name, _ = bytes.CutPrefix(flag, []byte("k"))
			if len(name) == len(flag) {
				name = nil
			}
		}
		if err := t.find(o, name); err != nil {
			return 0, false, err
		}
	}
	t.value(o, v)
	return n + more, single, nil
}
