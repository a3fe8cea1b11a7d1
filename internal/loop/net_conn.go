package loop

import (
	"errors"
	"net"
	"os"
	"time"
)

const (
	netReadMin = 4 << 10 // an idle connection holds this much
	netReadMax = 64 << 10
	netWrite   = 256 << 10

	settleTime = 100 * time.Millisecond
)

// netConn is the transport over a net.Conn. At most one goroutine reads and one
// writes; each ends with its one call, so an idle connection has one.
type netConn struct {
	l      *core
	c      *conn
	nc     net.Conn // nil while connecting
	cancel func()   // of the dial
	remote string
	local  string

	want    bool // readable is wanted
	reading bool // a goroutine reads into buf
	read    chan ioResult
	buf     []byte
	chunk   []byte // of buf: read, not yet taken
	readErr error  // comes after chunk

	writing  bool
	wrote    chan ioResult
	written  int // taken by the kernel, not yet reported by send
	writeErr error
}

type ioResult struct {
	n   int
	err error
}

func newNetConn(l *core) *netConn {
	return &netConn{l: l, read: make(chan ioResult, 1), wrote: make(chan ioResult, 1)}
}

func (t *netConn) use(nc net.Conn) {
	t.nc = nc
	t.local = nc.LocalAddr().String()
	t.remote = nc.RemoteAddr().String()
}

func (t *netConn) recv(p []byte) (int, error) {
	switch {
	case len(t.chunk) > 0:
		n := copy(p, t.chunk)
		t.chunk = t.chunk[n:]
		return n, nil
	case t.readErr != nil:
		return 0, t.readErr
	}
	t.startRead()
	return 0, errAgain
}

func (t *netConn) startRead() {
	if t.reading || t.nc == nil {
		return
	}
	t.reading = true
	if t.buf == nil {
		t.buf = make([]byte, netReadMin)
	}
	nc, buf := t.nc, t.buf
	go func() {
		n, err := nc.Read(buf)
		t.read <- ioResult{n, err}
		t.l.Post(t.dataCame)
	}()
}

// gotRead takes what the reading goroutine brought.
func (t *netConn) gotRead(r ioResult) {
	t.reading = false
	t.chunk, t.readErr = t.buf[:r.n], r.err
	if r.n == len(t.buf) && r.n < netReadMax {
		t.buf = make([]byte, 4*r.n) // chunk keeps the old one
	}
}

func (t *netConn) dataCame() {
	select {
	case r := <-t.read:
		t.gotRead(r)
	default: // a turn that stopped at its budget, or detach took it
	}
	if t.c.readable() {
		t.l.later(t.dataCame)
	}
	t.want = t.want && t.c.wantsRead() // see memConn.dataCame
}

// send copies p for a goroutine to write and reports it as taken only when that
// is done, so that Buffered stays true.
func (t *netConn) send(p []byte) (int, error) {
	if t.writing {
		return 0, errAgain
	}
	n := t.written
	t.written = 0
	if t.writeErr != nil {
		return n, t.writeErr
	}
	if p = p[n:]; len(p) == 0 {
		return n, nil
	}
	t.writing = true
	nc, b := t.nc, append([]byte(nil), p[:min(len(p), netWrite)]...)
	go func() {
		n, err := nc.Write(b)
		t.wrote <- ioResult{n, err}
		t.l.Post(t.writeDone)
	}()
	return n, errAgain
}

func (t *netConn) gotWrite(r ioResult) {
	t.writing = false
	t.written, t.writeErr = r.n, r.err
}

func (t *netConn) writeDone() {
	select {
	case r := <-t.wrote:
		t.gotWrite(r)
	default: // settle took it
	}
	t.c.writable()
}

// settle is for detach: the kernel takes the bytes at once if it has room, so
// the wait is for the goroutine to be run.
func (t *netConn) settle() bool {
	if !t.writing {
		return false
	}
	t.nc.SetWriteDeadline(time.Now().Add(settleTime))
	r := <-t.wrote
	t.nc.SetWriteDeadline(time.Time{})
	ok := r.err == nil
	if errors.Is(r.err, os.ErrDeadlineExceeded) {
		r.err = nil // to be written by and by, or not detached
	}
	t.gotWrite(r)
	return ok
}

func (t *netConn) interest(read, _ bool) {
	if read && !t.want {
		if len(t.chunk) > 0 || t.readErr != nil {
			t.l.later(t.dataCame)
		} else {
			t.startRead()
		}
	}
	t.want = read
}

func (t *netConn) shut() {
	if t.cancel != nil {
		t.cancel()
	}
	if t.nc != nil {
		t.nc.Close()
	}
}

// detach has the reading goroutine give up first. It waits for it, which takes
// no longer than to wake it.
func (t *netConn) detach(rest []byte) (net.Conn, error) {
	if t.reading {
		t.nc.SetReadDeadline(time.Unix(1, 0))
		t.gotRead(<-t.read)
		t.nc.SetReadDeadline(time.Time{})
	}
	return withPrefix(t.nc, append(rest, t.chunk...)), nil
}

func (t *netConn) remoteAddr() string { return t.remote }
func (t *netConn) localAddr() string  { return t.local }
