package council

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/planted"
)

// requests are what servers asked for and the map does not show yet. Each names
// the asking server's incarnation and the partition's epoch; a request is taken
// only if both are the map's (R3, R6) and dropped once the epoch has passed.
type requests struct {
	activated map[uint16]request
	accused   map[uint16]request
	stepDown  map[uint16][]request
	inSync    map[uint16][]inSync
}

type request struct {
	from        ID
	incarnation uint64
	epoch       uint32
	ids         []ID // accused
}

type inSync struct {
	request
	joiner      ID
	incarnation uint64
	instead     ID // goes in the same step; 0: nobody
}

func newRequests() requests {
	return requests{map[uint16]request{}, map[uint16]request{}, map[uint16][]request{}, map[uint16][]inSync{}}
}

// Report takes what a server's partitions have to say. It is a sign of life too.
func (c *Council) Report(now int64, from ID, r control.Report) {
	s := c.members[from]
	if s == nil || s.reg.Incarnation != r.Incarnation {
		return
	}
	c.Heard(now, from)
	s.copiesLeft, s.damaged, s.disk = r.CopiesLeft, r.Damaged, r.Disk
	c.sent(now, s, r.CopyBytes)
	s.says(now, r.Hangs)
	if s.leaving != r.Leaving {
		s.leaving, s.releasedAt = r.Leaving, 0
	}
	of := func(pe control.PartitionEpoch, takenAnyway planted.Bug) (request, bool) {
		if int(pe.P) >= len(c.m.Partitions) {
			return request{}, false
		}
		if now := c.m.Partitions[pe.P].Epoch; pe.E < now {
			if !planted.Is(takenAnyway) {
				return request{}, false
			}
			pe.E = now
		}
		return request{from: from, incarnation: r.Incarnation, epoch: pe.E}, true
	}
	for _, pe := range r.Activated {
		if q, ok := of(pe, planted.ActivationOfAnyEpoch); ok && !c.recordedActive(pe.P, q.epoch) {
			c.asked.activated[pe.P] = q
		}
	}
	for _, a := range r.Accuse {
		for _, pe := range a.Partitions {
			if q, ok := of(pe, planted.None); ok {
				q.ids = a.Accused
				if old, ok := c.asked.accused[pe.P]; ok && old.from == from && old.epoch == pe.E {
					q.ids = union(old.ids, a.Accused)
				}
				c.asked.accused[pe.P] = q
			}
		}
	}
	for _, pe := range r.StepDown {
		if q, ok := of(pe, planted.None); ok {
			list := c.asked.stepDown[pe.P]
			for i := range list {
				if list[i].from == from {
					list = append(list[:i:i], list[i+1:]...)
					break
				}
			}
			c.asked.stepDown[pe.P] = append(list, q)
		}
	}
	for _, in := range r.InSync {
		if q, ok := of(control.PartitionEpoch{P: in.P, E: in.E}, planted.InSyncOfAnyEpoch); ok {
			list := c.asked.inSync[in.P]
			if len(list) < 16 {
				c.asked.inSync[in.P] = append(list, inSync{q, in.Joiner, in.Incarnation, in.Instead})
			}
		}
	}
}

// recordedActive: the partition's activation in this epoch is in the map. Primaries repeat
// their reports until they have seen it there.
func (c *Council) recordedActive(i uint16, epoch uint32) bool {
	p := &c.m.Partitions[i]
	return p.Active && p.Epoch == epoch
}

// none: nothing is asked for.
func (r *requests) none() bool {
	return len(r.activated)+len(r.accused)+len(r.stepDown)+len(r.inSync) == 0
}

// any: something is asked for in partition i.
func (r *requests) any(i uint16) bool {
	// Asked for each partition in each look; most of these are empty.
	return len(r.activated) > 0 && r.activated[i].from != 0 || len(r.accused) > 0 && r.accused[i].from != 0 ||
		len(r.stepDown) > 0 && len(r.stepDown[i]) > 0 || len(r.inSync) > 0 && len(r.inSync[i]) > 0
}

// expire drops requests of epochs that have passed.
func (r *requests) expire(m *clustermap.Map) {
	passed := func(p uint16, q request) bool { return m.Partitions[p].Epoch > q.epoch }
	for p, q := range r.activated {
		if passed(p, q) || m.Partitions[p].Active {
			delete(r.activated, p)
		}
	}
	for p, q := range r.accused {
		if passed(p, q) {
			delete(r.accused, p)
		}
	}
	for p, list := range r.stepDown {
		keep := list[:0]
		for _, q := range list {
			if !passed(p, q) {
				keep = append(keep, q)
			}
		}
		if r.stepDown[p] = keep; len(keep) == 0 {
			delete(r.stepDown, p)
		}
	}
	for p, list := range r.inSync {
		keep := list[:0]
		for _, q := range list {
			if !passed(p, q.request) {
				keep = append(keep, q)
			}
		}
		if r.inSync[p] = keep; len(keep) == 0 {
			delete(r.inSync, p)
		}
	}
}

func union(a, b []ID) []ID {
	out := append([]ID(nil), a...)
	for _, id := range b {
		if !clustermap.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
