package server

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/replica"
)

// reporter collects what partitions have to tell the manager, over a turn, so
// that one event of a server is one command (R3).
type reporter struct {
	send       func(*control.Report)
	left       atomic.Int64 // copies, as reported last
	stepDownAt int64
	hung       bool            // the managers were told last that the disk hangs
	leaving    control.Leaving // as reported last
	leavingAt  int64
	// unreadable are partitions that a read failed of in this turn; unreadableAt is
	// when the log said so last.
	unreadable   []uint16
	unreadableAt int64
	// quitting are partitions that this server has to leave to mend its copy, as of the last look; quitAt is when
	// it said so last.
	quitting []uint16
	quitAt   int64
	// damaged are the spans that are not mended, disk how full the disk is, as reported last, at toldAt.
	damaged int
	disk    string
	toldAt  int64
	// unsaved are joins that are done, in configurations that are not on disk yet.
	unsaved []control.InSync
}

const (
	// stepDownEvery is how often a server without space, whose disk hangs, or that leaves says so, in ns.
	stepDownEvery = int64(500e6)
	// toldEvery is how often managers are told of damage and of a full disk: the one that leads may be another one.
	toldEvery = int64(5e9)
	// unreadableEvery is how often the log tells of reads that failed, in ns.
	unreadableEvery = int64(1e9)
)

func (rp *reporter) collect(n *node) {
	fx := &n.fx
	inSync := rp.inSync(n)
	ill := (n.commit.isFull() || n.commit.hangs) && n.rn.Now-rp.stepDownAt > stepDownEvery
	leaving := n.leaving.wants()
	damaged, disk := n.scrub.mends.waiting(), n.diskState()
	bad := damaged > 0 || disk != control.DiskOK
	quit := len(rp.quitting) > 0 && n.rn.Now-rp.quitAt > stepDownEvery
	if len(fx.Activated) == 0 && len(inSync) == 0 && len(fx.Accuse) == 0 && !ill && len(rp.unreadable) == 0 &&
		n.commit.hangs == rp.hung && leaving == rp.leaving && (leaving == control.Stays || n.rn.Now-rp.leavingAt < stepDownEvery) &&
		!quit && damaged == rp.damaged && disk == rp.disk && (!bad || n.rn.Now-rp.toldAt < toldEvery) {
		return
	}
	rp.hung, rp.damaged, rp.disk, rp.toldAt = n.commit.hangs, damaged, disk, n.rn.Now
	rp.leaving, rp.leavingAt = leaving, n.rn.Now
	r := &control.Report{Incarnation: n.incarnation, Hangs: n.commit.hangs, Leaving: leaving, Damaged: damaged, Disk: disk}
	r.Activated = append(r.Activated, fx.Activated...)
	r.InSync = inSync
	r.Accuse = group(fx.Accuse)
	clear(fx.Accuse)
	fx.Activated, fx.Accuse = fx.Activated[:0], fx.Accuse[:0]
	if ill {
		rp.stepDownAt = n.rn.Now
	}
	if ill && n.commit.isFull() {
		// Where it is a backup or joins, too: there it holds up every write.
		for _, x := range n.replicas {
			if c := x.Config(); clustermap.Contains(c.Replicas, n.self) || clustermap.Contains(c.Joining, n.self) {
				r.StepDown = append(r.StepDown, control.PartitionEpoch{P: x.Part(), E: c.Epoch})
			}
		}
	}
	for _, p := range rp.unreadable {
		if x := n.replicas[p]; x.IsPrimary() {
			r.StepDown = append(r.StepDown, control.PartitionEpoch{P: p, E: x.Config().Epoch})
		}
	}
	rp.unreadable = rp.unreadable[:0]
	if quit {
		rp.quitAt = n.rn.Now
		for _, p := range rp.quitting {
			c := n.replicas[p].Config()
			said := slices.ContainsFunc(r.StepDown, func(pe control.PartitionEpoch) bool { return pe.P == p })
			if !said && (clustermap.Contains(c.Replicas, n.self) || clustermap.Contains(c.Joining, n.self)) {
				r.StepDown = append(r.StepDown, control.PartitionEpoch{P: p, E: c.Epoch})
			}
		}
		rp.quitting = nil
	}
	r.CopiesLeft, r.CopyBytes = n.copiesLeft(), n.counters.copyBytes.Load()
	rp.left.Store(int64(r.CopiesLeft))
	if rp.send != nil {
		rp.send(r)
	}
}

// inSync are the joins to report: those whose configuration this server has
// saved. The joiner may be the only replica soon, and after the loss of all
// managers and of the joiner this store must be able to tell of it.
func (rp *reporter) inSync(n *node) (ready []control.InSync) {
	for _, in := range n.fx.InSync {
		if !slices.Contains(rp.unsaved, in) {
			rp.unsaved = append(rp.unsaved, in)
		}
	}
	n.fx.InSync = n.fx.InSync[:0]
	saved := n.saved.Load()
	if len(rp.unsaved) == 0 || saved == nil {
		return nil
	}
	rest := rp.unsaved[:0]
	for _, in := range rp.unsaved {
		if saved.Partitions[in.P].Epoch >= in.E {
			ready = append(ready, in)
		} else {
			rest = append(rest, in)
		}
	}
	rp.unsaved = rest
	return ready
}

func (n *node) copiesLeft() (left int) {
	for _, r := range n.replicas {
		left += r.Joins()
	}
	return left
}

// group joins accusations of the same members.
func group(list []replica.Accusation) []control.Accusation {
	var out []control.Accusation
	index := map[string]int{}
	for _, a := range list {
		members := append([]clustermap.ServerID(nil), a.Members...)
		sort.Slice(members, func(i, j int) bool { return members[i] < members[j] })
		var b strings.Builder
		for _, id := range members {
			fmt.Fprintf(&b, "%x,", uint64(id))
		}
		i, ok := index[b.String()]
		if !ok {
			i = len(out)
			index[b.String()] = i
			out = append(out, control.Accusation{Accused: members})
		}
		out[i].Partitions = append(out[i].Partitions, a.PE)
	}
	return out
}
