package clustermap

import "slices"

// Costs of an exchange: no number of hosts outweighs a zone, no number of new
// copies a host.
const (
	costCopy int64 = 1
	costHost int64 = 1 << 16
	costZone int64 = 1 << 32
	costNone int64 = 1 << 60
)

const (
	// refineWork bounds the exchanges looked at, and so the time, of refine. Where one
	// round alone takes more than refineRound there is none (a thousand servers): managers
	// answer nobody meanwhile.
	refineWork  = 20_000_000
	refineRound = 40_000_000
	// refinePasses is about how often a round goes over all pairs of servers.
	refinePasses = 32
	// refineChoices is how many partitions are remembered for each pair of
	// servers, so that one search serves many exchanges of one kind.
	refineChoices = 8
)

// refine makes the plan the cheapest one. Handing a copy from one server to
// another is an edge between the two; the plan is the cheapest exactly when no
// cycle of edges has a negative cost (as in minimum-cost flow). One more
// node stands for the room between floor and ceil: through it a server gives
// one more than it takes, another takes one more than it gives. Most plans are
// the cheapest already, which is seen without a search.
func (pl *planner) refine() {
	n, parts := len(pl.servers), len(pl.sets)
	if n == pl.copies || (pl.made() <= pl.leastMade() && pl.apart()) {
		return
	}
	round := parts*pl.copies*n + refinePasses*n*n
	for work := 0; work < refineWork && round <= refineRound; work += round {
		if !pl.cancelCycles() {
			return
		}
	}
}

// made is how many copies the plan makes.
func (pl *planner) made() int {
	k := 0
	for p, set := range pl.sets {
		for _, s := range set {
			k += pl.price(p, s)
		}
	}
	return k
}

// leastMade is a number of copies that no balanced plan can do without: what
// each server that began below its share lacks of it, when the servers that
// began with most get the shares that are one larger.
func (pl *planner) leastMade() int {
	kept := make([]int, len(pl.servers))
	for _, had := range pl.had {
		for _, s := range had {
			kept[s]++
		}
	}
	slices.Sort(kept)
	slices.Reverse(kept)
	larger := len(pl.sets)*pl.copies - len(pl.servers)*pl.floor
	k := 0
	for i, have := range kept {
		share := pl.floor
		if i < larger {
			share++
		}
		k += max(0, share-have)
	}
	return k
}

// handing is the cheapest way for one server to hand a copy to another.
type handing struct {
	cost  int64
	parts []int32
}

// handings finds, for each two servers, the cheapest partitions to hand over.
func (pl *planner) handings() []handing {
	n := len(pl.servers)
	edges := make([]handing, n*n)
	for i := range edges {
		edges[i].cost = costNone
	}
	grouped := pl.grouped()
	for p, set := range pl.sets {
		for _, s := range set {
			for t := range int32(n) {
				if pl.in(p, t) {
					continue
				}
				cost := costCopy * int64(pl.price(p, t)-pl.price(p, s))
				if grouped {
					z, h := pl.crowding(p, s, t)
					cost += costZone*int64(z) + costHost*int64(h)
				}
				e := &edges[int(s)*n+int(t)]
				if cost > e.cost {
					continue
				}
				if cost < e.cost {
					e.cost, e.parts = cost, e.parts[:0]
				}
				if len(e.parts) < refineChoices {
					e.parts = append(e.parts, int32(p))
				}
			}
		}
	}
	return edges
}

// cancelCycles finds cycles of negative cost and makes their exchanges. It is
// false when there is none that helps.
func (pl *planner) cancelCycles() bool {
	n := len(pl.servers)
	edges := pl.handings()
	cost := func(a, b int) int64 {
		switch {
		case a == b:
			return costNone
		case a == n:
			if pl.load[b] > pl.floor {
				return 0
			}
			return costNone
		case b == n:
			if pl.load[a] < pl.ceil {
				return 0
			}
			return costNone
		}
		return edges[a*n+b].cost
	}
	dist := make([]int64, n+1)
	before := make([]int, n+1)
	for i := range before {
		before[i] = -1
	}
	for range n + 1 {
		changed := false
		for a := range n + 1 {
			for b := range n + 1 {
				if c := cost(a, b); c != costNone && dist[a]+c < dist[b] {
					dist[b], before[b] = dist[a]+c, a
					changed = true
				}
			}
		}
		if !changed {
			return false
		}
		helped := false
		for _, cycle := range cyclesOf(before) {
			for pl.follow(cycle, edges) {
				helped = true
			}
		}
		if helped {
			return true
		}
	}
	return false
}

// cyclesOf is the cycles among the predecessors, each in the direction of its edges.
func cyclesOf(before []int) [][]int {
	var cycles [][]int
	seen := make([]int, len(before))
	for start := range before {
		v := start
		for v >= 0 && seen[v] == 0 {
			seen[v] = start + 1
			v = before[v]
		}
		if v < 0 || seen[v] != start+1 {
			continue
		}
		cycle := []int{v}
		for u := before[v]; u != v; u = before[u] {
			cycle = append(cycle, u)
		}
		slices.Reverse(cycle)
		cycles = append(cycles, cycle)
	}
	return cycles
}

// follow hands one copy along each edge of cycle, if that is still possible
// and makes the plan cheaper.
func (pl *planner) follow(cycle []int, edges []handing) bool {
	n := len(pl.servers)
	type step struct {
		p    int
		s, t int32
	}
	var done []step
	sum, ok := int64(0), true
	for i, a := range cycle {
		b := cycle[(i+1)%len(cycle)]
		if a == n || b == n {
			continue
		}
		e := &edges[a*n+b]
		s, t := int32(a), int32(b)
		for len(e.parts) > 0 {
			p := int(e.parts[len(e.parts)-1])
			if pl.in(p, s) && !pl.in(p, t) {
				break
			}
			e.parts = e.parts[:len(e.parts)-1]
		}
		if len(e.parts) == 0 {
			ok = false
			break
		}
		p := int(e.parts[len(e.parts)-1])
		z, h := pl.crowding(p, s, t)
		sum += costZone*int64(z) + costHost*int64(h) + costCopy*int64(pl.price(p, t)-pl.price(p, s))
		pl.swap(p, s, t)
		done = append(done, step{p, s, t})
	}
	for _, a := range cycle {
		if a < n && (pl.load[a] < pl.floor || pl.load[a] > pl.ceil) {
			ok = false
		}
	}
	if ok && sum < 0 {
		return true
	}
	for i := len(done) - 1; i >= 0; i-- {
		pl.swap(done[i].p, done[i].t, done[i].s)
	}
	return false
}
