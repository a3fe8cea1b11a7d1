package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

// check names what a run is checked for; a failure begins with it.
type check string

const (
	linearizable  check = "linearizable"                    // P1, porcupine
	verdictKnown  check = "verdict known"                   // porcupine came to one
	nothingLost   check = "nothing acknowledged is lost"    // P2
	noReturn      check = "nothing comes back"              // P1: what was deleted or overwritten
	exactlyOnce   check = "exactly once"                    // R8
	answeredAll   check = "answered after a single fault"   // R8, P3
	onePrimary    check = "one primary per epoch"           // R3
	leaseKept     check = "no answer past the lease"        // R5
	equalReplicas check = "replicas are equal"              // R4, R7
	listedThere   check = "what is listed is there"         // P5
	unlistedGoes  check = "what is not listed goes"         // large values
	liveness      check = "served after the faults"         // P3, P4
	managersAgree check = "managers agree"                  // §5
	validSteps    check = "steps of the map are valid"      // R3
	codec         check = "what is sent can be read"        //
	scripted      check = "the scenario goes as it is told" // testdata
)

// serverRun is one run of a server.
type serverRun struct {
	s   *Server
	run uint64
}

// inspect looks for partitions that have just begun to serve in an epoch.
func (s *Server) inspect() {
	w := s.w
	for i, r := range s.replicas {
		e := r.Config().Epoch
		switch {
		case r.IsPrimary():
			s.led[i] = e
		case s.led[i] == e:
			s.ended[i] = e
		}
		if r.Serving() != s.node.Serves(uint16(i)) {
			w.fail(onePrimary, "%s: whether it serves p%d is told in two ways", s, i)
		}
		if r.Serving() && s.ended[i] == e {
			w.fail(onePrimary, "%s serves p%d in epoch %d again, after its role in it had ended", s, i, e)
		}
		if r.Serving() && s.checked[i] != e {
			s.checked[i] = e
			w.stats["activations"]++
			s.noteResume(i)
			w.tracef("%s serves p%d in epoch %d", s.name, i, e)
			me := serverRun{s, s.run}
			if o, ok := w.leads[i][e]; ok && o != me {
				w.fail(onePrimary, "%s and a run of %s both serve p%d in epoch %d", s, o.s.name, i, e)
			}
			w.leads[i][e] = me
			w.compareReplicas(s, r)
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
// that is still in that epoch, in the run that has a role in it, has in its store just what the primary has. The
// operations that the primary orders from now on are not stored anywhere yet.
func (w *World) compareReplicas(s *Server, r *replica.Replica) {
	p := r.Part()
	for _, id := range r.Config().Replicas[1:] {
		b := w.server(id)
		if !b.up || !b.member || int(p) >= len(b.replicas) || b.replicas[p].Config().Epoch != r.Config().Epoch {
			continue
		}
		w.compareStores(s, b, p, "at activation")
	}
}

func (w *World) compareStores(a, b *Server, p uint16, when string) {
	if d := w.difference(a, b, p); d != "" {
		w.fail(equalReplicas, "%s: p%d: %s", when, p, d)
	}
}

// difference says in what two stores differ in a partition; empty: in nothing.
func (w *World) difference(a, b *Server, p uint16) string {
	x, y := a.disk.part(p), b.disk.part(p)
	for _, ps := range []*partStore{x, y} {
		ps.stored.Version = max(ps.stored.Version, uint64(p)<<20) // where seq begins
	}
	if x.stored != y.stored {
		return fmt.Sprintf("%s is at %s %+v, %s at %s %+v", a.name, version(x.stored.Version), x.stored, b.name, version(y.stored.Version), y.stored)
	}
	for _, k := range slices.Sorted(maps.Keys(x.records)) {
		if !bytes.Equal(y.records[k], x.records[k]) {
			return fmt.Sprintf("key %s: %s has %s, %s has %s", showKey([]byte(k)), a.name, show(x.item(k)), b.name, show(y.item(k)))
		}
	}
	if len(x.records) == len(y.records) {
		return ""
	}
	for _, k := range slices.Sorted(maps.Keys(y.records)) {
		if _, ok := x.records[k]; !ok {
			return fmt.Sprintf("key %s: %s has nothing, %s has %s", showKey([]byte(k)), a.name, b.name, show(y.item(k)))
		}
	}
	return ""
}

func show(it *item.Item) string {
	if it == nil {
		return "nothing"
	}
	return string(it.Value) + " of " + version(it.Version)
}

// inspectReplies: nothing may be answered from a store in an epoch lower than
// one that has served (R5).
func (w *World) inspectReplies(s *Server, r *replica.Replica, replies []*replica.Reply) {
	p, e := r.Part(), r.Config().Epoch
	for i := range replies {
		c, ok := replies[i].Token.Owner.(*call)
		if !ok {
			continue // the sweeper's
		}
		local := replies[i].Nak == nil && c.req.Op == item.OpGet
		switch replies[i].Result.Status {
		case item.NotFound, item.NotStored, item.Exists, item.NonNumeric:
			local = true
		}
		if c.retry {
			local = false // a recorded failure stays what it was
		}
		if len(c.req.Key) > 0 && c.req.Key[0] == 't' || w.opt.flushes(p) && replies[i].Result.Status == item.NotFound {
			local = false // it may have been expired or flushed, and its removal is a write
		}
		if local && e < w.served[p] {
			w.fail(leaseKept, "%s answers from its store in p%d epoch %d, epoch %d has served", s.name, p, e, w.served[p])
		}
		w.served[p] = max(w.served[p], e)
	}
}

// checkAnswered: after a single fault every client is answered (R8, P3).
func (w *World) checkAnswered(c *call, res item.Result, how outcome) {
	if w.opt.Single && how != answered && how != torn {
		w.fail(answeredAll, "client %d: %s of p%d from %.3f: %s", c.client, describe(&c.req), c.part, float64(c.began)/1e6, result(res, how))
	}
}

// serves tells whether every partition has a primary that serves, as recorded.
func (w *World) serves() bool {
	for i := range w.agreed.m.Partitions {
		p := &w.agreed.m.Partitions[i]
		if s := w.server(p.Primary()); !p.Active || s == nil || !s.up || s.replicas == nil || !s.replicas[i].Serving() {
			return false
		}
	}
	return len(w.agreed.m.Partitions) > 0
}

// atRest tells whether every partition has all its copies where they are planned.
func (w *World) atRest() bool {
	m := w.agreed.m
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if !p.Active || len(p.Joining) > 0 || !clustermap.SameSet(p.Replicas, p.Assigned) || p.Replicas[0] != p.Assigned[0] {
			return false
		}
	}
	return w.serves()
}

// compareAll compares all copies of all partitions. Where they differ an operation
// may be on its way, as a flush that was due just now: they are looked at again.
func (w *World) compareAll() {
	m := w.agreed.m
	for i := range m.Partitions {
		p := &m.Partitions[i]
		for _, id := range p.Replicas[1:] {
			a, b := w.server(p.Replicas[0]), w.server(id)
			for again := 0; again < 5 && w.difference(a, b, uint16(i)) != ""; again++ {
				w.runUntil(w.now + 300*millisecond)
			}
			w.compareStores(a, b, uint16(i), "at rest")
		}
	}
}
