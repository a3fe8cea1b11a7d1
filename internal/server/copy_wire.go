package server

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/wire"
)

// The stream port's protocol. One connection carries one copy after the other,
// each driven by the sender, the partition's primary:
//
//	sender                        receiver (the joiner)
//	header                   ->
//	  tail: values*, end     ->
//	  digest:                <-   ranges      digests of up to maxRanges ranges of its keys
//	        want             ->               which of them differ
//	                         <-   versions    its keys and versions in those
//	        values*, next    ->               what differs, then the next ranges
//	        end              ->               after the last ranges
//	                         <-   done        all of it is stored
//
// Instead of a header a connection may carry a comparison: scrub_compare.go.
//
// A receiver for which the join is over answers with fail. Who lets the other side
// wait, because it reads its disk or keeps to the rate, sends alive as it gets on.
const streamMagic = "KMST\x02"

type streamKind uint8

const (
	streamHeader streamKind = 1 + iota
	streamRanges
	streamWant
	streamVersions
	streamValues
	streamNext
	streamEnd
	streamDone
	streamFail
	streamAlive // nothing
	// Comparing copies (scrub_compare.go).
	streamCompare
	streamReady
	streamDiffer
	streamMend
)

const (
	// rangeKeys is how many keys one digest covers, maxRanges how many digests
	// one frame has.
	rangeKeys = 64
	maxRanges = 512
	// chunkBytes is about how much one frame of values holds.
	chunkBytes = 256 << 10
	// streamTimeout bounds the silence of the other side, which is to say something
	// aliveTimes as often.
	streamTimeout = 30 * time.Second
	aliveTimes    = 3
	// maxStreamFrame bounds a frame in bytes.
	maxStreamFrame = wire.MaxFrame
)

// copyHeader opens a copy.
type copyHeader struct {
	Cluster   clustermap.ClusterID
	From, To  clustermap.ServerID
	Partition uint16
	Epoch     uint32
	JoinID    uint64
	Mode      wire.JoinMode
}

// rangeDigest is store.RangeDigest on the wire; End nil is the partition's end.
type rangeDigest struct {
	Start []byte
	End   []byte
	Last  bool // End is the partition's end
	Count int64
	Hash  uint64
}

// keyVersion is a key of the receiver's.
type keyVersion struct {
	K []byte
	V uint64
}

var errStream = errors.New("copy stream: corrupt")

// stream frames a connection. One goroutine at a time.
type stream struct {
	c       net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	buf     []byte
	timeout time.Duration // streamTimeout
	flushed time.Time     // the last time
}

func newStream(c net.Conn) *stream {
	return &stream{c: c, r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10), timeout: streamTimeout, flushed: time.Now()}
}

// write buffers a frame; flush sends.
func (s *stream) write(k streamKind, payload []byte) error {
	var h [5]byte
	binary.BigEndian.PutUint32(h[:], uint32(len(payload)))
	h[4] = byte(k)
	_ = s.c.SetWriteDeadline(time.Now().Add(s.timeout))
	if _, err := s.w.Write(h[:]); err != nil {
		return err
	}
	_, err := s.w.Write(payload)
	return err
}

func (s *stream) writeJSON(k streamKind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(k, b)
}

func (s *stream) flush() error {
	s.flushed = time.Now()
	_ = s.c.SetWriteDeadline(s.flushed.Add(s.timeout))
	return s.w.Flush()
}

// alive is called by who lets the other side wait, whenever it got on a little: a
// disk that hangs has to be seen as silence.
func (s *stream) alive() error {
	if time.Since(s.flushed) < s.timeout/aliveTimes {
		return nil
	}
	if err := s.write(streamAlive, nil); err != nil {
		return err
	}
	return s.flush()
}

// read returns the next frame that says something; the payload is valid until the
// next read. It blocks for timeout at most, and longer while the other side is alive.
func (s *stream) read() (streamKind, []byte, error) {
	for {
		_ = s.c.SetReadDeadline(time.Now().Add(s.timeout))
		kind, b, err := s.readFrame()
		if err != nil || kind != streamAlive {
			return kind, b, err
		}
	}
}

func (s *stream) readFrame() (streamKind, []byte, error) {
	var h [5]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(h[:]))
	if size > maxStreamFrame {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes", errStream, size)
	}
	// Read as it comes, so that a lying length costs no memory.
	s.buf = s.buf[:0]
	for len(s.buf) < size {
		at := len(s.buf)
		step := min(size-at, max(64<<10, at))
		s.buf = append(s.buf, make([]byte, step)...)
		_ = s.c.SetReadDeadline(time.Now().Add(s.timeout))
		if _, err := io.ReadFull(s.r, s.buf[at:]); err != nil {
			return 0, nil, err
		}
	}
	return streamKind(h[4]), s.buf, nil
}

// expect reads a frame of kind k.
func (s *stream) expect(k streamKind) ([]byte, error) {
	got, b, err := s.read()
	if err != nil {
		return nil, err
	}
	if got == streamFail {
		return nil, fmt.Errorf("the other side: %s", b)
	}
	if got != k {
		return nil, fmt.Errorf("%w: frame %d instead of %d", errStream, got, k)
	}
	return b, nil
}

func (s *stream) expectJSON(k streamKind, v any) error {
	b, err := s.expect(k)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", errStream, err)
	}
	return nil
}
