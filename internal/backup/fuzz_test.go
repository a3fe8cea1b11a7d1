package backup

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzBlocks: what comes from a server or a file is refused or read, and what is read is what was written.
func FuzzBlocks(f *testing.F) {
	var entries []byte
	for _, e := range []Entry{
		{Kind: Range, Key: []byte("a"), End: []byte("z")}, {Kind: Same, Key: []byte("b"), Version: 3}, {Kind: Deleted, Key: []byte("c")},
		{Kind: Pair, Key: []byte("d"), Version: 9, Unique: 4, Flags: 7, Exptime: -1, Stale: true, Value: []byte("value")},
		{Kind: Large, Key: []byte("e"), Version: 10, Length: 4, TokenSent: true}, {Kind: Part, Value: []byte("part")},
	} {
		entries = appendEntry(entries, &e)
	}
	f.Add(AppendBlock(AppendBlock(nil, BlockEntries, entries, nil), BlockEnd, AppendSums(nil, &Sums{Pairs: 2}), nil))
	f.Add(AppendBlock(AppendBlock(nil, BlockBegin, AppendSection(nil, &Section{Partition: 3, Version: 8}), nil), BlockEntries, bytes.Repeat(entries, 50), NewEncoder()))
	f.Add(AppendBlock(nil, BlockEntries, entries, nil)[:20])
	f.Add(entries)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Also as a payload, for the checksum keeps most of what is tried from the entries.
		check(t, b)
		r := NewBlockReader(bytes.NewReader(b))
		for {
			kind, payload, size, err := r.Next()
			if err != nil {
				if errors.Is(err, io.EOF) {
					t.Error("an end where a block should be is no error")
				}
				return
			}
			if size < blockHeader || kind == 0 || kind >= endBlock {
				t.Errorf("a block of kind %d, %d bytes", kind, size)
			}
			check(t, payload)
		}
	})
}

func check(t *testing.T, payload []byte) {
	var o ordered
	_ = Entries(payload, func(e *Entry) error {
		_ = o.next(e)
		again := appendEntry(nil, e)
		if len(again) > e.size() {
			t.Errorf("an entry of %d bytes says that it is %d", len(again), e.size())
		}
		var same Entry
		d := decoder{b: again}
		if err := d.entry(&same); err != nil || len(d.b) > 0 || !bytes.Equal(appendEntry(nil, &same), again) {
			t.Errorf("%+v is read as %+v: %v", e, same, err)
		}
		return nil
	})
	if s, err := DecodeSection(payload); err == nil && !bytes.Equal(AppendSection(nil, &s), payload) {
		t.Errorf("section %x is read as %+v", payload, s)
	}
	if s, err := DecodeSums(payload); err == nil && !bytes.Equal(AppendSums(nil, &s), payload) {
		t.Errorf("sums %x are read as %+v", payload, s)
	}
}

func FuzzRequest(f *testing.F) {
	k := &Known{Keys: [][]byte{[]byte("a"), []byte("b")}, Versions: []uint64{1, 2}}
	r, _ := k.Request(7)
	f.Add(AppendRequest(nil, r))
	f.Add(AppendRequest(nil, &Request{Since: 1, Ranges: []RangeSum{{Pairs: 3, Hash: 4}, {Start: []byte("x")}}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil || len(b) == 0 {
			return
		}
		if len(r.Ranges) == 0 || len(r.Ranges[0].Start) > 0 {
			t.Errorf("ranges %+v", r.Ranges)
		}
		for i := 1; i < len(r.Ranges); i++ {
			if bytes.Compare(r.Ranges[i-1].Start, r.Ranges[i].Start) >= 0 {
				t.Errorf("range %d begins with %q", i, r.Ranges[i].Start)
			}
		}
		if again, err := DecodeRequest(AppendRequest(nil, r)); err != nil || len(again.Ranges) != len(r.Ranges) {
			t.Errorf("%+v is read as %+v: %v", r, again, err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{Format: Format, ID: "00112233445566778899aabbccddeeff", Partitions: 2, Files: []File{{Name: "pairs-0001.kfb", Size: 500}},
		Parts: []Located{{Partition: 1, Offset: fileHeader, Size: 100}}}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[len(sumBefore)+len(sumKind)+sumDigits:])
	f.Fuzz(func(t *testing.T, rest []byte) {
		b := append([]byte(sumBefore+sumKind), bytes.Repeat([]byte{'0'}, sumDigits)...)
		if _, err := decodeManifest(append(b, rest...)); err == nil {
			t.Error("a manifest without a checksum is taken")
		}
		m, err := decodeManifest(sealed(append(b, rest...)))
		if err != nil {
			return
		}
		if err := m.check(); err != nil {
			t.Error(err)
		}
	})
}
