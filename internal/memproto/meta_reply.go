package memproto

import (
	"strconv"

	"github.com/kumofs/kumofs/internal/item"
)

// appendMeta appends the answer to a meta command: key and flags are its Shown and
// Flags. What it shows of the item stands in the order of the flags.
func appendMeta(dst []byte, f *Form, key, flags []byte, res *item.Result) []byte {
	var code string
	switch res.Status {
	case item.OK:
		// memcached is not quiet about an item that ma has made.
		if f.Quiet && f.Code != 'g' && !(f.Code == 'a' && res.Won) {
			return dst
		}
		if f.Code == 'e' {
			return appendDebug(dst, f, key, res)
		}
		code = "HD"
	case item.NotFound:
		code = "NF"
		if f.Code == 'g' || f.Code == 'e' {
			code = "EN"
		}
		if f.Quiet && f.Code == 'g' {
			return dst
		}
	case item.NotStored:
		code = "NS"
	case item.Exists:
		code = "EX"
	default:
		return appendFailure(dst, res)
	}
	if res.Status != item.OK || !f.WithValue || f.Code != 'g' && f.Code != 'a' {
		return appendReturnFlags(append(dst, code...), f, key, flags, res)
	}
	value := res.Item.Value
	var number [20]byte
	if f.Code == 'a' {
		value = strconv.AppendUint(number[:0], res.Number, 10)
	}
	dst = appendMetaHead(dst, f, key, flags, len(value), res)
	return AppendTail(append(dst, value...), f)
}

// appendMetaHead appends the line before a value of size bytes.
func appendMetaHead(dst []byte, f *Form, key, flags []byte, size int, res *item.Result) []byte {
	dst = strconv.AppendUint(append(dst, "VA "...), uint64(size), 10)
	return appendReturnFlags(dst, f, key, flags, res)
}

// appendReturnFlags appends the rest of a line, behind its code.
func appendReturnFlags(dst []byte, f *Form, key, flags []byte, res *item.Result) []byte {
	for {
		var word []byte
		if word, flags = nextToken(flags); len(word) == 0 {
			break
		}
		dst = appendFlag(dst, f, word, key, res)
	}
	if res.Status == item.OK && f.Code == 'g' {
		dst = appendMarks(dst, res)
	}
	return append(dst, "\r\n"...)
}

// appendFlag appends what the flag word asks for.
func appendFlag(dst []byte, f *Form, word, key []byte, res *item.Result) []byte {
	it := &res.Item
	c, hit := word[0], res.Status == item.OK
	retrieved := hit && f.Code == 'g'
	switch {
	case c == 'O':
		return append(append(dst, ' '), word...)
	case c == 'k':
		dst = append(append(dst, " k"...), key...)
		if f.Base64 {
			dst = append(dst, " b"...)
		}
	case c == 'c' && f.Code == 's' && !hit:
		dst = append(dst, " c0"...)
	case c == 'c' && hit && f.Code != 'd':
		dst = appendToken(dst, 'c', it.CAS())
	case c == 's' && f.Code == 's' && !hit:
		dst = appendToken(dst, 's', uint64(f.Size))
	case c == 's' && (retrieved || hit && f.Code == 's'):
		dst = appendToken(dst, 's', uint64(res.Size))
	case c == 't' && (retrieved || hit && f.Code == 'a'):
		dst = append(dst, " t"...)
		dst = strconv.AppendInt(dst, ttl(res), 10)
	case c == 'f' && retrieved:
		dst = appendToken(dst, 'f', uint64(it.Flags))
	case c == 'h' && retrieved:
		dst = appendToken(dst, 'h', oneIf(it.Fetched))
	case c == 'l' && retrieved:
		dst = appendToken(dst, 'l', idle(res))
	}
	return dst
}

func appendToken(dst []byte, c byte, n uint64) []byte {
	return strconv.AppendUint(append(dst, ' ', c), n, 10)
}

// appendMarks appends what may be added to a hit: Z, X and W.
func appendMarks(dst []byte, res *item.Result) []byte {
	if res.Item.TokenSent && !res.Won {
		dst = append(dst, " Z"...)
	}
	if res.Item.Stale {
		dst = append(dst, " X"...)
	}
	if res.Won {
		dst = append(dst, " W"...)
	}
	return dst
}

// appendDebug is the answer to me. There are no slab classes: cls is 1. size is
// about what the item takes in a cache.
func appendDebug(dst []byte, f *Form, key []byte, res *item.Result) []byte {
	fetched := "no"
	if res.Item.Fetched {
		fetched = "yes"
	}
	dst = append(append(dst, "ME "...), key...)
	dst = strconv.AppendInt(append(dst, " exp="...), ttl(res), 10)
	dst = strconv.AppendUint(append(dst, " la="...), idle(res), 10)
	dst = strconv.AppendUint(append(dst, " cas="...), res.Item.CAS(), 10)
	dst = append(append(dst, " fetch="...), fetched...)
	dst = strconv.AppendUint(append(dst, " cls=1 size="...), uint64(res.Size)+uint64(len(key))+itemOverhead, 10)
	return append(dst, "\r\n"...)
}

// itemOverhead is what an item takes besides key and value in a memcached, in bytes.
const itemOverhead = 60

// ttl is for how many seconds the item is to live; -1 for ever.
func ttl(res *item.Result) int64 {
	if res.Item.Exptime == 0 {
		return -1
	}
	return max(res.Item.Exptime-res.Now, 0)
}

// idle is for how many seconds nobody has asked for the item, as far as its primary knows.
func idle(res *item.Result) uint64 {
	if res.Item.Accessed == 0 {
		return 0
	}
	return uint64(max(res.Now-int64(res.Item.Accessed), 0))
}

func oneIf(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}
