package clustermap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"testing"
)

// mapInMotion is a map in which every list of every partition differs from the others.
func mapInMotion(servers int) *Map {
	m := emptyMap(4096, 3)
	m.Version, m.Updated, m.AutoReplace, m.Banned, m.Recovered = 1<<40, 1<<41, true, []ServerID{1, 2}, 1<<39
	m.Copying = Copying{Paused: true, Rate: 3 << 30, AtOnce: 7}
	m.Servers = PlanAddrs(nil, 1, 1).Servers
	for _, s := range testServers(0, servers) {
		s.StreamAddr, s.Zone, s.RunID, s.State = "10.0.0.1:19900", "zone", uint64(s.ID)*3, Fault
		m.Servers = append(m.Servers, s)
	}
	r := rand.New(rand.NewSource(1))
	pick := func(n int) []ServerID {
		var l []ServerID
		for _, i := range r.Perm(servers)[:min(n, servers)] {
			l = append(l, m.Servers[i].ID)
		}
		return l
	}
	for i := range m.Partitions {
		m.Partitions[i] = Partition{
			Epoch: uint32(1 + r.Intn(100000)), Replicas: pick(3), Joining: pick(1), LastKnown: pick(4),
			Assigned: pick(3), LastPrimary: 99, LastPrimaryIncarnation: 1000,
		}
		if i%2 == 1 {
			m.Partitions[i].Awaited = pick(2)
		}
	}
	return m
}

func sampleDeltas() []*Delta {
	yes, no := true, false
	m := mapInMotion(5)
	d := &Delta{
		Base: 9, Updated: -5, SetServers: m.Servers, RemoveServers: []ServerID{4}, AutoReplace: &yes, Ban: []ServerID{6, 7},
		Create: &Creation{ClusterID: 3, Partitions: 4096, Replication: 3},
	}
	for i, p := range m.Partitions[:20] {
		d.Partitions = append(d.Partitions, PartitionChange{uint16(i * 1000), p.Epoch - 1, p})
	}
	small := *m
	small.Partitions = m.Partitions[:4]
	return []*Delta{{}, {AutoReplace: &no}, {Base: 1, Create: &Creation{}}, d, {Updated: 3, Recover: &small}, recovery(),
		{Base: 4, Copying: &Copying{}}, {Base: 5, Copying: &Copying{Rate: 1, AtOnce: MaxAtOnce}, AutoReplace: &yes}}
}

func TestCodecRoundTrip(t *testing.T) {
	addrs := func(n int) (l []string) {
		for i := range n {
			l = append(l, fmt.Sprintf("10.0.0.%d:19800", i))
		}
		return l
	}
	for _, c := range []struct {
		name  string
		m     *Map
		limit int
	}{
		{"empty", &Map{}, 32},
		{"3 servers", PlanAddrs(addrs(3), 4096, 3), 100_000},
		{"100 servers", PlanAddrs(addrs(100), 4096, 3), 200_000},
		{"3 servers in motion", mapInMotion(3), 100_000},
		{"100 servers in motion", mapInMotion(100), 200_000},
	} {
		b := AppendMap([]byte("x"), c.m)[1:]
		t.Logf("%s: %d bytes", c.name, len(b))
		if len(b) > c.limit {
			t.Errorf("%s: %d bytes", c.name, len(b))
		}
		m, err := DecodeMap(b)
		if err != nil || !reflect.DeepEqual(m, c.m) {
			t.Fatalf("%s: not the same after decoding: %v", c.name, err)
		}
		if _, err := DecodeMap(append(b, 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: left-over byte: %v", c.name, err)
		}
		for i := 0; i < len(b); i += 1 + i/20 {
			if _, err := DecodeMap(b[:i]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("%s: cut to %d bytes: %v", c.name, i, err)
			}
		}
		for i := range c.m.Partitions {
			b := AppendPartition(nil, &c.m.Partitions[i])
			p, rest, err := DecodePartition(append(b, "rest"...))
			if err != nil || string(rest) != "rest" || !reflect.DeepEqual(p, c.m.Partitions[i]) {
				t.Fatalf("partition %+v became %+v, %q, %v", c.m.Partitions[i], p, rest, err)
			}
		}
	}
	for i, d := range sampleDeltas() {
		b := AppendDelta(nil, d)
		got, err := DecodeDelta(b)
		if err != nil || !reflect.DeepEqual(got, d) {
			t.Fatalf("delta %d: not the same after decoding: %v", i, err)
		}
		for n := range b {
			if _, err := DecodeDelta(b[:n]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("delta %d cut to %d bytes: %v", i, n, err)
			}
		}
	}
}

// Whatever decodes must survive another round; nothing may panic.

func FuzzDecodeMap(f *testing.F) {
	f.Add(AppendMap(nil, &Map{}))
	m := mapInMotion(3)
	m.Partitions = m.Partitions[:2]
	f.Add(AppendMap(nil, m))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMap(b)
		if err != nil {
			return
		}
		m.Validate()
		m.PartitionOf(b)
		Moves(m)
		Distribution(m)
		again := AppendMap(nil, m)
		m2, err := DecodeMap(again)
		if err != nil || !bytes.Equal(AppendMap(nil, m2), again) {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeDelta(f *testing.F) {
	for _, d := range sampleDeltas() {
		if len(d.Partitions) > 2 {
			d.Partitions = d.Partitions[:2]
		}
		f.Add(AppendDelta(nil, d))
	}
	base := created(f, 3)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDelta(b)
		if err != nil {
			return
		}
		for _, m := range []*Map{nil, base} {
			if m != nil {
				d.Base = m.Version
			}
			if next, err := m.Apply(d); err == nil {
				if err := next.Validate(); err != nil {
					t.Fatal(err)
				}
			}
		}
		again := AppendDelta(nil, d)
		d2, err := DecodeDelta(again)
		if err != nil || !bytes.Equal(AppendDelta(nil, d2), again) {
			t.Fatal(err)
		}
	})
}

func FuzzDecodePartition(f *testing.F) {
	m := mapInMotion(3)
	f.Add(AppendPartition(nil, &m.Partitions[0]))
	f.Add(AppendPartition(nil, &Partition{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := DecodePartition(b)
		if err != nil {
			return
		}
		again := AppendPartition(nil, &p)
		p2, rest, err := DecodePartition(again)
		if err != nil || len(rest) != 0 || !bytes.Equal(AppendPartition(nil, &p2), again) {
			t.Fatal(err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	for _, n := range []int{3, 100} {
		m := mapInMotion(n)
		enc := AppendMap(nil, m)
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				enc = AppendMap(enc[:0], m)
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeMap(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
