package store

import (
	"encoding/binary"
	"sync"
)

// A key in the LSM is the partition (2 bytes, big endian), a kind byte, and
// then the user's key or the name of a bookkeeping entry. So a partition is one
// contiguous range, its bookkeeping in front.
const (
	kindBook = 0
	kindItem = 1
	kindEnd  = 2

	prefixLen = 3

	bookPosition = 'p' // Position
	bookFlushed  = 'f' // Flushed

	// FirstOwnPartition is the first partition number that is the store's own:
	// such partitions are not counted, not merged and have no position.
	FirstOwnPartition = 0x8000
)

// appendPrefix appends the first three bytes of every key of that kind.
func appendPrefix(dst []byte, part uint16, kind byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, part), kind)
}

// itemKey is the LSM key of a user's key.
func itemKey(dst []byte, part uint16, key []byte) []byte {
	return append(appendPrefix(dst, part, kindItem), key...)
}

func bookKey(part uint16, name byte) []byte {
	return append(appendPrefix(make([]byte, 0, prefixLen+1), part, kindBook), name)
}

// partitionRange is the range of all of a partition: [start, end).
func partitionRange(part uint16) (start, end []byte) {
	return appendPrefix(nil, part, kindBook), appendPrefix(nil, part, kindEnd)
}

// itemRange is the range of a partition's items with start <= key < end. A nil
// end is the end of the partition.
func itemRange(part uint16, start, end []byte) (lower, upper []byte) {
	lower = itemKey(nil, part, start)
	if end == nil {
		return lower, appendPrefix(nil, part, kindEnd)
	}
	return lower, itemKey(nil, part, end)
}

// keyBuffers keeps the buffers in which Get builds its keys: one on the stack
// would escape through pebble's interfaces.
var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 256+prefixLen); return &b }}
