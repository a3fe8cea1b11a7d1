package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Touch changes nothing, whatever it is asked for.
func TestCacheTouch(t *testing.T) {
	c := NewCache(8 << 20)
	c.Touch([][]byte{[]byte("key")})
	for i := range 5000 {
		c.Set(0, fmt.Appendf(nil, "key-%d", i), testItem(uint64(i), fmt.Sprintf("%*s", i%700, "")))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var keys [][]byte
		for range rnd.IntN(2 * MaxTouch) {
			keys = append(keys, fmt.Appendf(nil, "key-%d", rnd.IntN(10_000)))
		}
		c.Touch(keys)
	}
	for i := range 5000 {
		if it, ok := c.Get(0, fmt.Appendf(nil, "key-%d", i)); !ok || it.Version != uint64(i) {
			t.Fatalf("key %d: %v %v", i, it, ok)
		}
	}
	if c.Len() != 5000 {
		t.Fatal(c.Len())
	}
}
