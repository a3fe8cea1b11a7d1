package item

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The record is the value under which the store keeps an item. All integers are
// big endian:
//
//	byte  0      layout, 1
//	byte  1      bits: recordHasUnique, recordStale, recordTokenSent, recordLarge
//	bytes 2-9    version
//	bytes 10-13  flags
//	bytes 14-21  exptime, Unix seconds, 0 is never
//	bytes 22-29  unique, only with recordHasUnique
//	the rest     value
const (
	recordLayout    = 1
	recordHasUnique = 1 << 0
	recordStale     = 1 << 1
	recordTokenSent = 1 << 2
	recordLarge     = 1 << 3
	recordBits      = recordHasUnique | recordStale | recordTokenSent | recordLarge
	recordHeader    = 22 // without unique

	// MaxRecordHeader is the most that a record is longer than its value, in bytes.
	MaxRecordHeader = recordHeader + 8
)

// ErrRecordShort says that a record ends before its header does.
var ErrRecordShort = errors.New("item record is cut short")

// AppendRecord appends the record of it to dst and returns the longer slice. It
// copies it.Value.
func AppendRecord(dst []byte, it *Item) []byte {
	bits := byte(0)
	if it.Unique != 0 {
		bits |= recordHasUnique
	}
	if it.Stale {
		bits |= recordStale
	}
	if it.TokenSent {
		bits |= recordTokenSent
	}
	if it.Large {
		bits |= recordLarge
	}
	dst = append(dst, recordLayout, bits)
	dst = binary.BigEndian.AppendUint64(dst, it.Version)
	dst = binary.BigEndian.AppendUint32(dst, it.Flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(it.Exptime))
	if it.Unique != 0 {
		dst = binary.BigEndian.AppendUint64(dst, it.Unique)
	}
	return append(dst, it.Value...)
}

// ParseRecord reads a record. The item's Value shares memory with b; it is
// never nil, so an empty value can be told from none.
func ParseRecord(b []byte) (Item, error) {
	if err := checkRecord(b); err != nil {
		return Item{}, err
	}
	it := Item{
		Version:   binary.BigEndian.Uint64(b[2:]),
		Flags:     binary.BigEndian.Uint32(b[10:]),
		Exptime:   int64(binary.BigEndian.Uint64(b[14:])),
		Stale:     b[1]&recordStale != 0,
		TokenSent: b[1]&recordTokenSent != 0,
		Large:     b[1]&recordLarge != 0,
	}
	rest := b[recordHeader:]
	if b[1]&recordHasUnique != 0 {
		if len(rest) < 8 {
			return Item{}, fmt.Errorf("%w: %d bytes, its unique ends at %d", ErrRecordShort, len(b), MaxRecordHeader)
		}
		it.Unique = binary.BigEndian.Uint64(rest)
		if it.Unique == 0 {
			return Item{}, errors.New("item record says it has a unique of its own, and that is 0")
		}
		rest = rest[8:]
	}
	it.Value = rest
	return it, nil
}

// RecordVersion is the version in a record, without reading the rest of it.
func RecordVersion(b []byte) (uint64, error) {
	if err := checkRecord(b); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[2:]), nil
}

// checkRecord refuses what this program cannot read: another layout first, for
// a newer program may have written it, then damage.
func checkRecord(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: it is empty", ErrRecordShort)
	case b[0] != recordLayout:
		return fmt.Errorf("item record has layout %d, this program knows %d", b[0], recordLayout)
	case len(b) < recordHeader:
		return fmt.Errorf("%w: %d bytes, its header has %d", ErrRecordShort, len(b), recordHeader)
	case b[1]&^recordBits != 0:
		return fmt.Errorf("item record has bits %#02x, this program knows %#02x", b[1], recordBits)
	}
	return nil
}
