package item

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A large value does not lie in its key's item: that would make every daemon that
// it passes hold all of it. Whoever stores it (a gateway, or a client of package
// client) first stores a marker; then its bytes as chunks, items of their own in the
// same partition, under keys that no user's key can be; and then, with the user's
// command, a manifest, that is a list of what the value consists of. An item with a
// manifest is Large.
//
// Chunks never change. What no item's manifest lists is collected (OpCollect).
// The marker comes before the chunks and goes before them, and a manifest is taken
// only while the markers of what it lists are there: so one that comes late cannot
// list what was collected.
const (
	// MaxWhole is the longest value that is stored in one piece, in bytes.
	MaxWhole = 1 << 20
	// ChunkSize is the length of a chunk that is not the last of its upload, in bytes.
	ChunkSize = 64 << 10
	// maxInline is how many bytes a manifest has itself in one piece: append and
	// prepend of small values add to them, and more of them become chunks.
	maxInline = ChunkSize
)

// UploadID names the chunks that were stored for one value. It is chosen at
// random, or by the primary from the version of a write.
type UploadID [16]byte

// MarkerListed is the value of a marker once an item has listed its upload. Before
// that it is empty.
const MarkerListed = "listed"

// OfCommand tells whether the chunks were made by a command (Outcome.Chunks), and so
// have been listed from the beginning. They have no marker.
func (id UploadID) OfCommand() bool { return bytes.Equal(id[8:], make([]byte, 8)) }

// Numbers of an upload's keys.
const (
	markerNumber = 0
	firstChunk   = 1
)

// chunkPrefix is what keys of chunks begin with: more bytes than a user's key has,
// and behind all of them in the order of keys.
var chunkPrefix = bytes.Repeat([]byte{0xff}, MaxKey+1)

// MaxKey is the longest key that memcached's protocols have, in bytes. With what a
// gateway puts before it a key may be longer.
const MaxKey = 250

// chunkTail is what follows the user's key in a chunk's: the upload's ID and the number.
const chunkTail = len(UploadID{}) + 4

// ChunkPrefix is what the keys of chunks and markers begin with, and no other key.
// They are behind all others of their partition. It must not be changed.
func ChunkPrefix() []byte { return chunkPrefix }

// IsChunk tells whether key is one of a chunk or a marker.
func IsChunk(key []byte) bool { return len(key) > MaxKey && bytes.HasPrefix(key, chunkPrefix) }

// AppendChunkKey appends the key of chunk i, from 0 on, of an upload for key.
func AppendChunkKey(dst, key []byte, id UploadID, i int) []byte {
	return appendUploadKey(dst, key, id, uint32(firstChunk+i))
}

// AppendMarkerKey appends the key of the marker of an upload for key.
func AppendMarkerKey(dst, key []byte, id UploadID) []byte {
	return appendUploadKey(dst, key, id, markerNumber)
}

func appendUploadKey(dst, key []byte, id UploadID, number uint32) []byte {
	dst = append(dst, chunkPrefix...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, key...)
	dst = append(dst, id[:]...)
	return binary.BigEndian.AppendUint32(dst, number)
}

// AfterUpload appends a key that is behind all keys of that upload, and not behind
// those of any other.
func AfterUpload(dst, key []byte, id UploadID) []byte {
	return append(appendUploadKey(dst, key, id, 1<<32-1), 0)
}

// ParseChunkKey takes the key of a chunk or a marker apart: the user's key, which
// shares memory with it, the upload, and the number of the chunk from 0 on, -1 for
// the marker. ok is false for any other key.
func ParseChunkKey(key []byte) (user []byte, id UploadID, i int, ok bool) {
	if !IsChunk(key) {
		return nil, id, 0, false
	}
	rest := key[len(chunkPrefix):]
	if len(rest) < 2 || len(rest) != 2+int(binary.BigEndian.Uint16(rest))+chunkTail {
		return nil, id, 0, false
	}
	user = rest[2 : len(rest)-chunkTail]
	id = UploadID(rest[2+len(user):])
	return user, id, int(binary.BigEndian.Uint32(rest[len(rest)-4:])) - firstChunk, true
}

// RoutingKey is the key that decides on the partition of key: a chunk lies where
// its value's item does.
func RoutingKey(key []byte) []byte {
	if len(key) > MaxKey {
		if user, _, _, ok := ParseChunkKey(key); ok {
			return user
		}
	}
	return key
}

// Segment is a piece of a large value: Inline, or the chunks of an upload.
type Segment struct {
	Inline []byte // nil: it lies in chunks
	ID     UploadID
	// Size is the length of what lies in chunks, and Chunk that of one but the last, in bytes.
	Size, Chunk int
}

// Bytes is the length of the piece.
func (s *Segment) Bytes() int {
	if s.Inline != nil {
		return len(s.Inline)
	}
	return s.Size
}

// Chunks is how many chunks the piece has; 0 for an inline one.
func (s *Segment) Chunks() int {
	if s.Inline != nil {
		return 0
	}
	return (s.Size + s.Chunk - 1) / s.Chunk
}

// The manifest: the value's length in 4 bytes, big endian, then its segments. Each
// is a byte, segmentInline with a length and that many bytes, or segmentUpload with
// ID, length and chunk length. Lengths are uvarints.
const (
	manifestHeader = 4
	segmentInline  = 0
	segmentUpload  = 1
)

// maxValue bounds what a manifest may say, in bytes.
const maxValue = 1<<31 - 1

// AppendManifest appends the manifest of a value that consists of segs.
func AppendManifest(dst []byte, segs []Segment) []byte {
	size := 0
	for i := range segs {
		size += segs[i].Bytes()
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	for i := range segs {
		s := &segs[i]
		if s.Inline != nil {
			dst = binary.AppendUvarint(append(dst, segmentInline), uint64(len(s.Inline)))
			dst = append(dst, s.Inline...)
			continue
		}
		dst = append(append(dst, segmentUpload), s.ID[:]...)
		dst = binary.AppendUvarint(dst, uint64(s.Size))
		dst = binary.AppendUvarint(dst, uint64(s.Chunk))
	}
	return dst
}

var errManifest = errors.New("the manifest of a large value is damaged")

// ParseManifest reads a manifest. Inline segments share memory with b.
func ParseManifest(b []byte) ([]Segment, error) {
	if len(b) < manifestHeader {
		return nil, fmt.Errorf("%w: it has %d bytes", errManifest, len(b))
	}
	size := int(binary.BigEndian.Uint32(b))
	rest := b[manifestHeader:]
	number := func() (int, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > maxValue {
			return 0, false
		}
		rest = rest[n:]
		return int(v), true
	}
	var segs []Segment
	total := 0
	for len(rest) > 0 {
		var s Segment
		kind := rest[0]
		rest = rest[1:]
		switch {
		case kind == segmentInline:
			n, ok := number()
			if !ok || n > len(rest) {
				return nil, fmt.Errorf("%w: an inline piece", errManifest)
			}
			s.Inline, rest = rest[:n:n], rest[n:]
		case kind == segmentUpload && len(rest) >= len(s.ID):
			copy(s.ID[:], rest)
			rest = rest[len(s.ID):]
			var ok, also bool
			s.Size, ok = number()
			s.Chunk, also = number()
			if !ok || !also || s.Size == 0 || s.Chunk == 0 {
				return nil, fmt.Errorf("%w: an upload", errManifest)
			}
		default:
			return nil, fmt.Errorf("%w: a piece of kind %d", errManifest, kind)
		}
		if total += s.Bytes(); total > maxValue {
			break
		}
		segs = append(segs, s)
	}
	if total != size {
		return nil, fmt.Errorf("%w: it is of %d bytes and lists %d", errManifest, size, total)
	}
	return segs, nil
}

// Lists tells whether it is large and its manifest lists the upload.
func (it *Item) Lists(id UploadID) bool {
	if !it.Large || !bytes.Contains(it.Value, id[:]) {
		return false
	}
	segs, err := ParseManifest(it.Value)
	if err != nil {
		return true // nothing is to be destroyed because of damage
	}
	for i := range segs {
		if segs[i].Inline == nil && segs[i].ID == id {
			return true
		}
	}
	return false
}

// Size is the length of the item's value in bytes, wherever it lies.
func (it *Item) Size() uint32 {
	if it.Large && len(it.Value) >= manifestHeader {
		return binary.BigEndian.Uint32(it.Value)
	}
	return uint32(len(it.Value))
}

// segments is what a value consists of.
func segments(value []byte, large bool) ([]Segment, error) {
	if large {
		return ParseManifest(value)
	}
	return []Segment{{Inline: value}}, nil
}

// Chunk is one that a command makes by itself, besides its item.
type Chunk struct {
	Key, Value []byte
}

// joined is append or prepend where the value is large, or becomes it. What the
// manifest itself would have too much of goes into chunks that are written right
// before the item, under versions of their own: the first of them is version, and
// the item's is the one after the last.
func joined(req *Request, cur *Item, now int64, version uint64) Outcome {
	first, err := segments(cur.Value, cur.Large)
	second, err2 := segments(req.Value, req.Has(Large))
	if err != nil || err2 != nil {
		return Outcome{Result: Result{Status: Failed, Message: errors.Join(err, err2).Error()}}
	}
	if req.Op == OpPrepend {
		first, second = second, first
	}
	var chunks []Chunk
	segs := make([]Segment, 0, len(first)+len(second))
	for _, s := range append(first[:len(first):len(first)], second...) {
		if n := len(segs); n > 0 && s.Inline != nil && segs[n-1].Inline != nil && len(segs[n-1].Inline)+len(s.Inline) <= maxInline {
			both := make([]byte, 0, len(segs[n-1].Inline)+len(s.Inline))
			segs[n-1].Inline = append(append(both, segs[n-1].Inline...), s.Inline...)
			continue
		}
		if len(s.Inline) > maxInline {
			s, chunks = spill(s, chunks, req.Key, version)
		} else if s.Inline != nil && len(s.Inline) == 0 {
			continue
		}
		segs = append(segs, s)
	}
	// Inline pieces stay at the ends alone, where they can grow; of two that are
	// too long together the one that grows now.
	for i := range segs {
		inner := i > 0 && i < len(segs)-1
		if len(segs) == 2 && segs[0].Inline != nil && segs[1].Inline != nil {
			inner = (i == 1) == (req.Op == OpPrepend)
		}
		if inner && segs[i].Inline != nil {
			segs[i], chunks = spill(segs[i], chunks, req.Key, version)
		}
	}
	it := Item{Version: version + uint64(len(chunks)), Unique: explicit(req), Flags: cur.Flags, Exptime: cur.Exptime,
		Value: AppendManifest(nil, segs), Large: true, Accessed: uint32(now)}
	out := store(it)
	out.Chunks = chunks
	return out
}

// spill makes chunks of an inline piece.
func spill(s Segment, chunks []Chunk, key []byte, version uint64) (Segment, []Chunk) {
	var id UploadID
	// The version of the first chunk, and zeros: no other upload in this partition has it.
	binary.BigEndian.PutUint64(id[:], version+uint64(len(chunks)))
	up := Segment{ID: id, Size: len(s.Inline), Chunk: ChunkSize}
	for i := 0; i < up.Chunks(); i++ {
		end := min((i+1)*ChunkSize, len(s.Inline))
		chunks = append(chunks, Chunk{AppendChunkKey(nil, key, id, i), s.Inline[i*ChunkSize : end]})
	}
	return up, chunks
}
