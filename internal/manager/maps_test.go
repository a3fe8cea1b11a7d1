package manager

import (
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

// TestHistoryOfAFollower: a manager that begins to lead sends members the steps
// that they lack, made while another led.
func TestHistoryOfAFollower(t *testing.T) {
	m := &Manager{council: council.New(council.Config{})}
	first := clustermap.PlanAddrs([]string{"a:1", "b:1", "c:1"}, 4096, 3)
	maps := []*clustermap.Map{first}
	m.committed(first, nil)
	for i := range 5 {
		cur := maps[len(maps)-1]
		on := i%2 == 0
		d := &clustermap.Delta{Base: cur.Version, AutoReplace: &on}
		n, err := cur.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		m.committed(n, d)
		maps = append(maps, n)
	}
	last := maps[len(maps)-1]
	if !m.history.shows(last) {
		t.Fatalf("version %d is not shown", last.Version)
	}
	if f := m.history.since(last.ClusterID, last.Version); f != nil {
		t.Errorf("%d frames for who has all", len(f))
	}
	frames := m.history.since(last.ClusterID, maps[2].Version)
	if len(frames) != 3 {
		t.Fatalf("%d frames for who lacks three steps", len(frames))
	}
	cur := maps[2]
	for _, f := range frames {
		if k := control.Kind(f[4]); k != control.KindDelta {
			t.Fatalf("a frame of kind %d", k)
		}
		d, err := clustermap.DecodeDelta(f[5:])
		if err != nil {
			t.Fatal(err)
		}
		if cur, err = cur.Apply(d); err != nil {
			t.Fatal(err)
		}
	}
	if cur.Version != last.Version || cur.AutoReplace != last.AutoReplace {
		t.Errorf("the steps lead to version %d, not %d", cur.Version, last.Version)
	}
	// A step that came twice, or after the leader's own reading, changes nothing.
	m.committed(maps[3], nil)
	if !m.history.shows(last) || len(m.history.steps) != 5 {
		t.Errorf("an old map took the place of the newest")
	}
	// A step is missing: the whole map.
	on := true
	gap := *last
	gap.Version += 2
	m.committed(&gap, &clustermap.Delta{Base: gap.Version - 1, AutoReplace: &on})
	if f := m.history.since(gap.ClusterID, last.Version); len(f) != 1 || control.Kind(f[0][4]) != control.KindMap {
		t.Errorf("%d frames for who lacks an unknown step", len(f))
	}
}
