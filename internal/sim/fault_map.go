package sim

import (
	"slices"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Faults that the operator or the plan makes, and those that lose data.

// change has the leader propose a step of its own making, if it may.
func (f *fault) change(step func(m *clustermap.Map) (int, clustermap.Partition, bool)) {
	lead := f.w.leader()
	if lead == nil || lead.inflight != 0 || !lead.v.leads || lead.pausedUntil > f.w.now || len(lead.v.m.Partitions) == 0 ||
		lead.v.applied != len(lead.v.log) {
		return
	}
	m := lead.v.m
	if i, p, ok := step(m); ok {
		old := m.Partitions[i].Epoch
		lead.propose(&clustermap.Delta{Base: m.Version, Partitions: []clustermap.PartitionChange{{Index: uint16(i), OldEpoch: old, New: p}}}, false)
	}
}

// reassign plans a partition's copies elsewhere, at random.
func (f *fault) reassign() {
	f.change(func(m *clustermap.Map) (int, clustermap.Partition, bool) {
		i := f.rng.IntN(len(m.Partitions))
		p := m.Partitions[i]
		var active []clustermap.ServerID
		for _, s := range m.Servers {
			if s.State == clustermap.Active {
				active = append(active, s.ID)
			}
		}
		if len(active) == 0 {
			return 0, p, false
		}
		f.rng.Shuffle(len(active), func(a, b int) { active[a], active[b] = active[b], active[a] })
		p.Assigned = active[:min(3, len(active))]
		f.did("p%d to %s", i, f.w.names(p.Assigned))
		return i, p, true
	})
}

// handOver has another replica lead, and cuts the old primary off from those
// who would tell it, while it still holds leases and gateways reach it (R5).
func (f *fault) handOver() {
	w := f.w
	f.change(func(m *clustermap.Map) (int, clustermap.Partition, bool) {
		i := f.rng.IntN(len(m.Partitions))
		p := m.Partitions[i]
		if !p.Active || len(p.Replicas) < 2 {
			return 0, p, false
		}
		n := 1 + f.rng.IntN(len(p.Replicas)-1)
		old, lead := w.server(p.Replicas[0]), w.server(p.Replicas[n])
		if !lead.up {
			return 0, p, false // the managers lead over to servers that live
		}
		stays := f.chance(0.5)
		list := []clustermap.ServerID{lead.id}
		for _, id := range p.Replicas {
			if id != lead.id && (stays || id != old.id) {
				list = append(list, id)
			}
		}
		f.did("p%d from %s to %s", i, old, lead)
		f.cutFor(f.between(50*millisecond, 1500*millisecond), func(set func(a, b int)) {
			for _, m := range w.managers {
				set(m.place, old.place)
			}
			set(lead.place, old.place)
			if f.chance(0.5) {
				set(old.place, lead.place)
			}
		})
		p.Epoch, p.Replicas, p.Joining, p.Active, p.Assigned = p.Epoch+1, list, nil, false, list
		return i, p, true
	})
}

func (f *fault) command(name string, args ...string) { f.manager().command(name, args...) }

// detach: fault servers leave the cluster; the operator attaches them again
// when they are back.
func (f *fault) detach() {
	f.did("")
	f.command("detach")
}

// detachAway detaches a server that is away, with its data: when it comes back
// and is attached again nothing of what it holds may count.
func (f *fault) detachAway() {
	s, d := f.server(), f.between(3*second, 6*second)
	if !s.up {
		return
	}
	f.did("%s for %v", s, time.Duration(d))
	f.crashAndRestart(s, d)
	f.w.after(f.between(2200*millisecond, d), func() { f.command("detach") })
}

func (f *fault) replace() {
	f.did("")
	f.command("replace")
}

// pauseCopying: the operator has no copies made for a while.
func (f *fault) pauseCopying() {
	f.did("")
	f.command("copying", "pause")
	f.w.after(f.between(50*millisecond, 2*second), func() { f.command("copying", "resume") })
}

func (f *fault) cancelMoves() {
	f.did("")
	f.command("cancel")
}

func (f *fault) fullReplace() {
	f.did("")
	f.command("full-replace")
}

func (f *fault) autoReplace() {
	f.did("")
	if f.chance(0.5) {
		f.command("enable-auto-replace")
	} else {
		f.command("disable-auto-replace")
	}
}

// spare tells whether each partition's last configuration has another store with
// all that was acknowledged: what P2 promises to keep then. The present replicas
// count as such too: their activation's report may be on its way.
// Not where they are unrecorded.
func (w *World) spare(s *Server, unrecorded ...int) bool {
	for _, v := range w.voters {
		for _, e := range v.log[min(len(v.log), len(w.agreed.log)):] {
			if e.delta != nil {
				return false // it may be agreed yet
			}
		}
	}
	keeps := func(list []clustermap.ServerID) bool {
		return !clustermap.Contains(list, s.id) || slices.ContainsFunc(list, func(id clustermap.ServerID) bool {
			o := w.server(id)
			return o != s && !o.disk.destroyed && !o.disk.uncertain
		})
	}
	for i := range w.agreed.m.Partitions {
		if p := &w.agreed.m.Partitions[i]; !keeps(p.LastKnown) || !keeps(p.Replicas) && !slices.Contains(unrecorded, i) {
			return false
		}
	}
	return true
}

// loseDisk crashes a server and its disk is lost; a new store takes its place.
func (f *fault) loseDisk() {
	f.lose(f.server())
}

// lose destroys a server's disk if it may be; unrecorded are partitions whose
// present primary was not recorded, and is cut off.
func (f *fault) lose(s *Server, unrecorded ...int) {
	w := f.w
	if !s.disk.destroyed && w.spare(s, unrecorded...) && len(w.servers) < placeManager {
		f.did("of %s", s)
		s.crash(false)
		s.disk.destroyed = true
		n := w.newServer(s.addr, f.rng)
		if s.witness != nil {
			n.witness, s.witness = s.witness, nil // its log is beside the store
			n.witness.on = &n.proc
		}
		w.after(f.between(100*millisecond, 3*second), n.start)
	}
}

// losePower crashes machines: without --fsync the tails of their stores are
// lost. A store that waits for others because of that waits for ever if their
// disks are lost, so one run has either the one or the other.
func (f *fault) losePower() {
	w := f.w
	n := 1
	if f.chance(0.5) {
		n = len(w.servers)
	}
	first := f.rng.IntN(len(w.servers))
	var hit []*Server
	for i := range n {
		s := w.servers[(first+i)%len(w.servers)]
		if s.up && (w.opt.Fsync || w.spare(s)) {
			s.crash(f.chance(0.7))
			s.disk.losePower(w, f.rng)
			hit = append(hit, s)
			w.after(f.often(200*millisecond, second, 5*second, 0.5), s.start)
		}
	}
	if len(hit) > 0 {
		f.did("of %v", hit)
	}
}
