package item

import "strconv"

// arithmetic is incr and decr: incr wraps at 2^64, decr stops at 0. The item
// keeps its flags and its exptime.
//
// The stored number never gets shorter than the value it replaces: it is padded
// with spaces (decr of 10 stores "9 "), as memcached does. The answer is not.
//
// In memcached a number that fits is changed in place: so the marks of the item
// stay as long as it does not grow.
func arithmetic(req *Request, cur *Item, now int64, version uint64) Outcome {
	if cur == nil {
		if !req.Has(Vivify) {
			return refuse(NotFound)
		}
		out := vivified(req, Item{Value: formatNumber(req.Initial, 0)}, now, version)
		out.Result.Number, out.Result.Size, out.Result.Won = req.Initial, 0, true
		return out
	}
	if cur.Size() > maxNumber {
		return refuse(NonNumeric)
	}
	if req.Has(Compare) && len(cur.Value) > 0 && cur.CAS() != req.CAS {
		return refuse(Exists)
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
	it := *cur
	it.Version, it.Unique = version, explicit(req)
	it.Value = formatNumber(n, len(cur.Value))
	if len(it.Value) > len(cur.Value) {
		it.Stale, it.TokenSent, it.Fetched = false, false, false
		it.Accessed = uint32(now)
	}
	if req.Has(Touch) {
		it.Exptime = ResolveExptime(req.Exptime, now)
	}
	out := store(it)
	out.Result.Number, out.Result.Size, out.Result.Now = n, 0, now
	if req.Has(TTLBefore) {
		out.Result.Item.Exptime = cur.Exptime
	}
	return out
}

// maxNumber is from which length on a value is no number, whatever its unique, in
// bytes: memcached has such values in pieces.
const maxNumber = 512 << 10

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
