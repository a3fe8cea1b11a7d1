package replica

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// The servers of the scenarios, and the partition that they are about.
const (
	A clustermap.ServerID = 1 + iota
	B
	C
	D
)

const part = 1

// rig is a few servers in memory with one partition. Nothing happens by itself:
// run delivers messages, stores writes and answers reads until all is quiet.
type rig struct {
	t     *testing.T
	m     *clustermap.Map
	hosts map[clustermap.ServerID]*host
	wires []packet
	// lose tells which messages never arrive, hold which wait until release.
	lose, hold func(packet) bool
	held       []packet
	now        int64
	unix       int64
}

type packet struct {
	from, to clustermap.ServerID
	msg      wire.Message
}

// host is one server: its replica, what it has in its store, and what came out of it.
type host struct {
	id      clustermap.ServerID
	node    *Node
	r       *Replica
	fx      Effects
	up      bool
	store   map[string]*item.Item
	stored  Stored
	batches []batch
	// slowDisk: nothing is stored until it is cleared. slowReads, slowCopies likewise.
	slowDisk, slowReads, slowCopies bool
	reads                           []Read
	copies                          []Copy
	replies                         map[uint32]Reply
	activated                       []uint32
	inSync                          []clustermap.ServerID
	accused                         [][]clustermap.ServerID
	nextID                          uint32
}

type batch struct {
	writes []Write
	stored Stored
	ticket uint64
}

// cache is a Values that can be told to forget.
type cache map[string]*item.Item

func (c cache) Get(_ uint16, gen uint32, key []byte) (*item.Item, bool) {
	it, ok := c[string(rune(gen))+string(key)]
	return it, ok
}
func (c cache) Put(_ uint16, gen uint32, key string, it *item.Item) { c[string(rune(gen))+key] = it }
func (c cache) Remove(_ uint16, gen uint32, key string)             { delete(c, string(rune(gen))+key) }

// newRig makes servers A to D. The partition has the replicas given, the first
// as primary, and is not yet active.
func newRig(t *testing.T, replicas ...clustermap.ServerID) *rig {
	r := &rig{t: t, hosts: map[clustermap.ServerID]*host{}, now: int64(time.Hour), unix: 1_700_000_000}
	r.m = &clustermap.Map{ClusterID: 7, Version: 1, Replication: 3, Partitions: make([]clustermap.Partition, 2)}
	for id := A; id <= D; id++ {
		r.m.Servers = append(r.m.Servers, clustermap.Server{ID: id, Addr: id.String(), Incarnation: 1})
		r.hosts[id] = &host{id: id, store: map[string]*item.Item{}}
	}
	r.m.Partitions[0].Epoch = 1
	r.m.Partitions[part] = clustermap.Partition{Epoch: 1, Replicas: replicas, LastKnown: replicas}
	for id := A; id <= D; id++ {
		r.start(id)
	}
	r.pass(2 * LeaseLength) // the leases that a start counts as granted are over
	return r
}

// active makes the rig's partition serve, with all leases held.
func (r *rig) active() *rig {
	r.run()
	r.record()
	r.leases()
	if p := r.hosts[r.cfg().Primary()]; !p.r.Serving() {
		r.t.Fatal("the primary does not serve")
	}
	return r
}

func (r *rig) cfg() *clustermap.Partition { return &r.m.Partitions[part] }

// start is a new run of a server, with what its store holds.
func (r *rig) start(id clustermap.ServerID) {
	h := r.hosts[id]
	*h = host{id: id, up: true, store: h.store, stored: h.stored, replies: map[uint32]Reply{}}
	h.node = &Node{Self: id, Leases: NewLeases(r.now), Values: cache{}, Now: r.now, Unix: r.unix}
	h.r = New(part, h.node, h.stored)
	r.give(id)
}

func (r *rig) crash(id clustermap.ServerID) {
	r.hosts[id].up = false
	keep := r.wires[:0]
	for _, p := range r.wires {
		if p.from != id && p.to != id {
			keep = append(keep, p)
		}
	}
	r.wires = keep
}

// pass lets time go by at all servers.
func (r *rig) pass(d time.Duration) {
	r.now += int64(d)
	r.unix += int64(d / time.Second)
	for _, h := range r.hosts {
		h.node.Now, h.node.Unix = r.now, r.unix
	}
}

// tick lets time go by in steps of a tick; leases are renewed on the way.
func (r *rig) tick(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		r.pass(100 * time.Millisecond)
		for _, id := range r.ids() {
			if h := r.hosts[id]; h.up {
				h.r.Tick(&h.fx)
			}
		}
		r.leases()
	}
}

func (r *rig) ids() []clustermap.ServerID { return slices.Sorted(maps.Keys(r.hosts)) }

// change makes the next map. The partition gets a new epoch when its replicas
// or joiners change. Nobody knows of it until give.
func (r *rig) change(f func(m *clustermap.Map, p *clustermap.Partition)) {
	m := *r.m
	m.Version++
	m.Partitions = slices.Clone(m.Partitions)
	m.Servers = slices.Clone(m.Servers)
	p := &m.Partitions[part]
	f(&m, p)
	old := r.cfg()
	if !slices.Equal(p.Replicas, old.Replicas) || !slices.Equal(p.Joining, old.Joining) {
		p.Epoch++
	}
	r.m = &m
	if err := m.Validate(); err != nil {
		r.t.Fatalf("the scenario's map: %v", err)
	}
}

// give hands the present map to servers (all that are up when none is named).
func (r *rig) give(ids ...clustermap.ServerID) {
	if len(ids) == 0 {
		ids = r.ids()
	}
	for _, id := range ids {
		h := r.hosts[id]
		if !h.up {
			continue
		}
		h.node.Map = r.m
		h.node.Leases.SetMapVersion(r.m.Version)
		c := r.cfg()
		v := View{Config: *c, Member: r.m.Server(id).State == clustermap.Active, Whole: true}
		if s := r.m.Server(c.LastPrimary); s != nil {
			v.LastPrimaryRestarted = s.Incarnation > c.LastPrimaryIncarnation
		}
		h.r.Adopt(v, &h.fx)
		h.node.Leases.Adopted()
	}
}

// lead makes to the primary of replicas (a failover or hand-over) and tells those named.
func (r *rig) lead(replicas []clustermap.ServerID, tell ...clustermap.ServerID) {
	r.change(func(_ *clustermap.Map, p *clustermap.Partition) {
		p.Replicas, p.Active = replicas, false
	})
	r.give(tell...)
}

// record is the manager's recording of a reported activation (R4).
func (r *rig) record() {
	r.t.Helper()
	p := r.hosts[r.cfg().Primary()]
	if !slices.Contains(p.activated, r.cfg().Epoch) {
		r.t.Fatalf("epoch %d was not reported", r.cfg().Epoch)
	}
	r.change(func(m *clustermap.Map, p *clustermap.Partition) {
		p.Active, p.LastKnown = true, p.Replicas
		p.LastPrimary, p.LastPrimaryIncarnation = p.Replicas[0], m.Server(p.Replicas[0]).Incarnation
	})
	r.give()
	r.run()
}

// leases renews every lease between servers that reach each other.
func (r *rig) leases() {
	for _, a := range r.ids() {
		for _, b := range r.ids() {
			ha, hb := r.hosts[a], r.hosts[b]
			lost := r.lose != nil && (r.lose(packet{from: a, to: b}) || r.lose(packet{from: b, to: a}))
			if a != b && ha.up && hb.up && !lost {
				v := hb.node.Leases.Grant(a, hb.node.Now)
				ha.node.Leases.Granted(b, ha.node.Now, v, ha.node.Now)
			}
		}
		if h := r.hosts[a]; h.up {
			h.fx.Pending = append(h.fx.Pending, h.r)
		}
	}
	r.run()
}

// run lets everything happen that is due.
func (r *rig) run() {
	for busy := true; busy; {
		busy = false
		for _, id := range r.ids() {
			if h := r.hosts[id]; h.up && r.turn(h) {
				busy = true
			}
		}
		if len(r.wires) == 0 {
			continue
		}
		busy = true
		p := r.wires[0]
		r.wires = r.wires[1:]
		switch {
		case r.lose != nil && r.lose(p), !r.hosts[p.to].up:
		case r.hold != nil && r.hold(p):
			r.held = append(r.held, p)
		default:
			h := r.hosts[p.to]
			h.r.Step(p.from, &p.msg, &h.fx)
		}
	}
}

// release delivers what was held, in order, or drops it.
func (r *rig) release(deliver bool) {
	r.hold = nil
	held := r.held
	r.held = nil
	if deliver {
		r.wires = append(held, r.wires...)
	}
	r.run()
}

// turn carries out a server's effects, as the daemon does at the end of a turn.
func (r *rig) turn(h *host) (busy bool) {
	fx := &h.fx
	h.node.Now, h.node.Unix = r.now, r.unix
	for len(fx.Pending) > 0 {
		p := fx.Pending[0]
		fx.Pending = fx.Pending[1:]
		p.Drain(fx)
	}
	for _, w := range fx.JoinsWanted {
		w.Replica.BeginJoin(w, fx)
	}
	if len(fx.Dirty) > 0 {
		v, unfinished := h.r.StorePosition()
		h.batches = append(h.batches, batch{fx.Writes, Stored{v, unfinished, h.r.Flush()}, h.r.TakeTicket()})
	}
	for _, s := range fx.Sends {
		// Through the codec, so that every scenario tests it too.
		frame := wire.AppendMessage(nil, &s.Msg)
		kind, body, _, err := wire.Frame(frame)
		if err != nil {
			r.t.Fatal(err)
		}
		p := packet{from: h.id, to: s.To}
		if err := wire.DecodeMessage(kind, body, &p.msg); err != nil {
			r.t.Fatal(err)
		}
		r.wires = append(r.wires, p)
	}
	for _, reply := range fx.Replies {
		if _, twice := h.replies[reply.Token.ID]; twice {
			r.t.Fatalf("request %d was answered twice", reply.Token.ID)
		}
		h.replies[reply.Token.ID] = *reply
		h.node.Free(reply)
	}
	for _, pe := range fx.Activated {
		h.activated = append(h.activated, pe.E)
	}
	for _, in := range fx.InSync {
		h.inSync = append(h.inSync, in.Joiner)
	}
	for _, a := range fx.Accuse {
		h.accused = append(h.accused, a.Members)
	}
	h.reads, h.copies = append(h.reads, fx.Reads...), append(h.copies, fx.Copies...)
	*fx = Effects{}
	return r.io(h)
}

// io does what the disk has to do.
func (r *rig) io(h *host) (busy bool) {
	if len(h.batches) > 0 && !h.slowDisk {
		b := h.batches[0]
		h.batches = h.batches[1:]
		for _, w := range b.writes {
			switch {
			case w.IsFlush:
			case w.Item == nil:
				delete(h.store, w.Key)
			default:
				h.store[w.Key] = w.Item
			}
		}
		h.stored = b.stored
		h.r.Persisted(b.ticket, &h.fx)
		return true
	}
	if len(h.reads) > 0 && !h.slowReads {
		rd := h.reads[0]
		h.reads = h.reads[1:]
		items := make([]*item.Item, len(rd.Keys))
		for i, k := range rd.Keys {
			items[i] = h.store[k]
		}
		h.r.ReadDone(&rd, items, nil, &h.fx)
		return true
	}
	if len(h.copies) > 0 && !h.slowCopies {
		c := h.copies[0]
		h.copies = h.copies[1:]
		r.copy(h, &c)
		return true
	}
	return false
}

// copy is the daemons' bulk copy in one go.
func (r *rig) copy(h *host, c *Copy) {
	to := r.hosts[c.To]
	keys := c.Keys
	if c.Mode == wire.JoinDigest {
		keys = slices.Sorted(maps.Keys(h.store))
		for k := range to.store {
			if _, ok := h.store[k]; !ok {
				keys = append(keys, k)
			}
		}
	}
	var err error
	for _, k := range keys {
		if !to.r.Chunk(h.r.Config().Epoch, c.JoinID, []wire.Value{{Key: k, Item: h.store[k]}}, &to.fx) {
			err = errTest
		}
	}
	h.r.CopyDone(c, h.r.Last(), err, &h.fx)
}
