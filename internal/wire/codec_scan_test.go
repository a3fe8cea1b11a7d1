package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestScanRoundTrip(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(3, 4))}
	for range 1000 {
		in := Scan{ID: m.Uint32(), Partition: uint16(m.Uint32()), Epoch: m.Uint32(), MaxItems: m.Uint32(), MaxBytes: m.Uint32(),
			KeysOnly: m.IntN(2) == 0, From: m.bytes(300), Prefix: m.bytes(20)}
		b := body(t, AppendScan(nil, &in), KindScan)
		var out Scan
		if err := DecodeScan(b, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v became %+v, %v", in, out, err)
		}
		for n := range b {
			if err := DecodeScan(b[:n], &out); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if err := DecodeScan(append(b[:len(b):len(b)], 0), &out); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a byte too many: %v", err)
		}
	}
}

func TestPageRoundTrip(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(5, 6))}
	var out Page // used again and again, as a connection does
	for range 1000 {
		in := Page{ID: m.Uint32(), More: m.IntN(2) == 0, Next: m.bytes(20)}
		var items []byte
		for range m.IntN(5) {
			it := PageItem{Key: m.bytes(20), Value: m.bytes(40), Flags: m.Uint32(), Exptime: m.Int64(), CAS: m.Uint64(), Length: m.Uint32(), Omitted: m.IntN(2) == 0}
			in.Items = append(in.Items, it)
			before := len(items)
			if items = AppendPageItem(items, &it); len(items)-before != it.Size() {
				t.Fatalf("an item of %d bytes says that it has %d", len(items)-before, it.Size())
			}
		}
		frame := AppendPage(nil, &in)
		if again := AppendPageOf(nil, in.ID, in.More, in.Next, items); !bytes.Equal(frame, again) {
			t.Fatal("AppendPageOf differs")
		}
		b := body(t, frame, KindPage)
		if err := DecodePage(b, &out); err != nil {
			t.Fatal(err)
		}
		if len(in.Items) == 0 && len(out.Items) == 0 {
			out.Items = nil
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v became %+v", in, out)
		}
		// Cut off anywhere but between two items it is no page.
		whole := map[int]bool{pageFixed + len(in.Next): true}
		for i, n := 0, pageFixed+len(in.Next); i < len(in.Items); i++ {
			n += in.Items[i].Size()
			whole[n] = true
		}
		for n := range b {
			if err := DecodePage(b[:n], &out); (err == nil) != whole[n] {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	}
}
