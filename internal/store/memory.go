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
	// newest has of each key the number in list, and 1, of its newest change; 0: free. It
	// is looked up from the key's hash on (open addressing), and at most half full. A set puts a key
	// in it; Go's map took a tenth of the time of a commit.
	newest []uint32
	keys   int      // in newest
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
	hash   uint32 // of the key
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

func newRecent() *recent { return &recent{newest: make([]uint32, minNewest)} }

// minNewest is the least length of newest. All are powers of two.
const minNewest = 1 << 10

func (r *recent) size() int { return len(r.data) + len(r.list)*40 }

// place is where in newest key is, or would be. It may be of one that is not there: then newest is 0 there.
func (r *recent) place(hash uint32, key []byte) uint32 {
	mask := uint32(len(r.newest) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		n := r.newest[at]
		if n == 0 {
			return at
		}
		if c := &r.list[n-1]; c.hash == hash && bytes.Equal(r.keyOf(c), key) {
			return at
		}
	}
}

// index puts change i of list into newest.
func (r *recent) index(i int) {
	if 2*r.keys >= len(r.newest) {
		old := r.newest
		r.newest = make([]uint32, 2*len(old))
		for _, n := range old {
			if n != 0 {
				c := &r.list[n-1]
				r.newest[r.place(c.hash, r.keyOf(c))] = n
			}
		}
	}
	c := &r.list[i]
	at := r.place(c.hash, r.keyOf(c))
	if r.newest[at] == 0 {
		r.keys++
	}
	r.newest[at] = uint32(i + 1)
}

func hashOf(key []byte) uint32 { return uint32(maphash.Bytes(recentSeed, key)) }

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
		r.list[i].hash = hashOf(r.keyOf(&r.list[i]))
		r.index(i)
	}
	return true
}

// find looks for a key. known is false when nothing here tells what it is; value is
// nil when it was deleted. value is valid until the next take or reset.
func (r *recent) find(key []byte) (value []byte, known bool) {
	if len(r.list) == 0 {
		return nil, false
	}
	n := r.newest[r.place(hashOf(key), key)]
	if n == 0 {
		return nil, false
	}
	c := &r.list[n-1]
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
	r.keys = 0
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
