package wire

import (
	"bytes"
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

// ValueList is values put together for a bulk copy. The zero value is empty.
type ValueList struct {
	n       int
	version uint64 // of the last item
	b       []byte
}

// Add appends one; nil: the key does not exist. Nothing of either is kept.
func (l *ValueList) Add(key []byte, it *item.Item) {
	l.n++
	if it == nil {
		l.b = appendBytes(append(l.b, 0), key)
		return
	}
	b := append(l.b, copiedItem|bit(it.Unique != 0)*copiedUnique|bit(it.Flags != 0)*copiedFlags|bit(it.Exptime != 0)*copiedExptime|
		bit(it.Stale)*copiedStale|bit(it.TokenSent)*copiedTokenSent|bit(it.Large)*copiedLarge)
	b = appendBytes(b, key)
	b = binary.AppendVarint(b, int64(it.Version-l.version))
	l.version = it.Version
	if it.Unique != 0 {
		b = binary.AppendUvarint(b, it.Unique)
	}
	if it.Flags != 0 {
		b = binary.AppendUvarint(b, uint64(it.Flags))
	}
	if it.Exptime != 0 {
		b = binary.AppendVarint(b, it.Exptime)
	}
	l.b = appendBytes(b, it.Value)
}

// Len is how many there are.
func (l *ValueList) Len() int { return l.n }

// Append appends them as DecodeValues reads them, without a frame.
func (l *ValueList) Append(dst []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(l.n)), l.b...)
}

// Reset makes it empty; its memory is kept.
func (l *ValueList) Reset() { l.n, l.version, l.b = 0, 0, l.b[:0] }

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// AppendValues appends a list of values.
func AppendValues(dst []byte, values []Value) []byte {
	var l ValueList
	for i := range values {
		l.Add([]byte(values[i].Key), values[i].Item)
	}
	return l.Append(dst)
}

// DecodeValues reads a list. Nothing in it aliases b, but its keys and values lie in two
// pieces of memory: who keeps one of them keeps all.
func DecodeValues(b []byte) ([]Value, error) {
	keys := string(b)
	d := decoder{b: bytes.Clone(b)}
	n := d.count(2)
	values := make([]Value, n)
	items := make([]item.Item, n)
	var version uint64
	for i := 0; i < n && d.err == nil; i++ {
		bits := d.byte()
		size := d.count(1)
		at := len(keys) - len(d.b)
		d.take(size)
		if d.err != nil {
			break
		}
		values[i].Key = keys[at : at+size]
		switch {
		case bits&copiedUnknown != 0 || bits&copiedItem == 0 && bits != 0:
			d.fail("bits of a value")
		case bits != 0:
			d.copied(&items[i], bits, &version)
			values[i].Item = &items[i]
		}
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
func (d *decoder) copied(it *item.Item, bits byte, version *uint64) {
	*version += uint64(d.varint())
	*it = item.Item{Version: *version, Stale: bits&copiedStale != 0, TokenSent: bits&copiedTokenSent != 0, Large: bits&copiedLarge != 0}
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
	size := d.count(1)
	if it.Value = d.take(size); it.Value == nil {
		it.Value = []byte{}
	}
	it.Value = it.Value[:len(it.Value):len(it.Value)] // who appends must not write over the next
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
