package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// A block is a header and a payload. The header, little endian:
//
//	byte  0      blockMagic
//	byte  1      BlockKind
//	byte  2      1 if the payload is compressed with zstd, else 0
//	byte  3      0
//	bytes 4-7    length of the payload as it is stored
//	bytes 8-15   xxh64 of bytes 0-7 and the payload as it is stored
const (
	blockMagic  = 'K'
	blockHeader = 16

	// blockTarget is about how long the payload of a block is before it is compressed, and
	// maxPayload is more than it can be, in bytes.
	blockTarget = 512 << 10
	maxPayload  = 4 << 20
)

// BlockKind tells what a block holds.
type BlockKind byte

// The kinds of blocks.
const (
	BlockBegin   BlockKind = 1 + iota // a Section
	BlockEntries                      // entries
	BlockEnd                          // Sums
	endBlock
)

// errBlock is about a block that cannot be what was written.
var errBlock = errors.New("a block is damaged")

// AppendBlock appends a block. enc, if not nil, compresses the payload where that is
// worth it.
func AppendBlock(dst []byte, kind BlockKind, payload []byte, enc *zstd.Encoder) []byte {
	at := len(dst)
	dst = append(dst, blockMagic, byte(kind), 0, 0, 0, 0, 0, 0)
	dst = append(dst, make([]byte, 8)...)
	if enc != nil {
		dst = enc.EncodeAll(payload, dst)
		dst[at+2] = 1
	}
	if stored := len(dst) - at - blockHeader; enc == nil || stored > len(payload)-len(payload)/16 {
		dst = append(dst[:at+blockHeader], payload...)
		dst[at+2] = 0
	}
	b := dst[at:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-blockHeader))
	binary.LittleEndian.PutUint64(b[8:], blockSum(b))
	return dst
}

// blockSum is the checksum of a block.
func blockSum(b []byte) uint64 {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(b[:8])
	_, _ = h.Write(b[blockHeader:])
	return h.Sum64()
}

// blockLength is the length that a header tells of the payload.
func blockLength(header []byte) (int, error) {
	n := binary.LittleEndian.Uint32(header[4:])
	switch {
	case header[0] != blockMagic:
		return 0, fmt.Errorf("%w: there is no block", errBlock)
	case n > maxPayload:
		return 0, fmt.Errorf("%w: it says that it has %d bytes", errBlock, n)
	}
	return int(n), nil
}

// decompressor decompresses blocks, for any number of goroutines at a time. It has none itself.
var decompressor = sync.OnceValue(func() *zstd.Decoder {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPayload))
	if err != nil {
		panic("backup: " + err.Error()) // the options are constants
	}
	return dec
})

// NewEncoder makes what compresses blocks, for one goroutine at a time.
func NewEncoder() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("backup: " + err.Error()) // the options are constants
	}
	return enc
}

// openBlock checks a whole block and gives its payload, in buf if it was compressed.
func openBlock(b, buf []byte) (BlockKind, []byte, error) {
	if blockSum(b) != binary.LittleEndian.Uint64(b[8:]) {
		return 0, nil, fmt.Errorf("%w: its checksum is another", errBlock)
	}
	kind := BlockKind(b[1])
	if kind == 0 || kind >= endBlock || b[2] > 1 || b[3] != 0 {
		return 0, nil, fmt.Errorf("%w: it is of a kind that this program does not know (% x)", errBlock, b[:4])
	}
	payload := b[blockHeader:]
	if b[2] == 1 {
		var err error
		if payload, err = decompressor().DecodeAll(payload, buf[:0]); err != nil {
			return 0, nil, fmt.Errorf("%w: it cannot be decompressed: %w", errBlock, err)
		}
	}
	return kind, payload, nil
}

// BlockReader reads blocks from a stream.
type BlockReader struct {
	r   io.Reader
	buf []byte
	raw []byte
}

// NewBlockReader reads from r, which should be buffered.
func NewBlockReader(r io.Reader) *BlockReader { return &BlockReader{r: r} }

// Next gives the next block and how long it is as it is stored, in bytes. The payload is
// valid until the next call. A stream that ends within a block, or before one, is an error.
func (r *BlockReader) Next() (kind BlockKind, payload []byte, size int, err error) {
	r.buf = append(r.buf[:0], make([]byte, blockHeader)...)
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return 0, nil, 0, unexpected(err)
	}
	n, err := blockLength(r.buf)
	if err != nil {
		return 0, nil, 0, err
	}
	r.buf = append(r.buf, make([]byte, n)...)
	if _, err := io.ReadFull(r.r, r.buf[blockHeader:]); err != nil {
		return 0, nil, 0, unexpected(err)
	}
	kind, payload, err = openBlock(r.buf, r.raw)
	if r.buf[2] == 1 {
		r.raw = payload
	}
	return kind, payload, len(r.buf), err
}

// unexpected: an end is never right where a block is read.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Section is what a partition's first block tells.
type Section struct {
	Partition uint16
	// Version is the partition's position in the snapshot: that of the last operation in it.
	Version uint64
	// Since is the base's position, where the section has only what differs from the base's.
	Since uint64
	// Whole: the section has all of the partition.
	Whole bool
	// Taken is when, by the server's clock.
	Taken time.Time
}

// AppendSection appends the payload of a BlockBegin.
func AppendSection(dst []byte, s *Section) []byte {
	dst = binary.BigEndian.AppendUint16(dst, s.Partition)
	dst = binary.BigEndian.AppendUint64(dst, s.Version)
	dst = binary.BigEndian.AppendUint64(dst, s.Since)
	dst = append(dst, bits(1, s.Whole))
	return binary.BigEndian.AppendUint64(dst, uint64(s.Taken.UnixMilli()))
}

// DecodeSection reads the payload of a BlockBegin.
func DecodeSection(b []byte) (s Section, err error) {
	if len(b) != 2+8+8+1+8 || b[18] > 1 {
		return s, fmt.Errorf("%w: the beginning of a partition", errEntry)
	}
	return Section{
		Partition: binary.BigEndian.Uint16(b), Version: binary.BigEndian.Uint64(b[2:]), Since: binary.BigEndian.Uint64(b[10:]),
		Whole: b[18] == 1, Taken: time.UnixMilli(int64(binary.BigEndian.Uint64(b[19:]))).UTC(),
	}, nil
}

// Sums are what a partition's last block tells.
type Sums struct {
	// Pairs and Digest are of all of the partition, whatever of it the section has.
	Pairs  int64
	Digest uint64
	// Stored and Deleted are how many pairs and deletions the section has, Bytes the keys and
	// values of the pairs.
	Stored, Deleted, Bytes int64
}

// AppendSums appends the payload of a BlockEnd.
func AppendSums(dst []byte, s *Sums) []byte {
	for _, v := range []uint64{uint64(s.Pairs), s.Digest, uint64(s.Stored), uint64(s.Deleted), uint64(s.Bytes)} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// DecodeSums reads the payload of a BlockEnd.
func DecodeSums(b []byte) (s Sums, err error) {
	if len(b) != 5*8 {
		return s, fmt.Errorf("%w: the end of a partition", errEntry)
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return Sums{Pairs: int64(at(0)), Digest: at(1), Stored: int64(at(2)), Deleted: int64(at(3)), Bytes: int64(at(4))}, nil
}

// Builder makes blocks of entries.
type Builder struct {
	buf []byte
	out func(kind BlockKind, payload []byte) error
	// Sums of what was added; Pairs and Digest are for whoever knows them.
	Sums Sums
}

// NewBuilder gives out each block when it is full. The payload is lent for the call.
func NewBuilder(out func(kind BlockKind, payload []byte) error) *Builder { return &Builder{out: out} }

// Begin begins a section.
func (b *Builder) Begin(s *Section) error {
	b.buf, b.Sums = b.buf[:0], Sums{}
	return b.out(BlockBegin, AppendSection(nil, s))
}

// Add adds an entry, which it copies.
func (b *Builder) Add(e *Entry) error {
	if len(b.buf) > 0 && len(b.buf)+e.size() > blockTarget {
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.buf = appendEntry(b.buf, e)
	b.Sums.count(e)
	return nil
}

// count counts an entry.
func (s *Sums) count(e *Entry) {
	switch e.Kind {
	case Pair, Large:
		s.Stored++
		s.Bytes += int64(len(e.Key)) + int64(e.Length)
	case Deleted:
		s.Deleted++
	}
}

func (b *Builder) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	err := b.out(BlockEntries, b.buf)
	b.buf = b.buf[:0]
	return err
}

// End ends the section.
func (b *Builder) End() error {
	if err := b.flush(); err != nil {
		return err
	}
	return b.out(BlockEnd, AppendSums(nil, &b.Sums))
}

// ordered checks the entries of a section, one after the other: keys grow, and the value
// of a Large is whole.
type ordered struct {
	last  []byte
	any   bool
	parts uint32 // bytes of a value that are to come
}

func (o *ordered) next(e *Entry) error {
	if e.Kind == Part {
		if uint32(len(e.Value)) > o.parts {
			return fmt.Errorf("%w: more of a value than there is", errEntry)
		}
		o.parts -= uint32(len(e.Value))
		return nil
	}
	if o.parts > 0 {
		return fmt.Errorf("%w: the value before it lacks %d bytes", errEntry, o.parts)
	}
	if e.Kind == Range {
		return nil // whoever reads it knows where it has to be
	}
	if len(e.Key) == 0 || o.any && bytes.Compare(e.Key, o.last) <= 0 {
		return fmt.Errorf("%w: key %q comes after %q", errEntry, e.Key, o.last)
	}
	o.last, o.any = append(o.last[:0], e.Key...), true
	if e.Kind == Large {
		o.parts = e.Length
	}
	return nil
}
