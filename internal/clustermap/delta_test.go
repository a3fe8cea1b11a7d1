package clustermap

import (
	"errors"
	"math/rand"
	"reflect"
	"slices"
	"testing"
)

// created is a cluster of 16 partitions with n servers that serve them all.
func created(t testing.TB, n int) *Map {
	t.Helper()
	var m *Map
	m = step(t, m, &Delta{Create: &Creation{ClusterID: 7, Partitions: 16, Replication: 3}})
	for i := range m.Partitions {
		if p := m.Partitions[i]; p.Epoch != 1 || p.Active || len(p.Replicas) != 0 {
			t.Fatalf("a new partition is %+v", p)
		}
	}
	d := &Delta{Base: 1, Updated: 99, SetServers: testServers(0, n)}
	m = step(t, m, d)
	d = &Delta{Base: 2}
	for i, l := range Assign(m, m.Servers, PlanOptions{}) {
		d.Partitions = append(d.Partitions, PartitionChange{uint16(i), 1, Partition{Epoch: 2, Replicas: l, LastKnown: l, Assigned: l}})
	}
	m = step(t, m, d)
	d = &Delta{Base: 3}
	for i := range m.Partitions {
		p := m.Partitions[i]
		p.Active, p.LastPrimary, p.LastPrimaryIncarnation = true, p.Replicas[0], 1
		d.Partitions = append(d.Partitions, PartitionChange{uint16(i), 2, p})
	}
	return step(t, m, d)
}

// step applies d, which must succeed, leave m alone and keep it valid.
func step(t testing.TB, m *Map, d *Delta) *Map {
	t.Helper()
	before := AppendMap(nil, &Map{})
	if m != nil {
		before = AppendMap(nil, m)
	}
	next, err := m.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	if m != nil && !slices.Equal(before, AppendMap(nil, m)) {
		t.Fatal("Apply altered the map")
	}
	if err := next.Validate(); err != nil {
		t.Fatal(err)
	}
	if next.Version != d.Base+1 || next.Updated != d.Updated {
		t.Fatalf("version %d updated %d", next.Version, next.Updated)
	}
	return next
}

// change is a delta that changes partition 0 of m by f.
func change(m *Map, f func(p *Partition)) *Delta {
	p := m.Partitions[0]
	old := p.Epoch
	for _, l := range []*[]ServerID{&p.Replicas, &p.Joining, &p.LastKnown, &p.Assigned} {
		*l = slices.Clone(*l)
	}
	f(&p)
	return &Delta{Base: m.Version, Partitions: []PartitionChange{{0, old, p}}}
}

func TestApplyRefuses(t *testing.T) {
	m := created(t, 4)
	p0 := m.Partitions[0]
	outside := m.Servers[slices.IndexFunc(m.Servers, func(s Server) bool { return !Contains(p0.Replicas, s.ID) })]
	raised := *m.Server(p0.Replicas[1])
	raised.Incarnation++
	lower := raised
	lower.Incarnation = 0
	worn := *m
	worn.Partitions = slices.Clone(m.Partitions)
	worn.Partitions[0].Epoch = MaxEpoch - 1
	banned := step(t, m, &Delta{Base: m.Version, Ban: []ServerID{5, 5}})
	if !slices.Equal(banned.Banned, []ServerID{5}) {
		t.Fatal(banned.Banned)
	}
	on := change(m, func(p *Partition) {})
	twice := &Delta{Base: m.Version, Partitions: append(on.Partitions, on.Partitions...)}
	for name, c := range map[string]struct {
		m    *Map
		d    *Delta
		want error
	}{
		"base":        {m, &Delta{Base: 3}, ErrBase},
		"not created": {nil, &Delta{}, ErrRefused},
		"created":     {m, &Delta{Base: m.Version, Create: &Creation{8, 16, 3}}, ErrRefused},
		"no id":       {nil, &Delta{Create: &Creation{0, 16, 3}}, ErrRefused},
		"partitions":  {nil, &Delta{Create: &Creation{1, 12, 3}}, ErrInvalid},
		"too many":    {nil, &Delta{Create: &Creation{1, 1 << 16, 3}}, ErrInvalid},
		"replication": {nil, &Delta{Create: &Creation{1, 16, 0}}, ErrInvalid},
		"index":       {m, &Delta{Base: m.Version, Partitions: []PartitionChange{{16, 2, p0}}}, ErrRefused},
		"twice":       {m, twice, ErrRefused},
		"old epoch":   {m, &Delta{Base: m.Version, Partitions: []PartitionChange{{0, 1, p0}}}, ErrEpoch},
		"same epoch, replicas": {m, change(m, func(p *Partition) {
			p.Replicas, p.LastKnown = p.Replicas[:2], p.Replicas[:2]
		}), ErrRefused},
		"same epoch, order": {m, change(m, func(p *Partition) {
			p.Replicas[1], p.Replicas[2] = p.Replicas[2], p.Replicas[1]
		}), ErrRefused},
		"same epoch, joining": {m, change(m, func(p *Partition) { p.Joining = []ServerID{outside.ID} }), ErrRefused},
		"same epoch, ceases":  {m, change(m, func(p *Partition) { p.Active = false }), ErrRefused},
		"lower epoch":         {m, change(m, func(p *Partition) { p.Epoch = 1 }), ErrRefused},
		"exhausted":           {&worn, change(&worn, func(p *Partition) { p.Epoch++ }), ErrEpochExhausted},
		"active by itself": {m, change(m, func(p *Partition) {
			p.Epoch++
			p.Replicas = p.Replicas[1:]
			p.LastKnown, p.LastPrimary = p.Replicas, p.Replicas[0]
		}), ErrRefused},
		"last known": {m, change(m, func(p *Partition) { p.Epoch++; p.Replicas = p.Replicas[:2] }), ErrInvalid},
		"not last known": {m, change(m, func(p *Partition) {
			p.Epoch++
			p.Active = false
			p.Replicas[0] = outside.ID
		}), ErrInvalid},
		"both": {m, change(m, func(p *Partition) { p.Epoch++; p.Joining = p.Replicas[2:] }), ErrInvalid},
		"duplicate": {m, change(m, func(p *Partition) {
			p.Epoch++
			p.Joining = []ServerID{outside.ID, outside.ID}
		}), ErrInvalid},
		"stranger joins":    {m, change(m, func(p *Partition) { p.Epoch++; p.Joining = []ServerID{3} }), ErrInvalid},
		"stranger assigned": {m, change(m, func(p *Partition) { p.Assigned = []ServerID{3} }), ErrInvalid},
		"removed, named":    {m, &Delta{Base: m.Version, RemoveServers: p0.Replicas[1:2]}, ErrRefused},
		"removed, unknown":  {m, &Delta{Base: m.Version, RemoveServers: []ServerID{3}}, ErrRefused},
		"set and removed":   {m, &Delta{Base: m.Version, SetServers: m.Servers[:1], RemoveServers: []ServerID{m.Servers[0].ID}}, ErrRefused},
		"set twice":         {m, &Delta{Base: m.Version, SetServers: []Server{raised, raised}}, ErrRefused},
		"keeps old roles":   {m, &Delta{Base: m.Version, SetServers: []Server{raised}}, ErrRefused},
		"lower incarnation": {m, &Delta{Base: m.Version, SetServers: []Server{lower}}, ErrRefused},
		"no address":        {m, &Delta{Base: m.Version, SetServers: []Server{{ID: 3}}}, ErrInvalid},
		"banned":            {banned, &Delta{Base: banned.Version, SetServers: []Server{{ID: 5, Addr: "10.0.0.9:1"}}}, ErrRefused},
	} {
		if next, err := c.m.Apply(c.d); !errors.Is(err, c.want) || next != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApplyTakes(t *testing.T) {
	m := created(t, 4)
	p0 := m.Partitions[0]
	i := slices.IndexFunc(m.Servers, func(s Server) bool { return !Contains(p0.Replicas, s.ID) })
	outside := m.Servers[i].ID

	joins := step(t, m, change(m, func(p *Partition) { p.Epoch++; p.Joining = []ServerID{outside} }))
	if &joins.Servers[0] != &m.Servers[0] {
		t.Error("unchanged servers are copied")
	}
	promoted := step(t, joins, change(joins, func(p *Partition) {
		p.Epoch++
		p.Replicas = append(p.Replicas, outside)
		p.LastKnown, p.Joining = p.Replicas, nil
	}))
	failed := step(t, promoted, change(promoted, func(p *Partition) {
		p.Epoch++
		p.Replicas, p.Active = p.Replicas[1:], false
	}))
	step(t, failed, change(failed, func(p *Partition) {
		p.LastKnown, p.LastPrimary, p.Active = p.Replicas, p.Replicas[0], true
	}))
	assigned := step(t, m, change(m, func(p *Partition) { p.Assigned = nil }))
	if assigned.Partitions[0].Epoch != p0.Epoch {
		t.Error("epoch changed")
	}
	// A sole replica that restarts: same replicas, another epoch.
	again := step(t, m, change(m, func(p *Partition) { p.Epoch += 1024; p.Active = false }))
	if again.Partitions[0].Epoch != p0.Epoch+1024 {
		t.Error("epoch did not change")
	}

	// A new incarnation of a backup becomes a joiner everywhere.
	s := *m.Server(p0.Replicas[1])
	s.Incarnation++
	d := &Delta{Base: m.Version, SetServers: []Server{s}}
	for i, p := range m.Partitions {
		if !Contains(p.Replicas, s.ID) {
			continue
		}
		old := p.Epoch
		p.Epoch++
		p.Replicas, p.Joining, p.Active = Without(p.Replicas, s.ID), []ServerID{s.ID}, false
		d.Partitions = append(d.Partitions, PartitionChange{uint16(i), old, p})
	}
	step(t, m, d)

	// A detached server leaves every list but the last known.
	d = &Delta{Base: m.Version, RemoveServers: []ServerID{s.ID}}
	for i, p := range m.Partitions {
		old := p.Epoch
		p.Epoch++
		p.Replicas, p.Assigned, p.Active = Without(p.Replicas, s.ID), Without(p.Assigned, s.ID), false
		d.Partitions = append(d.Partitions, PartitionChange{uint16(i), old, p})
	}
	gone := step(t, m, d)
	if gone.Server(s.ID) != nil || len(gone.Servers) != 3 || !Contains(gone.Partitions[0].LastKnown, s.ID) {
		t.Error("not removed")
	}

	yes := true
	auto := step(t, m, &Delta{Base: m.Version, AutoReplace: &yes})
	if !auto.AutoReplace || &auto.Partitions[0] != &m.Partitions[0] {
		t.Error("auto-replace, or untouched partitions are copied")
	}
}

// TestApplyNeverBreaks: whatever the delta, a valid map stays valid.
func TestApplyNeverBreaks(t *testing.T) {
	start := created(t, 4)
	r := rand.New(rand.NewSource(1))
	ids := []ServerID{0, 3}
	for _, s := range start.Servers {
		ids = append(ids, s.ID, s.ID, s.ID)
	}
	list := func(old []ServerID) []ServerID {
		if r.Intn(2) == 0 {
			return old
		}
		var l []ServerID
		for range r.Intn(4) {
			l = append(l, ids[r.Intn(len(ids))])
		}
		return l
	}
	taken := 0
	m := start
	for range 200000 {
		d := &Delta{Base: m.Version}
		for range r.Intn(3) {
			i := r.Intn(len(m.Partitions))
			p := m.Partitions[i]
			old := p.Epoch
			p.Epoch += uint32(r.Intn(3))
			p.Replicas, p.Joining, p.LastKnown, p.Assigned = list(p.Replicas), list(p.Joining), list(p.LastKnown), list(p.Assigned)
			if r.Intn(2) == 0 {
				p.LastKnown = p.Replicas
			}
			p.Active = r.Intn(2) == 0
			p.LastPrimary = p.Primary()
			d.Partitions = append(d.Partitions, PartitionChange{uint16(i), old, p})
		}
		if r.Intn(8) == 0 {
			s := m.Servers[r.Intn(len(m.Servers))]
			s.Incarnation += uint64(r.Intn(2))
			d.SetServers = []Server{s}
		}
		if next, err := m.Apply(d); err == nil {
			if err := next.Validate(); err != nil {
				t.Fatalf("%v after %+v", err, d)
			}
			taken++
			m = next
			if r.Intn(100) == 0 {
				m = start
			}
		}
	}
	t.Logf("%d steps taken", taken)
}

func TestLookups(t *testing.T) {
	m := created(t, 5)
	for i := range m.Servers {
		s := &m.Servers[i]
		if m.Server(s.ID) != s || m.ServerByAddr(s.Addr) != s {
			t.Errorf("%s is not found", s.ID)
		}
	}
	if m.Server(1) != nil || m.ServerByAddr("10.9.9.9:1") != nil {
		t.Error("found what is not there")
	}
	l := []ServerID{1, 2, 3}
	w := Without(l, 2)
	same := Without(l[:2], 9)
	_ = append(same, 100)
	if !slices.Equal(w, []ServerID{1, 3}) || !slices.Equal(l, []ServerID{1, 2, 3}) {
		t.Error(w, l)
	}
	two := &Map{Servers: []Server{{ID: 1, Addr: "a", State: Fault}, {ID: 2, Addr: "a"}}}
	if two.ServerByAddr("a").ID != 2 {
		t.Error("the dead server was found")
	}
}

func TestPartitionOf(t *testing.T) {
	if h := Hash(nil); h != 0xef46db3751d8e999 {
		t.Errorf("xxh64 of nothing is %x", h)
	}
	r := rand.New(rand.NewSource(1))
	key := make([]byte, 12)
	for range 1000 {
		r.Read(key)
		for bits := range 16 {
			want := uint16(Hash(key) >> 32 >> (32 - bits))
			m := Map{Partitions: make([]Partition, 1<<bits)}
			if PartitionOf(key, 1<<bits) != want || m.PartitionOf(key) != want {
				t.Fatalf("%x in %d partitions", key, 1<<bits)
			}
		}
	}
	if (&Map{}).PartitionOf(key) != 0 {
		t.Error("the empty map has a partition")
	}
}

func TestValidate(t *testing.T) {
	good := created(t, 4)
	if err := (&Map{}).Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(m *Map){
		"cluster":     func(m *Map) { m.ClusterID = 0 },
		"count":       func(m *Map) { m.Partitions = m.Partitions[:15] },
		"none":        func(m *Map) { m.Partitions = nil },
		"replication": func(m *Map) { m.Replication = 0 },
		"order":       func(m *Map) { slices.Reverse(m.Servers) },
		"same server": func(m *Map) { m.Servers = append(m.Servers, m.Servers[3]) },
		"state":       func(m *Map) { m.Servers[0].State = 2 },
		"banned":      func(m *Map) { m.Banned = []ServerID{0} },
		"epoch 0":     func(m *Map) { m.Partitions[3].Epoch = 0 },
		"epoch":       func(m *Map) { m.Partitions[3].Epoch = MaxEpoch },
		"primary":     func(m *Map) { m.Partitions[3].LastPrimary = 0 },
		"incarnation": func(m *Map) { m.Partitions[3].LastPrimaryIncarnation = 9 },
		"bare": func(m *Map) {
			m.Partitions[3] = Partition{Epoch: 1, Active: true}
		},
	} {
		m := *good
		m.Servers, m.Partitions = slices.Clone(m.Servers), slices.Clone(m.Partitions)
		spoil(&m)
		if err := m.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !reflect.DeepEqual(good, created(t, 4)) {
		t.Error("the cases share memory")
	}
}

func BenchmarkPartitionOf(b *testing.B) {
	m := PlanAddrs([]string{"a", "b", "c"}, 4096, 3)
	key := []byte("a key of usual length")
	for b.Loop() {
		m.PartitionOf(key)
	}
}

func BenchmarkApply(b *testing.B) {
	m := PlanAddrs([]string{"a", "b", "c"}, 4096, 3)
	one := change(m, func(p *Partition) { p.Epoch++; p.Active = false })
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Apply(one); err != nil {
				b.Fatal(err)
			}
		}
	})
	all := &Delta{Base: m.Version}
	for i, p := range m.Partitions {
		p.Epoch, p.Active = 2, false
		all.Partitions = append(all.Partitions, PartitionChange{uint16(i), 1, p})
	}
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Apply(all); err != nil {
				b.Fatal(err)
			}
		}
	})
}
