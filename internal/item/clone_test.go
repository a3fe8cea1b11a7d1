package item

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"
)

func TestClone(t *testing.T) {
	all := bytes.Repeat([]byte("value "), 200)
	for n := range len(all) {
		it := &Item{Version: 1, Unique: 2, Flags: 3, Exptime: 4, Stale: true, TokenSent: true, Large: true, Fetched: true, Accessed: 5, Value: all[:n]}
		c := it.Clone()
		next := it.Clone() // must not lie in c
		runtime.KeepAlive(next)
		for i := range next.Value {
			next.Value[i] = '!'
		}
		if !reflect.DeepEqual(c, it) || cap(c.Value) != n && n <= maxBlock {
			t.Fatalf("%d bytes: %+v, capacity %d", n, c, cap(c.Value))
		}
		if n > 0 && &c.Value[0] == &all[0] {
			t.Fatal("the value is not copied")
		}
	}
	for _, n := range []int{0, 1, 16, 17, 100, 431, 432} {
		it := &Item{Value: all[:n]}
		if got := testing.AllocsPerRun(100, func() { sink = it.Clone() }); got != 1 {
			t.Errorf("%d bytes: %v allocations", n, got)
		}
	}
	if c := (&Item{}).Clone(); c.Value == nil {
		t.Error("an empty value is none")
	}
	// Many, with the collector at work: what only the value is known of must stay.
	var values [][]byte
	for i := range 20_000 {
		values = append(values, (&Item{Value: bytes.Repeat([]byte{byte(i)}, i%440)}).Clone().Value)
		if i%4000 == 0 {
			runtime.GC()
		}
	}
	runtime.GC()
	for i, v := range values {
		if !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, i%440)) {
			t.Fatalf("value %d has changed", i)
		}
	}
}

var sink *Item
