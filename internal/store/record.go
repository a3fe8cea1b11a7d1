package store

import (
	"encoding/binary"
	"fmt"

	"github.com/kumofs/kumofs/internal/item"
)

// recordSize is the length of an item's record. PutItem reserves it before it
// encodes.
func recordSize(it *item.Item) int {
	size := item.MaxRecordHeader + len(it.Value)
	if it.Unique == 0 {
		size -= 8
	}
	return size
}

// encodeRecord writes an item's record into dst, which is exactly as long.
func encodeRecord(dst []byte, it *item.Item) {
	if rec := item.AppendRecord(dst[:0], it); len(rec) != len(dst) {
		panic(fmt.Sprintf("store: a record has %d bytes, expected %d", len(rec), len(dst)))
	}
}

func recordVersion(rec []byte) (uint64, error) {
	v, err := item.RecordVersion(rec)
	if err != nil {
		return 0, errorf(ErrCorrupt, err, "cannot read an item")
	}
	return v, nil
}

// appendContent appends what Checksum covers of an item, whatever the layout
// of its record.
func appendContent(dst, key, rec []byte) ([]byte, error) {
	it, err := item.ParseRecord(rec)
	if err != nil {
		return dst, errorf(ErrCorrupt, err, "cannot read an item")
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(key)))
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint64(dst, it.Version)
	dst = binary.BigEndian.AppendUint64(dst, it.Unique)
	dst = binary.BigEndian.AppendUint32(dst, it.Flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(it.Exptime))
	return append(dst, it.Value...), nil
}
