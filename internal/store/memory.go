package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// recent is what was committed and is not in pebble yet: puts and deletes, in the
// order of their commits, and where each key's newest is. Pebble's memtable gets
// them by the ten thousand, in the order of their keys and each key once. There a
// key costs a few hundred nanoseconds then; alone, at a random place, ten times
// that, for each step of the way to it is a miss of the processor's caches.
//
// Not safe for concurrent use.
type recent struct {
	data []byte // keys and values
	list []change
	// newest has the number in list of a key's newest change, by the key's hash; of
	// keys of one hash, the newest of them all.
	newest map[uint64]int32
	order  []change // for sorted
}

// recentSeed keeps clients from choosing keys of one hash.
var recentSeed = maphash.MakeSeed()

// change is a put or a delete.
type change struct {
	prefix uint64 // the key's first eight bytes: most comparisons need no more
	at     uint32 // where the key begins in data, and after it the value
	key    uint32 // length
	value  int32  // length; deleted: it is a delete
}

const deleted = -1

// appendTo adds the change to a batch. r is where it lies.
func (c *change) appendTo(b *pebble.Batch, r *recent) {
	key := r.keyOf(c)
	if c.value == deleted {
		op := b.DeleteDeferred(len(key))
		copy(op.Key, key)
		_ = op.Finish() // fails only on an indexed batch
		return
	}
	value := r.valueOf(c)
	op := b.SetDeferred(len(key), len(value))
	copy(op.Key, key)
	copy(op.Value, value)
	_ = op.Finish()
}

// maxRecent bounds data, in bytes: at is 32 bits.
const maxRecent = 1 << 30

func newRecent() *recent { return &recent{newest: map[uint64]int32{}} }

func (r *recent) size() int { return len(r.data) + len(r.list)*40 }

func (r *recent) keyOf(c *change) []byte { return r.data[c.at : c.at+c.key] }

func (r *recent) valueOf(c *change) []byte {
	from := c.at + c.key
	return r.data[from : from+uint32(c.value)]
}

// take adds what b does. False: it is left as it was, for b does something else
// than put and delete, or is too large.
func (r *recent) take(b *pebble.Batch) bool {
	data, list := len(r.data), len(r.list)
	if data+b.Len() > maxRecent {
		return false
	}
	rd := b.Reader()
	for {
		kind, key, value, ok, err := rd.Next()
		if err == nil && !ok {
			break
		}
		c := change{prefix: keyPrefix(key), at: uint32(len(r.data)), key: uint32(len(key)), value: int32(len(value))}
		switch {
		case err == nil && kind == pebble.InternalKeyKindDelete:
			c.value = deleted
		case err != nil || kind != pebble.InternalKeyKindSet:
			r.data, r.list = r.data[:data], r.list[:list]
			return false
		}
		r.data = append(append(r.data, key...), value...)
		r.list = append(r.list, c)
	}
	for i := list; i < len(r.list); i++ {
		r.newest[maphash.Bytes(recentSeed, r.keyOf(&r.list[i]))] = int32(i)
	}
	return true
}

// find looks for a key. known is false when nothing here tells what it is; value is
// nil when it was deleted. value is valid until the next take or reset.
func (r *recent) find(key []byte) (value []byte, known bool) {
	if len(r.list) == 0 {
		return nil, false
	}
	i, ok := r.newest[maphash.Bytes(recentSeed, key)]
	if !ok {
		return nil, false
	}
	c := &r.list[i]
	if !bytes.Equal(r.keyOf(c), key) {
		// The other key's changes hide this one's.
		for i := len(r.list) - 1; ; i-- {
			if i < 0 {
				return nil, false
			}
			if c = &r.list[i]; bytes.Equal(r.keyOf(c), key) {
				break
			}
		}
	}
	if c.value == deleted {
		return nil, true
	}
	return r.valueOf(c), true
}

// sorted is the newest change of each key, in the order of keys. It is valid until
// the next call, and leaves the rest as it is.
func (r *recent) sorted() []change {
	r.order = append(r.order[:0], r.list...)
	slices.SortFunc(r.order, func(x, y change) int {
		if x.prefix != y.prefix {
			return cmp.Compare(x.prefix, y.prefix)
		}
		if c := bytes.Compare(r.keyOf(&x), r.keyOf(&y)); c != 0 {
			return c
		}
		return cmp.Compare(y.at, x.at)
	})
	return slices.CompactFunc(r.order, func(x, y change) bool {
		return x.prefix == y.prefix && bytes.Equal(r.keyOf(&x), r.keyOf(&y))
	})
}

// reset empties it. What it needed for a burst it does not keep.
func (r *recent) reset(keep int) {
	if cap(r.data) > 2*keep {
		*r = *newRecent()
		return
	}
	r.data, r.list = r.data[:0], r.list[:0]
	clear(r.newest)
}

// keyPrefix is the first eight bytes of a key, as a number in the order of keys.
func keyPrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
