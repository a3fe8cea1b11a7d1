package clustermap

import "slices"

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
		changed: make([][]int32, n),
		kept:    make([][]int32, n),
		dist:    make([]int, n),
		via:     make([]int32, n),
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
	for p, s := range pl.primary {
		l := c.led(int32(p), s)
		*l = append(*l, int32(p))
	}
	floor, ceil := parts/n, (parts+n-1)/n
	for c.shift(ceil+1, floor-1) || c.shift(ceil+1, ceil-1) || c.shift(floor+1, floor-1) {
	}
}

type chooser struct {
	*planner
	n     int
	count []int // primaries of each server
	// changed and kept are which they are: those that it did not lead to begin with,
	// and those that it did.
	changed, kept [][]int32
	// Of one search: how many partitions change their primary on the cheapest
	// chain to each server, and the last partition of it.
	dist []int
	via  []int32
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

// led is the list that p is in when s is its primary.
func (c *chooser) led(p, s int32) *[]int32 {
	if s == c.basePrimary[p] {
		return &c.kept[s]
	}
	return &c.changed[s]
}

// shift moves one primary's worth from a server with at least many to one with
// at most few, by the cheapest chain of hand-overs. It is false when there is
// none. A partition whose primary changes already costs nothing more, any other
// costs one: servers are looked at by that distance, the nearest first.
func (c *chooser) shift(many, few int) bool {
	const far = 1 << 30
	var near []int32
	for s := range c.dist {
		c.dist[s], c.via[s] = far, -1
		if c.count[s] >= many {
			c.dist[s] = 0
			near = append(near, int32(s))
		}
	}
	// reach lists who can be handed one of parts; who has few ends the search.
	reach := func(parts, list []int32, d int) ([]int32, bool) {
		for _, p := range parts {
			for _, t := range c.sets[p] {
				if c.dist[t] <= d {
					continue
				}
				c.dist[t], c.via[t] = d, p
				if c.count[t] <= few {
					c.handOver(t)
					return nil, true
				}
				list = append(list, t)
			}
		}
		return list, false
	}
	for d := 0; len(near) > 0; d++ {
		var done bool
		for i := 0; i < len(near); i++ {
			if near, done = reach(c.changed[near[i]], near, d); done {
				return true
			}
		}
		var next []int32
		for _, s := range near {
			if next, done = reach(c.kept[s], next, d+1); done {
				return true
			}
		}
		near = next
	}
	return false
}

// handOver makes the hand-overs of the chain that ends at t.
func (c *chooser) handOver(t int32) {
	for c.via[t] >= 0 {
		p := c.via[t]
		s := c.primary[p]
		l := c.led(p, s)
		i := slices.Index(*l, p)
		*l = slices.Delete(*l, i, i+1)
		l = c.led(p, t)
		*l = append(*l, p)
		c.primary[p] = t
		c.count[s]--
		c.count[t]++
		t = s
	}
}
