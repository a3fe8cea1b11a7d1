package council

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// wideAll has TestWide print every row; without it only those of 1,000 servers that have a bar, in short.
var wideAll = flag.Bool("wide", false, "TestWide: all numbers of servers and partitions")

// The bars: what a gateway is told of one failover, and of one attach, in all.
const wideBar = 64 << 10

// wide is a cluster at rest, of which only what its managers see is there: the
// servers answer the map with the reports that real ones would send, at the
// times that they would take.
type wide struct {
	t    testing.TB
	r    *rand.Rand
	now  int64
	c    *Council
	m    *clustermap.Map
	late map[int64][]func() // by ms
	busy bool               // a delta is being recorded
	due  bool               // a report came: Next is called before the next tick

	dead     ID
	steps    int // deltas
	bytes    int // of them all, encoded
	changes  int
	notices  int // frames that tell of the dead
	reports  int
	reported int           // bytes
	nexts    int           // calls of Next
	think    time.Duration // in Next and Applied
	apply    time.Duration
}

func wideServer(i int) clustermap.Server {
	id := clustermap.Hash(fmt.Appendf(nil, "server %d", i)) | 1
	ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	return clustermap.Server{ID: ID(id), Addr: ip + ":19800", StreamAddr: ip + ":19900", Incarnation: 1 + uint64(i%5), RunID: id * 3, Zone: ""}
}

// wideMap is a cluster of n servers that has run for a while, at rest.
func wideMap(n, partitions int) *clustermap.Map {
	m := &clustermap.Map{ClusterID: 7, Version: 100_000, Updated: 1_790_000_000_000, Replication: 3, Partitions: make([]Partition, partitions)}
	for i := range n {
		m.Servers = append(m.Servers, wideServer(i))
	}
	slices.SortFunc(m.Servers, func(a, b clustermap.Server) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	for i, a := range spreadOut(m) {
		m.Partitions[i] = Partition{Epoch: uint32(300 + i%50), Replicas: a, LastKnown: a, Assigned: a, Active: true,
			LastPrimary: a[0], LastPrimaryIncarnation: m.Server(a[0]).Incarnation}
	}
	return m
}

// spreadOut is where the copies are: planned, if planning goes on from there.
func spreadOut(m *clustermap.Map) [][]ID {
	if *wideAll || len(m.Partitions) <= 4096 {
		return clustermap.Assign(m, m.Servers, clustermap.PlanOptions{})
	}
	r := rand.New(rand.NewPCG(1, 2))
	var out [][]ID
	for len(out) < len(m.Partitions) {
		order := r.Perm(len(m.Servers))
		for ; len(order) >= 3; order = order[3:] {
			out = append(out, []ID{m.Servers[order[0]].ID, m.Servers[order[1]].ID, m.Servers[order[2]].ID})
		}
	}
	return out[:len(m.Partitions)]
}

func newWide(t testing.TB, n, partitions int) *wide {
	w := &wide{t: t, r: rand.New(rand.NewPCG(uint64(n), uint64(partitions))), now: 1000, m: wideMap(n, partitions), late: map[int64][]func(){}}
	w.c = New(Config{})
	w.c.Lead(w.now, w.m)
	for i := range w.m.Servers {
		w.register(w.m.Servers[i])
	}
	if d := w.c.Next(w.now).Delta; d != nil {
		t.Fatalf("%d servers at rest: %d partitions are changed", n, len(d.Partitions))
	}
	return w
}

func (w *wide) register(s clustermap.Server) {
	v := w.c.Registered(w.now, Registration{Hello: control.Hello{Role: control.RoleServer, ID: s.ID, Addr: s.Addr, StreamAddr: s.StreamAddr,
		Incarnation: s.Incarnation, RunID: s.RunID, ClusterID: w.m.ClusterID}})
	if !v.OK {
		w.t.Fatal(v.Refuse.Reason)
	}
}

func (w *wide) after(d int64, f func()) {
	at := w.now + max(d, 1)
	w.late[at] = append(w.late[at], f)
}

// about is d ms, half as much or one and a half times.
func (w *wide) about(d int64) int64 { return d/2 + w.r.Int64N(d+1) }

// step is one millisecond.
func (w *wide) step() {
	w.now++
	fs := w.late[w.now]
	delete(w.late, w.now)
	for _, f := range fs {
		f()
	}
	tick := w.now%50 == 0
	if w.now%500 == 0 {
		for i := range w.m.Servers {
			if id := w.m.Servers[i].ID; id != w.dead {
				w.c.Heard(w.now, id)
			}
		}
	}
	if !tick && !w.due {
		return
	}
	w.due = false
	start := time.Now()
	out := w.c.Next(w.now)
	w.think += time.Since(start)
	w.nexts++
	w.told(out.Dead)
	for _, r := range out.Replies {
		if r.Err != "" {
			w.t.Fatal(r.Err)
		}
	}
	if out.Delta != nil {
		w.record(out.Delta)
	}
}

// told: primaries accuse whom the manager holds dead, in one report of each.
func (w *wide) told(dead map[ID][]ID) {
	if len(dead) == 0 {
		return
	}
	by := map[ID][]control.PartitionEpoch{}
	for i := range w.m.Partitions {
		p := &w.m.Partitions[i]
		if len(p.Replicas) > 1 && slices.Contains(p.Replicas[1:], w.dead) && len(dead[p.Replicas[0]]) > 0 {
			by[p.Replicas[0]] = append(by[p.Replicas[0]], control.PartitionEpoch{P: uint16(i), E: p.Epoch})
		}
	}
	w.notices += len(dead)
	for i := range w.m.Servers { // in an order that is always the same
		if id := w.m.Servers[i].ID; len(by[id]) > 0 {
			w.report(id, w.about(2), control.Report{Accuse: []control.Accusation{{Accused: []ID{w.dead}, Partitions: by[id]}}})
		}
	}
}

// report comes d ms from now.
func (w *wide) report(from ID, d int64, r control.Report) {
	r.Incarnation = w.m.Server(from).Incarnation
	w.after(d, func() {
		w.reports++
		w.reported += len(control.Frame(control.KindReport, r))
		w.c.Report(w.now, from, r)
		w.due = true
	})
}

// record is Raft: 5 ms. Those whom the new map gives something to do report it.
func (w *wide) record(d *clustermap.Delta) {
	d.Updated = w.m.Updated + w.now
	w.steps++
	w.bytes += len(control.AppendFrame(nil, control.KindDelta, clustermap.AppendDelta(nil, d)))
	w.changes += len(d.Partitions)
	w.after(w.about(5), func() {
		start := time.Now()
		n, err := w.m.Apply(d)
		w.apply += time.Since(start)
		if err != nil {
			w.t.Fatal(err)
		}
		start = time.Now()
		w.c.Applied(w.now, n)
		w.think += time.Since(start)
		w.m, w.due = n, true
		ready := map[ID][]control.PartitionEpoch{}
		for i := range d.Partitions {
			k := d.Partitions[i].Index
			p := &n.Partitions[k]
			if !p.Active {
				ready[p.Replicas[0]] = append(ready[p.Replicas[0]], control.PartitionEpoch{P: k, E: p.Epoch})
				continue
			}
			// A copy of some 100 MB is made in a second or two.
			for _, j := range p.Joining {
				in := control.InSync{P: k, E: p.Epoch, Joiner: j, Incarnation: n.Server(j).Incarnation}
				w.report(p.Replicas[0], w.about(1500), control.Report{InSync: []control.InSync{in}})
			}
		}
		for i := range n.Servers {
			id := n.Servers[i].ID
			if len(ready[id]) == 0 {
				continue
			}
			// The leases of a dead primary were granted at most 167 ms ago, and last 525 ms.
			wait := w.about(5)
			if p := &n.Partitions[ready[id][0].P]; p.LastPrimary == w.dead && w.dead != 0 {
				wait += 358 + w.r.Int64N(167)
			}
			w.report(id, wait, control.Report{Activated: ready[id]})
		}
	})
}

// until runs until ok holds, and everything that was on its way has come.
func (w *wide) until(ok func() bool) {
	w.t.Helper()
	for end := w.now + 60_000; len(w.late) > 0 || w.due || !ok(); {
		if w.now > end {
			w.t.Fatal("it does not come to rest")
		}
		for range 10 { // looking costs more than a step
			w.step()
		}
	}
}

// led: every partition is served by who lives.
func (w *wide) led() bool {
	for i := range w.m.Partitions {
		if p := &w.m.Partitions[i]; !p.Active || slices.Contains(p.Replicas, w.dead) {
			return false
		}
	}
	return true
}

func (w *wide) settled() bool {
	for i := range w.m.Partitions {
		if p := &w.m.Partitions[i]; !p.Active || !slices.Equal(p.Replicas, p.Assigned) || len(p.Joining) > 0 {
			return false
		}
	}
	return true
}

// lessors counts the others with which a server shares a partition: all of them,
// and the backups of those that it leads, whose leases it needs.
func lessors(m *clustermap.Map) (shared, needed float64) {
	all, led := map[[2]ID]bool{}, map[[2]ID]bool{}
	for i := range m.Partitions {
		for n, a := range m.Partitions[i].Replicas {
			for _, b := range m.Partitions[i].Replicas {
				if a != b {
					all[[2]ID{a, b}] = true
					if n == 0 {
						led[[2]ID{a, b}] = true
					}
				}
			}
		}
	}
	return float64(len(all)) / float64(len(m.Servers)), float64(len(led)) / float64(len(m.Servers))
}

func kb(n int) string { return fmt.Sprintf("%.1f", float64(n)/1024) }

// TestWide prints what a cluster costs its managers and members, by its size
// (BENCHMARKS.md, "A thousand servers"), and holds the bytes to their bars.
func TestWide(t *testing.T) {
	sizes := []struct{ servers, partitions int }{
		{3, 4096}, {10, 4096}, {30, 4096}, {100, 4096}, {300, 4096}, {1000, 4096},
		{3, 65536}, {10, 65536}, {30, 65536}, {100, 65536}, {300, 65536}, {1000, 32768}, {1000, 65536},
	}
	for _, size := range sizes {
		n, parts := size.servers, size.partitions
		if !*wideAll && (n != 1000 || parts == 32768) {
			continue
		}
		t.Run(fmt.Sprintf("%d/%d", n, parts), func(t *testing.T) {
			w := newWide(t, n, parts)
			whole := len(clustermap.AppendMap(nil, w.m))
			var shared, needed float64
			if *wideAll {
				shared, needed = lessors(w.m)
			}
			beat := len(control.Frame(control.KindHeartbeat, control.Heartbeat{MapVersion: w.m.Version}))
			hello, _ := json.Marshal(control.Hello{Positions: make([]byte, 11*3*parts/n)})
			t.Logf("map %s KB; hello %s KB; heartbeats of %d B, %d a second each way; a server shares partitions with %.1f others, needs leases of %.1f",
				kb(whole), kb(len(hello)), beat, 2*n, shared, needed)
			t.Logf("| %7s | %5s | %5s | %7s | %5s | %6s | %7s | %7s | %6s | %6s | %8s | %8s |", "what", "ms", "steps", "KB", "parts", "B/part", "notices", "reports", "rep.KB", "looks", "ms/look", "ms/apply")
			row := func(what string, begin int64) {
				t.Logf("| %7s | %5d | %5d | %7s | %5d | %6d | %7d | %7d | %6s | %6d | %8.3f | %8.3f |", what, w.now-begin, w.steps, kb(w.bytes), w.changes,
					w.bytes/max(1, w.changes), w.notices, w.reports, kb(w.reported), w.nexts,
					w.think.Seconds()*1000/float64(w.nexts), w.apply.Seconds()*1000/float64(max(1, w.steps)))
				if n == 1000 && w.bytes > wideBar {
					t.Errorf("%s: a gateway is sent %d bytes, more than %d", what, w.bytes, wideBar)
				}
				w.steps, w.bytes, w.changes, w.notices, w.reports, w.reported, w.nexts, w.think, w.apply = 0, 0, 0, 0, 0, 0, 0, 0, 0
			}
			begin := w.now
			w.dead = w.m.Servers[n/2].ID
			w.c.Broken(w.now, w.dead)
			w.due = true
			w.until(w.led)
			row("dies", begin)
			if n < 10 || parts > 4096 && !*wideAll {
				return
			}
			begin = w.now
			w.until(func() bool { return w.m.Server(w.dead).State == clustermap.Fault })
			w.c.Command(w.now, 1, control.CommandRequest{Command: "detach"})
			w.until(func() bool { return w.m.Server(w.dead) == nil && w.settled() })
			row("detach", begin)
			w.dead = 0
			begin = w.now
			w.register(wideServer(n))
			w.c.Command(w.now, 2, control.CommandRequest{Command: "attach"})
			w.until(func() bool { return len(w.m.Servers) == n && w.settled() })
			row("attach", begin)
		})
	}
}

// BenchmarkWide is what the leading manager does for a thousand servers.
func BenchmarkWide(b *testing.B) {
	for _, parts := range []int{4096, 32768} {
		run := func(name string, f func(b *testing.B, w *wide)) {
			b.Run(fmt.Sprintf("%d/%s", parts, name), func(b *testing.B) {
				w := newWide(b, 1000, parts)
				b.ReportAllocs()
				b.ResetTimer()
				f(b, w)
			})
		}
		run("rest", func(b *testing.B, w *wide) {
			for b.Loop() {
				w.c.Next(w.now)
			}
		})
		run("moving", func(b *testing.B, w *wide) {
			for b.Loop() {
				w.c.Moving()
			}
		})
		run("dead", func(b *testing.B, w *wide) {
			w.c.Broken(w.now, w.m.Servers[500].ID)
			for b.Loop() {
				if d, _, _ := w.c.step(w.now); d == nil {
					b.Fatal("no failover")
				}
			}
		})
		run("registered", func(b *testing.B, w *wide) {
			for b.Loop() {
				w.register(w.m.Servers[500])
			}
		})
		run("activated", func(b *testing.B, w *wide) {
			n := *w.m
			n.Partitions = slices.Clone(n.Partitions)
			for i := range n.Partitions {
				n.Partitions[i].Epoch++
			}
			for b.Loop() {
				w.c.m = w.m
				w.c.recorded(&n)
			}
		})
		run("restarted", func(b *testing.B, w *wide) {
			for _, s := range w.m.Servers {
				s.Incarnation++
				s.RunID++
				w.register(s)
			}
			for b.Loop() {
				w.c.step(w.now + 2500)
			}
		})
	}
}
