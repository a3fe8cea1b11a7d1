package loop

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// memPipeSize is what one direction holds, the "kernel's buffer".
const memPipeSize = 256 << 10

// memPipeKept is the largest buffer that an idle direction keeps.
const memPipeKept = 16 << 10

// memPipe is one direction of a memory connection. Its two ends may be on
// different loops.
type memPipe struct {
	mu       sync.Mutex
	buf      []byte // of base
	base     []byte // kept while it is small
	full     bool   // the writer was turned away and waits for onSpace
	noWriter bool
	noReader bool
	onData   func() // tells the reader: no longer empty, or no longer written
	onSpace  func() // tells the writer: no longer full, or no longer read
}

func newMemPipe() *memPipe { return &memPipe{onData: func() {}, onSpace: func() {}} }

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	if len(p.buf) == 0 {
		defer p.mu.Unlock()
		if p.noWriter {
			return 0, io.EOF
		}
		return 0, errAgain
	}
	n := copy(b, p.buf)
	p.buf = p.buf[n:]
	if len(p.buf) == 0 {
		p.buf = p.base[:0]
	}
	tell := func() {}
	if p.full && len(p.buf) <= memPipeSize/2 {
		p.full = false
		tell = p.onSpace
	}
	p.mu.Unlock()
	tell()
	return n, nil
}

func (p *memPipe) write(b []byte) (int, error) {
	p.mu.Lock()
	if p.noReader {
		p.mu.Unlock()
		return 0, syscall.EPIPE
	}
	n := min(len(b), memPipeSize-len(p.buf))
	tell := func() {}
	if len(p.buf) == 0 && n > 0 {
		tell = p.onData
	}
	p.buf = append(p.buf, b[:n]...)
	if len(p.buf) == n && cap(p.buf) <= memPipeKept {
		p.base = p.buf
	}
	var err error
	if n < len(b) {
		p.full = true
		err = errAgain
	}
	p.mu.Unlock()
	tell()
	return n, err
}

// end closes one end of the pipe and tells the other.
func (p *memPipe) end(writer bool) {
	p.mu.Lock()
	tell := p.onSpace
	if writer {
		p.noWriter = true
		tell = p.onData
	} else {
		p.noReader = true
		p.buf, p.base = nil, nil
	}
	p.mu.Unlock()
	tell()
}

// readyToRead: read has something to say.
func (p *memPipe) readyToRead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.buf) > 0 || p.noWriter
}

// set changes whom one end's news goes to, and gives it once at once, as it may
// have come before.
func (p *memPipe) set(f *func(), fn func()) {
	p.mu.Lock()
	*f = fn
	p.mu.Unlock()
	fn()
}

// memConn is the transport over two pipes.
type memConn struct {
	l             *core
	c             *conn
	rd, wr        *memPipe
	local, remote string
	reading       bool
}

func newMemConn(l *core, rd, wr *memPipe, local, remote string) *memConn {
	t := &memConn{l: l, rd: rd, wr: wr, local: local, remote: remote}
	came := t.dataCame // one closure for all
	rd.mu.Lock()
	rd.onData = func() { l.Post(came) }
	rd.mu.Unlock()
	wr.mu.Lock()
	wr.onSpace = func() { l.Post(func() { t.c.writable() }) }
	wr.mu.Unlock()
	return t
}

func (t *memConn) dataCame() {
	if t.c.readable() {
		t.l.later(t.dataCame)
	}
	// Paused: no news will come of what is left, so interest has to look, even
	// if reading is resumed before it is told of the pause.
	t.reading = t.reading && t.c.wantsRead()
}

func (t *memConn) recv(p []byte) (int, error) { return t.rd.read(p) }
func (t *memConn) send(p []byte) (int, error) { return t.wr.write(p) }

// interest: news comes unasked, but what came while it was not wanted has to be
// looked at again.
func (t *memConn) interest(read, _ bool) {
	if read && !t.reading && t.rd.readyToRead() {
		t.l.later(t.dataCame)
	}
	t.reading = read
}

func (t *memConn) shut() {
	t.wr.end(true)
	t.rd.end(false)
}

func (t *memConn) remoteAddr() string { return t.remote }
func (t *memConn) localAddr() string  { return t.local }

// detach lets two goroutines pump between the pipes and a net.Pipe.
func (t *memConn) detach(rest []byte) (net.Conn, error) {
	outer, inner := net.Pipe()
	data, space := make(chan struct{}, 1), make(chan struct{}, 1)
	t.rd.set(&t.rd.onData, signal(data))
	t.wr.set(&t.wr.onSpace, signal(space))
	done := make(chan struct{})
	stop := sync.OnceFunc(func() {
		close(done)
		inner.Close()
		t.shut()
	})
	go func() {
		buf := make([]byte, 32<<10)
		for {
			n, err := t.rd.read(buf)
			switch err {
			case nil:
				if _, err := inner.Write(buf[:n]); err != nil {
					return // the owner closed; the other pump still sends its last
				}
			case errAgain:
				select {
				case <-data:
				case <-done:
					return
				}
			default:
				stop()
				return
			}
		}
	}()
	go func() {
		defer stop()
		buf := make([]byte, 32<<10)
		for {
			n, err := inner.Read(buf)
			for b := buf[:n]; len(b) > 0; {
				m, err := t.wr.write(b)
				b = b[m:]
				if err == errAgain {
					select {
					case <-space:
					case <-done:
						return
					}
				} else if err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return withPrefix(outer, rest), nil
}

func signal(ch chan struct{}) func() {
	return func() {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
