package clustermap

import "slices"

// fillHoles gives partitions with too few servers more of them, from those
// below their quota. Serving the zone, the host and the server with the
// greatest need first is what leaves later partitions a choice; among equals
// those that share the fewest partitions with the set are taken, so
// that the load of a server that dies falls on many.
func (pl *planner) fillHoles() {
	for p := range pl.sets {
		for len(pl.sets[p]) < pl.copies {
			t := pl.bestFor(p)
			if t < 0 {
				break // all that are short hold it already: patchHoles
			}
			pl.add(p, t)
		}
	}
}

func (pl *planner) bestFor(p int) int32 {
	if t := pl.neediestFor(p); t >= 0 {
		return t
	}
	best := int32(-1)
	var bestRank [7]int
	for t := range int32(len(pl.servers)) {
		if pl.short(t) <= 0 || pl.in(p, t) {
			continue
		}
		zone, host := pl.sharing(p, -1, t)
		pairs := 0
		for _, o := range pl.sets[p] {
			pairs += int(pl.pairs[int(t)*len(pl.servers)+int(o)])
		}
		rank := [7]int{zone, host, pl.price(p, t), -pl.zoneNeed[pl.zone[t]], -pl.hostNeed[pl.host[t]], -pl.short(t), pairs}
		if best < 0 || slices.Compare(rank[:], bestRank[:]) < 0 {
			best, bestRank = t, rank
		}
	}
	return best
}

// neediestFor is bestFor where the server with the greatest need may be taken as
// it stands, as it mostly may: among thousands this one is found without ranking
// them all. -1: bestFor has to look.
func (pl *planner) neediestFor(p int) int32 {
	for _, s := range pl.had[p] {
		if pl.short(s) > 0 && !pl.in(p, s) {
			return -1 // it has a copy: that counts for more than need
		}
	}
	zone, shared := -1, 0
	for z, servers := range pl.inZone {
		if len(servers) == 0 {
			continue
		}
		k := 0
		for _, o := range pl.sets[p] {
			if int(pl.zone[o]) == z {
				k++
			}
		}
		if zone < 0 || k < shared || k == shared && pl.zoneNeed[z] > pl.zoneNeed[zone] {
			zone, shared = z, k
		}
	}
	sharedHost := 0
	if pl.hosts == 1 {
		sharedHost = len(pl.sets[p])
	}
	servers := pl.inZone[zone]
	need := 0 // of the host, then of the server
	for _, t := range servers {
		if s := pl.short(t); s > 0 {
			need = max(need, pl.hostNeed[pl.host[t]]<<32+s)
		}
	}
	n, best, fewest := len(pl.servers), int32(-1), int32(0)
	for _, t := range servers {
		s := pl.short(t)
		if s <= 0 || pl.hostNeed[pl.host[t]]<<32+s != need || pl.in(p, t) {
			continue
		}
		if _, h := pl.sharing(p, -1, t); h > sharedHost {
			continue
		}
		pairs := int32(0)
		for _, o := range pl.sets[p] {
			pairs += pl.pairs[int(o)*n+int(t)]
		}
		if pairs == 0 {
			return t
		}
		if best < 0 || pairs < fewest {
			best, fewest = t, pairs
		}
	}
	return best
}

// shedSurplus moves copies from servers above their quota to servers below.
// A first round takes no move that makes more copies share a zone or host. A
// server above its quota always has a partition that one below has not, so
// the second round leaves no surplus that a server needs.
func (pl *planner) shedSurplus() {
	over, lack := 0, 0
	var under []int32
	for s := range int32(len(pl.servers)) {
		if k := pl.short(s); k > 0 {
			lack += k
			under = append(under, s)
		} else {
			over -= k
		}
	}
	left := min(over, lack)
	for _, strict := range []bool{true, false} {
		for p := 0; p < len(pl.sets) && left > 0; p++ {
			for left > 0 {
				s, t := pl.shed(p, under, strict)
				if s < 0 {
					break
				}
				pl.swap(p, s, t)
				left--
				if pl.short(t) == 0 {
					under = slices.DeleteFunc(under, func(u int32) bool { return u == t })
				}
			}
		}
	}
}

// shed is the best move within p to one of under, those below their quota.
func (pl *planner) shed(p int, under []int32, strict bool) (from, to int32) {
	n := len(pl.servers)
	from, to = -1, -1
	var bestRank [8]int
	for _, s := range pl.sets[p] {
		if pl.short(s) >= 0 {
			continue
		}
		primary := 0
		if s == pl.basePrimary[p] {
			primary = 1
		}
		for _, t := range under {
			if pl.in(p, t) {
				continue
			}
			zone, host := pl.crowding(p, s, t)
			if strict && (zone > 0 || zone == 0 && host > 0) {
				continue
			}
			pairs := 0
			for _, o := range pl.sets[p] {
				if o != s {
					pairs += int(pl.pairs[int(t)*n+int(o)]) - int(pl.pairs[int(s)*n+int(o)])
				}
			}
			rank := [8]int{zone, host, pl.price(p, t) - pl.price(p, s), -pl.zoneNeed[pl.zone[t]], primary, pairs, pl.short(s), -pl.short(t)}
			if from < 0 || slices.Compare(rank[:], bestRank[:]) < 0 {
				from, to, bestRank = s, t, rank
			}
		}
	}
	return from, to
}

// patchHoles fills what fillHoles could not: t, below its quota, is in all
// partitions that still lack a server. Some u takes such a partition p instead
// and gives t another, q. Since t has a partition that u has not, and no fewer
// copies are on u than on t, there is a q.
func (pl *planner) patchHoles() {
	for p := range pl.sets {
		for len(pl.sets[p]) < pl.copies {
			if t := pl.bestFor(p); t >= 0 {
				pl.add(p, t)
				continue
			}
			u, q, t := pl.detour(p)
			pl.swap(q, u, t)
			pl.add(p, u)
		}
	}
}

// detour is the cheapest such exchange: the fewest shared zones and hosts, then
// the fewest new copies. One new copy is the least there can be.
func (pl *planner) detour(p int) (u int32, q int, t int32) {
	var bestRank [3]int
	u = -1
	for s := range int32(len(pl.servers)) {
		if pl.in(p, s) {
			continue
		}
		sz, sh := pl.sharing(p, -1, s)
		for c := range pl.sets {
			if !pl.in(c, s) {
				continue
			}
			for to := range int32(len(pl.servers)) {
				if pl.short(to) <= 0 || pl.in(c, to) {
					continue
				}
				zone, host := pl.crowding(c, s, to)
				rank := [3]int{min(sz, 1) + zone, min(sh, 1) + host, pl.price(p, s) + pl.price(c, to) - pl.price(c, s)}
				if u < 0 || slices.Compare(rank[:], bestRank[:]) < 0 {
					u, q, t, bestRank = s, c, to, rank
					if slices.Compare(rank[:], []int{0, 0, 1}) <= 0 {
						return u, q, t
					}
				}
			}
		}
	}
	return u, q, t
}
