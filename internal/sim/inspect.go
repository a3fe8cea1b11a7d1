package sim

import (
	"bytes"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

// inspect looks for partitions that have just begun to serve in an epoch.
func (s *Server) inspect() {
	for i, r := range s.replicas {
		if e := r.Config().Epoch; r.Serving() && s.checked[i] != e {
			s.checked[i] = e
			s.w.stats["activations"]++
			s.noteResume(i)
			s.w.tracef("%s serves p%d in epoch %d", s.name, i, e)
			s.w.compareReplicas(s, r)
		}
	}
}

// noteResume notes that a partition is served from a store alone: by a run of a
// server that began after the partition first served, and was not filled by a join (R9).
func (s *Server) noteResume(p int) {
	w := s.w
	if w.began[p] == 0 {
		w.began[p] = w.now
	}
	if s.started > w.began[p] && !s.joined[p] {
		w.resumed[p] = w.now
		s.joined[p] = true // its table is as good as any from now on
		w.stats["resumes"]++
	}
}

// compareReplicas is R4's claim: when a primary begins to serve, every replica
// that is still in that epoch has in its store just what the primary has. The
// operations that the primary orders from now on are not stored anywhere yet.
func (w *World) compareReplicas(s *Server, r *replica.Replica) {
	p := r.Part()
	for _, id := range r.Config().Replicas[1:] {
		b := w.server(id)
		if !b.up || int(p) >= len(b.replicas) || b.replicas[p].Config().Epoch != r.Config().Epoch {
			continue
		}
		w.compareStores(s, b, p, "at activation")
	}
}

func (w *World) compareStores(a, b *Server, p uint16, when string) {
	x, y := a.disk.part(p), b.disk.part(p)
	for _, ps := range []*partStore{x, y} {
		ps.stored.Version = max(ps.stored.Version, uint64(p)<<20) // where seq begins
	}
	if x.stored != y.stored {
		w.fail("%s: p%d: %s is at %s %+v, %s at %s %+v", when, p, a.name, version(x.stored.Version), x.stored, b.name, version(y.stored.Version), y.stored)
		return
	}
	for k, v := range x.records {
		if !bytes.Equal(y.records[k], v) {
			w.fail("%s: p%d key %s: %s has %s, %s has %s", when, p, k, a.name, show(x.item(k)), b.name, show(y.item(k)))
			return
		}
	}
	for k := range y.records {
		if _, ok := x.records[k]; !ok {
			w.fail("%s: p%d key %s: %s has nothing, %s has %s", when, p, k, a.name, b.name, show(y.item(k)))
			return
		}
	}
}

func show(it *item.Item) string {
	if it == nil {
		return "nothing"
	}
	return string(it.Value) + " of " + version(it.Version)
}

// inspectReplies: nothing may be answered from a store in an epoch lower than
// one that has served (R5).
func (w *World) inspectReplies(s *Server, r *replica.Replica, replies []replica.Reply) {
	p, e := r.Part(), r.Config().Epoch
	for i := range replies {
		c := replies[i].Token.Owner.(*call)
		local := replies[i].Nak == nil && c.req.Op == item.OpGet
		switch replies[i].Result.Status {
		case item.NotFound, item.NotStored, item.Exists, item.NonNumeric:
			local = true
		}
		if c.retry {
			local = false // a recorded failure stays what it was
		}
		if len(c.req.Key) > 0 && c.req.Key[0] == 't' {
			local = false // it may have been expired, which is a write
		}
		if local && e < w.served[p] {
			w.fail("%s answers from its store in p%d epoch %d, epoch %d has served", s.name, p, e, w.served[p])
		}
		w.served[p] = max(w.served[p], e)
	}
}

// atRest tells whether every partition has all its copies where they are planned.
func (w *World) atRest() bool {
	m := w.manager.m
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if !p.Active || len(p.Joining) > 0 || !clustermap.SameSet(p.Replicas, p.Assigned) || p.Replicas[0] != p.Assigned[0] {
			return false
		}
		if s := w.server(p.Replicas[0]); !s.up || s.replicas == nil || !s.replicas[i].Serving() {
			return false
		}
	}
	return true
}

// compareAll compares all copies of all partitions.
func (w *World) compareAll() {
	m := w.manager.m
	for i := range m.Partitions {
		p := &m.Partitions[i]
		for _, id := range p.Replicas[1:] {
			w.compareStores(w.server(p.Replicas[0]), w.server(id), uint16(i), "at rest")
		}
	}
}
