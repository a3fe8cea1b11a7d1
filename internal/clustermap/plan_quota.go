package clustermap

// setQuotas fixes how many copies each server shall have. The mean is seldom
// whole, so some servers get one more than others. Who does is chosen in this
// order: where no zone or host gets more copies than there are partitions
// (they would have to share); who has that many already; the lowest ID.
// Weights would come in here: everything else only looks at quotas.
func (pl *planner) setQuotas() {
	n, parts := len(pl.servers), len(pl.sets)
	pl.quota = make([]int, n)
	pl.zoneNeed = make([]int, n)
	pl.hostNeed = make([]int, n)
	if n == 0 {
		return
	}
	total := parts * pl.copies
	pl.floor = total / n
	pl.ceil = (total + n - 1) / n
	zoneSum, hostSum := make([]int, n), make([]int, n)
	give := func(s, k int) {
		pl.quota[s] += k
		zoneSum[pl.zone[s]] += k
		hostSum[pl.host[s]] += k
	}
	for s := range n {
		give(s, pl.floor)
	}
	for range total - n*pl.floor {
		best, bestRank := -1, 0
		for s := range n {
			if pl.quota[s] > pl.floor {
				continue
			}
			rank := 0
			if zoneSum[pl.zone[s]] >= parts {
				rank += 4
			}
			if hostSum[pl.host[s]] >= parts {
				rank += 2
			}
			if pl.load[s] <= pl.floor {
				rank++
			}
			if best < 0 || rank < bestRank {
				best, bestRank = s, rank
			}
		}
		give(best, 1)
	}
	for s := range n {
		pl.zoneNeed[pl.zone[s]] += pl.quota[s] - pl.load[s]
		pl.hostNeed[pl.host[s]] += pl.quota[s] - pl.load[s]
	}
}

// short is how many copies s lacks of its quota; negative if it has too many.
func (pl *planner) short(s int32) int { return pl.quota[s] - pl.load[s] }
