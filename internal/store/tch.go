package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Tokyo Cabinet hash file is a header of 256 bytes, an array of buckets, a
// pool of free blocks, and from frec on records and free blocks one after the
// other up to fsiz. To read everything, the last part is all one needs. All
// integers are little endian, or all big endian where the library was built so
// (Debian's is); nothing says which.
//
//	header: 0 magic, 32 type (0 is a hash), 33 flags, 36 options, 48 number of
//	        records, 56 file size, 64 offset of the first record
//	record: 0xc8, hash (1), left and right (4 each, 8 with optLarge), padding
//	        size (2), key size and value size (variable), key, value, padding
//	free:   0xb0, size of the whole block (4)
const (
	tchHeader     = 256
	tchRecord     = 0xc8
	tchFree       = 0xb0
	tchFlagOpen   = 1 << 0
	tchFlagFatal  = 1 << 1
	tchOptLarge   = 1 << 0
	tchCompressed = 1<<1 | 1<<2 | 1<<3 | 1<<4 // deflate, bzip2, TCBS, external
	// tchMaxSize bounds keys and values: a size beyond it is damage.
	tchMaxSize = 1 << 30
)

// tchReader reads the records of a .tch file in the order of the file.
type tchReader struct {
	path    string
	f       vfs.File
	r       *bufio.Reader
	off     int64 // of the next block
	end     int64
	records uint64 // as the header says
	order   binary.ByteOrder
	large   bool
	key     []byte
	val     []byte
}

// openTch opens a .tch file and checks its header.
func openTch(fsys vfs.FS, path string) (*tchReader, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, ioError(err, "cannot read "+path)
	}
	t := &tchReader{path: path, f: f}
	if err := t.readHeader(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return t, nil
}

func (t *tchReader) readHeader() error {
	st, err := t.f.Stat()
	if err != nil {
		return ioError(err, "cannot read "+t.path)
	}
	h := make([]byte, tchHeader)
	if _, err := t.f.ReadAt(h, 0); err != nil {
		return errorf(ErrCorrupt, nil, "cannot import %s: it is too short for a Tokyo Cabinet file", t.path)
	}
	plausible := func() bool { return t.off >= tchHeader && t.end >= t.off && t.end <= st.Size() }
	for _, t.order = range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		t.records = t.order.Uint64(h[48:])
		t.end = int64(t.order.Uint64(h[56:]))
		t.off = int64(t.order.Uint64(h[64:]))
		if plausible() {
			break
		}
	}
	t.large = h[36]&tchOptLarge != 0
	switch {
	case h[32] != 0:
		return errorf(ErrTokyoCabinet, nil, "cannot import %s: it is a Tokyo Cabinet file of another kind than hash (type %d)", t.path, h[32])
	case h[36]&tchCompressed != 0:
		return errorf(ErrTokyoCabinet, nil, "cannot import %s: its records are compressed; write it anew without compression, with: tchmgr optimize -tl", t.path)
	case h[33]&(tchFlagOpen|tchFlagFatal) != 0:
		return errorf(ErrInUse, nil,
			"cannot import %s: the original kumo-server still has it open, or did not close it; stop that server, or mend the file with: tchmgr optimize %s", t.path, t.path)
	case !plausible():
		return t.damaged("its header says that it has %d bytes, it has %d", t.end, st.Size())
	}
	t.r = bufio.NewReaderSize(io.NewSectionReader(t.f, t.off, t.end-t.off), 1<<20)
	return nil
}

func (t *tchReader) damaged(format string, args ...any) error {
	return errorf(ErrCorrupt, nil, "cannot import %s: it is damaged: %s; try to mend it with: tchmgr optimize %s",
		t.path, fmt.Sprintf(format, args...), t.path)
}

// next reads the next record into key and val, which it overwrites; ok is
// false at the end.
func (t *tchReader) next() (ok bool, err error) {
	for t.off < t.end {
		magic, err := t.r.ReadByte()
		if err != nil {
			return false, t.readError(err)
		}
		switch magic {
		case tchFree:
			err = t.skipFree()
		case tchRecord:
			return true, t.readRecord()
		default:
			return false, t.damaged("at offset %d there is neither a record nor a free block", t.off)
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func (t *tchReader) skipFree() error {
	var b [4]byte
	if _, err := io.ReadFull(t.r, b[:]); err != nil {
		return t.readError(err)
	}
	size := int64(t.order.Uint32(b[:]))
	if size < 5 {
		return t.damaged("the free block at offset %d has %d bytes", t.off, size)
	}
	// A free block at the very end may reach beyond it.
	size = min(size, t.end-t.off)
	if err := t.skip(size - 5); err != nil {
		return err
	}
	t.off += size
	return nil
}

func (t *tchReader) readRecord() error {
	head := 1 + 4 + 4 + 2
	if t.large {
		head += 8
	}
	var b [1 + 8 + 8 + 2]byte
	if _, err := io.ReadFull(t.r, b[:head]); err != nil {
		return t.readError(err)
	}
	padding := int64(t.order.Uint16(b[head-2:]))
	ksize, kn, err := t.number()
	if err != nil {
		return err
	}
	vsize, vn, err := t.number()
	if err != nil {
		return err
	}
	size := int64(1+head+kn+vn) + ksize + vsize + padding
	if size > t.end-t.off {
		return t.damaged("the record at offset %d reaches beyond the end", t.off)
	}
	t.key, t.val = grow(t.key, ksize), grow(t.val, vsize)
	if _, err := io.ReadFull(t.r, t.key); err != nil {
		return t.readError(err)
	}
	if _, err := io.ReadFull(t.r, t.val); err != nil {
		return t.readError(err)
	}
	if err := t.skip(padding); err != nil {
		return err
	}
	t.off += size
	return nil
}

// number reads a size: seven bits a byte, the lowest first. Every byte but the
// last is negative, and is the complement of its bits.
func (t *tchReader) number() (n int64, length int, err error) {
	for shift := 0; shift < 35; shift += 7 {
		b, err := t.r.ReadByte()
		if err != nil {
			return 0, 0, t.readError(err)
		}
		length++
		if c := int8(b); c >= 0 {
			n += int64(c) << shift
			if n > tchMaxSize {
				break
			}
			return n, length, nil
		} else {
			n += int64(^c) << shift
		}
	}
	return 0, 0, t.damaged("the record at offset %d has an absurd size", t.off)
}

func (t *tchReader) skip(n int64) error {
	if _, err := t.r.Discard(int(n)); err != nil {
		return t.readError(err)
	}
	return nil
}

func (t *tchReader) readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return t.damaged("the block at offset %d is cut short", t.off)
	}
	return ioError(err, "cannot read "+t.path)
}

func (t *tchReader) close() { _ = t.f.Close() }

// grow makes a buffer of n bytes, of the old one when it is large enough.
func grow(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}
