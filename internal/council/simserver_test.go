package council

import (
	"fmt"
	"slices"

	"github.com/kumofs/kumofs/internal/control"
)

// live is what a running server does in a step.
func (s *sim) live(b *box) {
	if s.reach(0, b.id) && s.c.Leading() {
		if !b.linked {
			s.register(b)
		} else if s.now%200 == 0 {
			s.c.Heard(s.now, b.id)
		}
		if s.now%50 == 0 && b.linked && b.m != nil && b.m.Version < s.m.Version {
			s.push(b, s.m)
		}
	}
	if !b.role() {
		return
	}
	r := control.Report{Incarnation: b.inc}
	accuse := map[ID][]control.PartitionEpoch{}
	for _, o := range s.boxes {
		if o == b || s.runs(o) && s.reach(b.id, o.id) {
			delete(b.silent, o.id)
		} else if b.silent[o.id] == 0 {
			b.silent[o.id] = s.now
		}
	}
	for i := range b.m.Partitions {
		if b.m.Partitions[i].Primary() == b.id {
			s.lead(b, i, &r, accuse)
		}
	}
	for _, o := range s.boxes {
		id, list := o.id, accuse[o.id]
		if len(list) == 0 {
			continue
		}
		r.Accuse = append(r.Accuse, control.Accusation{Accused: []ID{id}, Partitions: list})
	}
	if len(r.Activated)+len(r.InSync)+len(r.Accuse)+len(r.StepDown) > 0 && s.now%30 == 0 {
		d := int64(s.r.IntN(60))
		if s.r.IntN(20) == 0 {
			d = 400
		}
		inc := b.inc
		s.after(d, func() {
			if b.up && b.inc == inc && b.linked && s.reach(0, b.id) {
				for _, a := range r.Accuse {
					for _, pe := range a.Partitions {
						s.asked[fmt.Sprint(int(pe.P), pe.E, a.Accused[0])] = true
					}
				}
				s.c.Report(s.now, b.id, r)
			}
		})
	}
}

func (s *sim) register(b *box) {
	h := control.Hello{Role: control.RoleServer, ID: b.id, Addr: fmt.Sprintf("10.0.0.%d:19800", b.id), StreamAddr: fmt.Sprintf("10.0.0.%d:19900", b.id),
		Incarnation: b.inc, RunID: b.run, Uncertain: b.uncertain}
	if b.m != nil {
		h.ClusterID, h.KnownMap = b.m.ClusterID, b.m.Version
	}
	reg := Registration{Hello: h}
	for i := range b.store {
		if b.store[i] > 0 || b.undone[i] {
			reg.Positions = append(reg.Positions, control.StorePosition{Partition: uint16(i), Version: uint64(b.store[i]), Unfinished: b.undone[i]})
		}
	}
	if v := s.c.Registered(s.now, reg); !v.OK {
		if s.c.WantsMap(&h) {
			m := b.m
			s.after(int64(s.r.IntN(100)), func() { s.c.Learn(b.id, h.RunID, m) })
		} else if s.m.ClusterID != 0 {
			s.t.Fatalf("at %d server %d refused: %s", s.now, b.id, v.Refuse.Reason)
		}
		return
	}
	b.linked = true
	if s.m.ClusterID != 0 {
		s.push(b, s.m)
	}
}

// with: o takes part in partition i at b's epoch and answers b.
func (s *sim) with(b *box, id ID, i int) *box {
	o := s.box(id)
	if !s.runs(o) || !s.reach(b.id, id) || !o.role() || o.m.Partitions[i].Epoch != b.m.Partitions[i].Epoch ||
		o.m.Server(id).Incarnation != b.m.Server(id).Incarnation {
		return nil
	}
	return o
}

// lead is a primary's step in partition i.
func (s *sim) lead(b *box, i int, r *control.Report, accuse map[ID][]control.PartitionEpoch) {
	p := &b.m.Partitions[i]
	pe := control.PartitionEpoch{P: uint16(i), E: p.Epoch}
	var peers []*box
	all := true
	for _, id := range p.Replicas[1:] {
		o := s.with(b, id, i)
		if o != nil {
			peers = append(peers, o)
			continue
		}
		all = false
	}
	members := slices.Concat(p.Replicas[1:], p.Joining)
	for _, id := range members {
		counted := slices.Contains(p.Replicas, id)
		if !counted {
			continue
		}
		limit := int64(1000)
		if slices.ContainsFunc(members, func(x ID) bool { return b.silent[x] != 0 && s.now-b.silent[x] > 1000 }) {
			limit = 667
		}
		if s.now-b.deadAt <= 30 && slices.Contains(b.dead, id) || b.silent[id] != 0 && s.now-b.silent[id] > limit {
			accuse[id] = append(accuse[id], pe)
		}
	}
	if !all {
		return
	}
	if !p.Active {
		// R4: the members agree with the primary, and the recording is asked for.
		if b.store[i] < s.acked[i] {
			s.t.Fatalf("at %d partition %d: primary %d of epoch %d holds %d of %d acknowledged: lost (P2)", s.now, i, b.id, p.Epoch, b.store[i], s.acked[i])
		}
		for _, o := range peers {
			o.store[i] = b.store[i]
		}
		r.Activated = append(r.Activated, pe)
		return
	}
	for _, o := range peers {
		o.store[i] = b.store[i] // the rings agree
	}
	// A joiner once counted must store every write until a newer epoch (R6).
	joined := []*box{}
	for _, id := range p.Joining {
		if b.filled[i] == nil {
			b.filled[i] = map[ID]int64{}
		}
		key := b.filled[i]
		o := s.with(b, id, i)
		if o == nil {
			if at := key[id]; at>>40 == int64(p.Epoch) && s.now >= at&(1<<40-1) {
				return
			}
			continue
		}
		if at := key[id]; at>>40 != int64(p.Epoch) {
			key[id] = int64(p.Epoch)<<40 | (s.now + int64(s.r.IntN(300)))
			o.undone[i] = true
		} else if s.now >= at&(1<<40-1) {
			o.undone[i] = false
			o.store[i] = b.store[i]
			joined = append(joined, o)
			in := control.InSync{P: pe.P, E: pe.E, Joiner: id, Incarnation: b.m.Server(id).Incarnation}
			if rest := p.Replicas[1:]; len(rest) > 0 && len(joined) == 1 && s.r.IntN(2) == 0 {
				in.Instead = rest[s.r.IntN(len(rest))]
				s.asked[fmt.Sprint(i, pe.E, in.Instead)] = true
			}
			r.InSync = append(r.InSync, in)
		}
	}
	if b.store[i] < s.acked[i] {
		s.t.Fatalf("at %d partition %d: serving primary %d of epoch %d holds %d of %d acknowledged: lost (P2)", s.now, i, b.id, p.Epoch, b.store[i], s.acked[i])
	}
	// A write: stored by all counted, then acknowledged.
	if s.r.IntN(8) == 0 {
		b.store[i]++
		for _, o := range append(peers, joined...) {
			o.store[i] = b.store[i]
		}
		s.acked[i] = b.store[i]
	} else if s.r.IntN(20) == 0 {
		// One that some have not stored, and that is not acknowledged.
		b.store[i]++
		for _, o := range peers {
			if s.r.IntN(2) == 0 {
				o.store[i] = b.store[i]
			}
		}
	}
}
