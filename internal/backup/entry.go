package backup

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Kind of an Entry.
type Kind byte

// The kinds. Their numbers are in files: add at the end.
const (
	// Pair is a pair with its value.
	Pair Kind = 1 + iota
	// Large is a pair whose value follows it in Parts.
	Large
	// Part is the next piece of the value of the Large before it.
	Part
	// Deleted is a key that the base of an incremental backup has and that was gone.
	Deleted
	// Range, on the wire alone, begins a range of keys that differ: what follows is all that
	// there is of it. Same, on the wire alone, is a pair in it that was not written since.
	Range
	Same
	endKind
)

const (
	// MaxKey bounds keys, in bytes: what a gateway puts before them is part of them.
	MaxKey = 60 << 10
	// maxPair is the longest value of a Pair, and MaxPart of a Part, in bytes.
	maxPair = 1 << 20
	MaxPart = 64 << 10
	// maxValue bounds a whole value, in bytes.
	maxValue = 1<<31 - 1
)

// Entry is one thing in a section.
type Entry struct {
	Kind Kind
	// Key is the pair's; of a Range the first of the range. It is empty for a Part.
	Key []byte
	// End of a Range is the first key after it, nil the end of the partition.
	End []byte
	// Version and Unique are what the item had (item.Item).
	Version, Unique uint64
	Flags           uint32
	Exptime         int64 // Unix seconds, 0 is never
	// Stale and TokenSent are item.Item's.
	Stale, TokenSent bool
	// Length is that of the whole value, in bytes.
	Length uint32
	// Value is a Pair's or a Part's.
	Value []byte
}

const (
	bitStale = 1 << iota
	bitTokenSent
	bitEnd // of a Range: it has an End
	allBits
)

// size is about what appendEntry appends, and not less.
func (e *Entry) size() int { return 64 + len(e.Key) + len(e.End) + len(e.Value) }

// appendEntry appends e.
func appendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, byte(e.Kind))
	switch e.Kind {
	case Part:
		return appendBytes(dst, e.Value)
	case Deleted:
		return appendBytes(dst, e.Key)
	case Range:
		dst = append(dst, bits(bitEnd, e.End != nil))
		return appendBytes(appendBytes(dst, e.Key), e.End)
	case Same:
		return binary.BigEndian.AppendUint64(appendBytes(dst, e.Key), e.Version)
	}
	dst = append(dst, bits(bitStale, e.Stale)|bits(bitTokenSent, e.TokenSent))
	dst = binary.BigEndian.AppendUint64(appendBytes(dst, e.Key), e.Version)
	dst = binary.AppendUvarint(dst, e.Unique)
	dst = binary.AppendUvarint(dst, uint64(e.Flags))
	dst = binary.AppendVarint(dst, e.Exptime)
	if e.Kind == Large {
		return binary.AppendUvarint(dst, uint64(e.Length))
	}
	return appendBytes(dst, e.Value)
}

func bits(b byte, set bool) byte {
	if set {
		return b
	}
	return 0
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

var errEntry = errors.New("what is in it cannot be read")

// decoder reads what append* wrote. After an error it gives zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errEntry, what)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("it is cut short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) u64() uint64 {
	if len(d.b) < 8 {
		d.fail("it is cut short")
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.fail("a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes shares memory with what is read.
func (d *decoder) bytes(most int) []byte {
	n := int(d.uvarint(uint64(most)))
	if n > len(d.b) {
		d.fail("it is cut short")
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

// entry reads the next entry, whose keys and value share memory with what is read.
func (d *decoder) entry(e *Entry) error {
	*e = Entry{Kind: Kind(d.byte())}
	switch e.Kind {
	case Part:
		e.Value = d.bytes(MaxPart)
		if len(e.Value) == 0 {
			d.fail("an empty piece of a value")
		}
	case Deleted:
		e.Key = d.bytes(MaxKey)
	case Range:
		flags := d.byte()
		e.Key, e.End = d.bytes(MaxKey), d.bytes(MaxKey)
		if flags&bitEnd == 0 {
			e.End = nil
		}
	case Same:
		e.Key, e.Version = d.bytes(MaxKey), d.u64()
	case Pair, Large:
		flags := d.byte()
		e.Stale, e.TokenSent = flags&bitStale != 0, flags&bitTokenSent != 0
		e.Key, e.Version = d.bytes(MaxKey), d.u64()
		e.Unique = d.uvarint(1<<64 - 1)
		e.Flags = uint32(d.uvarint(1<<32 - 1))
		e.Exptime = d.varint()
		if e.Kind == Large {
			e.Length = uint32(d.uvarint(maxValue))
			if e.Length == 0 {
				d.fail("a large value of no bytes")
			}
			break
		}
		e.Value = d.bytes(maxPair)
		e.Length = uint32(len(e.Value))
	default:
		d.fail(fmt.Sprintf("an entry of kind %d", e.Kind))
	}
	return d.err
}

// Digest is a hash of the keys and versions of pairs, in the order of keys. Equal
// counts and hashes mean equal pairs, as the versions of one key are of different writes.
type Digest struct {
	h     xxhash.Digest
	pairs int64
	buf   []byte
	begun bool
}

// Add adds a pair.
func (d *Digest) Add(key []byte, version uint64) {
	if !d.begun {
		d.h.Reset()
		d.begun = true
	}
	d.buf = binary.BigEndian.AppendUint32(d.buf[:0], uint32(len(key)))
	d.buf = append(d.buf, key...)
	d.buf = binary.BigEndian.AppendUint64(d.buf, version)
	_, _ = d.h.Write(d.buf) // never fails
	d.pairs++
}

// Sum is the number of pairs and their hash. Add may go on.
func (d *Digest) Sum() (pairs int64, hash uint64) {
	if !d.begun {
		return 0, xxhash.Sum64(nil)
	}
	return d.pairs, d.h.Sum64()
}
