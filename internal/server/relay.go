package server

import (
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	// maxRelays bounds the connections that a server joins to others. A gateway
	// has at most one for each server that it does not reach.
	maxRelays = 256
	// relayBuffer is what may wait for one side before the other is not read.
	relayBuffer = 1 << 20
)

// relay joins a connection of a gateway to a server that the gateway does not
// reach itself while this server does (a partial partition, of which no manager
// knows). Bytes go both ways as they are.
type relay struct {
	n   *node
	in  loop.Conn
	out loop.Conn
	// open: out is. Until then the gateway is not read from, as what is written would
	// precede the handshake.
	open bool
}

// beginRelay joins c, whose input begins with wire.RelayMagic, to the server that
// it names. It returns how much of b it took: 0 while that is not all there.
func (c *dataConn) beginRelay(b []byte) int {
	n := c.n
	id, used := wire.RelayTarget(b)
	if used == 0 {
		return 0
	}
	p := n.peers[id]
	if p == nil || n.relays >= maxRelays {
		n.log.Warn("no relay for a gateway", "addr", c.conn.RemoteAddr(), "to", id, "known", p != nil, "relays", n.relays)
		c.conn.Close()
		return used
	}
	c.sniff.Stop()
	n.relays++
	n.log.Info("relay for a gateway that does not reach a server", "addr", c.conn.RemoteAddr(), "server", p.addr)
	c.relay = &relay{n: n, in: c.conn}
	c.conn.PauseRead()
	c.relay.out = n.cfg.Secret.DialLoop(n.loop, p.addr, n.cfg.ConnectTimeout, c.relay)
	return used
}

// forward passes input of the gateway on.
func (r *relay) forward(b []byte) int {
	if !r.open {
		return 0
	}
	return pass(r.in, r.out, b)
}

// pass writes b, read from one side, to the other, and holds the reader back
// while too much waits.
func pass(from, to loop.Conn, b []byte) int {
	to.Write(b)
	if to.Buffered() > relayBuffer {
		from.PauseRead()
		to.OnDrain(relayBuffer/2, from.ResumeRead)
	}
	return len(b)
}

// ended: the gateway's side is gone.
func (r *relay) ended() {
	r.n.relays--
	r.out.Close()
}

// OnOpen lets the gateway go on.
func (r *relay) OnOpen(loop.Conn) {
	r.open = true
	r.in.ResumeRead()
}

// OnData takes what the server answers.
func (r *relay) OnData(c loop.Conn, b []byte) int { return pass(c, r.in, b) }

// OnClose: the server's side is gone, or was not reached.
func (r *relay) OnClose(loop.Conn, error) { r.in.CloseAfterFlush() }
