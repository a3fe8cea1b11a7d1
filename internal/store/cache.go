package store

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/kumofs/kumofs/internal/item"
)

// Cache keeps hot items in front of the store. It knows nothing of the store:
// its user sets what was committed and deletes what was removed. Keys are a
// space, a number of the user's choice, and bytes.
//
// It belongs to one goroutine, but for Len and Bytes. A Cache of size 0 holds
// nothing and costs nothing. Items given to Set, and those that Get returns, are
// shared: nobody may change their values.
//
// What a lookup costs is memory that no processor cache has: the head of a chain,
// one line of 64 bytes with the entry and its key, and the item. Chains grow by one
// bucket for each entry (linear hashing), so no call ever moves more than a chain.
// When it is full a hand goes round the entries and removes those that were not
// asked for since it came by last; how often they were counts up to three.
type Cache struct {
	size int64
	seed maphash.Seed

	heads   []*[headsLen]uint32 // of chains: indices of entries, 0 is the end
	buckets uint32
	slabs   []*[slabLen]cached // entries; index 0 is never used
	made    uint32             // indices up to this one are in use or free
	free    uint32             // first of those that are free, linked by next
	hand    uint32
	n       int
	bytes   int64

	count, weight atomic.Int64 // n and bytes, for others
}

// cached is an entry: one line of the processor's caches.
type cached struct {
	it    *item.Item // nil: free
	long  *byte      // a key that has no room in short
	space uint64
	next  uint32
	hash  uint32
	size  uint32 // counted in bytes
	klen  uint16
	used  uint8
	short [shortKey]byte
}

const (
	shortKey  = 25
	maxUsed   = 3
	slabLen   = 1 << 10
	slabBytes = int64(slabLen * unsafe.Sizeof(cached{}))
	headsLen  = 1 << 12
	headBytes = int64(4 * headsLen)
	// itemOverhead is what an item costs besides the value, in bytes: itself and
	// what allocators round up.
	itemOverhead = int64(unsafe.Sizeof(item.Item{})) + 16
	// maxSteps is after how many entries the hand removes one however often it was asked for.
	maxSteps = 32
)

// NewCache makes a cache that holds about size bytes, overhead included.
func NewCache(size int64) *Cache {
	return &Cache{size: max(size, 0), seed: maphash.MakeSeed()}
}

// Get looks a key up. It does not keep or copy key.
func (c *Cache) Get(space uint64, key []byte) (*item.Item, bool) {
	if c.n == 0 {
		return nil, false
	}
	h := c.hash(key)
	for i := *c.head(h); i != 0; {
		e := c.at(i)
		if e.is(h, space, key) {
			if e.used < maxUsed {
				e.used++
			}
			return e.it, true
		}
		i = e.next
	}
	return nil, false
}

// MaxTouch is how many keys Touch looks at.
const MaxTouch = 32

// Touch reads what Get of these keys will need, for all of them at the same time:
// memory answers many reads as fast as one, but where each tells where the next is.
// The result means nothing.
func (c *Cache) Touch(keys [][]byte) (sum uint64) {
	if c.n == 0 {
		return 0
	}
	keys = keys[:min(len(keys), MaxTouch)]
	var hashes, at [MaxTouch]uint32
	var items [MaxTouch]*item.Item
	for k, key := range keys {
		hashes[k] = c.hash(key)
		at[k] = *c.head(hashes[k])
	}
	for k := range keys {
		if at[k] == 0 {
			continue
		}
		if e := c.at(at[k]); e.hash != hashes[k] { // seldom more than two are in a chain
			at[k] = e.next
		}
	}
	for k := range keys {
		if at[k] == 0 {
			continue
		}
		if e := c.at(at[k]); e.hash == hashes[k] {
			items[k] = e.it
			sum += e.it.Version
		}
	}
	for k := range keys {
		if items[k] == nil {
			continue
		}
		v := items[k].Value
		for i := 0; i < min(len(v), 512); i += 64 {
			sum += uint64(v[i])
		}
	}
	return sum
}

// Set keeps an item. It copies key and keeps it.
func (c *Cache) Set(space uint64, key []byte, it *item.Item) {
	size := itemOverhead + int64(len(it.Value))
	if len(key) > shortKey {
		size += int64(len(key))
	}
	if len(key) > 1<<16-1 || size > c.size-slabBytes-headBytes {
		c.Delete(space, key) // what was there is no longer true
		return
	}
	h := c.hash(key)
	if i, _ := c.find(h, space, key); i != 0 {
		e := c.at(i)
		c.bytes += size - int64(e.size)
		e.it, e.size = it, uint32(size)
		c.shrinkTo(c.size)
		c.show()
		return
	}
	c.shrinkTo(c.size - size)
	i := c.newEntry(size)
	e := c.at(i)
	e.it, e.space, e.hash, e.size, e.klen, e.used = it, space, h, uint32(size), uint16(len(key)), 0
	if len(key) <= shortKey {
		copy(e.short[:], key)
	} else {
		e.long = unsafe.SliceData(append([]byte(nil), key...))
	}
	c.n++
	c.bytes += size
	c.split()
	head := c.head(h)
	e.next, *head = *head, i
	c.show()
}

// Delete forgets a key.
func (c *Cache) Delete(space uint64, key []byte) {
	if c.n == 0 {
		return
	}
	if i, link := c.find(c.hash(key), space, key); i != 0 {
		c.remove(i, link)
		c.show()
	}
}

// Len is the number of entries. Any goroutine.
func (c *Cache) Len() int { return int(c.count.Load()) }

// Bytes is what the entries cost in memory, about. Any goroutine.
func (c *Cache) Bytes() int64 { return c.weight.Load() }

func (c *Cache) show() {
	c.count.Store(int64(c.n))
	c.weight.Store(c.bytes)
}

// hash is of the key alone: one that is in two spaces is rare. The seed keeps
// clients from choosing keys that all meet in one chain.
func (c *Cache) hash(key []byte) uint32 { return uint32(maphash.Bytes(c.seed, key)) }

func (c *Cache) at(i uint32) *cached { return &c.slabs[i/slabLen][i%slabLen] }

// head is the chain of a hash. There is at least one bucket.
func (c *Cache) head(h uint32) *uint32 {
	mask := uint32(1)<<bits.Len32(c.buckets-1) - 1
	b := h & mask
	if b >= c.buckets {
		b &= mask >> 1
	}
	return c.bucket(b)
}

func (c *Cache) bucket(b uint32) *uint32 { return &c.heads[b/headsLen][b%headsLen] }

func (e *cached) is(h uint32, space uint64, key []byte) bool {
	if e.hash != h || e.space != space || int(e.klen) != len(key) {
		return false
	}
	if e.klen <= shortKey {
		return string(e.short[:e.klen]) == string(key)
	}
	return unsafe.String(e.long, int(e.klen)) == string(key)
}

// find is the index of a key, 0 if it is not there, and what links to it.
func (c *Cache) find(h uint32, space uint64, key []byte) (i uint32, link *uint32) {
	if c.n == 0 {
		return 0, nil
	}
	link = c.head(h)
	for i = *link; i != 0; i = *link {
		e := c.at(i)
		if e.is(h, space, key) {
			break
		}
		link = &e.next
	}
	return i, link
}

// remove takes entry i, to which link leads, out.
func (c *Cache) remove(i uint32, link *uint32) {
	e := c.at(i)
	*link = e.next
	c.n--
	c.bytes -= int64(e.size)
	e.it, e.long = nil, nil
	e.next, c.free = c.free, i
}

// shrinkTo removes entries until they cost no more than limit.
func (c *Cache) shrinkTo(limit int64) {
	for c.bytes > limit && c.n > 0 {
		c.evict()
	}
}

// evict removes the entry that the hand finds.
func (c *Cache) evict() {
	for steps := 0; ; {
		if c.hand++; c.hand > c.made {
			c.hand = 1
		}
		e := c.at(c.hand)
		if e.it == nil {
			continue
		}
		if steps++; e.used > 0 && steps < maxSteps {
			e.used--
			continue
		}
		link := c.head(e.hash)
		for *link != c.hand {
			link = &c.at(*link).next
		}
		c.remove(c.hand, link)
		return
	}
}

// newEntry is the index of a free entry, for an item of that size.
func (c *Cache) newEntry(size int64) uint32 {
	if c.free == 0 {
		if int(c.made)+1 >= len(c.slabs)*slabLen {
			if c.n > 0 && c.bytes+size+slabBytes+headBytes > c.size {
				c.evict()
				return c.take()
			}
			c.slabs = append(c.slabs, new([slabLen]cached))
			c.bytes += slabBytes
		}
		c.made++
		return c.made
	}
	return c.take()
}

func (c *Cache) take() uint32 {
	i := c.free
	c.free = c.at(i).next
	return i
}

// split adds a bucket if there are more entries than buckets, and moves there
// what belongs there from the one that it halves.
func (c *Cache) split() {
	if c.n <= int(c.buckets) {
		return
	}
	b := c.buckets
	if b%headsLen == 0 {
		c.heads = append(c.heads, new([headsLen]uint32))
		c.bytes += headBytes
	}
	c.buckets++
	if b == 0 {
		return
	}
	bit := uint32(1) << (bits.Len32(b) - 1) // b without it is the bucket that is halved
	from, to := c.bucket(b&^bit), c.bucket(b)
	for i := *from; i != 0; i = *from {
		e := c.at(i)
		if e.hash&bit == 0 {
			from = &e.next
			continue
		}
		*from = e.next
		e.next, *to = *to, i
	}
}
