package control

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Without managers a server's primaries accuse a dead member ten times a second:
// what waits to be said stays as long as what is said once.
func TestReportsWithoutAManagerAreBounded(t *testing.T) {
	const parts = 1365
	m := NewMember(MemberConfig{})
	turn := func(epoch uint32, accused ...clustermap.ServerID) Report {
		r := Report{Incarnation: 1, Accuse: []Accusation{{Accused: accused}}}
		for p := range uint16(parts) {
			pe := PartitionEpoch{p, epoch}
			r.Accuse[0].Partitions = append(r.Accuse[0].Partitions, pe)
			r.Activated = append(r.Activated, pe)
			r.StepDown = append(r.StepDown, pe)
			r.InSync = append(r.InSync, InSync{P: p, E: epoch, Joiner: 7, Incarnation: 1})
		}
		return r
	}
	for range 200 {
		m.Send(turn(3, 9))
		m.Send(turn(4, 8, 9))
	}
	m.Send(Report{Incarnation: 1, CopiesLeft: 5})
	got, want := *m.report, turn(4, 8, 9)
	want.CopiesLeft = 5
	if !reflect.DeepEqual(got, want) {
		b, _ := json.Marshal(got)
		t.Errorf("%d bytes wait", len(b))
	}
}

func TestLaterReportSpeaksForBoth(t *testing.T) {
	pe := func(p uint16, e uint32) PartitionEpoch { return PartitionEpoch{p, e} }
	r := Report{Incarnation: 1, Activated: []PartitionEpoch{pe(1, 2), pe(2, 2)}, Hangs: true,
		InSync: []InSync{{P: 1, E: 2, Joiner: 7}, {P: 1, E: 2, Joiner: 8}},
		Accuse: []Accusation{{[]clustermap.ServerID{5}, []PartitionEpoch{pe(1, 2), pe(3, 2)}}, {[]clustermap.ServerID{6}, []PartitionEpoch{pe(4, 2)}}}}
	r.Append(Report{Incarnation: 1, Activated: []PartitionEpoch{pe(2, 3)}, InSync: []InSync{{P: 1, E: 3, Joiner: 8}},
		Accuse: []Accusation{{[]clustermap.ServerID{5, 6}, []PartitionEpoch{pe(3, 2)}}, {[]clustermap.ServerID{5}, []PartitionEpoch{pe(9, 1)}}}})
	want := Report{Incarnation: 1, Activated: []PartitionEpoch{pe(1, 2), pe(2, 3)},
		InSync: []InSync{{P: 1, E: 2, Joiner: 7}, {P: 1, E: 3, Joiner: 8}},
		Accuse: []Accusation{{[]clustermap.ServerID{5, 6}, []PartitionEpoch{pe(3, 2)}}, {[]clustermap.ServerID{5}, []PartitionEpoch{pe(1, 2), pe(9, 1)}},
			{[]clustermap.ServerID{6}, []PartitionEpoch{pe(4, 2)}}}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v", r)
	}
	r.Append(Report{Incarnation: 2})
	if !reflect.DeepEqual(r, Report{Incarnation: 2}) {
		t.Errorf("another run's: %+v", r)
	}
}
