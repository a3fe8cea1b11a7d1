package sim

import (
	"fmt"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

const (
	tickInterval = int64(replica.LeaseInterval)
	maxJoins     = 4
	// stallStep is the longest time between two looks at the clock that counts
	// as having run.
	stallStep = tickInterval * 3 / 2
	// unixStart is the wall clock when a run begins.
	unixStart = int64(1_700_000_000)
)

// Server is kumo-server without its sockets: it does with the core's effects
// what internal/server does, and nothing of its own. What it holds ends with
// a crash, except its disk.
type Server struct {
	proc
	addr string
	id   clustermap.ServerID
	disk *disk
	// witness votes among the managers; nil: this server does not.
	witness *voter
	// Its clock runs at rate from offset; skew is the wall clock's error in seconds.
	rate   float64
	offset int64
	skew   int64

	node     *replica.Node
	fx       replica.Effects
	replicas []*replica.Replica
	cmap     *clustermap.Map
	member   bool
	cache    *cache
	// uploads are those that it knows of in partitions that it leads (collect.go).
	uploads map[uint16]map[item.UploadID]*upSeen
	turning bool // the end of the turn is due
	peers   map[int]*peer
	inbound map[int]*conn
	joins   map[replica.JoinWanted]struct{}
	waiting []replica.JoinWanted
	leasing []*replica.Replica
	granted bool
	// checked is the epoch in which each partition's activation was inspected.
	checked []uint32
	// led is the epoch in which it was each partition's primary last, ended the one
	// in which it ceased to be.
	led, ended []uint32
	// started is when this run began; joined are the partitions that it was given
	// by a join, session table and all.
	started int64
	joined  map[int]bool
	uplink  *uplink
	// fullSince is when its disk was first found full, stepDownAt when the
	// managers were last told; 0: it is not.
	fullSince, stepDownAt int64
	// commits watches for a disk that hangs; hangs: it does.
	commits replica.Commits
	hangs   bool
	hung    bool // the managers were told last that it hangs
	// leaving is what it wants to be rid of; leavingSaid is what the managers were told
	// last, at leavingAt; released is called when they say that nothing more is taken over.
	leaving, leavingSaid control.Leaving
	leavingAt            int64
	released             func()
	// unreadable are partitions of which something could not be read.
	unreadable []uint16
}

// peer is another server: one connection to one incarnation of it.
type peer struct {
	to          *Server
	incarnation uint64
	conn        *conn
	up          bool
	backoff     int64
}

func (s *Server) clock() int64 {
	if planted.Is(planted.LeaseOnWallClock) {
		return s.offset + s.w.now + s.skew*second
	}
	return s.offset + int64(float64(s.w.now)*s.rate)
}

// unix is the wall clock.
func (s *Server) unix() int64 { return unixStart + s.w.now/second + s.skew }

func (s *Server) touchClock() {
	now := s.clock()
	if d := now - s.node.Now; d > stallStep {
		s.node.Stalled += d - stallStep
	}
	s.node.Now = now
	s.node.Unix = s.unix()
}

// start begins a new run with what the disk holds.
func (s *Server) start() {
	w := s.w
	if s.up || s.disk.destroyed {
		return
	}
	if s.disk.failsUntil > w.now && !s.disk.readsFail {
		w.after(w.between(100*millisecond, 500*millisecond), s.start) // its store cannot be opened
		return
	}
	s.up, s.unplugged, s.pausedUntil = true, false, 0
	s.run++
	s.disk.incarnation++
	s.started, s.joined = w.now, map[int]bool{}
	s.fx = replica.Effects{}
	s.cache = newCache(w)
	s.uploads = map[uint16]map[item.UploadID]*upSeen{}
	s.replicas, s.cmap, s.member = nil, nil, false
	s.turning, s.granted, s.fullSince, s.stepDownAt = false, false, 0, 0
	s.unreadable = nil
	s.commits, s.hangs, s.hung = replica.Commits{}, false, false
	s.leaving, s.leavingSaid, s.released = control.Stays, control.Stays, nil
	s.peers, s.inbound = map[int]*peer{}, map[int]*conn{}
	s.joins, s.waiting, s.leasing = map[replica.JoinWanted]struct{}{}, nil, nil
	s.node = &replica.Node{Self: s.id, Now: s.clock(), Leases: replica.NewLeases(s.clock()), Values: s.cache}
	if w.opt.Short {
		s.node.MaxReconcile = 1
	}
	w.tracef("%s starts, incarnation %d", s.name, s.disk.incarnation)
	s.after(w.between(0, tickInterval), s.tick)
	s.uplink = s.linkUp(s, s.adopt)
	if s.witness != nil {
		s.witness.start()
	}
}

// crash ends the run. Its connections break, unless its whole machine is gone.
func (s *Server) crash(unplugged bool) {
	if !s.up {
		return
	}
	s.w.tracef("%s crashes", s.name)
	s.disk.crash(s.w)
	s.end(unplugged)
	if unplugged {
		return
	}
	for _, g := range s.w.gates {
		g.serverGone(s)
	}
}

// turn is one thing that the event loop does; the turn may take in more of them
// before it ends.
func (s *Server) turn(do func()) {
	s.touchClock()
	do()
	s.inspect()
	if !s.turning {
		s.turning = true
		s.after(s.w.between(0, 100*microsecond), s.endTurn)
	}
}

// endTurn carries out the effects in the order in which the daemon does.
func (s *Server) endTurn() {
	s.turning = false
	fx := &s.fx
	if s.granted {
		s.granted = false
		fx.Pending = append(fx.Pending, s.leasing...)
		s.leasing = nil
	}
	s.touchClock()
	for len(fx.Pending) > 0 {
		r := fx.Pending[0]
		fx.Pending = fx.Pending[1:]
		from := len(fx.Replies)
		if r.Drain(fx) {
			s.leasing = append(s.leasing, r)
		}
		s.w.inspectReplies(s, r, fx.Replies[from:])
	}
	s.scheduleJoins()
	s.persist()
	s.urgeLeases()
	for i := range fx.Sends {
		if k := fx.Sends[i].Msg.Kind; k == wire.KindJoinStarted || k == wire.KindJoinDone {
			s.joined[int(fx.Sends[i].Msg.Partition)] = true
		}
		s.sendPeer(fx.Sends[i].To, &fx.Sends[i].Msg)
	}
	for i := range fx.Replies {
		if c, ok := fx.Replies[i].Token.Owner.(*call); ok {
			c.answer(s, fx.Replies[i])
		}
		s.node.Free(fx.Replies[i])
	}
	for _, rd := range fx.Reads {
		s.read(rd)
	}
	for _, c := range fx.Copies {
		s.startCopy(c)
	}
	leaves := s.leaving != s.leavingSaid || s.leaving != control.Stays && s.w.now-s.leavingAt > stepDownEvery
	if down, ill := s.stepDown(); ill || leaves || s.hangs != s.hung || len(fx.Activated)+len(fx.InSync)+len(fx.Accuse)+len(down) > 0 {
		s.report(down)
	}
	*fx = replica.Effects{}
}

// persist moves the turn's writes into the batch, positions last.
func (s *Server) persist() {
	fx, b := &s.fx, s.disk.filling
	for i := range fx.Writes {
		wr := &fx.Writes[i]
		s.noteWrite(wr)
		switch {
		case wr.IsFlush: // the record goes with the position
		case wr.Item != nil:
			b.changes = append(b.changes, change{part: wr.Partition, key: wr.Key, record: item.AppendRecord(nil, wr.Item)})
		default:
			b.changes = append(b.changes, change{part: wr.Partition, key: wr.Key})
		}
	}
	for _, r := range fx.Dirty {
		v, unfinished := r.StorePosition()
		b.changes = append(b.changes, change{part: r.Part(), stored: &replica.Stored{Version: v, Unfinished: unfinished, Flush: r.Flush()}})
		b.refs = append(b.refs, ref{r, r.TakeTicket()})
	}
	s.commit()
}

func (s *Server) scheduleJoins() {
	fx := &s.fx
	for _, j := range fx.JoinsEnded {
		delete(s.joins, j)
	}
	s.waiting = append(s.waiting, fx.JoinsWanted...)
	for len(s.waiting) > 0 && len(s.joins) < maxJoins && !s.cmap.Copying.Paused {
		j := s.waiting[0]
		s.waiting = s.waiting[1:]
		if j.Replica.BeginJoin(j, fx) {
			s.joins[j] = struct{}{}
		}
	}
}

// report tells the manager what the partitions have to say.
func (s *Server) report(down []control.PartitionEpoch) {
	r := control.Report{Incarnation: s.disk.incarnation, Activated: s.fx.Activated, InSync: s.fx.InSync, StepDown: down, Hangs: s.hangs, Leaving: s.leaving}
	s.hung, s.leavingSaid, s.leavingAt = s.hangs, s.leaving, s.w.now
	s.w.stats["accusations"] += len(s.fx.Accuse)
	for _, in := range s.fx.InSync {
		if s.w.ambush != nil {
			s.w.ambush(s, in.P, in.Joiner)
		}
	}
	for _, a := range s.fx.Accuse {
		s.w.tracef("%s accuses %s in partition %d epoch %d", s.name, s.w.names(a.Members), a.PE.P, a.PE.E)
		r.Accuse = append(r.Accuse, control.Accusation{Accused: a.Members, Partitions: []control.PartitionEpoch{a.PE}})
	}
	s.uplink.report(r)
}

func (s *Server) tick() {
	s.turn(func() {
		s.lookAtCommits()
		for _, r := range s.replicas {
			if r.IsPrimary() {
				r.Tick(&s.fx)
			}
		}
		s.fx.Pending = append(s.fx.Pending, s.leasing...)
		s.leasing = nil
		s.talkLeases()
	})
	s.after(int64(float64(tickInterval)/s.rate), s.tick)
}

// adopt takes a whole map from the managers.
func (s *Server) adopt(m *clustermap.Map) {
	if s.cmap != nil && m.Version <= s.cmap.Version {
		return
	}
	if m.ClusterID == 0 {
		return
	}
	s.turn(func() {
		if s.replicas == nil {
			s.makeReplicas(len(m.Partitions))
		}
		s.cmap, s.disk.cluster, s.node.Map = m, m.ClusterID, m
		s.node.Leases.SetMapVersion(m.Version)
		me := m.Server(s.id)
		s.member = me != nil && me.State == clustermap.Active && (me.Incarnation == s.disk.incarnation || planted.Is(planted.RoleOutlivesIncarnation))
		s.connectPeers()
		for i, r := range s.replicas {
			c := &m.Partitions[i]
			v := replica.View{Config: *c, Member: s.member, Whole: true}
			if lp := m.Server(c.LastPrimary); lp != nil && lp.Incarnation > c.LastPrimaryIncarnation {
				v.LastPrimaryRestarted = true
			}
			r.Adopt(v, &s.fx)
		}
		s.granted = s.node.Leases.Adopted() || s.granted
		s.dropMoved()
		s.disk.uncertain = s.disk.uncertain && !s.mended()
	})
}

// mended tells whether every partition of this server was joined or resumed since
// power was lost, so that nothing of its tail is missing any more (R9).
func (s *Server) mended() bool {
	if !s.member {
		return false
	}
	for i, r := range s.replicas {
		p := &s.cmap.Partitions[i]
		if len(p.Awaited) > 0 || r.Unfinished() || clustermap.Contains(p.Joining, s.id) ||
			clustermap.Contains(p.LastKnown, s.id) && !(p.Active && clustermap.Contains(p.Replicas, s.id)) {
			return false
		}
	}
	return true
}

func (s *Server) makeReplicas(n int) {
	s.replicas = make([]*replica.Replica, n)
	s.checked, s.led, s.ended = make([]uint32, n), make([]uint32, n), make([]uint32, n)
	for i := range s.replicas {
		s.replicas[i] = replica.New(uint16(i), s.node, s.disk.part(uint16(i)).stored)
	}
}

// dropMoved forgets partitions that have moved away and have all their copies elsewhere.
func (s *Server) dropMoved() {
	if !s.member {
		return
	}
	for i, r := range s.replicas {
		c := &s.cmap.Partitions[i]
		if r.Empty() || !c.Active || len(c.Replicas) < len(c.Assigned) ||
			clustermap.Contains(c.Replicas, s.id) || clustermap.Contains(c.Joining, s.id) ||
			clustermap.Contains(c.Assigned, s.id) || clustermap.Contains(c.LastKnown, s.id) {
			continue
		}
		s.persist() // what was taken before goes into the batch before
		s.fx.Writes, s.fx.Dirty = nil, nil
		if r.Forget() {
			s.w.stats["forgotten"]++
			s.disk.filling.changes = append(s.disk.filling.changes, change{part: uint16(i), wipe: true})
			s.commit()
		}
	}
}

// frame takes a frame of a connection; dialed: this server opened it.
func (s *Server) frame(c *conn, b []byte, dialed bool) {
	kind, body, n, err := wire.Frame(b)
	if err != nil || n != len(b) {
		s.w.fail(codec, "a frame of %d bytes reads as %d: %v", len(b), n, err)
		return
	}
	other := s.w.servers[c.there.src.place]
	if dialed {
		other = s.w.servers[c.there.dst.place]
	}
	switch kind {
	case wire.KindPeerHello:
		s.hello(c, body)
	case wire.KindLease:
		if !dialed && s.inbound[other.place] != c {
			return
		}
		l, err := wire.DecodeLease(body)
		if err != nil {
			s.w.fail(codec, "lease: %v", err)
		}
		s.turn(func() {
			if planted.Is(planted.LeaseFromArrival) && l.Granted != 0 {
				l.Granted = s.node.Now
			}
			if answer, ok := s.node.Leases.Hear(c.talkOf(&s.proc), other.id, l, s.node.Now, s.node.Awake()); ok {
				s.sayLease(c, answer)
			}
			s.granted = s.granted || l.Granted != 0
		})
	default:
		if !dialed && s.inbound[other.place] != c {
			return // before its hello, or given up for a newer one
		}
		var m wire.Message
		if err := wire.DecodeMessage(kind, body, &m); err != nil {
			s.w.fail(codec, "message of kind %d: %v", kind, err)
			return
		}
		clear(b) // nothing of the frame may be kept
		if int(m.Partition) < len(s.replicas) {
			s.w.traceMessage(other, s, &m)
			s.turn(func() { s.replicas[m.Partition].Step(other.id, &m, &s.fx) })
		}
	}
}

func (s *Server) String() string {
	if s == nil {
		return "a gateway"
	}
	return fmt.Sprintf("%s/%d", s.name, s.disk.incarnation)
}
