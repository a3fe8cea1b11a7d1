package bench

import "encoding/binary"

// A value proves itself. Its first four bytes come from its key and its length, the
// next four are its writer's count, and every word after that follows from these
// eight bytes: a value of another key, a shortened one, or one of which parts are
// from two writes does not fit. (Of values under 8 bytes less can be told.)

// valueHead is the first word of a value: written as bytes in this order.
func valueHead(key uint64, size int, count uint32) uint64 {
	return mix(key*0x9e3779b97f4a7c15^uint64(size))&0xffffffff | uint64(count)<<32
}

// valueWord is the value's word i, from 1.
func valueWord(head uint64, i int) uint64 { return mix(head + uint64(i)*0x9e3779b97f4a7c15) }

func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// AppendValue appends the value of a key's write.
func AppendValue(b []byte, key uint64, size int, count uint32) []byte {
	head := valueHead(key, size, count)
	word := head
	i := 0
	for ; size >= 8; size -= 8 {
		b = binary.LittleEndian.AppendUint64(b, word)
		i++
		word = valueWord(head, i)
	}
	for ; size > 0; size-- {
		b = append(b, byte(word))
		word >>= 8
	}
	return b
}

// ValidValue reports whether some write gave the key this value.
func ValidValue(key uint64, v []byte) bool {
	size := len(v)
	var start [8]byte
	n := copy(start[:], v)
	head := binary.LittleEndian.Uint64(start[:])
	want := valueHead(key, size, uint32(head>>32))
	if n < 8 {
		return head == want&(1<<(8*n)-1)
	}
	if head != want {
		return false
	}
	v = v[8:]
	i := 1
	for ; len(v) >= 8; v = v[8:] {
		if binary.LittleEndian.Uint64(v) != valueWord(head, i) {
			return false
		}
		i++
	}
	word := valueWord(head, i)
	for _, c := range v {
		if c != byte(word) {
			return false
		}
		word >>= 8
	}
	return true
}
