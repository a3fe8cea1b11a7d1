package memproto

import "strconv"

// AppendStat appends a line of stats: STAT name value. Control characters
// become spaces.
func AppendStat(dst []byte, name, value string) []byte {
	dst = appendStatName(dst, name)
	dst = appendText(dst, value)
	return append(dst, "\r\n"...)
}

// AppendStatUint appends a line of stats with a number.
func AppendStatUint(dst []byte, name string, value uint64) []byte {
	dst = appendStatName(dst, name)
	dst = strconv.AppendUint(dst, value, 10)
	return append(dst, "\r\n"...)
}

// AppendStatSeconds appends a line of stats with a time, as rusage_user is
// shown. micros is in microseconds.
func AppendStatSeconds(dst []byte, name string, micros uint64) []byte {
	dst = appendStatName(dst, name)
	dst = strconv.AppendUint(dst, micros/1e6, 10)
	dst = append(dst, '.')
	for unit := uint64(1e5); unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(micros/unit%10))
	}
	return append(dst, "\r\n"...)
}

func appendStatName(dst []byte, name string) []byte {
	dst = append(dst, "STAT "...)
	dst = appendText(dst, name)
	return append(dst, ' ')
}
