package memproto

import "math"

// parseUint reads an unsigned 64 bit number as memcached does: white space (a
// word has no space, but may have a tab) and a plus sign may go before it, and
// white space ends it. A minus sign is never good.
func parseUint(b []byte) (n uint64, ok bool) {
	b = trimLeft(b)
	if len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	return digits(b)
}

// parseInt reads a signed 64 bit number in the same way.
func parseInt(b []byte) (int64, bool) {
	b = trimLeft(b)
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative = b[0] == '-'
		b = b[1:]
	}
	n, ok := digits(b)
	switch {
	case !ok:
		return 0, false
	case negative && n == 1<<63:
		return math.MinInt64, true
	case n > math.MaxInt64:
		return 0, false
	case negative:
		return -int64(n), true
	}
	return int64(n), true
}

func digits(b []byte) (n uint64, ok bool) {
	i := 0
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		d := uint64(b[i] - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, i > 0 && (i == len(b) || isSpace(b[i]))
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
