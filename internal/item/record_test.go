package item

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, it := range []Item{
		{Version: 1, Value: []byte{}},
		{Version: 5<<40 | 7, Flags: math.MaxUint32, Exptime: 1 << 40, Value: []byte("value")},
		{Version: math.MaxUint64, Unique: math.MaxUint64, Flags: 1, Exptime: math.MinInt64, Value: []byte{0, 1, 2}},
		{Version: 9, Unique: 1, Value: []byte{}},
	} {
		b := AppendRecord([]byte("x"), &it)[1:]
		if over := len(b) - len(it.Value); over > MaxRecordHeader {
			t.Errorf("%+v: header of %d bytes, MaxRecordHeader is %d", it, over, MaxRecordHeader)
		}
		got, err := ParseRecord(b)
		if err != nil || !sameItem(got, it) {
			t.Errorf("ParseRecord(AppendRecord(%+v)) = %+v, %v", it, got, err)
		}
		if v, err := RecordVersion(b); err != nil || v != it.Version {
			t.Errorf("RecordVersion = %d, %v; want %d", v, err, it.Version)
		}
	}
}

// A fixed record: stores on disk must stay readable.
func TestRecordBytes(t *testing.T) {
	it := Item{Version: 0x0102030405060708, Unique: 0x1112131415161718, Flags: 0x21222324, Exptime: 0x31, Value: []byte("v")}
	want := "\x01\x01\x01\x02\x03\x04\x05\x06\x07\x08\x21\x22\x23\x24\x00\x00\x00\x00\x00\x00\x00\x31\x11\x12\x13\x14\x15\x16\x17\x18v"
	if got := AppendRecord(nil, &it); string(got) != want {
		t.Errorf("record is %x, want %x", got, want)
	}
	it.Unique = 0
	want = "\x01\x00" + want[2:22] + "v"
	if got := AppendRecord(nil, &it); string(got) != want {
		t.Errorf("record without unique is %x, want %x", got, want)
	}
}

func TestRecordErrors(t *testing.T) {
	plain := AppendRecord(nil, &Item{Version: 3})
	unique := AppendRecord(nil, &Item{Version: 3, Unique: 4})
	for _, c := range []struct {
		name  string
		b     []byte
		short bool
		says  string
	}{
		{"empty", nil, true, "empty"},
		{"layout 2", append([]byte{2}, plain[1:]...), false, "layout 2"},
		{"only a layout 2", []byte{2}, false, "layout 2"},
		{"short header", plain[:21], true, "21 bytes"},
		{"short unique", unique[:29], true, "29 bytes"},
		{"unknown bits", append([]byte{1, 16}, plain[2:]...), false, "bits 0x10"},
		{"unique of 0", append(append([]byte{1, 1}, plain[2:]...), make([]byte, 8)...), false, "unique"},
	} {
		_, err := ParseRecord(c.b)
		if err == nil || errors.Is(err, ErrRecordShort) != c.short || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q (short: %v)", c.name, err, c.says, c.short)
		}
	}
	if _, err := RecordVersion(plain[:21]); !errors.Is(err, ErrRecordShort) {
		t.Errorf("RecordVersion of a short record: %v", err)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	it := Item{Version: 3, Unique: 4, Value: []byte("value")}
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		b := AppendRecord(buf, &it)
		if got, err := ParseRecord(b); err != nil || got.Unique != 4 {
			t.Fatal(got, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(AppendRecord(nil, &Item{Version: 1, Value: []byte("v")}))
	f.Add(AppendRecord(nil, &Item{Version: 1, Unique: 2, Flags: 3, Exptime: 4}))
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := ParseRecord(b)
		v, verr := RecordVersion(b)
		if err != nil {
			return
		}
		if verr != nil || v != it.Version {
			t.Fatalf("RecordVersion = %d, %v; ParseRecord found %d", v, verr, it.Version)
		}
		if again := AppendRecord(nil, &it); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is written as %x", b, it, again)
		}
	})
}

// sameItem compares all of two items.
func sameItem(a, b Item) bool {
	return a.Version == b.Version && a.Unique == b.Unique && a.Flags == b.Flags && a.Exptime == b.Exptime && bytes.Equal(a.Value, b.Value)
}
