package server

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
)

// A blank copy of partition 0 has the zero position and is whole; pairs with that position are an unfinished copy.
func TestPartitionZeroAtItsBeginning(t *testing.T) {
	s, err := store.Open("/s", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	look := func(unfinished bool) {
		t.Helper()
		stored, err := storedPartitions(s)
		if b, ok := stored[0]; err != nil || !ok || b.Position.Unfinished != unfinished {
			t.Errorf("%+v, there %v, %v, want unfinished %v", b, ok, err, unfinished)
		}
	}
	commit := func(change func(b *store.Batch)) {
		t.Helper()
		b := s.NewBatch()
		change(b)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	commit(func(b *store.Batch) { b.SetPosition(0, store.Position{}) })
	look(false)
	commit(func(b *store.Batch) { b.PutItem(0, []byte("key"), &item.Item{Value: []byte("x"), Version: 1}) })
	look(true)
}

// mendRig is a server with data of two partitions, and one mend in both.
type mendRig struct {
	*glue
	j *mend
}

func newMendRig(t *testing.T) *mendRig {
	g := newGlue(t)
	g.stored = map[uint16]store.Bookkeeping{}
	for p := range uint16(2) {
		g.stored[p] = store.Bookkeeping{Position: store.Position{Version: 1<<40 | 5}}
	}
	g.replicas = nil
	return &mendRig{g, &mend{parts: []uint16{0, 1}, state: mendLeaving}}
}

// configure has the server adopt a map in which the partitions have these replicas, all active.
func (r *mendRig) configure(replicas ...[]clustermap.ServerID) {
	next := *r.cmap
	next.Version++
	next.Partitions = nil
	for _, list := range replicas {
		next.Partitions = append(next.Partitions, clustermap.Partition{Epoch: uint32(next.Version), Replicas: list, Active: true, LastKnown: list,
			LastPrimary: list[0], LastPrimaryIncarnation: 1})
	}
	r.adopt(&next)
}

func (r *mendRig) distrusted() (parts []bool) {
	for _, x := range r.replicas {
		parts = append(parts, x.Distrusted())
	}
	return parts
}

func (r *mendRig) expect(free bool, why string, distrusted ...bool) {
	r.t.Helper()
	f, w := r.quit(r.j)
	if f != free || w != why || !slices.Equal(r.distrusted(), distrusted) {
		r.t.Fatalf("free %v, %q, distrusted %v; want %v, %q, %v", f, w, r.distrusted(), free, why, distrusted)
	}
}

// While a part of a mend is the only copy no other part is kept from joining.
func TestMendHoldsNothingBesideTheOnlyCopy(t *testing.T) {
	r := newMendRig(t)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{r.self})
	r.expect(false, control.ScrubNoCopy, false, false)
	if len(r.report.quitting) > 0 {
		t.Errorf("leaves %v", r.report.quitting)
	}
}

// A part becomes the only copy while it waits: what is held already is given back, unless that lasts a moment only, as a failover does.
func TestMendGivesBackWhatItHolds(t *testing.T) {
	r := newMendRig(t)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{other, r.self})
	r.expect(false, notYetLeft, true, false)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{r.self})
	r.expect(false, control.ScrubNoCopy, true, false)
	r.time += int64(mendAlone) + 1
	r.expect(false, control.ScrubNoCopy, false, false)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{other})
	r.expect(true, "", true, true)
}

// The operator accepts a loss, and a part that was left has this copy alone then: it is not cut.
func TestMendLooksAgainAtWhatItHolds(t *testing.T) {
	r := newMendRig(t)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{other, r.self})
	r.expect(false, notYetLeft, true, false)
	r.configure([]clustermap.ServerID{r.self}, []clustermap.ServerID{other})
	r.expect(false, control.ScrubNoCopy, false, false)

	r = newMendRig(t)
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{other})
	r.expect(true, "", true, true)
	if !r.unwanted(r.j) {
		t.Error("nobody counts on it")
	}
	r.configure([]clustermap.ServerID{r.self}, []clustermap.ServerID{other})
	if r.unwanted(r.j) {
		t.Error("it is the only copy")
	}
}

// Two mends that leave at a time are both told of.
func TestMendsLeaveTogether(t *testing.T) {
	r := newMendRig(t)
	r.configure([]clustermap.ServerID{other, r.self}, []clustermap.ServerID{other, r.self})
	a, b := &mend{parts: []uint16{0}}, &mend{parts: []uint16{1}}
	for range 2 {
		r.quit(a)
		r.quit(b)
	}
	slices.Sort(r.report.quitting)
	if !slices.Equal(r.report.quitting, []uint16{0, 1}) {
		t.Errorf("leaves %v", r.report.quitting)
	}
	r.configure([]clustermap.ServerID{other}, []clustermap.ServerID{other, r.self})
	r.quit(a)
	if !slices.Equal(r.report.quitting, []uint16{1}) {
		t.Errorf("leaves %v, and one is left", r.report.quitting)
	}
}

// Many ranges of a partition that differ are mended as one: each mend is a leave and a join.
func TestDifferencesAreMendedAsOne(t *testing.T) {
	list := []keySpan{{[]byte("a"), []byte("b")}, {[]byte("c"), []byte("d")}, {[]byte("x"), nil}}
	got := around(list)
	if len(got) != 1 || string(got[0].From) != "a" || got[0].To != nil {
		t.Errorf("%q", got)
	}
	if got := around(nil); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
