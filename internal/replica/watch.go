package replica

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/wire"
)

// Tick is called every 100 ms or so for every replica that is a primary: it
// repeats what was not answered and accuses who does not answer.
func (r *Replica) Tick(fx *Effects) {
	q := r.pri
	if q == nil {
		return
	}
	now := r.node.Now
	for _, p := range q.peers {
		switch {
		case !p.joining && !p.agreed:
			if r.allStored() && !p.reading && now-p.asked > retryAfter {
				r.askRing(p, fx)
			}
		case p.joining:
			r.tickJoin(p, fx)
		}
		if p.waiting != 0 && r.node.Awake()-p.waiting > retryAfter && (p.agreed || p.join.live) && now-p.asked > retryAfter {
			p.asked = now
			// What was sent may wait for the member's disk. It is sent again only if it is not there.
			fx.send(p.id, wire.Message{Kind: wire.KindAppendQuery, Partition: r.part, Epoch: r.cfg.Epoch, JoinID: p.join.id, Version: r.last})
		}
	}
	r.boundBacklog(fx) // much may have been committed at once
	r.startDueFlush(fx)
	r.endIdleSessions(fx)
	r.tryActivate(fx)
	r.tryCommit(fx)
	r.accuse(fx)
}

// resend sends a member every operation that it has not acknowledged.
func (r *Replica) resend(p *peer, fx *Effects) {
	for i := r.log.after(p.acked); i < len(r.log.entries); i++ {
		r.sendEntry(p, &r.log.entries[i], fx)
	}
}

// stepAppendGap sends a member again what it has not taken. On a connection that
// lives that is only what came while it had no part in this epoch.
func (r *Replica) stepAppendGap(p *peer, m *wire.Message, fx *Effects) {
	if m.JoinID != p.join.id || !p.joining && !p.agreed {
		return
	}
	sent := 0
	for i := r.log.after(max(p.acked, seqOf(m.Version))); i < len(r.log.entries) && sent < maxResend; i++ {
		e := &r.log.entries[i]
		r.sendEntry(p, e, fx)
		sent += e.cost()
	}
}

// PeerConnected says that the connection to a server is new: what was sent on
// the old one may be lost.
func (r *Replica) PeerConnected(id clustermap.ServerID, fx *Effects) {
	q := r.pri
	if q == nil {
		return
	}
	p := q.peer(id)
	switch {
	case p == nil:
	case p.joining && p.join.phase < joinAsked: // nothing was sent yet
	case p.joining && p.join.phase == joinAsked:
		r.askJoin(p, fx)
	case p.joining:
		r.restartJoin(p, fx)
	case p.agreed:
		r.resend(p, fx)
	case r.allStored():
		r.askRing(p, fx)
	}
}

// accuse reports members that are silent for longer than the limit, and with
// the first every one that is silent for two thirds of it (R9).
func (r *Replica) accuse(fx *Effects) {
	q := r.pri
	worst := int64(0)
	for _, p := range q.peers {
		if !p.joining || p.counted {
			worst = max(worst, r.silence(p))
		}
	}
	if worst <= int64(SilenceLimit) {
		return
	}
	var members []clustermap.ServerID
	for _, p := range q.peers {
		if (!p.joining || p.counted) && r.silence(p) > int64(SilenceLimit)*2/3 {
			members = append(members, p.id)
		}
	}
	fx.Accuse = append(fx.Accuse, Accusation{r.pe(), members})
}

// patience is how much longer than a silent member one is waited for that is
// heard but has not stored what was sent to it: a busy disk is not a dead server.
const patience = 3

// silence is for how long the member has not done its part: it is not heard,
// or an operation sent to it is not stored. It is measured in the time in which
// this server itself ran: one that stood still has no right to accuse.
func (r *Replica) silence(p *peer) int64 {
	now := r.node.Awake()
	s := r.node.Leases.Silent(p.id, r.pri.since, now)
	if p.waiting != 0 {
		s = max(s, (now-p.waiting)/patience)
	}
	return s
}

// Dead is told whom the manager holds dead: they are accused at once (R3).
func (r *Replica) Dead(ids []clustermap.ServerID, fx *Effects) {
	if r.pri == nil {
		return
	}
	var members []clustermap.ServerID
	for _, p := range r.pri.peers {
		if (!p.joining || p.counted) && clustermap.Contains(ids, p.id) {
			members = append(members, p.id)
		}
	}
	if len(members) > 0 {
		fx.Accuse = append(fx.Accuse, Accusation{r.pe(), members})
	}
}

// reportInSync reports a counted joiner (R6).
func (r *Replica) reportInSync(p *peer, fx *Effects) {
	fx.InSync = append(fx.InSync, control.InSync{P: r.part, E: r.cfg.Epoch, Joiner: p.id, Incarnation: p.join.incarnation, Instead: r.instead(p.id)})
}

// instead is the replica that may go when the joiner becomes one: planning wants the
// partition elsewhere. Each joiner has its own, so there are never fewer copies than before; 0: none.
func (r *Replica) instead(joiner clustermap.ServerID) clustermap.ServerID {
	c := &r.cfg
	if len(c.Replicas) < len(c.Assigned) || !clustermap.Contains(c.Assigned, joiner) {
		return 0
	}
	before := 0 // joiners
	for _, id := range c.Joining {
		if id == joiner {
			break
		}
		if clustermap.Contains(c.Assigned, id) {
			before++
		}
	}
	for _, id := range c.Replicas[1:] {
		if !clustermap.Contains(c.Assigned, id) {
			if before == 0 {
				return id
			}
			before--
		}
	}
	return 0
}
