package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

func copies(m maker, n int) []Value {
	values := make([]Value, 0, n)
	for range n {
		v := Value{Key: string(m.bytes(300))}
		if m.IntN(4) > 0 {
			v.Item = &item.Item{Version: m.Uint64() >> m.IntN(64), Stale: m.IntN(2) == 0, TokenSent: m.IntN(2) == 0, Large: m.IntN(2) == 0, Value: []byte{}}
			if m.IntN(2) == 0 {
				v.Item.Unique = m.Uint64()>>m.IntN(64) | 1
			}
			if m.IntN(2) == 0 {
				v.Item.Flags = m.Uint32() >> m.IntN(32)
			}
			if m.IntN(2) == 0 {
				v.Item.Exptime = int64(m.Uint64()) >> m.IntN(64)
			}
			v.Item.Value = append(v.Item.Value, m.bytes(300)...)
		}
		values = append(values, v)
	}
	return values
}

func TestValues(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(5, 6))}
	for n := range 200 {
		values := copies(m, n%20)
		b := AppendValues([]byte("before"), values)
		got, err := DecodeValues(b[len("before"):])
		if err != nil || !reflect.DeepEqual(got, values) {
			t.Fatalf("%v: %+v became %+v", err, values, got)
		}
		for cut := range b[len("before"):] {
			if _, err := DecodeValues(b[len("before") : len("before")+cut]); err == nil {
				t.Fatalf("%d of %d bytes were taken for all", cut, len(b))
			}
		}
	}
}

// A copy of small items is little more than their keys and values.
func TestValuesAreShort(t *testing.T) {
	const n, key, value = 1000, 16, 100
	values := make([]Value, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range values {
		values[i] = Value{Key: string(make([]byte, key)), Item: &item.Item{Version: 7<<40 | r.Uint64N(1e6), Value: make([]byte, value)}}
	}
	if per := float64(len(AppendValues(nil, values)))/n - key - value; per > 6.1 {
		t.Errorf("%.1f bytes beside key and value", per)
	}
}

func FuzzValues(f *testing.F) {
	m := maker{rand.New(rand.NewPCG(3, 4))}
	for n := range 8 {
		f.Add(AppendValues(nil, copies(m, n)))
	}
	f.Add([]byte{1, copiedUnknown, 1, 'k'})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := DecodeValues(b)
		if err != nil {
			return
		}
		again := AppendValues(nil, first)
		second, err := DecodeValues(again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%v: %+v became %+v", err, first, second)
		}
		if !bytes.Equal(again, AppendValues(nil, second)) {
			t.Fatal("encoding is not canonical")
		}
	})
}
