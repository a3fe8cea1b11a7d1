package control

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	headerBytes = 5
	// queueBytes and queueFrames bound what waits for a slow peer; beyond it the
	// link is closed, and the peer begins again with a whole map.
	queueBytes  = 2 * MaxFrame
	queueFrames = 4096
	// writeTimeout is how long one batch of frames may take to be taken.
	writeTimeout = 10 * time.Second
	// handshakeTimeout bounds the first frames of a link.
	handshakeTimeout = 5 * time.Second
)

// ErrSlow: the peer does not take what is sent to it.
var ErrSlow = errors.New("the peer takes too little of what is sent to it")

// AppendFrame appends a frame.
func AppendFrame(dst []byte, k Kind, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)+1))
	dst = append(dst, byte(k))
	return append(dst, payload...)
}

// Frame is a frame with v as its payload; v is of this package.
func Frame(k Kind, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("control: " + err.Error()) // only for types that JSON cannot hold
	}
	return AppendFrame(nil, k, b)
}

func readFrame(r *bufio.Reader) (Kind, []byte, error) {
	var h [headerBytes]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[:4])
	if n < 1 || n > MaxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	// Memory is taken as the bytes come, not as the header promises.
	if n <= 1<<16 {
		b := make([]byte, n-1)
		_, err := io.ReadFull(r, b)
		return Kind(h[4]), b, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n-1)))
	if err == nil && len(b) < int(n-1) {
		err = io.ErrUnexpectedEOF
	}
	return Kind(h[4]), b, err
}

// pipe is one end of a link: frames are queued and written by a goroutine of its
// own, so that no peer ever blocks the sender.
type pipe struct {
	nc     net.Conn
	r      *bufio.Reader
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once
	reason atomic.Pointer[error]

	mu     sync.Mutex
	queue  [][]byte
	queued int
	last   bool // close when the queue is written
}

func newPipe(nc net.Conn) *pipe {
	p := &pipe{nc: nc, r: bufio.NewReaderSize(nc, 64<<10), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go p.write()
	return p
}

// send queues a whole frame, which must not be altered afterwards. It never
// blocks; a peer that has let too much pile up is cut off.
func (p *pipe) send(frame []byte) bool {
	p.mu.Lock()
	full := p.queued+len(frame) > queueBytes || len(p.queue) >= queueFrames
	if !full && !p.last {
		p.queue = append(p.queue, frame)
		p.queued += len(frame)
	}
	p.mu.Unlock()
	if full {
		p.close(ErrSlow)
		return false
	}
	p.signal()
	return true
}

// finish closes once all that is queued has been written.
func (p *pipe) finish() {
	p.mu.Lock()
	p.last = true
	p.mu.Unlock()
	p.signal()
}

func (p *pipe) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pipe) write() {
	for {
		select {
		case <-p.done:
			return
		case <-p.wake:
		}
		p.mu.Lock()
		batch, last := net.Buffers(p.queue), p.last
		p.queue, p.queued = nil, 0
		p.mu.Unlock()
		for len(batch) > 0 {
			// The deadline is for each part of 64 frames, so that a long queue on
			// a slow but live connection is no reason to cut it.
			part := batch[:min(64, len(batch))]
			batch = batch[len(part):]
			p.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := part.WriteTo(p.nc); err != nil {
				p.close(err)
				return
			}
		}
		if last {
			p.close(nil)
			return
		}
	}
}

// read returns the next frame, if it comes within timeout.
func (p *pipe) read(timeout time.Duration) (Kind, []byte, error) {
	p.nc.SetReadDeadline(time.Now().Add(timeout))
	k, b, err := readFrame(p.r)
	if err != nil {
		p.close(err)
		if r := p.reason.Load(); r != nil && *r != nil {
			err = *r
		}
	}
	return k, b, err
}

// close ends the link; the first reason is kept.
func (p *pipe) close(why error) {
	p.once.Do(func() {
		p.reason.Store(&why)
		close(p.done)
		p.nc.Close()
	})
}
