package store

import (
	"unsafe"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/maypok86/otter/v2"
)

// Cache keeps hot items in front of the store. It knows nothing of the store:
// its user sets what was committed and deletes what was removed. Keys are the
// user's to choose (a partition and a key, say).
//
// Safe for any number of goroutines. A Cache of size 0 holds nothing and costs
// nothing. Items given to Set, and those that Get returns, are shared: nobody
// may change them.
type Cache struct {
	c *otter.Cache[string, *item.Item] // nil when disabled
}

// entryOverhead is what an entry costs besides its key and value, in bytes:
// otter's node and its place in the table, the item, the headers of both.
const entryOverhead = 150

// NewCache makes a cache that holds about size bytes, overhead included.
func NewCache(size int64) (*Cache, error) {
	if size <= 0 {
		return &Cache{}, nil
	}
	c, err := otter.New(&otter.Options[string, *item.Item]{
		MaximumWeight: uint64(size),
		Weigher: func(key string, it *item.Item) uint32 {
			return uint32(min(int64(len(key))+int64(len(it.Value))+entryOverhead, 1<<31))
		},
	})
	if err != nil {
		return nil, err
	}
	return &Cache{c: c}, nil
}

// Get looks a key up. It does not keep or copy key.
func (c *Cache) Get(key []byte) (*item.Item, bool) {
	if c.c == nil {
		return nil, false
	}
	// The string is only compared with those in the table, and is gone on return.
	return c.c.GetIfPresent(unsafe.String(unsafe.SliceData(key), len(key)))
}

// Set keeps an item. It copies key and keeps it, its Value included.
func (c *Cache) Set(key []byte, it *item.Item) {
	if c.c != nil {
		c.c.Set(string(key), it)
	}
}

// Delete forgets a key.
func (c *Cache) Delete(key []byte) {
	if c.c != nil {
		c.c.Invalidate(string(key))
	}
}

// Clear forgets everything.
func (c *Cache) Clear() {
	if c.c != nil {
		c.c.InvalidateAll()
	}
}

// Len is the number of entries, about.
func (c *Cache) Len() int {
	if c.c == nil {
		return 0
	}
	return c.c.EstimatedSize()
}

// Bytes is the weight of the entries, about.
func (c *Cache) Bytes() int64 {
	if c.c == nil {
		return 0
	}
	return int64(c.c.WeightedSize())
}

// Close forgets everything and ends the cache's goroutines.
func (c *Cache) Close() {
	if c.c != nil {
		c.c.InvalidateAll()
		c.c.StopAllGoroutines()
	}
}
