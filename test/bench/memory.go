package main

import (
	"fmt"
	"strconv"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// memory is random gets of more data than memory, beside pebble alone that reads the
// same under the same limit.
func (r *run) memory() error {
	prefix, err := r.limited(r.memoryLimit)
	if err != nil {
		return err
	}
	// An eighth for caches: the rest is for the process itself, and the kernel's cache
	// of files counts, too.
	cache := r.memoryLimit / 8
	c, err := r.cluster(clusterOptions{
		name: "kumofs, 1 server, -t", servers: 1, direct: true, prefix: prefix,
		args: []string{"--cache-size", strconv.FormatInt(cache, 10)},
	})
	if err != nil {
		return err
	}
	if err := r.fill(c.system, r.memoryKeys); err != nil {
		return fmt.Errorf("%w%s", err, c.logs())
	}
	if err := c.settle(); err != nil {
		return err
	}
	r.say("storing the same in pebble alone")
	prefix, err = r.limited(r.memoryLimit)
	if err != nil {
		return err
	}
	alone, err := r.pebble(prefix, r.memoryKeys, cache)
	if err != nil {
		return err
	}
	load := r.load()
	load.Keys = r.memoryKeys
	session, err := bench.Open(r.ctx, c.System, load)
	if err != nil {
		return err
	}
	defer session.Close()
	var theirs, ours []*bench.Result
	for i := range r.rounds {
		r.say("reading %d of %d", i+1, r.rounds)
		a, err := alone.read(r.ctx, load.Operations, load.Connections)
		if err != nil {
			return err
		}
		b, err := session.Measure(r.ctx)
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			return fmt.Errorf("%s: %w%s", c.Name, err, c.logs())
		}
		theirs, ours = append(theirs, a), append(ours, b)
	}
	data := float64(r.memoryKeys) * itemSize
	what := fmt.Sprintf("GET uniform, data %.2g times the memory", data/float64(r.memoryLimit))
	r.figures = append(r.figures, figure{what, alone.Name, bench.Summarize(theirs)}, figure{what, c.Name, bench.Summarize(ours)})
	r.atLeast(what+": throughput of pebble's alone", &bench.Ratios(ours, theirs).PerSecond, .8, "")
	r.note("%d keys of 100 B, %.0f MB with their keys; %.0f MB for the server, and for the program that has pebble in it, in a cgroup each, the files that the kernel caches for it counted. 32 connections there, 32 goroutines here; an eighth of the limit is for caches in both, and Go is told of it by GOMEMLIMIT.",
		r.memoryKeys, data/1e6, float64(r.memoryLimit)/1e6)
	return nil
}
