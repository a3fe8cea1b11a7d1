package frontend

import (
	"errors"

	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
)

// client is one connection. An idle one holds nothing but this.
type client struct {
	f      *Frontend
	conn   loop.Conn
	parser memproto.Parser
	stream router.Stream

	head, tail  *slot // answers owed, in order
	outstanding int   // slots in the queue
	declined    int   // those of them whose value was not taken
	awaiting    bool  // OnDrain will call askAgain
	held        int   // bytes of values on their way in, and (about) out
	input       int   // bytes that have come and are not taken
	unread      int   // answers that are made and not read, when last looked at
	watched     bool  // OnDrain will look again
	group       *group

	// keysBegun counts the keys already asked for of the multi-get at the start
	// of the input: one that is too long for the bounds is taken in portions,
	// and stays in the input until it is all asked for.
	keysBegun int

	up *upload // of the command at the end of the queue, whose value is on its way in; nil: there is none

	stranger bool // it has to authenticate before anything else
	paused   bool
	draining bool // OnDrain will call tryResume
	barrier  bool // nothing may be begun until the queue is empty
	closing  bool // no more commands; close when everything is answered
	closed   bool

	valueSize int // what a value to be read may be like, in bytes
	tick      uint32
	linger    loop.Timer // while the last answers go out

	prev, next *client
}

// firstValueSize is what values are taken to be like before one was seen. It
// lets 16 gets go at once; if they find small values, thousands follow.
const firstValueSize = 1 << 20

// sawValue learns how large this client's values are: at once when they are
// larger than thought, slowly when they are smaller.
func (cl *client) sawValue(n int) {
	if n >= cl.valueSize {
		cl.valueSize = n
	} else {
		cl.valueSize -= (cl.valueSize - n + 15) / 16
	}
}

// OnOpen is not for accepted connections.
func (cl *client) OnOpen(loop.Conn) {}

// OnData takes as many commands as the bounds allow.
func (cl *client) OnData(_ loop.Conn, b []byte) (used int) {
	f := cl.f
	cl.tick = f.tick
	for !cl.paused && !cl.closing {
		if cl.awaits() {
			cl.pause()
			break
		}
		n, err := cl.parse(b[used:])
		if err != nil {
			cl.refuse(err)
			break
		}
		if n == 0 {
			break
		}
		if !cl.begin(&f.cmd) {
			break // again from the start of this command, later
		}
		used += n
		f.counters.BytesRead += uint64(n)
		cl.closing = cl.closing || f.stopped
		if cl.full() {
			cl.pause()
		}
	}
	if cl.closing {
		used = len(b)
		cl.closeIfDone()
	}
	cl.keep(len(b) - used)
	return used
}

// parse finds the command at the start of b; n == 0: it is not complete. One of
// which much has come is given up when others have sent too much of theirs.
func (cl *client) parse(b []byte) (n int, err error) {
	f := cl.f
	n, err = cl.parser.Next(b, &f.cmd)
	if n > 0 || err != nil || len(b) <= shareBytes || f.input-cl.input <= f.inputLimit || cl.up != nil {
		return n, err
	}
	if n = cl.parser.GiveUp(b, &f.cmd); n == 0 {
		return 0, errNoMemory
	}
	f.counters.StoreNoMemory++
	return n, nil
}

var errNoMemory = errors.New("out of memory reading a command line")

// keep counts n bytes of input that are not taken.
func (cl *client) keep(n int) {
	cl.f.input += n - cl.input
	cl.input = n
}

// refuse ends a connection on which nothing sensible can follow.
func (cl *client) refuse(err error) {
	cl.f.log.Debug("client closed", "addr", cl.conn.RemoteAddr(), "reason", err)
	cl.closing = true
}

// full tells that no more may be begun for this client.
func (cl *client) full() bool {
	return cl.outstanding >= maxOutstanding || cl.declined > 0 || cl.held >= maxHeldBytes ||
		cl.conn.Buffered() > maxOutBytes || cl.crowded() || cl.f.router.Overloaded()
}

// hold adds to what this client holds.
func (cl *client) hold(n int) {
	cl.held += n
	cl.f.used += n
}

// crowded tells that all clients have too much, and this one its share of it.
func (cl *client) crowded() bool {
	cl.look()
	return cl.f.used > cl.f.allBytes && cl.held+cl.unread > shareBytes
}

// hasRoom tells whether n bytes more may be kept for this client than were set aside.
func (cl *client) hasRoom(n int) bool {
	all := cl.held + cl.conn.Buffered() + n
	if cl.group != nil {
		all += len(cl.group.buf)
	}
	return all <= maxAnswerBytes && (all <= shareBytes || cl.f.used+n <= cl.f.allBytes)
}

// awaitRoom has declined values asked for again when the client has read.
func (cl *client) awaitRoom() {
	if !cl.awaiting {
		cl.awaiting = true
		cl.conn.OnDrain(maxOutBytes/2, cl.askAgain)
	}
}

// askAgain asks for values that were declined, with room set aside for each: the
// first of the queue, which nothing can hold up, and others as far as they fit.
func (cl *client) askAgain() {
	cl.awaiting = false
	var again []router.Declined
	for s := cl.head; s != nil && cl.declined > 0; s = s.next {
		if s.declined == 0 {
			continue
		}
		if s != cl.head && (s.large || cl.held+s.declined > maxHeldBytes || cl.crowded()) {
			break
		}
		s.cost, s.declined = s.declined, 0
		cl.hold(s.cost)
		cl.declined--
		again = append(again, s.get)
	}
	for _, get := range again { // perhaps answered at once: the queue changes
		get.Again()
	}
}

// dropDeclined ends what was to be asked for again.
func (cl *client) dropDeclined() {
	var gone []router.Declined
	for s := cl.head; s != nil && cl.declined > 0; s = s.next {
		if s.declined > 0 {
			s.done, s.declined = true, 0
			cl.declined--
			gone = append(gone, s.get)
		}
	}
	for _, get := range gone { // what waited for it may end: the queue changes
		get.Drop()
	}
}

// look counts the answers that this client has not read, if they are more than
// a share, and looks again when they are not.
func (cl *client) look() {
	n := 0
	if !cl.closed {
		if n = cl.conn.Buffered(); n > shareBytes && !cl.watched {
			cl.watched = true
			cl.conn.OnDrain(shareBytes, func() {
				cl.watched = false
				cl.look()
			})
		}
		if cl.group != nil {
			n += len(cl.group.buf)
		}
	}
	if n <= shareBytes {
		n = 0
	}
	cl.f.used += n - cl.unread
	cl.unread = n
}

// pause stops reading; whatever ends the cause calls tryResume.
func (cl *client) pause() {
	if !cl.paused {
		cl.paused = true
		cl.f.counters.ConnYields++
		cl.conn.PauseRead()
	}
	cl.tryResume()
}

// tryResume goes on reading once there is room again, half of each bound, so
// that a client at its bounds is not stopped and started for every command.
func (cl *client) tryResume() {
	if !cl.paused || cl.closed || cl.closing || cl.barrier || cl.awaits() {
		return
	}
	before := cl.outstanding // what ends without more of the client's input
	if cl.up != nil {
		before--
	}
	if cl.outstanding > maxOutstanding/2 || cl.declined > 0 || cl.held > maxHeldBytes/2 && before > 0 {
		return // popDone comes again
	}
	if cl.f.router.Overloaded() {
		cl.f.whenRelieved()
		return
	}
	limit := maxOutBytes / 2
	if cl.crowded() {
		if before > 0 {
			return // popDone comes again
		}
		limit = shareBytes
	}
	if cl.conn.Buffered() > limit {
		if !cl.draining {
			cl.draining = true
			cl.conn.OnDrain(limit, func() {
				cl.draining = false
				cl.tryResume()
			})
		}
		return
	}
	cl.paused = false
	cl.conn.ResumeRead()
}

// push puts s at the end of the queue.
func (cl *client) push(s *slot) {
	if cl.tail == nil {
		cl.head = s
	} else {
		cl.tail.next = s
	}
	cl.tail = s
	cl.outstanding++
	cl.hold(s.cost)
}

// popDone takes the answered slots off the front of the queue, letting out what
// has waited behind them. The first one, if done, has been let out already.
func (cl *client) popDone() {
	for first := true; cl.head != nil && cl.head.done; first = false {
		s := cl.head
		if !first && !cl.closed {
			cl.emit(s, nil)
		}
		if !cl.closed {
			cl.f.measure(s)
		}
		cl.head = s.next
		if cl.head == nil {
			cl.tail = nil
		}
		cl.outstanding--
		cl.hold(-s.cost)
		cl.f.putSlot(s)
	}
	if cl.head == nil {
		cl.barrier = false
	} else if cl.head.kept != nil && !cl.closed {
		cl.head.streamKept()
	}
	cl.look()
	if cl.declined > 0 {
		cl.awaitRoom()
	}
	switch {
	case cl.closed:
	case cl.closing:
		cl.closeIfDone()
	case cl.paused:
		cl.tryResume()
	}
}

// say answers b at the end of the queue.
func (cl *client) say(b []byte) {
	if len(b) == 0 {
		return
	}
	if cl.head == nil {
		cl.f.write(cl, b)
		return
	}
	s := cl.f.newSlot(cl, text)
	s.done = true
	s.buf = append(s.buf[:0], b...)
	s.cost = len(s.buf)
	cl.push(s)
}

func (cl *client) closeIfDone() {
	if cl.up != nil && !cl.up.whole {
		cl.dropUpload("")
	}
	if cl.head != nil {
		if !cl.paused {
			cl.paused = true
			cl.conn.PauseRead()
		}
		return
	}
	if cl.linger == nil {
		cl.linger = cl.f.closeAfterFlush(cl.conn)
	}
}

// OnEOF implements loop.HalfCloser: `printf 'get a\r\n' | nc` wants its answer.
func (cl *client) OnEOF(loop.Conn) bool {
	if !cl.closing {
		cl.closing = true
		cl.closeIfDone()
	}
	return true
}

// OnClose: what was begun goes on; its answers find nobody.
func (cl *client) OnClose(loop.Conn, error) {
	f := cl.f
	cl.closed = true
	if cl.linger != nil {
		cl.linger.Stop()
	}
	f.counters.CurrConnections--
	f.team.clients.Add(-1)
	cl.keep(0)
	if cl.prev != nil {
		cl.prev.next = cl.next
	} else {
		f.clients = cl.next
	}
	if cl.next != nil {
		cl.next.prev = cl.prev
	}
	cl.prev, cl.next = nil, nil
	if cl.group != nil {
		f.putGroup(cl.group)
		cl.group = nil
	}
	cl.dropDeclined()
	cl.dropLarge()
	cl.popDone()
}
