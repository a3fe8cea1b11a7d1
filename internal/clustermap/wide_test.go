package clustermap

import (
	"fmt"
	"testing"
)

// TestAssignWide: a thousand servers are planned for as few are: balanced, apart,
// and with no more copies made than must be.
func TestAssignWide(t *testing.T) {
	const n, parts = 1000, 8192
	m, servers := emptyMap(parts, 3), testServers(0, n+20)
	plan := assign(m, servers[:n])
	checkPlan(t, plan, servers[:n], 3)
	checkIdempotent(t, m, servers[:n], plan)
	for name, to := range map[string][]Server{"one more": servers[:n+1], "twenty more": servers, "one less": servers[1:n], "twenty less": servers[20:n]} {
		before := present(lists(m), to, 3)
		plan := Assign(m, to, PlanOptions{})
		checkPlan(t, plan, to, 3)
		copies, least := newCopies(before, plan), lowerBound(before, to, 3)
		if copies != least {
			t.Errorf("%s: %d new copies, %d would do", name, copies, least)
		}
		// With so few partitions on each, primaries come to a new server by a chain of others.
		if turned := newCopies(firsts(before), firsts(plan)); turned > 2*copies {
			t.Errorf("%s: %d partitions change their primary for %d new copies", name, turned, copies)
		}
	}
	for i := range servers {
		servers[i].Zone = fmt.Sprint(i % 3)
	}
	plan = assign(m, servers[:n])
	checkPlan(t, plan, servers[:n], 3)
	pl := newPlanner(m, servers[:n], 3)
	if z, h := pl.crowded(); z+h > 0 {
		t.Errorf("%d copies share a zone, %d a host", z, h)
	}
	checkIdempotent(t, m, servers[:n], plan)
}

// BenchmarkAssignWide is planning for a thousand servers.
func BenchmarkAssignWide(b *testing.B) {
	const n = 1000
	for _, parts := range []int{4096, 32768, 65536} {
		m, servers := emptyMap(parts, 3), testServers(0, n+100)
		zoned := testServers(0, n)
		for i := range zoned {
			zoned[i].Zone = fmt.Sprint(i % 3)
		}
		run := func(name string, servers []Server) {
			b.Run(fmt.Sprintf("%d/%s", parts, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Assign(m, servers, PlanOptions{})
				}
			})
		}
		run("first", servers[:n])
		assign(m, servers[:n])
		run("attach1", servers[:n+1])
		run("attach10", servers[:n+10])
		run("attach100", servers[:n+100])
		run("detach1", servers[1:n])
		run("detach10", servers[10:n])
		run("zones", zoned)
	}
}

// wideInMotion is a map of many servers, one of which has just died.
func wideInMotion(n, parts int) (*Map, *Delta) {
	m, servers := emptyMap(parts, 3), testServers(0, n)
	assign(m, servers)
	m.Servers = newPlanner(m, servers, 3).servers
	dead := m.Servers[n/2].ID
	d := &Delta{Base: m.Version}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		p.Epoch, p.Active = 300, true
		p.LastKnown, p.LastPrimary, p.LastPrimaryIncarnation = p.Replicas, p.Primary(), 1
		if p.Primary() == dead {
			np := *p
			np.Epoch, np.Active, np.Replicas = 301, false, p.Replicas[1:]
			d.Partitions = append(d.Partitions, PartitionChange{uint16(i), 300, np})
		}
	}
	return m, d
}

// BenchmarkMapWide is what every member does with the map of a thousand servers.
func BenchmarkMapWide(b *testing.B) {
	for _, parts := range []int{4096, 32768} {
		m, d := wideInMotion(1000, parts)
		whole, step := AppendMap(nil, m), AppendDelta(nil, d)
		run := func(name string, bytes int, f func() error) {
			b.Run(fmt.Sprintf("%d/%s", parts, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(bytes), "B")
			})
		}
		run("encode", len(whole), func() error { whole = AppendMap(whole[:0], m); return nil })
		run("decode", len(whole), func() error { _, err := DecodeMap(whole); return err })
		run("validate", len(whole), m.Validate)
		run("apply", len(step), func() error { _, err := m.Apply(d); return err })
		all := &Delta{Base: m.Version}
		for _, s := range m.Servers {
			s.Incarnation++
			all.SetServers = append(all.SetServers, s)
		}
		for i, p := range m.Partitions {
			p.Epoch, p.Active = 301, false
			all.Partitions = append(all.Partitions, PartitionChange{uint16(i), 300, p})
		}
		// Every server has restarted.
		run("applyAll", len(AppendDelta(nil, all)), func() error { _, err := m.Apply(all); return err })
	}
}
