package main

import (
	"errors"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// peers are the systems of sections core and large.
type peers struct {
	memcached, redis, redisReplicas *system
	one                             *cluster // one server, clients on it
	three                           *cluster // three behind a gateway
	direct                          *cluster // three, clients spread over them
	local                           *system
}

func (r *run) peers() (p peers, err error) {
	r.say("starting everything")
	start := func(do func() error) {
		if err == nil {
			err = do()
		}
	}
	start(func() (err error) { p.memcached, err = r.memcached(); return err })
	start(func() (err error) { p.redis, err = r.redis(0); return err })
	start(func() (err error) { p.redisReplicas, err = r.redis(2); return err })
	start(func() (err error) {
		p.one, err = r.cluster(clusterOptions{name: "kumofs, 1 server, -t", servers: 1, direct: true})
		return err
	})
	start(func() (err error) {
		p.three, err = r.cluster(clusterOptions{name: "kumofs, 3 copies, gateway", servers: 3})
		return err
	})
	start(func() (err error) {
		p.direct, err = r.cluster(clusterOptions{name: "kumofs, 3 copies, -t", servers: 3, direct: true})
		return err
	})
	start(func() (err error) { p.local, err = r.local(); return err })
	return p, err
}

// core is throughput and CPU beside memcached and redis-server.
func (r *run) core() error {
	p, err := r.peers()
	if err != nil {
		return err
	}
	single, err := r.single(p, valueSize, 0)
	if err != nil {
		return err
	}
	sets := r.load()
	sets.Sets = 100
	m, err := r.turns("SET, 3 copies, one hop", sets, true, p.redisReplicas, p.direct.system, p.local)
	if err != nil {
		return err
	}
	r.atLeast("SET, 3 copies acknowledged, one hop (`-t` on the three servers): throughput of redis-server's with AOF and 2 asynchronous replicas", &m.ratio(p.direct.system, p.redisReplicas).PerSecond, 1, "")
	r.atLeast("the same, `kumofs local`", &m.ratio(p.local, p.redisReplicas).PerSecond, 1, "")
	return r.batches(p, single)
}

// single is the four rows that are measured with every size of a value; easier is taken
// from each ratio that is wanted. It tells the CPU of a GET of memcached.
func (r *run) single(p peers, size int, easier float64) (*bench.Spread, error) {
	load := r.load()
	load.MinValue, load.MaxValue = size, size
	gets, err := r.turns("GET", load, true, p.memcached, p.one.system, p.three.system)
	if err != nil {
		return nil, err
	}
	one, three := gets.ratio(p.one.system, p.memcached), gets.ratio(p.three.system, p.memcached)
	if one.CPU == nil || three.CPU == nil {
		return nil, errors.New("the kernel does not tell the CPU time of processes")
	}
	load.Sets = 100
	sets, err := r.turns("SET", load, true, p.redis, p.redisReplicas, p.one.system, p.three.system)
	if err != nil {
		return nil, err
	}
	r.atLeast("GET, one hop (`kumo-server -t`): throughput of memcached's", &one.PerSecond, .95-easier, "")
	r.atMost("the same: CPU of memcached's", one.CPU, 1.05+easier, "")
	r.atLeast("SET, one hop, one durable copy: throughput of redis-server's with AOF", &sets.ratio(p.one.system, p.redis).PerSecond, 1-easier, "")
	r.atLeast("GET through a gateway to one of 3 servers: throughput of memcached's", &three.PerSecond, .65-easier, "")
	r.atMost("the same: CPU of memcached's", three.CPU, 1.5+easier, "")
	copies := sets.ratio(p.three.system, p.redisReplicas)
	r.atLeast("SET through a gateway, 3 copies acknowledged: throughput of redis-server's with AOF and 2 asynchronous replicas", &copies.PerSecond, .7-easier, "")
	if easier == 0 {
		r.atMost("the same: CPU of all daemons", bench.Summarize(sets[p.three.system]).CPU, 40, "us")
	}
	return bench.Summarize(gets[p.memcached]).CPU, nil
}

// batches is many keys at a time; single is the CPU of a GET of memcached without them.
func (r *run) batches(p peers, single *bench.Spread) error {
	pipelined, many := r.load(), r.load()
	pipelined.Pipeline = 16
	pipelined.Operations *= 2
	many.Multiget = 100
	many.Operations /= 10
	many.WarmUp /= 10
	for _, b := range []struct {
		name string
		keys float64 // of an operation
	}{{"GET, pipeline 16", 1}, {"GET of 100 keys", 100}} {
		load := pipelined
		if b.keys > 1 {
			load = many
		}
		m, err := r.turns(b.name, load, false, p.memcached, p.one.system, p.three.system)
		if err != nil {
			return err
		}
		for _, s := range []*system{p.one.system, p.three.system} {
			r.atMost(b.name+", "+s.Name+": CPU per key of memcached's", m.ratio(s, p.memcached).CPU, .35, "")
			each := bench.Summarize(m[s]).CPU.Median / b.keys
			r.note("%s, %s: %.2f us of CPU a key, %.2f of what a GET of its own costs memcached.", b.name, s.Name, each, each/single.Median)
		}
	}
	return nil
}
