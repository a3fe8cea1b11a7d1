package clustermap

import (
	"cmp"
	"errors"
	"slices"
	"testing"
)

// recovery is a delta of a map that was rebuilt: one partition whose members
// were all there, one of which server 3 is awaited.
func recovery() *Delta {
	m := &Map{ClusterID: 7, Version: 1 << 20, Recovered: 1 << 20, Replication: 3, Servers: testServers(0, 3)}
	slices.SortFunc(m.Servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	a, b, c := m.Servers[0].ID, m.Servers[1].ID, m.Servers[2].ID
	m.Partitions = []Partition{
		{Epoch: 1030, Replicas: []ServerID{a, b}, LastKnown: []ServerID{a, b}, LastPrimary: a, LastPrimaryIncarnation: 1, Assigned: []ServerID{a, b, c}},
		{Epoch: 1030, LastKnown: []ServerID{a, b, c}, LastPrimary: a, LastPrimaryIncarnation: 1, Assigned: []ServerID{a, b, c}, Awaited: []ServerID{c}},
	}
	return &Delta{Updated: 5, Recover: m}
}

func TestRecoverMakesTheMap(t *testing.T) {
	for _, blank := range []*Map{nil, {}} {
		m, err := blank.Apply(recovery())
		if err != nil {
			t.Fatal(err)
		}
		if m.Version != 1<<20 || m.Updated != 5 || m.ClusterID != 7 || len(m.Partitions) != 2 || m.Validate() != nil {
			t.Errorf("%+v", m)
		}
		// It goes on by ordinary steps.
		p := m.Partitions[1]
		p.Awaited = nil
		m = step(t, m, &Delta{Base: m.Version, Partitions: []PartitionChange{{1, p.Epoch, p}}})
		p.Epoch, p.Replicas = p.Epoch+1, p.LastKnown[:1]
		m = step(t, m, &Delta{Base: m.Version, Partitions: []PartitionChange{{1, p.Epoch - 1, p}}})
		if m.Recovered != 1<<20 || m.Version != 1<<20+2 {
			t.Errorf("version %d, recovered at %d", m.Version, m.Recovered)
		}
	}
}

func TestRecoverRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		at     *Map
		change func(d *Delta)
		want   error
	}{
		"not blank":       {created(t, 3), func(d *Delta) { d.Base = created(t, 3).Version }, ErrRefused},
		"another version": {nil, func(d *Delta) { d.Base = 4 }, ErrBase},
		"and more":        {nil, func(d *Delta) { d.Ban = []ServerID{1} }, ErrRefused},
		"and creates":     {nil, func(d *Delta) { d.Create = &Creation{7, 2, 3} }, ErrRefused},
		"no cluster":      {nil, func(d *Delta) { d.Recover.ClusterID = 0 }, ErrRefused},
		"an ordinary map": {nil, func(d *Delta) { d.Recover.Recovered = 1 }, ErrRefused},
		"active":          {nil, func(d *Delta) { d.Recover.Partitions[0].Active = true }, ErrRefused},
		"invalid":         {nil, func(d *Delta) { d.Recover.Partitions = d.Recover.Partitions[:1]; d.Recover.Partitions[0].Epoch = 0 }, ErrInvalid},
		"awaited, roles":  {nil, func(d *Delta) { d.Recover.Partitions[1].Replicas = d.Recover.Partitions[1].LastKnown[:1] }, ErrInvalid},
		"awaited, joins":  {nil, func(d *Delta) { d.Recover.Partitions[1].Joining = slices.Clone(d.Recover.Partitions[1].Awaited) }, ErrInvalid},
		"awaited twice":   {nil, func(d *Delta) { d.Recover.Partitions[1].Awaited = []ServerID{4, 4} }, ErrInvalid},
	} {
		d := recovery()
		c.change(d)
		if _, err := c.at.Apply(d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := created(t, 3)
	m.Recovered = m.Version + 1
	if err := m.Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a recovery to come: %v", err)
	}
}
