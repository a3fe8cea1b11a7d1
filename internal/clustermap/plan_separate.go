package clustermap

import "slices"

const (
	// separatePasses bounds how often separate goes over all partitions.
	separatePasses = 8
	// separateLook is how many exchanges are looked at for one partition once
	// there is one that helps.
	separateLook = 4096
)

// grouped tells whether where servers stand can matter: whether some two of
// them share a host, or there are several zones.
func (pl *planner) grouped() bool {
	if slices.Max(pl.zone) > 0 {
		return true
	}
	hosts := slices.Max(pl.host) + 1
	return hosts > 1 && int(hosts) < len(pl.servers)
}

// crowded counts the copies that share a zone, and those that share a host,
// with another of their partition (of k in one place, k-1).
func (pl *planner) crowded() (zone, host int) {
	for p := range pl.sets {
		z, h := pl.crowdedIn(p)
		zone, host = zone+z, host+h
	}
	return zone, host
}

func (pl *planner) crowdedIn(p int) (zone, host int) {
	set := pl.sets[p]
	for i, s := range set {
		var z, h int
		for _, o := range set[:i] {
			if pl.zone[o] == pl.zone[s] {
				z = 1
			}
			if pl.host[o] == pl.host[s] {
				h = 1
			}
		}
		zone, host = zone+z, host+h
	}
	return zone, host
}

// leastCrowded is the least that crowded can be: a place must share exactly
// when its servers' loads come to more than there are partitions.
func (pl *planner) leastCrowded() (zone, host int) {
	least := func(place []int32) int {
		sum := make([]int, len(pl.servers))
		for s, k := range pl.load {
			sum[place[s]] += k
		}
		n := 0
		for _, k := range sum {
			n += max(0, k-len(pl.sets))
		}
		return n
	}
	return least(pl.zone), least(pl.host)
}

// apart tells whether no more copies share a place than must.
func (pl *planner) apart() bool {
	z, h := pl.crowded()
	lz, lh := pl.leastCrowded()
	return z <= lz && h <= lh
}

// separate exchanges copies of partitions whose copies share a zone or host:
// s gives p to t, and t another partition to s. Loads stay as they are.
func (pl *planner) separate() {
	if !pl.grouped() {
		return
	}
	for range separatePasses {
		if pl.apart() {
			return
		}
		held := make([][]int32, len(pl.servers))
		for p, set := range pl.sets {
			for _, s := range set {
				held[s] = append(held[s], int32(p))
			}
		}
		changed := false
		for p := range pl.sets {
			for z, h := pl.crowdedIn(p); z+h > 0 && pl.exchange(p, held); z, h = pl.crowdedIn(p) {
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// exchange makes the best exchange that helps p. held may be out of date.
func (pl *planner) exchange(p int, held [][]int32) bool {
	var from, to int32
	with := -1
	bestRank := [3]int{0, 0, 0}
	looked := 0
search:
	for _, s := range pl.sets[p] {
		for t := range int32(len(pl.servers)) {
			if pl.in(p, t) {
				continue
			}
			z, h := pl.crowding(p, s, t)
			if z > 0 || z == 0 && h >= 0 {
				continue
			}
			for _, q := range held[t] {
				c := int(q)
				if !pl.in(c, t) || pl.in(c, s) {
					continue
				}
				looked++
				cz, ch := pl.crowding(c, t, s)
				if z+cz > 0 || z+cz == 0 && h+ch >= 0 {
					continue
				}
				rank := [3]int{z + cz, h + ch, pl.price(p, t) + pl.price(c, s) - pl.price(p, s) - pl.price(c, t)}
				if with < 0 || slices.Compare(rank[:], bestRank[:]) < 0 {
					from, to, with, bestRank = s, t, c, rank
				}
				if looked > separateLook {
					break search
				}
			}
		}
	}
	if with < 0 {
		return false
	}
	pl.swap(p, from, to)
	pl.swap(with, to, from)
	held[to] = append(held[to], int32(p))
	held[from] = append(held[from], int32(with))
	return true
}
