package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
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
	backoff     time.Duration
	timer       loop.Timer
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
	p.up, p.backoff = true, minBackoff
	c.conn.Write([]byte(wire.Magic))
	h := wire.PeerHello{Cluster: n.cluster, From: n.self, To: p.id, Incarnation: n.incarnation, ToIncarnation: p.incarnation}
	c.conn.Append(func(b []byte) []byte { return wire.AppendPeerHello(b, &h) })
	n.touchClock()
	c.movedAt = n.rn.Awake()
	n.askLease(p)
	for _, r := range n.replicas {
		if r.IsPrimary() {
			r.PeerConnected(p.id, &n.fx)
		}
	}
}

func (n *node) peerClosed(c *dataConn, err error) {
	p := c.peer
	if p.conn != c {
		return // given up for a newer one
	}
	if p.up {
		n.log.Info("lost connection", "server", p.addr, "err", err)
	}
	p.conn, p.up = nil, false
	p.timer = n.loop.After(p.backoff, func() { n.dial(p) })
	p.backoff = min(2*p.backoff, maxBackoff)
}

// askLeases asks every other server for its lease (R5): one request for all partitions.
func (n *node) askLeases() {
	n.touchClock()
	for _, p := range n.peers {
		if p.up {
			if p.conn.stuck() {
				n.log.Warn("closing the connection to a server that does not read", "server", p.addr)
				p.conn.conn.Close()
				continue
			}
			n.askLease(p)
		}
	}
	n.loop.After(replica.LeaseInterval, n.askLeases)
}

// stuck tells whether too much waits for a peer that does not read. It is called on
// every lease request.
func (c *dataConn) stuck() bool {
	now := c.n.rn.Awake()
	if sent := c.conn.Sent(); sent != c.moved {
		c.moved, c.movedAt = sent, now
	}
	return c.conn.Buffered() > maxPeerBuffer && now-c.movedAt > maxUnmoved
}

func (n *node) askLease(p *peer) {
	l := wire.Lease{Sent: n.rn.Now}
	p.conn.conn.Append(func(b []byte) []byte { return wire.AppendLease(b, wire.KindLeaseRequest, l) })
}

// managerHoldsDead: the manager holds servers dead; primaries accuse them at once (R3).
func (n *node) managerHoldsDead(ids []clustermap.ServerID) {
	n.touchClock()
	for _, r := range n.replicas {
		if r.IsPrimary() {
			r.Dead(ids, &n.fx)
		}
	}
}
