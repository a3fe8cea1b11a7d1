package clustermap

import "slices"

const (
	// separatePasses bounds how often separate goes over all partitions.
	separatePasses = 8
	// separateLook is how many exchanges are looked at for one partition, and
	// separateMore how many still when one helps both partitions.
	separateLook = 4096
	separateMore = 32
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
		ill := make([][]int32, len(pl.servers)) // of them those that share
		for p, set := range pl.sets {
			z, h := pl.crowdedIn(p)
			for _, s := range set {
				held[s] = append(held[s], int32(p))
				if z+h > 0 {
					ill[s] = append(ill[s], int32(p))
				}
			}
		}
		changed := false
		for p := range pl.sets {
			for z, h := pl.crowdedIn(p); z+h > 0 && (pl.exchange(p, ill, true) || pl.exchange(p, held, false)); z, h = pl.crowdedIn(p) {
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// exchange makes the best exchange that helps p, with one of the partitions that
// are listed for each server; both: only one that helps that partition as much.
// The lists may be out of date.
func (pl *planner) exchange(p int, held [][]int32, both bool) bool {
	var from, to int32
	with := -1
	bestRank := [3]int{0, 0, 0}
	left := separateLook
	n := int32(len(pl.servers))
search:
	for i := range n {
		// Each partition begins elsewhere: the lists of the first would soon be used up.
		t := (int32(pl.turn) + i) % n
		if pl.in(p, t) {
			continue
		}
		for _, s := range pl.sets[p] {
			z, h := pl.crowding(p, s, t)
			if z > 0 || z == 0 && h >= 0 {
				continue
			}
			for j := 0; j < len(held[t]); j++ {
				c := int(held[t][j])
				if left--; left < 0 {
					break search
				}
				if both {
					if cz, ch := pl.crowdedIn(c); cz+ch == 0 || !pl.in(c, t) {
						last := len(held[t]) - 1
						held[t][j] = held[t][last]
						held[t], j = held[t][:last], j-1
						continue
					}
				}
				if !pl.in(c, t) || pl.in(c, s) {
					continue
				}
				cz, ch := pl.crowding(c, t, s)
				if z+cz > 0 || z+cz == 0 && h+ch >= 0 {
					continue
				}
				if both && (cz > 0 || cz == 0 && ch >= 0) {
					continue
				}
				rank := [3]int{z + cz, h + ch, pl.price(p, t) + pl.price(c, s) - pl.price(p, s) - pl.price(c, t)}
				if with < 0 || slices.Compare(rank[:], bestRank[:]) < 0 {
					from, to, with, bestRank = s, t, c, rank
					pl.turn = int(t)
				}
				if both {
					left = min(left, separateMore)
				}
			}
		}
	}
	if with < 0 {
		return false
	}
	pl.swap(p, from, to)
	pl.swap(with, to, from)
	if !both {
		held[to] = append(held[to], int32(p))
		held[from] = append(held[from], int32(with))
	}
	return true
}
