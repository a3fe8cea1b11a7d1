package main

import (
	"fmt"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// wide is many servers: what an operation costs, and what a daemon costs that has
// nothing to do.
func (r *run) wide() error {
	last := r.wideSteps[len(r.wideSteps)-1]
	// Small caches: all of it is on one machine.
	args := []string{"--cache-size", "8M"}
	few, err := r.cluster(clusterOptions{name: fmt.Sprintf("kumofs, %d servers", r.wideSteps[0]), servers: r.wideSteps[0], args: args})
	if err != nil {
		return err
	}
	many, err := r.cluster(clusterOptions{name: fmt.Sprintf("kumofs, %d servers", last), servers: r.wideSteps[0], args: args})
	if err != nil {
		return err
	}
	if err := r.fill(many.system, r.keys); err != nil {
		return err
	}
	if err := r.grow(many); err != nil {
		return err
	}
	load := r.load()
	load.Operations /= 4 // so many daemons on one machine are slow
	load.WarmUp /= 4
	for i, what := range []string{"GET", "SET"} {
		load.Sets = 100 * i
		m, err := r.turns(what, load, i == 0, few.system, many.system)
		if err != nil {
			return err
		}
		r.atMost(fmt.Sprintf("%s, %d servers: CPU per operation of that with %d", what, last, r.wideSteps[0]), m.ratio(many.system, few.system).CPU, 1.5, "")
	}
	return r.idle(many)
}

// grow attaches servers in steps under load.
func (r *run) grow(c *cluster) error {
	load := r.load()
	load.Rate, load.Sets, load.WarmUp = 1000, 10, 0
	session, err := bench.Open(r.ctx, c.System, load)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, n := range r.wideSteps[1:] {
		r.say("attaching servers: %d to %d", len(c.servers), n)
		var took time.Duration
		result, err := measureUntil(r.ctx, session, func() error {
			for len(c.servers) < n {
				if _, err := c.add(); err != nil {
					return err
				}
			}
			var err error
			took, err = c.attach()
			return err
		})
		if err != nil {
			return err
		}
		r.note("Attached up to %d servers in %.1f s; of %d operations meanwhile, %d a second, none failed, p99 %.1f ms, the longest %.0f ms.",
			n, took.Seconds(), result.Operations, load.Rate, result.All.P99, result.All.Max)
	}
	return nil
}

// idle is the CPU of each daemon when nobody asks for anything.
func (r *run) idle(c *cluster) error {
	r.say("doing nothing for %d times %v", r.rounds, r.wideIdle)
	if err := r.sleep(r.wideIdle / 2); err != nil {
		return err
	}
	var greatest, all []float64
	for range r.rounds {
		shares, err := r.shares(c.pids())
		if err != nil {
			return err
		}
		greatest = append(greatest, spread(shares...).Max)
		all = append(all, shares...)
	}
	r.atMost(fmt.Sprintf("idle CPU of one daemon, %d servers: of the one that uses most, of a core", len(c.servers)), spread(greatest...), 1, "%")
	usual := spread(all...)
	r.note("Idle daemons of %d servers use %.2f %% of a core (%.2f-%.2f).", len(c.servers), usual.Median, usual.Min, usual.Max)
	return nil
}

// shares is how much of a core each process uses now, in per cent.
func (r *run) shares(pids []int) (list []float64, err error) {
	var before []time.Duration
	begin := time.Now()
	for _, pid := range pids {
		used, err := bench.CPU(pid)
		if err != nil {
			return nil, err
		}
		before = append(before, used)
	}
	if err := r.sleep(r.wideIdle); err != nil {
		return nil, err
	}
	for i, pid := range pids {
		used, err := bench.CPU(pid)
		if err != nil {
			return nil, err
		}
		list = append(list, 100*float64(used-before[i])/float64(time.Since(begin)))
	}
	return list, nil
}
