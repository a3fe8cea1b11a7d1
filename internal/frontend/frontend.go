package frontend

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
)

// MemcachedVersion is what `version` says: clients compare it with the
// memcached that has what they want.
const MemcachedVersion = "1.6.45"

// Bounds on one client. While one is exceeded the client is not read from.
const (
	maxOutstanding = 4096     // commands and keys of multi-gets
	maxHeldBytes   = 16 << 20 // values on their way in, and out as far as one can tell
	maxOutBytes    = 1 << 20  // answers that the client does not read
)

// maxAnswerBytes is how much a client may hold, in all and with the answers that it
// has not read, before values that are larger than was thought are not taken.
const maxAnswerBytes = 32 << 20

// Bounds on all clients together: beyond maxAllBytes of what they hold and do
// not read, who has more than shareBytes of it does one command at a time. A loop has its
// part of each, but leastAllBytes.
const (
	maxAllBytes   = 64 << 20
	shareBytes    = 64 << 10
	leastAllBytes = 2 * maxHeldBytes
)

// maxInputBytes and one value of the largest size are what all clients together
// may have sent of commands that are not complete. Beyond it, who has sent more
// than shareBytes of one is refused: if they were paused, those values would wait
// for each other.
const maxInputBytes = 256 << 20

// lingerTimeout is how long a client has to read its last answers.
const lingerTimeout = 30 * time.Second

// Options of a Frontend. Router is required.
type Options struct {
	Router *router.Router
	// MaxItemSize bounds a value, in bytes; 0 is 1 MiB.
	MaxItemSize   int
	AllowFlushAll bool
	// Auth tells whether a client may come in; nil: all may. Who may not is told so
	// and can do nothing else.
	Auth func(user, password []byte) bool
	// KeyPrefix is put before every key on its way to the servers.
	KeyPrefix string
	// MaxConnections bounds the clients; 0 does not.
	MaxConnections int
	// TLS, if not nil, has every port take TLS alone, with the present one of its
	// configurations. It may be called from anywhere.
	TLS func() *tls.Config
	// IdleTimeout closes a client that has said nothing for so long; 0 never.
	IdleTimeout time.Duration
	// Version is kumofs's own, for stats.
	Version string
	// Usage tells what is stored, where that is known here; nil: not.
	Usage func() Usage
	Log   *slog.Logger
}

// Usage is what stats shows of a store.
type Usage struct {
	Items, TotalItems, Bytes, LimitBytes uint64
}

// Frontend serves the clients of one loop, on any number of ports; several serve
// as one after Together.
type Frontend struct {
	loop    loop.Loop
	opt     Options
	router  *router.Router
	log     *slog.Logger
	started time.Time

	clients *client // list of all
	used    int     // bytes that all clients hold, or have not read
	input   int     // bytes that they have sent and that are not taken yet
	// allBytes and inputLimit are this loop's part of maxAllBytes, and of maxInputBytes
	// and the largest value.
	allBytes, inputLimit int
	team                 *team
	place                int // in team.all
	stopped              bool
	relief               bool // the router was asked to say when it is relieved
	counters             Counters
	meter                meter
	tick                 uint32 // counts a quarter of IdleTimeout each

	freeSlot  *slot
	freeGroup *group

	cmd    memproto.Command // of the client being read
	keyBuf []byte           // prefix and key

	// A closure for each answer would be an allocation for each: appendAnswer
	// is made once and appends answer's answer, which is result.
	answer       *slot
	result       *item.Result
	appendAnswer func(dst []byte) []byte
}

// New makes a frontend on l, with no port yet. Before l runs, or on the loop.
func New(l loop.Loop, opt Options) *Frontend {
	if opt.MaxItemSize == 0 {
		opt.MaxItemSize = memproto.DefaultMaxItemSize
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	f := &Frontend{loop: l, opt: opt, router: opt.Router, log: opt.Log, started: time.Now()}
	f.keyBuf = append(f.keyBuf, opt.KeyPrefix...)
	Together(f)
	f.appendAnswer = func(dst []byte) []byte {
		n := len(dst)
		dst = f.answer.append(dst, f.result)
		f.counters.BytesWritten += uint64(len(dst) - n)
		return dst
	}
	l.OnTurnEnd(f.TurnEnd)
	if opt.IdleTimeout > 0 {
		l.After(opt.IdleTimeout/4, f.sweep)
	}
	return f
}

// Listen serves clients that connect to addr ("[ip]:port") too, with the text or
// the binary protocol, whichever they begin with.
func (f *Frontend) Listen(addr string) (loop.Listener, error) {
	return f.listen(addr, false)
}

// ListenBinary is Listen for the binary protocol alone.
func (f *Frontend) ListenBinary(addr string) (loop.Listener, error) {
	return f.listen(addr, true)
}

func (f *Frontend) listen(addr string, binaryOnly bool) (li loop.Listener, err error) {
	accept := func(f *Frontend) func(loop.Conn) loop.Handler {
		return func(c loop.Conn) loop.Handler { return f.accept(c, binaryOnly) }
	}
	if f.opt.TLS == nil {
		li, err = f.loop.Listen(addr, accept(f))
	} else {
		li, err = loop.ListenTLS(f.loop, addr, loop.TLS{Config: f.opt.TLS, Failed: func(remote string, err error) {
			f.counters.TLSFailed++
			f.log.Debug("TLS handshake failed", "addr", remote, "error", err)
		}}, accept(f))
	}
	if err != nil {
		return nil, err
	}
	for _, other := range f.team.all {
		if other == f {
			continue
		}
		if err := loop.Share(li, other.loop, accept(other)); err != nil {
			li.Close()
			return nil, err
		}
	}
	return li, nil
}

// Serve makes a frontend that listens at addr.
func Serve(l loop.Loop, addr string, opt Options) (*Frontend, loop.Listener, error) {
	f := New(l, opt)
	li, err := f.Listen(addr)
	return f, li, err
}

// Stop takes no further command: each client is closed when what it has asked for is
// answered. Its listeners are the caller's to close. On the loop.
func (f *Frontend) Stop() {
	f.stopped = true
	f.eachClient(func(cl *client) {
		if !cl.closing && cl.keysBegun == 0 { // a multi-get that has begun is asked for to its end
			cl.closing = true
			cl.closeIfDone()
		}
	})
}

// Clients is how many are connected to all frontends that serve as one. Any
// goroutine may ask.
func (f *Frontend) Clients() int { return int(f.team.clients.Load()) }

func (f *Frontend) accept(c loop.Conn, binaryOnly bool) loop.Handler {
	if f.stopped {
		return nil
	}
	if n := f.team.clients.Add(1); f.opt.MaxConnections > 0 && n > int64(f.opt.MaxConnections) {
		f.team.clients.Add(-1)
		f.counters.RejectedConnections++
		c.Write([]byte("ERROR Too many open connections\r\n"))
		return &turnedAway{f.closeAfterFlush(c)}
	}
	f.counters.CurrConnections++
	f.counters.TotalConnections++
	cl := &client{f: f, conn: c, stream: f.router.NewStream(), valueSize: firstValueSize, tick: f.tick}
	cl.parser.MaxItemSize, cl.parser.BinaryOnly = f.opt.MaxItemSize, binaryOnly
	cl.parser.Whole, cl.parser.PartSize = item.MaxWhole, item.ChunkSize
	if f.opt.Auth != nil {
		cl.stranger = true
		cl.parser.MaxItemSize = maxStrangerBytes
	}
	if cl.next = f.clients; cl.next != nil {
		cl.next.prev = cl
	}
	f.clients = cl
	return cl
}

// turnedAway is a client beyond MaxConnections.
type turnedAway struct{ linger loop.Timer }

func (*turnedAway) OnOpen(loop.Conn)                 {}
func (*turnedAway) OnData(_ loop.Conn, b []byte) int { return len(b) }
func (t *turnedAway) OnClose(loop.Conn, error)       { t.linger.Stop() }

// closeAfterFlush closes c when it has read its answers, or has had its time to.
// The timer is to be stopped when c is closed.
func (f *Frontend) closeAfterFlush(c loop.Conn) loop.Timer {
	c.CloseAfterFlush()
	return f.loop.After(lingerTimeout, c.Close)
}

func (f *Frontend) write(cl *client, b []byte) {
	cl.conn.Write(b)
	f.counters.BytesWritten += uint64(len(b))
}

// Counters is a copy of the counters.
func (f *Frontend) Counters() Counters { return f.counters }

// eachClient calls do for every client; do may close it.
func (f *Frontend) eachClient(do func(cl *client)) {
	for cl := f.clients; cl != nil; {
		next := cl.next
		do(cl)
		cl = next
	}
}

// whenRelieved sees to it that paused clients are looked at again when the
// router's overload ends.
func (f *Frontend) whenRelieved() {
	if f.relief {
		return
	}
	f.relief = true
	f.router.WhenRelieved(func() {
		f.relief = false
		f.eachClient((*client).tryResume)
	})
}

// sweep closes idle clients. A client is idle for IdleTimeout when four sweeps
// have passed it.
func (f *Frontend) sweep() {
	f.tick++
	f.eachClient(func(cl *client) {
		if cl.head == nil && f.tick-cl.tick > 4 {
			f.counters.IdleKicks++
			cl.conn.Close()
		}
	})
	f.loop.After(f.opt.IdleTimeout/4, f.sweep)
}

// Counters count what a frontend did. The names are those of stats.
type Counters struct {
	CmdGet, CmdSet, CmdFlush, CmdTouch, CmdMeta uint64
	CmdDelete, CmdIncr                          uint64 // CmdIncr: incr and decr
	GetHits, GetMisses                          uint64
	DeleteHits, DeleteMisses                    uint64
	IncrHits, IncrMisses                        uint64
	DecrHits, DecrMisses                        uint64
	CasHits, CasMisses, CasBadval               uint64
	TouchHits, TouchMisses                      uint64
	StoreTooLarge, StoreNoMemory                uint64
	Errors                                      uint64 // commands answered SERVER_ERROR, or not at all for noreply
	BytesRead, BytesWritten                     uint64
	CurrConnections, TotalConnections           uint64
	RejectedConnections, IdleKicks, ConnYields  uint64
	AuthCmds, AuthErrors                        uint64
	TLSFailed                                   uint64 // handshakes
}

// count counts a command that has ended.
func (n *Counters) count(op item.Op, res *item.Result) {
	hit := res.Status == item.OK
	if res.Status.Unsure() {
		n.Errors++
		return
	}
	switch op {
	case item.OpGet, item.OpMetaGet:
		which(hit, &n.GetHits, &n.GetMisses)
	case item.OpTouch, item.OpGetAndTouch:
		which(hit, &n.TouchHits, &n.TouchMisses)
	case item.OpDelete:
		which(hit, &n.DeleteHits, &n.DeleteMisses)
	case item.OpIncr, item.OpDecr:
		switch {
		case res.Status != item.OK && res.Status != item.NotFound: // no number
		case op == item.OpIncr:
			which(hit, &n.IncrHits, &n.IncrMisses)
		default:
			which(hit, &n.DecrHits, &n.DecrMisses)
		}
	case item.OpCAS:
		if res.Status == item.Exists {
			n.CasBadval++
		} else {
			which(hit, &n.CasHits, &n.CasMisses)
		}
	}
	if res.Status == item.TooLarge {
		n.StoreTooLarge++
	}
}

func which(hit bool, hits, misses *uint64) {
	if hit {
		*hits++
	} else {
		*misses++
	}
}

// begin counts a command that was asked for.
func (n *Counters) begin(op item.Op) {
	switch op {
	case item.OpGet, item.OpMetaGet:
		n.CmdGet++
	case item.OpTouch, item.OpGetAndTouch:
		n.CmdTouch++
	case item.OpSet, item.OpAdd, item.OpReplace, item.OpAppend, item.OpPrepend, item.OpCAS:
		n.CmdSet++
	case item.OpDelete:
		n.CmdDelete++
	case item.OpIncr, item.OpDecr:
		n.CmdIncr++
	}
}
