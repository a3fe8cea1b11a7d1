package item

import "strconv"

// arithmetic is incr and decr: incr wraps at 2^64, decr stops at 0. The item
// keeps its flags and its exptime.
//
// The stored number never gets shorter than the value it replaces: it is padded
// with spaces (decr of 10 stores "9 "), as memcached does. The answer is not.
func arithmetic(req *Request, cur *Item, version uint64) Outcome {
	if cur == nil {
		return refuse(NotFound)
	}
	n, ok := parseNumber(cur.Value)
	if !ok {
		return refuse(NonNumeric)
	}
	switch {
	case req.Op == OpIncr:
		n += req.Delta
	case req.Delta > n:
		n = 0
	default:
		n -= req.Delta
	}
	out := store(Item{Version: version, Flags: cur.Flags, Exptime: cur.Exptime, Value: formatNumber(n, len(cur.Value))})
	out.Result.Number = n
	return out
}

// formatNumber is n in decimal, padded with spaces on the right to width bytes.
func formatNumber(n uint64, width int) []byte {
	b := strconv.AppendUint(make([]byte, 0, max(width, 20)), n, 10)
	for len(b) < width {
		b = append(b, ' ')
	}
	return b
}

// parseNumber reads the number at the start of a value as memcached does: white
// space and a plus sign may go before it; white space ends it, or a zero byte, as
// it does a string of C, and what follows does not matter. A number of 2^64 or more
// is none.
func parseNumber(b []byte) (n uint64, ok bool) {
	i := 0
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	if i < len(b) && b[i] == '+' {
		i++
	}
	start := i
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		d := uint64(b[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, i > start && (i == len(b) || b[i] == 0 || isSpace(b[i]))
}

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
