package wire

import "fmt"

// Scan asks the primary of a partition for a page: the items whose keys begin
// with Prefix and are not below From, in the order of their bytes. It is refused
// by a Nak as a get is, and fails by a Reply.
type Scan struct {
	// ID is chosen as Request.ID is, from the same numbers.
	ID        uint32
	Partition uint16
	// Epoch of the partition in the sender's map (R10).
	Epoch uint32
	// MaxItems and MaxBytes (AppendPageItem's) bound the page. 0, or more than the
	// server gives: its own bound.
	MaxItems uint32
	MaxBytes uint32
	// KeysOnly: the items come without their values.
	KeysOnly bool
	From     []byte
	Prefix   []byte
}

// Page answers a Scan of the same ID.
type Page struct {
	ID uint32
	// More: there may be items from the key Next on, which are not below it.
	More  bool
	Next  []byte
	Items []PageItem
}

// PageItem is one item of a page.
type PageItem struct {
	Key, Value []byte
	Flags      uint32
	Exptime    int64 // Unix seconds, 0 is never
	CAS        uint64
	// Length of the value in bytes, also where it is left out.
	Length uint32
	// Omitted: the value is large, or alone more than a page may hold. It is to be got by its key.
	Omitted bool
}

const (
	scanFixed = 4 + 2 + 4 + 1 + 4 + 4 + 2 + 2
	pageFixed = 4 + 1 + 2
	// pageItemFixed is a PageItem without key and value.
	pageItemFixed = 2 + 4 + 8 + 8 + 4 + 1 + 4
)

// Size is what AppendPageItem appends for it, in bytes.
func (it *PageItem) Size() int { return pageItemFixed + len(it.Key) + len(it.Value) }

// AppendScan appends s as a frame. From and Prefix are 64 KiB at most.
func AppendScan(dst []byte, s *Scan) []byte {
	dst, at := begin(dst, KindScan)
	dst = le.AppendUint32(dst, s.ID)
	dst = le.AppendUint16(dst, s.Partition)
	dst = le.AppendUint32(dst, s.Epoch)
	dst = append(dst, bit(s.KeysOnly))
	dst = le.AppendUint32(dst, s.MaxItems)
	dst = le.AppendUint32(dst, s.MaxBytes)
	dst = le.AppendUint16(dst, uint16(len(s.From)))
	dst = le.AppendUint16(dst, uint16(len(s.Prefix)))
	dst = append(dst, s.From...)
	dst = append(dst, s.Prefix...)
	return end(dst, at)
}

// DecodeScan reads a frame's body. s's From and Prefix alias it.
func DecodeScan(b []byte, s *Scan) error {
	if len(b) < scanFixed {
		return fmt.Errorf("%w: scan of %d bytes", ErrCorrupt, len(b))
	}
	from, prefix := int(le.Uint16(b[19:])), int(le.Uint16(b[21:]))
	if len(b) != scanFixed+from+prefix {
		return fmt.Errorf("%w: scan of %d bytes for keys of %d and %d", ErrCorrupt, len(b), from, prefix)
	}
	*s = Scan{
		ID:        le.Uint32(b),
		Partition: le.Uint16(b[4:]),
		Epoch:     le.Uint32(b[6:]),
		KeysOnly:  b[10] != 0,
		MaxItems:  le.Uint32(b[11:]),
		MaxBytes:  le.Uint32(b[15:]),
		From:      b[scanFixed : scanFixed+from],
		Prefix:    b[scanFixed+from:],
	}
	return nil
}

// AppendPage appends p as a frame.
func AppendPage(dst []byte, p *Page) []byte {
	dst, at := beginPage(dst, p.ID, p.More, p.Next)
	for i := range p.Items {
		dst = AppendPageItem(dst, &p.Items[i])
	}
	return end(dst, at)
}

// AppendPageOf is AppendPage of items that AppendPageItem has encoded.
func AppendPageOf(dst []byte, id uint32, more bool, next, items []byte) []byte {
	dst, at := beginPage(dst, id, more, next)
	return end(append(dst, items...), at)
}

func beginPage(dst []byte, id uint32, more bool, next []byte) ([]byte, int) {
	dst, at := begin(dst, KindPage)
	dst = le.AppendUint32(dst, id)
	dst = append(dst, bit(more))
	dst = le.AppendUint16(dst, uint16(len(next)))
	return append(dst, next...), at
}

// AppendPageItem appends one item as a page holds it. Its key is 64 KiB at most.
func AppendPageItem(dst []byte, it *PageItem) []byte {
	dst = le.AppendUint16(dst, uint16(len(it.Key)))
	dst = le.AppendUint32(dst, it.Flags)
	dst = le.AppendUint64(dst, uint64(it.Exptime))
	dst = le.AppendUint64(dst, it.CAS)
	dst = le.AppendUint32(dst, it.Length)
	dst = append(dst, bit(it.Omitted))
	dst = le.AppendUint32(dst, uint32(len(it.Value)))
	dst = append(dst, it.Key...)
	return append(dst, it.Value...)
}

// DecodePage reads a frame's body into p, whose Items' memory it uses again. Next
// and the items alias b.
func DecodePage(b []byte, p *Page) error {
	items := p.Items[:0]
	*p = Page{}
	if len(b) < pageFixed {
		return fmt.Errorf("%w: page of %d bytes", ErrCorrupt, len(b))
	}
	d := decoder{b: b}
	p.ID, p.More = d.u32(), d.byte() != 0
	p.Next = d.take(int(d.u16()))
	for len(d.b) > 0 {
		key := int(d.u16())
		it := PageItem{Flags: d.u32(), Exptime: int64(d.u64()), CAS: d.u64(), Length: d.u32(), Omitted: d.byte() != 0}
		value := int(d.u32())
		it.Key, it.Value = d.take(key), d.take(value)
		if d.err == nil {
			items = append(items, it)
		}
	}
	if d.err != nil {
		return d.err
	}
	p.Items = items
	return nil
}
