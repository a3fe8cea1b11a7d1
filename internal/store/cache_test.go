package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

func TestCache(t *testing.T) {
	c := NewCache(1 << 20)
	it := testItem(1, "x")
	for _, name := range []string{"", "key", strings.Repeat("k", shortKey), strings.Repeat("k", shortKey+1)} {
		key := []byte(name + "!")[:len(name)]
		c.Set(7, key, it)
		if len(key) > 0 {
			key[0] = 'X'
			if _, ok := c.Get(7, key); ok {
				t.Fatal("the cache kept the caller's key")
			}
		}
		if got, ok := c.Get(7, []byte(name)); !ok || got != it {
			t.Fatal(got, ok)
		}
		if _, ok := c.Get(8, []byte(name)); ok {
			t.Fatal("it is in another space")
		}
		again := []byte(name)
		if n := testing.AllocsPerRun(1000, func() { c.Get(7, again) }); n > 0 {
			t.Fatalf("%v allocations in Get", n)
		}
		c.Delete(8, again)
		c.Delete(7, again)
		if _, ok := c.Get(7, again); ok || c.Len() != 0 {
			t.Fatal("deleted, and there")
		}
	}
	off := NewCache(0)
	off.Set(7, []byte("key"), it)
	off.Delete(7, []byte("key"))
	if _, ok := off.Get(7, []byte("key")); ok || off.Len() != 0 || off.Bytes() != 0 {
		t.Fatal("a cache of size 0 holds something")
	}
}

// TestCacheIsAMap has random calls compared with a map that forgets nothing.
func TestCacheIsAMap(t *testing.T) {
	const size = 4 << 20
	c, rnd := NewCache(size), rand.New(rand.NewPCG(1, 2))
	all := map[string]*item.Item{}
	hits := 0
	for i := range 400_000 {
		space := rnd.Uint64N(2)
		key := fmt.Appendf(nil, "%0*d", 1+rnd.IntN(2*shortKey), rnd.IntN(300))
		name := fmt.Sprint(space, string(key))
		switch rnd.IntN(8) {
		case 0, 1, 2:
			all[name] = testItem(uint64(i), strings.Repeat("v", rnd.IntN(300)))
			c.Set(space, key, all[name])
		case 3:
			delete(all, name)
			c.Delete(space, key)
		default:
			if it, ok := c.Get(space, key); ok {
				hits++
				if it != all[name] {
					t.Fatalf("%q is %v, not %v", name, it, all[name])
				}
			}
		}
	}
	seen := 0
	for _, slab := range c.slabs {
		for i := range slab {
			if slab[i].it != nil {
				seen++
			}
		}
	}
	if b := c.Bytes(); b > size+headBytes || b < size*3/4 || c.Len() != seen || hits < 10_000 {
		t.Fatalf("%d bytes in %d entries (%d found), %d hits", b, c.Len(), seen, hits)
	}
}

// What is too large for the cache is not kept, nor what it replaces.
func TestCacheTooLarge(t *testing.T) {
	c := NewCache(1 << 20)
	c.Set(0, []byte("key"), testItem(1, "x"))
	c.Set(0, []byte("key"), testItem(2, strings.Repeat("x", 1<<20)))
	if _, ok := c.Get(0, []byte("key")); ok {
		t.Fatal("an item larger than the cache, or the one before it, is there")
	}
}

// Keys that are asked for stay while others, never asked for, come and go.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := NewCache(4 << 20)
	const hot = 2000
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%d", i) }
	for i := range hot {
		c.Set(0, key(i), testItem(1, "0123456789"))
	}
	for i := range 400_000 {
		c.Get(0, key(i%hot))
		c.Set(0, key(hot+i), testItem(1, "0123456789"))
	}
	there := 0
	for i := range hot {
		if _, ok := c.Get(0, key(i)); ok {
			there++
		}
	}
	if there < hot*95/100 {
		t.Fatalf("%d of %d hot keys are there", there, hot)
	}
}

// The overhead is about what an entry costs.
func TestCacheOverhead(t *testing.T) {
	if raceDetector {
		t.Skip("measures memory, of which the race detector takes its own; run without it")
	}
	for _, length := range []int{16, 40} {
		c := NewCache(1 << 30)
		const n = 200_000
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			c.Set(0, fmt.Appendf(nil, "%0*d", length, i), &item.Item{Value: make([]byte, 96)})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		real := int64(after.HeapAlloc-before.HeapAlloc) / n
		said := c.Bytes() / n
		t.Logf("an entry of %d+96 bytes takes %d bytes; counted as %d", length, real, said)
		if real > said*9/8 || said > real*9/8 {
			t.Fatal("what an entry is said to cost is wrong")
		}
		runtime.KeepAlive(c)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := NewCache(1 << 30)
	const n = 1 << 18
	key := make([]byte, 18)
	for i := range n {
		binary.BigEndian.PutUint64(key, uint64(i))
		c.Set(0, key, &item.Item{Value: make([]byte, 100)})
	}
	b.ReportAllocs()
	x := uint64(1)
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		binary.BigEndian.PutUint64(key, x>>46)
		if _, ok := c.Get(0, key); !ok {
			b.Fatal("miss")
		}
	}
}

// BenchmarkCacheSet has each item drive out another.
func BenchmarkCacheSet(b *testing.B) {
	c := NewCache(32 << 20)
	key, it := make([]byte, 18), testItem(1, strings.Repeat("x", 100))
	b.ReportAllocs()
	x := uint64(1)
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		binary.BigEndian.PutUint64(key, x>>44)
		c.Set(0, key, it)
	}
}
