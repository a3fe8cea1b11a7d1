package memproto

import (
	"fmt"
	"math"
	"strconv"
)

// AppendStat appends one of stats: STAT name value, or a packet. Control
// characters become spaces. f is the command's.
func AppendStat(dst []byte, f *Form, name, value string) []byte {
	if f.Proto == Binary {
		return append(appendPacket(dst, f, binOK, 0, nil, []byte(name), len(value)), value...)
	}
	dst = append(dst, "STAT "...)
	dst = appendText(dst, name)
	dst = append(dst, ' ')
	dst = appendText(dst, value)
	return append(dst, "\r\n"...)
}

// AppendStatUint appends one of stats that is a number.
func AppendStatUint(dst []byte, f *Form, name string, value uint64) []byte {
	return AppendStat(dst, f, name, strconv.FormatUint(value, 10))
}

// AppendStatSeconds appends one of stats that is a time, as rusage_user is
// shown. micros is in microseconds.
func AppendStatSeconds(dst []byte, f *Form, name string, micros uint64) []byte {
	return AppendStat(dst, f, name, fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6))
}

// slabClasses is how many classes of memory memcached can have.
const slabClasses = 64

// ParseCachedump reads what follows stats cachedump: a class and the most keys to
// show, 0 for as many as fit. bad, if not empty, is the answer to what cannot be read.
func ParseCachedump(args [][]byte) (class, limit uint32, bad string) {
	if len(args) < 2 {
		return 0, 0, ReplyDumpUsage
	}
	c, ok1 := parseUint(args[0])
	n, ok2 := parseUint(args[1])
	switch {
	case !ok1 || !ok2:
		return 0, 0, ReplyBadFormat
	case c >= slabClasses:
		return 0, 0, ReplyBadSlabClass
	}
	return uint32(c), uint32(min(n, math.MaxUint32)), ""
}

// AppendDumped appends a line of stats cachedump: a key, the length of its value, and
// when it expires, in Unix seconds; 0 is never. A key that would break the line
// (in meta and binary it may be any bytes) is left out.
func AppendDumped(dst, key []byte, length uint32, exptime int64) []byte {
	if !validKey(key) {
		return dst
	}
	return fmt.Appendf(dst, "ITEM %s [%d b; %d s]\r\n", key, length, exptime)
}
