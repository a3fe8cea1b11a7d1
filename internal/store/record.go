package store

import (
	"encoding/binary"

	"github.com/kumofs/kumofs/internal/item"
)

// Interim until internal/item/record.go lands.
func recordSize(it *item.Item) int { return 1 + 8 + 8 + 4 + 8 + len(it.Value) }

func appendRecord(dst []byte, it *item.Item) []byte {
	dst = append(dst, 1)
	dst = binary.BigEndian.AppendUint64(dst, it.Version)
	dst = binary.BigEndian.AppendUint64(dst, it.Unique)
	dst = binary.BigEndian.AppendUint32(dst, it.Flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(it.Exptime))
	return append(dst, it.Value...)
}

func recordVersion(rec []byte) (uint64, error) {
	if len(rec) < 29 {
		return 0, errorf(ErrCorrupt, nil, "a record is too short (%d bytes)", len(rec))
	}
	return binary.BigEndian.Uint64(rec[1:]), nil
}

// appendContent appends what Checksum covers of an item, whatever the layout
// of its record.
func appendContent(dst, key, rec []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(key)))
	dst = append(dst, key...)
	return append(dst, rec...), nil
}
