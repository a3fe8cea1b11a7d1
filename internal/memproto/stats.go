package memproto

import (
	"fmt"
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
