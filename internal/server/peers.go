package server

import (
	"log/slog"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
	// maxPeerBuffer bounds what waits for a peer that has not read for maxUnmoved;
	// beyond it the connection is closed, and what it needs is sent again on the
	// next. For one that reads slowly it is no bound: a value may be longer.
	maxPeerBuffer = 256 << 20
	maxUnmoved    = int64(time.Second)
)

// peer is another server of the map: one connection to one incarnation of it.
type peer struct {
	id          clustermap.ServerID
	addr        string
	incarnation uint64
	conn        *dataConn
	up          bool
	opened      int64 // when conn was (Node.Now)
	backoff     time.Duration
	timer       loop.Timer
	appends     appendMeter
}

// connectPeers makes the connections that the map asks for.
func (n *node) connectPeers() {
	for i := range n.cmap.Servers {
		s := &n.cmap.Servers[i]
		if s.ID == n.self {
			continue
		}
		p := n.peers[s.ID]
		if p != nil && p.addr == s.Addr && p.incarnation == s.Incarnation {
			continue
		}
		if p != nil {
			n.dropPeer(p)
		}
		p = &peer{id: s.ID, addr: s.Addr, incarnation: s.Incarnation, backoff: minBackoff}
		n.peers[s.ID] = p
		n.dial(p)
	}
	for id, p := range n.peers {
		if n.cmap.Server(id) == nil {
			n.dropPeer(p)
			delete(n.peers, id)
		}
	}
}

func (n *node) dropPeer(p *peer) {
	if p.timer != nil {
		p.timer.Stop()
	}
	if c := p.conn; c != nil {
		p.conn, p.up = nil, false
		c.peer = p // its OnClose finds that it is not the peer's any more
		c.conn.Close()
	}
}

func (n *node) dial(p *peer) {
	c := newDataConn(n)
	c.opened, c.peer, c.from = true, p, p.id
	p.conn, p.timer = c, nil
	c.conn = n.cfg.Secret.DialLoop(n.loop, p.addr, n.cfg.ConnectTimeout, c)
}

func (n *node) peerOpened(c *dataConn) {
	p := c.peer
	if p.conn != c {
		return
	}
	p.up = true
	c.conn.Write([]byte(wire.Magic))
	h := wire.PeerHello{Cluster: n.cluster, From: n.self, To: p.id, Incarnation: n.incarnation, ToIncarnation: p.incarnation}
	c.conn.Append(func(b []byte) []byte { return wire.AppendPeerHello(b, &h) })
	n.touchClock()
	p.opened, c.movedAt = n.rn.Now, n.rn.Awake()
	if n.beginsLeases(p) {
		c.sayLease(n.rn.Leases.Begin(&c.leases, p.id, n.rn.Now))
	}
	for _, r := range n.leads {
		r.PeerConnected(p.id, &n.fx)
	}
}

func (n *node) peerClosed(c *dataConn, err error) {
	p := c.peer
	if p.conn != c {
		return // given up for a newer one
	}
	if p.up {
		n.touchClock()
		// One that is closed at once, without a word, is not meant (hello), until there is a newer
		// map: that is said once.
		if n.rn.Now-p.opened > int64(maxBackoff) {
			p.backoff = minBackoff
		}
		level := slog.LevelInfo
		if p.backoff > minBackoff {
			level = slog.LevelDebug
		}
		n.log.Log(n.ctx, level, "lost connection", "server", p.addr, "err", err)
	}
	p.conn, p.up = nil, false
	p.appends.sent = 0
	p.timer = n.loop.After(p.backoff, func() { n.dial(p) })
	p.backoff = min(2*p.backoff, maxBackoff)
}

// talkLeases speaks with every other server of leases (R5), of those for all partitions at once.
func (n *node) talkLeases() {
	for _, p := range n.peers {
		if p.up && p.conn.stuck() {
			n.log.Warn("closing the connection to a server that does not read", "server", p.addr)
			p.conn.conn.Close()
			continue
		}
		if c := n.leaseConn(p); c != nil {
			if l, ok := n.rn.Leases.Talk(&c.leases, p.id, n.rn.Now); ok {
				c.sayLease(l)
			}
		}
	}
}

// urgeLeases asks at once for leases that answers, or joins, wait for.
func (n *node) urgeLeases() {
	for _, id := range n.fx.Urge {
		if p := n.peers[id]; p != nil {
			if c := n.leaseConn(p); c != nil {
				if l, ok := n.rn.Leases.Urge(&c.leases, id, n.rn.Now); ok {
					c.sayLease(l)
				}
			}
		}
	}
	n.fx.Urge = n.fx.Urge[:0]
}

// leaseConn is the one of the two connections to a peer on which leases are spoken of; nil: it
// is not there.
func (n *node) leaseConn(p *peer) *dataConn {
	switch {
	case !n.beginsLeases(p):
		return n.inbound[p.id]
	case p.up:
		return p.conn
	}
	return nil
}

// leasesComeOn: leases of the server at the other end come on this connection. Whatever comes there
// is a sign of life: they are behind it. What comes on the other one is none, or who cannot
// open this one would never be accused.
func (c *dataConn) leasesComeOn() bool {
	return c.from != 0 && (c.peer != nil) == (c.n.self < c.from)
}

// beginsLeases: it is the one that the server with the lower ID has opened.
func (n *node) beginsLeases(p *peer) bool { return n.self < p.id }

func (c *dataConn) sayLease(l wire.Lease) {
	c.conn.Append(func(b []byte) []byte { return wire.AppendLease(b, l) })
}

// stuck tells whether too much waits for a peer that does not read. It is called each
// time that leases are spoken of.
func (c *dataConn) stuck() bool {
	now := c.n.rn.Awake()
	if sent := c.conn.Sent(); sent != c.moved {
		c.moved, c.movedAt = sent, now
	}
	return c.conn.Buffered() > maxPeerBuffer && now-c.movedAt > maxUnmoved
}

// managerHoldsDead: the manager holds servers dead; primaries accuse them at once (R3).
func (n *node) managerHoldsDead(ids []clustermap.ServerID) {
	n.touchClock()
	for _, r := range n.leads {
		r.Dead(ids, &n.fx)
	}
}
