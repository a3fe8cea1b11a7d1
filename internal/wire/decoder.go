package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// decoder reads fields off b; after the first error everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail("cut off")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return le.Uint16(v)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return le.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return le.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is a length that at least unit bytes each must follow: it bounds what a
// corrupt frame can make us allocate.
func (d *decoder) count(unit int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/unit) {
		d.fail("count")
		return 0
	}
	return int(n)
}

func (d *decoder) str() string {
	return string(d.take(d.count(1)))
}

func (d *decoder) flush() Flush {
	return Flush{Version: d.u64(), At: int64(d.u64())}
}

func (d *decoder) record(b []byte) *item.Item {
	if d.err != nil {
		return nil
	}
	it, err := item.ParseRecord(b)
	if err != nil {
		d.fail(err.Error())
		return nil
	}
	return it.Clone()
}

func (d *decoder) partition() clustermap.Partition {
	if d.err != nil {
		return clustermap.Partition{}
	}
	p, rest, err := clustermap.DecodePartition(d.b)
	if err != nil {
		d.fail(err.Error())
		return clustermap.Partition{}
	}
	d.b = rest
	return p
}

func (d *decoder) ring() []RingEntry {
	n := d.count(11)
	if n == 0 {
		return nil
	}
	ring := make([]RingEntry, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		ring = append(ring, RingEntry{Version: d.u64(), Session: d.uvarint(), Effect: Effect(d.byte()), Key: d.str()})
	}
	return ring
}

func (d *decoder) values() []Value {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	values := make([]Value, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		v := Value{Key: d.str()}
		if d.byte() != 0 {
			v.Item = d.record(d.take(int(d.u32())))
		}
		values = append(values, v)
	}
	return values
}
