package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// verification is what full-replace still has to do: each backup leaves and
// joins again, which compares it with its primary and mends it (R7). It is
// remembered by this term only: after a change of managers it is begun anew by
// giving the command again.
type verification struct {
	todo map[uint16][]ID
	out  map[uint16]ID // whose join is awaited
}

func newVerification() verification {
	return verification{todo: map[uint16][]ID{}, out: map[uint16]ID{}}
}

// begin lists every backup of m. A partition with fewer than three copies is
// left out: taking one would leave a single copy. It returns how many copies
// are to be verified and how many partitions were left out.
func (v *verification) begin(m *clustermap.Map) (copies, left int) {
	*v = newVerification()
	for i := range m.Partitions {
		a := m.Partitions[i].Assigned
		if len(a) < 3 {
			left++
			continue
		}
		v.todo[uint16(i)] = slices.Clone(a[1:])
		copies += len(a) - 1
	}
	return copies, left
}

func (v *verification) left() int {
	n := len(v.out)
	for _, l := range v.todo {
		n += len(l)
	}
	return n
}

// cancel leaves out what has not begun, and tells how many copies that is.
func (v *verification) cancel() (copies int) {
	for _, l := range v.todo {
		copies += len(l)
	}
	clear(v.todo)
	return copies
}

// busy: partition i is still to be verified, or a copy of it is awaited.
func (v *verification) busy(i uint16) bool {
	if len(v.todo)+len(v.out) == 0 {
		return false
	}
	return len(v.todo[i]) > 0 || v.out[i] != 0
}

// back tells that a joiner of partition i became a replica.
func (v *verification) back(i uint16, id ID) {
	if v.out[i] == id {
		delete(v.out, i)
	}
}

// reverify takes the next backup of partition i out, if two other copies stay
// and few partitions have one less already.
func (t *turn) reverify(i uint16, p Partition) (Partition, bool) {
	v := &t.c.verify
	delete(v.out, i) // at rest: nothing is awaited
	list := v.todo[i]
	for len(list) > 0 && (list[0] == p.Replicas[0] || !slices.Contains(p.Replicas, list[0])) {
		list = list[1:]
	}
	if len(list) == 0 || len(p.Assigned) < 3 {
		delete(v.todo, i)
		return p, false
	}
	v.todo[i] = list
	unsound := func(id ID) bool { return !t.live(id) || t.hangs(id) || t.leaving(id) == control.Stops }
	if len(p.Replicas) < 3 || t.verifying <= 0 || t.m.Copying.Paused || slices.ContainsFunc(p.Replicas, unsound) {
		return p, false
	}
	np, ok := t.move(p, drop, clustermap.Without(p.Replicas, list[0]))
	if ok {
		t.verifying--
		v.out[i] = list[0]
		v.todo[i] = list[1:]
	}
	return np, ok
}
