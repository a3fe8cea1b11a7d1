package sim

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	// patience is for how long a client tries one command: --timeout.
	patience = 10 * second
	// generation is how long one set of keys is in use: histories stay short.
	generation = 5 * second
	keysAtOnce = 8
)

func itoa(v uint64) string { return strconv.FormatUint(v, 10) }

// gateway is one kumo-gateway and the clients behind it: it does with sessions
// (R8) what internal/router does.
type gateway struct {
	proc
	rng  *rand.Rand // what its clients ask for
	cmap *clustermap.Map
	// newer are configurations that refusals brought.
	newer    map[uint16]clustermap.Partition
	calls    []*call // outstanding, in the order of their beginning
	sessions map[uint16]*session
	// uniques are what its clients read last, for cas.
	uniques map[string]uint64
	counter counter
	uplink  *uplink
}

// call is one command of a client: every try of it, until it is answered.
type call struct {
	g        *gateway
	client   int
	req      item.Request
	part     uint16
	began    int64
	deadline int64
	try      uint32
	at       *Server // where the last try went; nil: none is out
	run      uint64
	epoch    uint32
	done     func()
	ended    func(item.Result, outcome) // nil, or told of the answer
	// up: the value is there in chunks already, and its manifest is sent.
	up *item.Segment
	// piece: it is about a part of a large value, and ended alone is told.
	piece bool

	// session and number are of a write from its first try on; retry: a try of it
	// may have been done.
	session uint64
	number  uint32
	retry   bool
}

func (w *World) newGateway() *gateway {
	n := len(w.gates)
	g := &gateway{proc: proc{w: w, name: "G" + itoa(uint64(n+1)), place: placeGateway + n, up: true}, rng: w.stream(100 + uint64(n)),
		newer: map[uint16]clustermap.Partition{}, sessions: map[uint16]*session{}, uniques: map[string]uint64{}}
	g.counter.key = "n" + itoa(uint64(n))
	w.gates = append(w.gates, g)
	return g
}

func (g *gateway) learn(m *clustermap.Map) {
	if m.ClusterID != 0 && (g.cmap == nil || m.Version > g.cmap.Version) {
		g.cmap = m
		g.reroute()
	}
}

// reroute has every call follow its partition at once: the old primary may hang.
func (g *gateway) reroute() {
	for _, c := range append([]*call(nil), g.calls...) {
		if c.at != nil && g.config(c.part).Epoch != c.epoch && g.config(c.part).Primary() != c.at.id {
			c.lost()
		}
	}
}

// config is what the gateway knows of a partition.
func (g *gateway) config(p uint16) *clustermap.Partition {
	if g.cmap == nil || len(g.cmap.Partitions) == 0 {
		return nil
	}
	c := &g.cmap.Partitions[p]
	if n, ok := g.newer[p]; ok && n.Epoch > c.Epoch {
		c = &n
	}
	return c
}

// client is one client: a command, a short pause, another command.
func (g *gateway) client(n int, until int64) {
	w := g.w
	if w.now >= until {
		return
	}
	req, large := g.randomRequest()
	done := func() {
		w.after(often(g.rng, 0, 20*millisecond, 200*millisecond, 0.05)+w.opt.think, func() { g.client(n, until) })
	}
	if large {
		g.upload(n, req, done)
		return
	}
	c := g.newCall(n, req)
	c.done = done
	c.send()
}

func (g *gateway) newCall(client int, req item.Request) *call {
	c := &call{g: g, client: client, req: req, began: g.w.now, deadline: g.w.now + patience}
	c.part = clustermap.PartitionOf(item.RoutingKey(req.Key), len(g.w.served))
	if req.Op == item.OpFlush && !g.w.opt.Still {
		c.part = g.w.flushable[g.rng.IntN(len(g.w.flushable))]
	}
	g.calls = append(g.calls, c)
	return c
}

// randomRequest is a command; large: its value is to lie in chunks.
func (g *gateway) randomRequest() (req item.Request, large bool) {
	w, rng := g.w, g.rng
	n := rng.IntN(keysAtOnce)
	key := "k" + itoa(uint64(w.now/generation)) + "-" + itoa(uint64(n))
	if n == 0 {
		key = "t" + key // of these, items expire
	}
	w.stats["commands"]++
	req = item.Request{Key: []byte(key), Value: []byte(itoa(uint64(w.stats["commands"]) * 1000))}
	ttl := int64(0)
	if n == 0 {
		ttl = rng.Int64N(4)
	}
	switch x := rng.IntN(210); {
	case x < 60:
		req.Op, req.Value = item.OpGet, nil
	case x < 66:
		req.Op, req.Value, req.Options = item.OpGet, nil, item.Win
	case x < 70:
		req.Op, req.Value, req.Options, req.VivifyExptime = item.OpGet, nil, item.Win|item.Vivify, ttl
	case x < 100:
		req.Op, req.Exptime = item.OpSet, ttl
	case x < 115:
		req.Op, req.Exptime = item.OpAdd, ttl
	case x < 120:
		req.Op = item.OpReplace
	case x < 138:
		req.Op, req.CAS = item.OpCAS, g.uniques[key]
	case x < 158:
		req.Op, req.Delta, req.Value = item.OpIncr, 1+rng.Uint64N(5), nil
	case x < 162 && n > 1: // spaces behind a number would make one of a large value, where the core sees none
		req.Op, req.Delta, req.Value = item.OpDecr, 1, nil
	case x < 172:
		req.Op, req.Value = []item.Op{item.OpAppend, item.OpPrepend}[rng.IntN(2)], []byte(itoa(1+rng.Uint64N(9))) // no leading zeros: see decr
		if n == 1 && rng.IntN(8) == 0 {
			req.Value = []byte{spill}
		}
	case x < 184:
		req.Op, req.Value = item.OpDelete, nil
	case x < 190:
		req.Op, req.Value, req.Options = item.OpDelete, nil, item.Invalidate
	case x < 195:
		req.Op, req.Value, req.Exptime = item.OpGetAndTouch, nil, ttl
	case x < 199:
		req.Op, req.Value, req.Exptime = item.OpTouch, nil, ttl
	case x < 209 || len(w.flushable) == 0:
		req = g.counter.request()
	default:
		req = item.Request{Op: item.OpFlush}
		if rng.IntN(3) == 0 {
			req.Exptime = 1 + rng.Int64N(3)
		}
	}
	if n <= 1 && len(req.Value) > 0 && string(req.Key) == key && rng.IntN(4) == 0 {
		req.Value = append([]byte("L"), itoa(uint64(w.stats["commands"])*1000)...) // no number
		return req, true
	}
	return req, false
}

// send makes the next try.
func (c *call) send() {
	g, w := c.g, c.g.w
	c.try++
	c.at = nil
	try := c.try
	if w.now > c.deadline {
		if c.retry {
			w.stats["outcome unknown: time is over"]++
			c.end(item.Result{}, unknown)
		} else {
			c.end(item.Result{}, notDone)
		}
		return
	}
	if c.isWrite() && !c.enter() {
		c.later()
		return
	}
	cfg := g.config(c.part)
	if cfg == nil || cfg.Primary() == 0 {
		c.later()
		return
	}
	s := w.server(cfg.Primary())
	q := wire.Request{ID: try, Partition: c.part, Epoch: cfg.Epoch, Request: c.sent(),
		Session: c.session, Number: c.number, Lowest: c.lowest(), Retry: c.retry}
	frame := wire.AppendRequest(nil, &q)
	if !s.up {
		c.later() // the port refuses
		return
	}
	c.at, c.run, c.epoch = s, s.run, cfg.Epoch
	if w.faults && w.chance(0.02) {
		// The connection breaks; what is on its way is read by the server, some time.
		w.stats["requests late"]++
		s.after(w.often(0, 50*millisecond, 2*second, 0.3), func() { s.request(frame, c) })
		w.after(w.between(0, 10*millisecond), func() {
			if c.try == try && c.at != nil {
				c.lost()
			}
		})
		return
	}
	w.send(g.place, &s.proc, func() { s.request(frame, c) })
	silence := w.often(20*millisecond, 500*millisecond, 3*second, 0.7)
	if w.opt.Still {
		silence = 3 * second
	}
	w.after(silence, func() {
		if c.try == try && c.at != nil {
			c.lost()
		}
	})
}

// later tries again after a moment, with a newer map if there is one.
func (c *call) later() {
	c.at = nil
	try := c.try
	w := c.g.w
	delay := w.between(10*millisecond, 100*millisecond)
	if c.retry && w.faults && !w.opt.Single && w.chance(0.1) {
		delay = w.between(0, 4*second) // much may happen between two tries
	}
	w.after(delay, func() {
		if c.try != try {
			return
		}
		c.send()
	})
}

// request hands a command to its partition.
func (s *Server) request(frame []byte, c *call) {
	_, body, _, err := wire.Frame(frame)
	var q wire.Request
	if err == nil {
		err = wire.DecodeRequest(body, &q)
	}
	if err != nil {
		s.w.fail(codec, "request: %v", err)
		return
	}
	t := replica.Token{Owner: c, ID: q.ID}
	if int(q.Partition) >= len(s.replicas) {
		(&call{}).refuseTo(s, c, &wire.Nak{ID: q.ID, Index: q.Partition, Reason: wire.NakNotReady})
		return
	}
	if s.isFull() && q.Op != item.OpGet && s.replicas[q.Partition].Serving() {
		switch {
		case !s.isFullAlone():
			// It was not ordered, and will not be: the partition moves to a server with space.
			(&call{}).refuseTo(s, c, &wire.Nak{ID: q.ID, Index: q.Partition, Reason: wire.NakNotReady})
			return
		case q.Op != item.OpDelete && q.Op != item.OpFlush && q.Op != item.OpOpenSession:
			c.answer(s, &replica.Reply{Token: t, Reply: wire.Reply{Result: item.Result{Status: item.Failed, Message: "disk full"}}})
			return
		}
	}
	s.noteRead(q.Partition, q.Key)
	s.turn(func() { s.replicas[q.Partition].Request(&q, t, &s.fx) })
	clear(frame) // nothing of it may be kept
}

func (*call) refuseTo(s *Server, c *call, n *wire.Nak) {
	c.answer(s, &replica.Reply{Token: replica.Token{Owner: c, ID: n.ID}, Nak: n})
}

// answer carries a reply of the core back to the gateway.
func (c *call) answer(s *Server, r *replica.Reply) {
	g, w := c.g, c.g.w
	try := r.Token.ID
	if r.Nak != nil {
		nak := *r.Nak
		w.send(s.place, &g.proc, func() {
			if c.try != try || c.at == nil {
				return
			}
			w.stats["refusals"]++
			if nak.Reason == wire.NakUnknownSession {
				c.sessionUnknown(s)
				return
			}
			old := g.config(c.part)
			if p := nak.Partition; p.Epoch > old.Epoch {
				g.newer[c.part] = p
				c.send()
				return
			}
			c.later()
		})
		return
	}
	if w.faults && w.chance(0.02) {
		w.stats["answers lost"]++
		w.after(w.between(0, 10*millisecond), func() {
			if c.try == try && c.at != nil {
				c.lost()
			}
		})
		return
	}
	frame := wire.AppendReply(nil, &wire.Reply{ID: try, Result: r.Result})
	w.send(s.place, &g.proc, func() {
		if (c.try != try || c.at == nil) && !(slices.Contains(g.calls, c) && planted.Is(planted.AnyTryHeeded)) {
			return
		}
		_, body, _, _ := wire.Frame(frame)
		var reply wire.Reply
		if err := wire.DecodeReply(body, &reply); err != nil {
			w.fail(codec, "reply: %v", err)
		}
		switch {
		case reply.Status == item.Failed && c.up != nil && !c.retry:
			w.stats["manifests refused"]++ // most of them because they came too late
			c.end(item.Result{}, notDone)
		case reply.Status.Unsure():
			w.stats["fate unknown"]++
			c.lost()
		case reply.Status == item.MustWrite:
			w.stats["reads that must write"]++
			c.req.Op = item.OpMetaGet
			c.send()
		case len(reply.Item.Value) > 0 && reply.Item.Large && !c.piece:
			c.assemble(reply.Result)
		default:
			reply.Item.Value = short(reply.Item.Value)
			c.end(reply.Result, answered)
		}
	})
}

// serverGone: connections to the server have broken.
func (g *gateway) serverGone(s *Server) {
	for _, c := range append([]*call(nil), g.calls...) {
		if c.at == s && c.run == s.run {
			try := c.try
			g.w.after(g.w.between(0, 10*millisecond), func() {
				if c.try == try && c.at != nil {
					c.lost()
				}
			})
		}
	}
}

// lost: the try's answer will not come. What is tried again is a retry.
func (c *call) lost() {
	c.retry = c.isWrite()
	c.later()
}

func (c *call) end(res item.Result, how outcome) {
	g := c.g
	c.try++
	c.at = nil
	for i, x := range g.calls {
		if x == c {
			g.calls = append(g.calls[:i], g.calls[i+1:]...)
			break
		}
	}
	if how == answered && res.Status == item.OK && c.req.Op.Retrieves() {
		g.uniques[string(c.req.Key)] = res.Item.CAS()
	}
	if c.req.Op == item.OpOpenSession {
		g.opened(c, res, how)
		return
	}
	if c.piece {
		g.w.traceEnd(c, res, how)
		g.w.checkAnswered(c, res, how)
		c.ended(res, how)
		return
	}
	if c.ended != nil {
		c.ended(res, how)
	}
	if string(c.req.Key) == g.counter.key {
		g.counter.ended(g.w, c, res, how)
	} else {
		g.w.hist.add(c, res, how)
	}
	c.done()
}
