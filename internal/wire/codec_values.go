package wire

import (
	"encoding/binary"

	"github.com/kumofs/kumofs/internal/item"
)

// Bulk copies are mostly small items of one partition, so what they send with a
// key and a value is kept short: a byte of these bits, and of the numbers only
// those that are not 0. A version is told as its difference to the one before it.
const (
	copiedItem byte = 1 << iota // the key exists
	copiedUnique
	copiedFlags
	copiedExptime
	copiedStale
	copiedTokenSent
	copiedLarge
	copiedUnknown
)

// AppendValues appends values as bulk copies send them, without a frame.
func AppendValues(dst []byte, values []Value) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	var version uint64
	for i := range values {
		it := values[i].Item
		if it == nil {
			dst = appendString(append(dst, 0), values[i].Key)
			continue
		}
		dst = append(dst, copiedItem|bit(it.Unique != 0)*copiedUnique|bit(it.Flags != 0)*copiedFlags|bit(it.Exptime != 0)*copiedExptime|
			bit(it.Stale)*copiedStale|bit(it.TokenSent)*copiedTokenSent|bit(it.Large)*copiedLarge)
		dst = appendString(dst, values[i].Key)
		dst = binary.AppendVarint(dst, int64(it.Version-version))
		version = it.Version
		if it.Unique != 0 {
			dst = binary.AppendUvarint(dst, it.Unique)
		}
		if it.Flags != 0 {
			dst = binary.AppendUvarint(dst, uint64(it.Flags))
		}
		if it.Exptime != 0 {
			dst = binary.AppendVarint(dst, it.Exptime)
		}
		dst = binary.AppendUvarint(dst, uint64(len(it.Value)))
		dst = append(dst, it.Value...)
	}
	return dst
}

// DecodeValues reads what AppendValues wrote. Nothing in it aliases b.
func DecodeValues(b []byte) ([]Value, error) {
	d := decoder{b: b}
	n := d.count(2)
	values := make([]Value, 0, n)
	var version uint64
	for i := 0; i < n && d.err == nil; i++ {
		bits := d.byte()
		v := Value{Key: d.str()}
		switch {
		case bits&copiedUnknown != 0 || bits&copiedItem == 0 && bits != 0:
			d.fail("bits of a value")
		case bits != 0:
			v.Item = d.copied(bits, &version)
		}
		values = append(values, v)
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("length")
	}
	if d.err != nil {
		return nil, d.err
	}
	return values, nil
}

// copied is an item of a copy; version is that of the one before it.
func (d *decoder) copied(bits byte, version *uint64) *item.Item {
	*version += uint64(d.varint())
	it := &item.Item{Version: *version, Stale: bits&copiedStale != 0, TokenSent: bits&copiedTokenSent != 0, Large: bits&copiedLarge != 0}
	if bits&copiedUnique != 0 {
		if it.Unique = d.uvarint(); it.Unique == 0 {
			d.fail("unique")
		}
	}
	if bits&copiedFlags != 0 {
		flags := d.uvarint()
		if it.Flags = uint32(flags); flags == 0 || flags != uint64(it.Flags) {
			d.fail("flags")
		}
	}
	if bits&copiedExptime != 0 {
		if it.Exptime = d.varint(); it.Exptime == 0 {
			d.fail("exptime")
		}
	}
	it.Value = append([]byte{}, d.take(d.count(1))...)
	return it
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}
