package replica

import "github.com/kumofs/kumofs/internal/wire"

// Damage. A store may find that a part of what it has of a partition cannot be read, or
// is not what the others have. It leaves the partition first, as with any error of the disk (R9): then
// others have all that was acknowledged, and this copy is one that is going to be compared (R7).
// While the daemon removes what is damaged nothing may go by what the store has: a
// comparison would find keys there that are gone a moment later. So no join begins meanwhile,
// and one that has begun begins again.

// Distrust says that the daemon is going to remove a part of what the store has of the
// partition, other than by operations. From when this is stored (TakeTicket, Persisted) until
// Trust it may. False: the partition is counted on here, or is about to be; who is a member leaves it first
// (control.Report.StepDown).
func (r *Replica) Distrust(fx *Effects) bool {
	if r.distrusted {
		return true
	}
	switch {
	case r.role == roleNone:
	case r.role == roleJoiner && (!r.join.live || r.unfinished):
		// Nothing that it has stored in this join was said to be all.
	default:
		return false
	}
	r.distrusted = true
	r.join = joiner{}
	if !r.Empty() {
		r.unfinished = true
		r.touch(fx)
		r.afterPersist(fx, wire.KindNone, 0, 0)
	}
	return true
}

// Trust says that it has been removed, or that it stays. What was removed may be the bookkeeping too.
func (r *Replica) Trust(fx *Effects) {
	if !r.distrusted {
		return
	}
	r.distrusted = false
	if r.Empty() {
		return
	}
	if r.flush != (wire.Flush{}) {
		r.write(fx, Write{IsFlush: true, Flush: r.flush})
	}
	r.touch(fx)
	r.afterPersist(fx, wire.KindNone, 0, 0)
}

// Distrusted tells whether it is between Distrust and Trust.
func (r *Replica) Distrusted() bool { return r.distrusted }
