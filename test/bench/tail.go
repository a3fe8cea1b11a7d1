package main

import "github.com/kumofs/kumofs/internal/tools/bench"

// tail is p99 in an open loop, both systems at half of what kumofs can.
func (r *run) tail() error {
	memcached, err := r.memcached()
	if err != nil {
		return err
	}
	c, err := r.cluster(clusterOptions{name: "kumofs, 3 copies, gateway", servers: 3})
	if err != nil {
		return err
	}
	for i, what := range []string{"GET", "SET"} {
		load := r.load()
		load.Sets = 100 * i
		if load.Rate, err = r.half(what, load, i == 0, c.system); err != nil {
			return err
		}
		load.Time = r.tailTime
		m, err := r.turns(what+" at half of that rate", load, i == 0, memcached, c.system)
		if err != nil {
			return err
		}
		r.atMost("p99 of "+what+" at half of the maximal rate, gateway and 3 servers: of memcached's at the same rate", &m.ratio(c.system, memcached).P99, 3, "")
		waits := map[*system]float64{}
		for s, rounds := range m {
			var p99 []float64
			for _, one := range rounds {
				p99 = append(p99, one.Wait.P99)
			}
			waits[s] = spread(p99...).Median
		}
		r.note("%s at %d/s: p99 of what operations waited within the load itself, which is part of their latency: %.3f ms with memcached, %.3f ms with kumofs.",
			what, load.Rate, waits[memcached], waits[c.system])
	}
	return nil
}

// half measures a system's maximal rate under a load and tells half of it.
func (r *run) half(what string, load bench.Load, fill bool, s *system) (int, error) {
	m, err := r.turns(what+", closed loop", load, fill, s)
	if err != nil {
		return 0, err
	}
	return max(1, int(bench.Summarize(m[s]).PerSecond.Median/2)), nil
}
