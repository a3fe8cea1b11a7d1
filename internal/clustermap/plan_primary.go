package clustermap

// choosePrimaries picks each partition's primary among its servers, each server
// getting the floor or ceil of the mean. That is always possible: with every
// server in as many partitions as any other (give or take one), 1/copies of
// each partition to each of its servers is within those bounds, and where a
// fractional flow fits whole bounds a whole one does.
//
// Primaries stay where they are unless they must move: a chain of changes from a
// server with too many to one with too few is sought that changes the fewest.
func (pl *planner) choosePrimaries() {
	n, parts := len(pl.servers), len(pl.sets)
	c := &chooser{
		planner: pl,
		n:       n,
		count:   make([]int, n),
		changed: make([][]int32, n*n),
		kept:    make([][]int32, n*n),
	}
	for p := range pl.sets {
		pl.primary[p] = -1
		if s := pl.basePrimary[p]; s >= 0 && pl.in(p, s) {
			pl.primary[p] = s
			c.count[s]++
		}
	}
	for p := range pl.sets {
		if pl.primary[p] < 0 {
			s := c.leastBusy(p)
			pl.primary[p] = s
			c.count[s]++
		}
	}
	for p := range pl.sets {
		c.offer(p)
	}
	floor, ceil := parts/n, (parts+n-1)/n
	for c.shift(ceil+1, floor-1) || c.shift(ceil+1, ceil-1) || c.shift(floor+1, floor-1) {
	}
}

type chooser struct {
	*planner
	n     int
	count []int // primaries of each server
	// Partitions whose primary s could hand over to t, at s*n+t: those that
	// have another primary than they began with already, and those that have
	// not. Entries whose primary is no longer s are stale and skipped.
	changed, kept [][]int32
}

// leastBusy is the server of p with the fewest primaries, preferring those
// that have a copy to start from, then the one listed first.
func (c *chooser) leastBusy(p int) int32 {
	best := c.sets[p][0]
	for _, s := range c.sets[p][1:] {
		if d := c.count[s] - c.count[best]; d < 0 || d == 0 && c.price(p, s) < c.price(p, best) {
			best = s
		}
	}
	return best
}

// offer lists p under each server that its primary could hand it to.
func (c *chooser) offer(p int) {
	s := c.primary[p]
	lists := c.changed
	if s == c.basePrimary[p] {
		lists = c.kept
	}
	for _, t := range c.sets[p] {
		if t != s {
			i := int(s)*c.n + int(t)
			lists[i] = append(lists[i], int32(p))
		}
	}
}

// top is a partition that s can hand to t, or -1, and what that costs.
func (c *chooser) top(s, t int) (p int, cost int) {
	for cost, lists := range [2][][]int32{c.changed, c.kept} {
		l := lists[s*c.n+t]
		for len(l) > 0 && c.primary[l[len(l)-1]] != int32(s) {
			l = l[:len(l)-1]
		}
		lists[s*c.n+t] = l
		if len(l) > 0 {
			return int(l[len(l)-1]), cost
		}
	}
	return -1, 0
}

// shift moves one primary's worth from a server with at least many to one with
// at most few, by the cheapest chain of hand-overs. It is false when there is none.
func (c *chooser) shift(many, few int) bool {
	const far = 1 << 30
	dist := make([]int, c.n)
	from := make([]int, c.n)
	done := make([]bool, c.n)
	some := false
	for s := range dist {
		dist[s], from[s] = far, -1
		if c.count[s] >= many {
			dist[s] = 0
			some = true
		}
	}
	if !some {
		return false
	}
	for {
		s := -1
		for v := range dist {
			if !done[v] && dist[v] < far && (s < 0 || dist[v] < dist[s]) {
				s = v
			}
		}
		if s < 0 {
			return false
		}
		if c.count[s] <= few {
			for ; from[s] >= 0; s = from[s] {
				c.handOver(from[s], s)
			}
			return true
		}
		done[s] = true
		for t := range dist {
			if done[t] || t == s {
				continue
			}
			if p, cost := c.top(s, t); p >= 0 && dist[s]+cost < dist[t] {
				dist[t], from[t] = dist[s]+cost, s
			}
		}
	}
}

func (c *chooser) handOver(s, t int) {
	p, _ := c.top(s, t)
	c.primary[p] = int32(t)
	c.count[s]--
	c.count[t]++
	c.offer(p)
}
