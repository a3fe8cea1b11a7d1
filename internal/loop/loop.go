// Package loop is the event loop of the data path: one goroutine that waits for
// sockets, timers and posted functions, and runs every callback inline.
//
// There are three implementations with the same behaviour, all above one core
// (core.go, conn.go) and each only a way to move bytes (transport):
//
//   - New: raw non-blocking sockets under epoll (Linux). The one for production.
//   - NewNet: package net with goroutines, for other systems.
//   - NewMemory: loops of one process joined by name, without sockets, for tests.
//
// A Group has several of New's take their turns on one goroutine, and joins them as
// NewMemory's are, for daemons that are one process.
//
// A turn of the loop is, in this order: wait for events; the events; what
// callbacks of the last turn left behind (OnClose, OnDrain, input kept while
// paused); posted functions; timers; the turn-end hooks; one flush of every
// connection that was written to. So all that a turn writes to one peer leaves
// in one system call, and a hook sees the whole turn's work.
//
// Nothing here is locked, because all of it belongs to the goroutine that calls
// Run. Methods say so where another goroutine may call them. A callback must not
// block; a panic in one is not caught.
package loop

import (
	"context"
	"errors"
	"net"
	"time"
)

// ErrStopped is what OnClose gets when the loop ended under the connection.
var ErrStopped = errors.New("loop: stopped")

// ErrOutputPending is what Detach returns when the kernel does not take at once
// what was written before.
var ErrOutputPending = errors.New("loop: detach: output is pending")

// ErrNotOpen is what Detach returns for a connection that is not open.
var ErrNotOpen = errors.New("loop: connection is not open")

// A Loop runs callbacks on one goroutine.
type Loop interface {
	// Run runs the loop on the calling goroutine until ctx is done. Then it runs
	// the functions posted so far, closes all listeners and connections, calls
	// OnClose(ErrStopped) for each of them and returns nil. Timers that are not
	// due and output that the kernel has not taken are dropped. A loop runs once;
	// one that is not wanted any more must still be run (with a context that is
	// done) to release what it holds.
	Run(ctx context.Context) error

	// Post runs fn on the loop, in the order of the calls. Any goroutine may
	// call it and it never blocks. True: fn will run (if Run is ever called).
	// False: the loop has ended and fn is dropped. What is posted from the loop
	// itself after the turn's posted functions have begun runs in the next turn.
	Post(fn func()) bool

	// Listen listens at addr: "ip:port" or ":port" for all interfaces, no names;
	// port 0 takes a free one. accept runs on the loop for each connection and
	// gives its handler; the Conn may be written to in it, and nil closes it
	// (without OnClose). Call it before Run from any goroutine, or on the loop.
	Listen(addr string, accept func(c Conn) Handler) (Listener, error)

	// Dial begins to connect to addr ("ip:port", no names) and returns at once.
	// h.OnOpen follows, or h.OnClose with what was wrong, never within the call;
	// after timeout (0: the system's) the error is os.ErrDeadlineExceeded.
	// Writes made before are kept and sent then. Loop goroutine only.
	Dial(addr string, timeout time.Duration, h Handler) Conn

	// After runs fn on the loop when d has passed, up to a millisecond late if
	// the loop is idle. Never within the call, nor in the same turn if called
	// from a timer. Loop goroutine only.
	After(d time.Duration, fn func()) Timer

	// OnTurnEnd adds a hook that runs at the end of each turn, before the flush,
	// after the hooks added earlier. Hooks may write to connections; what they
	// post is for the next turn. Before Run, or on the loop.
	OnTurnEnd(fn func())

	// OnError sets what hears about trouble that belongs to no connection: a
	// failing accept. It runs on the loop; the default logs with slog. Before
	// Run, or on the loop.
	OnError(fn func(err error))
}

// A Listener takes connections for a loop.
type Listener interface {
	// Addr is the address listened at, with the port that was chosen.
	Addr() string
	// Close stops listening; connections already taken stay. Loop goroutine, or
	// before Run.
	Close()
}

// A Timer is what After returns.
type Timer interface {
	// Stop keeps fn from running and reports whether it did: false means that fn
	// has run or that Stop was called before. Loop goroutine only.
	Stop() bool
}

// A Handler is told what happens to a connection. All calls are on the loop.
type Handler interface {
	// OnOpen: the connection that was dialed is open. Not called for accepted
	// ones.
	OnOpen(c Conn)

	// OnData gives the input that is not consumed yet, the kept part first; b is
	// valid only during the call and belongs to the loop, but may be written to.
	// It returns how many bytes of b it is done with. The rest is kept and given
	// again together with the next input, or after ResumeRead; so consume all
	// complete requests at once, and 0 while one is incomplete. It is not called
	// while reading is paused or after a Close.
	OnData(c Conn, b []byte) (consumed int)

	// OnClose is the last call for a connection, exactly once unless it was
	// detached or refused by accept. err is nil after Close or CloseAfterFlush,
	// io.EOF if the peer closed, else what went wrong.
	OnClose(c Conn, err error)
}

// A HalfCloser is a Handler that wants to go on writing when the peer has only
// closed its side ("printf 'get a\r\n' | nc" does). For any other handler the
// loop closes as soon as what is buffered then has been sent.
type HalfCloser interface {
	// OnEOF says that no input follows. True: the connection stays for writing
	// and the handler will close it. False: as for any other.
	OnEOF(c Conn) bool
}

// A Conn is one connection. All methods are for the loop goroutine only; none
// blocks. On a closed or detached connection all but the addresses do nothing.
type Conn interface {
	// Write copies b to the output buffer, which is flushed at the turn's end.
	// The buffer has no bound: see Buffered and OnDrain.
	Write(b []byte)

	// Append lets fn append to the output buffer in place. fn gets what is
	// buffered, must return it with more at its end (as append does), must not
	// change what was there or keep it, and must not touch the Conn.
	Append(fn func(dst []byte) []byte)

	// Buffered is the number of bytes that the kernel has not taken yet.
	Buffered() int

	// Sent is the number of bytes that the kernel has taken in all.
	Sent() uint64

	// OnDrain calls fn once, when Buffered is limit bytes or fewer after a
	// flush; never within the call. Not called if the connection closes before.
	OnDrain(limit int, fn func())

	// PauseRead stops OnData until ResumeRead; the peer is held back once the
	// kernel's buffers are full. A reset is still noticed by the epoll loop; that
	// the peer closed is noticed after ResumeRead, or by a failing write.
	PauseRead()
	// ResumeRead goes on after PauseRead. Input kept unconsumed is given to
	// OnData again, later in this turn or in the next.
	ResumeRead()

	// Close closes now and drops what is buffered. OnClose(nil) follows later on
	// the loop.
	Close()

	// CloseAfterFlush takes no more input and no more writes, and closes when
	// the kernel has taken what is buffered. A peer that never reads keeps it
	// open: where that matters set a timer that calls Close.
	CloseAfterFlush()

	// Detach takes the connection out of the loop and returns it as an ordinary
	// net.Conn, the caller's to close, for code that blocks. Its first reads
	// return rest (copied). Called within OnData, rest should be what of b the
	// new owner shall see, and what OnData returns is ignored; called elsewhere,
	// input the loop kept comes before rest. OnClose is not called. It fails,
	// leaving the connection as it was, if output is pending (ErrOutputPending).
	Detach(rest []byte) (net.Conn, error)

	// RemoteAddr and LocalAddr are "ip:port"; "" if not known.
	RemoteAddr() string
	LocalAddr() string
}
