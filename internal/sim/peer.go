package sim

import (
	"math/rand/v2"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/wire"
)

// connectPeers makes the connections that the map asks for.
func (s *Server) connectPeers() {
	for i := range s.cmap.Servers {
		srv := &s.cmap.Servers[i]
		to := s.w.server(srv.ID)
		if to == s {
			continue
		}
		p := s.peers[to.place]
		if p != nil && p.incarnation == srv.Incarnation {
			continue
		}
		if p != nil && p.conn != nil {
			c := p.conn
			p.conn = nil
			c.snap()
		}
		p = &peer{to: to, incarnation: srv.Incarnation, backoff: 20 * millisecond}
		s.peers[to.place] = p
		s.dial(p)
	}
}

// dial tries to connect; it takes a round trip that must not be cut.
func (s *Server) dial(p *peer) {
	s.after(s.w.delay(), func() {
		if s.peers[p.to.place] != p || p.conn != nil {
			return
		}
		if !p.to.up || s.w.apart(s.place, p.to.place) {
			s.redial(p)
			return
		}
		c := s.w.newConn(&s.proc, &p.to.proc)
		c.peers = true
		c.there.closed, c.back.closed = func() { s.peerClosed(p, c) }, func() { p.to.inboundClosed(s, c) }
		p.conn, p.up, p.backoff = c, true, 20*millisecond
		h := wire.PeerHello{From: s.id, To: p.to.id, Incarnation: s.disk.incarnation, ToIncarnation: p.incarnation}
		c.write(&s.proc, wire.AppendPeerHello(nil, &h))
		s.turn(func() {
			if s.beginsLeases(p) {
				s.sayLease(c, s.node.Leases.Begin(c.talkOf(&s.proc), p.to.id, s.node.Now))
			}
			for _, r := range s.replicas {
				if r.IsPrimary() {
					r.PeerConnected(p.to.id, &s.fx)
				}
			}
		})
	})
}

func (s *Server) redial(p *peer) {
	s.after(p.backoff, func() {
		if s.peers[p.to.place] == p && p.conn == nil {
			s.dial(p)
		}
	})
	p.backoff = min(2*p.backoff, second)
}

// hello checks that the dialer means this run of this server (R3, R10).
func (s *Server) hello(c *conn, body []byte) {
	h, err := wire.DecodePeerHello(body)
	if err != nil {
		s.w.fail(codec, "hello: %v", err)
		return
	}
	if h.To != s.id || h.ToIncarnation != s.disk.incarnation && !planted.Is(planted.RoleOutlivesIncarnation) {
		c.snap()
		return
	}
	from := c.there.src.place
	if old := s.inbound[from]; old != nil {
		old.snap()
	}
	s.inbound[from] = c
}

// peerClosed: a connection that this server opened has broken.
func (s *Server) peerClosed(p *peer, c *conn) {
	if s.peers[p.to.place] == p && p.conn == c {
		p.conn, p.up = nil, false
		s.redial(p)
	}
}

// inboundClosed: a connection that another server opened has broken.
func (s *Server) inboundClosed(from *Server, c *conn) {
	if s.inbound[from.place] == c {
		delete(s.inbound, from.place)
	}
}

// talkLeases speaks with every other server of leases (R5), as kumo-server does.
func (s *Server) talkLeases() {
	for i := range s.w.servers {
		if c := s.leaseConn(i); c != nil {
			if l, ok := s.node.Leases.Talk(c.talkOf(&s.proc), s.w.servers[i].id, s.node.Now); ok {
				s.sayLease(c, l)
			}
		}
	}
}

// urgeLeases asks at once for leases that answers, or joins, wait for.
func (s *Server) urgeLeases() {
	for _, id := range s.fx.Urge {
		if c := s.leaseConn(s.w.server(id).place); c != nil {
			if l, ok := s.node.Leases.Urge(c.talkOf(&s.proc), id, s.node.Now); ok {
				s.w.stats["leases urged"]++
				s.sayLease(c, l)
			}
		}
	}
}

// leaseConn is the one of the two connections to a server on which leases are spoken of.
func (s *Server) leaseConn(place int) *conn {
	p := s.peers[place]
	switch {
	case p == nil:
		return nil
	case !s.beginsLeases(p):
		return s.inbound[place]
	}
	return p.conn
}

// beginsLeases: it is the one that the server with the lower ID has opened.
func (s *Server) beginsLeases(p *peer) bool { return s.id < p.to.id }

func (s *Server) sayLease(c *conn, l wire.Lease) { c.write(&s.proc, wire.AppendLease(nil, l)) }

// sendPeer sends a message of the core: questions on the connection that this
// server opened, answers on the one that the other side did.
func (s *Server) sendPeer(id clustermap.ServerID, m *wire.Message) {
	to := s.w.server(id)
	var c *conn
	switch m.Kind {
	case wire.KindAppendAck, wire.KindAppendGap, wire.KindRing, wire.KindReconcileAck, wire.KindEpochAck,
		wire.KindJoinState, wire.KindJoinStarted, wire.KindJoinDone:
		c = s.inbound[to.place]
	default:
		if p := s.peers[to.place]; p != nil && p.up {
			c = p.conn
		}
	}
	switch m.Kind {
	case wire.KindReconcile:
		s.w.stats["rings mended"]++
	case wire.KindJoinStart:
		s.w.stats["joins: "+[]string{"equal", "tail", "digest", "whole"}[m.Mode]]++
	}
	if c != nil {
		c.write(&s.proc, wire.AppendMessage(nil, m))
	}
}

// cache is a Values that forgets at random.
type cache struct {
	rng   *rand.Rand
	still bool // it forgets nothing
	m     map[cacheKey]*item.Item
}

type cacheKey struct {
	part uint16
	gen  uint32
	key  string
}

func newCache(w *World) *cache {
	return &cache{rng: w.rng, still: w.opt.Still, m: map[cacheKey]*item.Item{}}
}

func (c *cache) Get(part uint16, gen uint32, key []byte) (*item.Item, bool) {
	k := cacheKey{part, gen, string(key)}
	if c.still {
		it, ok := c.m[k]
		return it, ok
	}
	if c.rng.IntN(8) == 0 {
		delete(c.m, k)
	}
	it, ok := c.m[k]
	return it, ok
}

func (c *cache) Put(part uint16, gen uint32, key string, it *item.Item) {
	k := cacheKey{part, gen, key}
	delete(c.m, k)
	if c.still || c.rng.IntN(4) > 0 {
		c.m[k] = it
	}
}

func (c *cache) Remove(part uint16, gen uint32, key string) {
	delete(c.m, cacheKey{part, gen, key})
}

// traceMessage shows one message of the core.
func (w *World) traceMessage(from, to *Server, m *wire.Message) {
	if w.trace == nil {
		return
	}
	extra := ""
	switch m.Kind {
	case wire.KindAppend:
		extra = " " + showKey([]byte(m.Key))
	case wire.KindReconcile, wire.KindRing, wire.KindJoinStart:
		for _, v := range m.Values {
			extra += " " + showKey([]byte(v.Key))
		}
		for _, e := range m.Ring {
			extra += " ring:" + version(e.Version) + " " + showKey([]byte(e.Key))
		}
	}
	w.tracef("    %s>%s p%d e%d %s join %d at %s after %s committed %s%s", from.name, to.name, m.Partition, m.Epoch,
		kindNames[m.Kind], m.JoinID, version(m.Version), version(m.Prev), version(m.Committed), extra)
}

var kindNames = map[wire.Kind]string{
	wire.KindAppend: "append", wire.KindAppendAck: "append-ack", wire.KindActivate: "activate", wire.KindRing: "ring",
	wire.KindReconcile: "reconcile", wire.KindReconcileAck: "reconcile-ack", wire.KindEpochQuery: "epoch-query",
	wire.KindEpochAck: "epoch-ack", wire.KindJoinHello: "join-hello", wire.KindJoinState: "join-state",
	wire.KindJoinStart: "join-start", wire.KindJoinStarted: "join-started", wire.KindJoinEnd: "join-end", wire.KindJoinDone: "join-done",
	wire.KindAppendQuery: "append-query", wire.KindAppendGap: "append-gap",
}
