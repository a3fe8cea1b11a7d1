package store

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

func TestCache(t *testing.T) {
	c, err := NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	it := testItem(1, "x")
	key := []byte("key")
	c.Set(key, it)
	key[0] = 'X'
	if _, ok := c.Get(key); ok {
		t.Fatal("the cache kept the caller's key")
	}
	if got, ok := c.Get([]byte("key")); !ok || got != it {
		t.Fatal(got, ok)
	}
	if n := testing.AllocsPerRun(1000, func() { c.Get([]byte("key")) }); n > 0 {
		t.Fatalf("%v allocations in Get", n)
	}
	c.Delete([]byte("key"))
	if _, ok := c.Get([]byte("key")); ok {
		t.Fatal("deleted, and there")
	}
	for i := range 100_000 {
		c.Set(fmt.Appendf(nil, "%d", i), testItem(1, "0123456789"))
	}
	c.c.CleanUp()
	if b := c.Bytes(); b > 1<<20 || b < 1<<19 {
		t.Fatalf("%d bytes in %d entries", b, c.Len())
	}
	c.Clear()
	if c.Len() != 0 {
		t.Fatal(c.Len())
	}
	off, err := NewCache(0)
	if err != nil {
		t.Fatal(err)
	}
	off.Set(key, it)
	off.Delete(key)
	if _, ok := off.Get(key); ok || off.Len() != 0 || off.Bytes() != 0 {
		t.Fatal("a cache of size 0 holds something")
	}
	off.Close()
}

// entryOverhead is about what an entry costs.
func TestCacheOverhead(t *testing.T) {
	if raceDetector {
		t.Skip("measures memory, of which the race detector takes its own; run without it")
	}
	c, err := NewCache(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		c.Set(fmt.Appendf(nil, "%016d", i), &item.Item{Value: make([]byte, 96)})
	}
	c.c.CleanUp()
	runtime.GC()
	runtime.ReadMemStats(&after)
	real := int64(after.HeapAlloc-before.HeapAlloc) / n
	said := c.Bytes() / n
	t.Logf("an entry of 16+96 bytes takes %d bytes; counted as %d", real, said)
	if real > said*5/4 || said > real*5/4 {
		t.Fatal("entryOverhead is wrong")
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c, err := NewCache(1 << 30)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const n = 1 << 18
	key := make([]byte, 18)
	for i := range n {
		binary.BigEndian.PutUint64(key, uint64(i))
		c.Set(key, &item.Item{Value: make([]byte, 100)})
	}
	b.ReportAllocs()
	x := uint64(1)
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		binary.BigEndian.PutUint64(key, x>>46)
		if _, ok := c.Get(key); !ok {
			b.Fatal("miss")
		}
	}
}
