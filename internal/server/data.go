package server

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	// maxUnread bounds what a gateway lets pile up unread on one connection:
	// beyond it no more requests are taken from it. It bounds the values, too,
	// that the requests of one read may find: the turn's end appends them all.
	maxUnread = 8 << 20
	// maxLate bounds what answers that come later may add to that.
	maxLate = 64 << 20
	// maxBatchBytes bounds the writes that wait for the store; beyond it no more
	// requests are taken from gateways until a commit is done.
	maxBatchBytes = 64 << 20
	// maxHeld bounds what all partitions of this primary hold for requests that
	// wait for other servers; beyond it those that have more than heldShare of it
	// take no more. Nobody knows how long a server or the managers stay away.
	maxHeld   = 256 << 20
	heldShare = 64 << 10
	// sniffTimeout is how long a connection may take to show what it is.
	sniffTimeout = 5 * time.Second
)

// dataConn is one connection on the listening port, or one that this server
// opened to a peer.
type dataConn struct {
	n      *node
	conn   loop.Conn
	opened bool // Magic was seen (or sent)
	from   clustermap.ServerID
	peer   *peer // the side that dialed
	// answered is replica.Node.Answered at the beginning of OnData.
	answered uint64
	// moved is how much a peer had taken when last looked at; movedAt is since when
	// it has taken no more.
	moved   uint64
	movedAt int64
	leases  replica.LeaseTalk
	paused  bool
	sniff   loop.Timer // until an accepted one is opened
	relay   *relay     // it is joined to another server
	// passed: what comes may be looked at. proven: its other side has the cluster secret.
	acceptor       *secret.Acceptor
	passed, proven bool

	out       *wire.Message
	appendOut func([]byte) []byte
	req       wire.Request
	msg       wire.Message
	reply     *wire.Reply
	nak       *wire.Nak
	appendRep func([]byte) []byte
	appendNak func([]byte) []byte
}

func newDataConn(n *node) *dataConn {
	c := &dataConn{n: n}
	c.appendOut = func(b []byte) []byte { return wire.AppendMessage(b, c.out) }
	c.appendRep = func(b []byte) []byte { return wire.AppendReply(b, c.reply) }
	c.appendNak = func(b []byte) []byte { return wire.AppendNak(b, c.nak) }
	return c
}

// accept takes a connection on the listening port: data, or HTTP of tools. Where the store
// could not be opened the loop still runs, until it has ended.
func (n *node) accept(lc loop.Conn) loop.Handler {
	if n.rn == nil {
		return nil
	}
	c := newDataConn(n)
	c.conn = lc
	c.sniff = n.loop.After(sniffTimeout, lc.Close)
	n.counters.connections.Add(1)
	return c
}

// OnOpen is for connections that this server dialed.
func (c *dataConn) OnOpen(loop.Conn) { c.n.peerOpened(c) }

// OnClose forgets the connection. Requests under way on it are answered into nothing.
func (c *dataConn) OnClose(_ loop.Conn, err error) {
	n := c.n
	if c.peer != nil {
		n.peerClosed(c, err)
		return
	}
	c.sniff.Stop()
	n.counters.connections.Add(-1)
	if c.relay != nil {
		c.relay.ended()
	}
	if c.from != 0 && n.inbound[c.from] == c {
		delete(n.inbound, c.from)
	}
}

// OnData takes frames, on an accepted connection after the handshake.
func (c *dataConn) OnData(lc loop.Conn, b []byte) int {
	if c.passed || c.peer != nil {
		return c.take(lc, b)
	}
	used := c.greet(b)
	if c.passed && used < len(b) {
		used += c.take(lc, b[used:])
	}
	return used
}

func (c *dataConn) take(lc loop.Conn, b []byte) int {
	n := c.n
	used := 0
	if c.relay != nil {
		return c.relay.forward(b)
	}
	if !c.opened {
		if len(b) < len(wire.Magic) && (isPrefix(string(b), wire.Magic) || b[0] >= 'A' && b[0] <= 'Z') {
			return 0 // too little to tell
		}
		if len(b) >= len(wire.RelayMagic) && string(b[:len(wire.RelayMagic)]) == wire.RelayMagic {
			return c.beginRelay(b)
		}
		if len(b) >= len(wire.Magic) && string(b[:len(wire.Magic)]) == wire.Magic {
			c.opened = true
			c.sniff.Stop()
			used = len(wire.Magic)
		} else {
			c.handOver(b)
			return 0
		}
	}
	n.touchClock()
	if c.peer != nil {
		c.peer.backoff = minBackoff
	}
	if c.leasesComeOn() {
		n.rn.Leases.Heard(c.from, n.rn.Awake())
	}
	c.answered = n.rn.Answered
	ahead := 0
	for {
		if ahead == 0 {
			ahead = n.readFramesAhead(b[used:])
		}
		ahead--
		kind, body, size, err := wire.Frame(b[used:])
		if err != nil {
			n.log.Warn("closing a connection that sent garbage", "addr", lc.RemoteAddr(), "err", err)
			lc.Close()
			return used
		}
		if size == 0 {
			return used
		}
		used += size
		if err := c.frame(kind, body); err != nil {
			if errors.Is(err, errNotMeant) {
				lc.Close()
				return used
			}
			n.log.Warn("closing a connection", "addr", lc.RemoteAddr(), "err", err)
			lc.Close()
			return used
		}
		if c.paused {
			return used
		}
	}
}

func isPrefix(part, whole string) bool { return len(part) <= len(whole) && whole[:len(part)] == part }

// handOver gives a connection that speaks HTTP to the HTTP server, and one of the
// managers' to the witness.
func (c *dataConn) handOver(b []byte) {
	to := c.n.cfg.http
	if len(b) >= len(consensus.StreamMagic) && string(b[:len(consensus.StreamMagic)]) == consensus.StreamMagic {
		if to = c.n.witness.port.Load(); to == nil {
			c.conn.Close()
			return
		}
	} else if !control.IsHTTP(b) {
		c.n.log.Warn("closing a connection that speaks neither kumofs nor HTTP", "addr", c.conn.RemoteAddr())
		c.conn.Close()
		return
	}
	nc, err := c.conn.Detach(b)
	if err != nil {
		c.conn.Close()
		return
	}
	c.sniff.Stop()
	c.n.counters.connections.Add(-1)
	if c.proven {
		nc = control.Proven(nc)
	}
	to.give(nc)
}

func (c *dataConn) frame(kind wire.Kind, body []byte) error {
	n := c.n
	switch {
	case kind == wire.KindRequest && c.peer == nil:
		if err := wire.DecodeRequest(body, &c.req); err != nil {
			return err
		}
		n.request(&c.req, c)
		c.holdBack()
		return nil
	case kind == wire.KindScan && c.peer == nil:
		return c.scan(body)
	case kind == wire.KindPeerHello && c.peer == nil && c.from == 0:
		return c.hello(body)
	case kind == wire.KindLease && c.from != 0:
		l, err := wire.DecodeLease(body)
		if err != nil {
			return err
		}
		if answer, ok := n.rn.Leases.Hear(&c.leases, c.from, l, n.rn.Now, n.rn.Awake()); ok {
			c.sayLease(answer)
		}
		n.granted = n.granted || l.Granted != 0
		return nil
	case c.from != 0:
		if err := wire.DecodeMessage(kind, body, &c.msg); err != nil {
			return err
		}
		if int(c.msg.Partition) >= len(n.replicas) {
			if n.replicas == nil {
				return nil // no map yet; the sender asks again
			}
			return fmt.Errorf("%w: partition %d", wire.ErrCorrupt, c.msg.Partition)
		}
		if c.peer != nil {
			c.peer.appends.heard(&c.msg, n.rn.Now)
		}
		n.replicas[c.msg.Partition].Step(c.from, &c.msg, &n.fx)
		return nil
	}
	return fmt.Errorf("%w: kind %d out of place", wire.ErrCorrupt, kind)
}

// errNotMeant closes a peer's connection without a word in the log: one of the
// two has an older map, and the peer comes again.
var errNotMeant = errors.New("another run of this server was meant")

// hello checks that the dialer means this run of this server (R3, R10).
func (c *dataConn) hello(body []byte) error {
	h, err := wire.DecodePeerHello(body)
	if err != nil {
		return err
	}
	n := c.n
	if n.cluster != 0 && h.Cluster != n.cluster || h.To != n.self || h.ToIncarnation != n.incarnation || h.From == n.self || h.From == 0 {
		return errNotMeant
	}
	c.from = h.From
	if old := n.inbound[h.From]; old != nil && old != c {
		old.conn.Close()
	}
	n.inbound[h.From] = c
	return nil
}

// request hands a command to its partition.
func (n *node) request(req *wire.Request, to sink) {
	if int(req.Partition) >= len(n.replicas) {
		to.Nak(&wire.Nak{ID: req.ID, Index: req.Partition, Reason: wire.NakNotReady})
		return
	}
	if n.hot.Sample() {
		n.sample(req)
	}
	switch req.Op {
	case item.OpGet, item.OpGetAndTouch, item.OpMetaGet:
		n.counters.gets.Add(1)
		if item.IsChunk(req.Key) {
			n.sweep.chunks.used(req.Partition, req.Key)
		}
	case item.OpDelete:
		n.counters.deletes.Add(1)
	case item.OpFlush, item.OpOpenSession:
		n.counters.others.Add(1)
	default:
		n.counters.sets.Add(1)
	}
	if n.held > n.heldLimit && n.replicas[req.Partition].Held() > heldShare {
		to.Nak(&wire.Nak{ID: req.ID, Index: req.Partition, Reason: wire.NakNotReady})
		return
	}
	if n.commit.isFull() && req.Op != item.OpGet && n.replicas[req.Partition].Serving() {
		switch {
		case !n.commit.alone():
			// It was not ordered, and will not be: the partition moves to a server with space.
			to.Nak(&wire.Nak{ID: req.ID, Index: req.Partition, Reason: wire.NakNotReady})
			return
		case req.Op != item.OpDelete && req.Op != item.OpFlush && req.Op != item.OpOpenSession:
			to.Reply(&wire.Reply{ID: req.ID, Result: item.Result{Status: item.Failed,
				Message: "disk full on " + n.cfg.Listen + ", and no other server can take over: nothing was written; deletes and gets are taken"}})
			return
		}
	}
	n.replicas[req.Partition].Request(req, replica.Token{Owner: to, ID: req.ID, Tag: n.tag(req.Op)}, &n.fx)
}

// Reply and Nak make a gateway's connection a sink. A value for which there is no
// room is not sent: the gateway asks again, for a get because it may, for a gat as
// a retry, which finds that it was done (R8).
func (c *dataConn) Reply(r *wire.Reply) {
	if len(r.Item.Value) > 0 && c.conn.Buffered() > maxLate {
		r = &wire.Reply{ID: r.ID, Result: item.Result{Status: item.FateUnknown}}
	}
	c.reply = r
	c.conn.Append(c.appendRep)
	c.reply = nil
}

// Nak refuses.
func (c *dataConn) Nak(k *wire.Nak) {
	c.nak = k
	c.conn.Append(c.appendNak)
	c.nak = nil
}

// holdBack pauses when more answers or writes have piled up than there should be.
func (c *dataConn) holdBack() {
	n := c.n
	if !c.paused && (c.conn.Buffered() > maxUnread || n.rn.Answered-c.answered > maxUnread || n.commit.bytes() > maxBatchBytes) {
		c.pause()
	}
}

// pause stops taking requests until the gateway has read and the store has written.
func (c *dataConn) pause() {
	c.paused = true
	c.conn.PauseRead()
	c.n.commit.after = append(c.n.commit.after, func() {
		c.conn.OnDrain(maxUnread/2, func() {
			c.paused = false
			c.conn.ResumeRead()
		})
	})
}

// connListener is a net.Listener of connections that the loop handed over.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	addr  net.Addr
}

func newConnListener(addr string) *connListener {
	a, _ := net.ResolveTCPAddr("tcp", addr)
	return &connListener{conns: make(chan net.Conn, 64), done: make(chan struct{}), addr: a}
}

// give passes a connection on; when too many wait it is closed.
func (l *connListener) give(c net.Conn) {
	select {
	case <-l.done:
		c.Close()
		return
	default:
	}
	select {
	case l.conns <- c:
	default:
		c.Close()
	}
}

// Accept is net.Listener's.
func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (l *connListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	for {
		select {
		case c := <-l.conns:
			c.Close()
		default:
			return nil
		}
	}
}

// Addr is net.Listener's.
func (l *connListener) Addr() net.Addr { return l.addr }
