// Command bench measures kumofs beside memcached and redis-server in one run on
// this machine: each system is started fresh on loopback, the systems take
// turns, medians are printed as a table. CPU is that of all processes of a
// system together, from /proc/PID/task/*/schedstat.
//
//	go build -o bin/ ./cmd/... && go run ./test/bench -bin bin
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"
)

type sample struct{ perSecond, cpu, mean float64 }

func main() {
	bin := flag.String("bin", "bin", "directory of kumofs's programs")
	ops := flag.Int("ops", 100000, "operations of one measurement")
	rounds := flag.Int("rounds", 5, "measurements of each system")
	keys := flag.Int("keys", 100000, "keys, taken uniformly")
	conns := flag.Int("conns", 32, "connections")
	pipeline := flag.Int("pipeline", 1, "requests in flight on a connection")
	size := flag.Int("size", 100, "bytes of a value")
	only := flag.String("only", "", "measure only this system")
	addr := flag.String("addr", "", "measure what speaks memcached there instead, without its CPU")
	flag.Parse()
	if *addr != "" {
		if err := runAt(*addr, *ops, *rounds, *keys, *conns, *pipeline, *size); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(*bin, *ops, *rounds, *keys, *conns, *pipeline, *size, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(bin string, ops, rounds, keys, conns, pipeline, size int, only string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	all := []*system{
		{name: "memcached -t 2", proto: memcached, start: startMemcached},
		{name: "redis-server, AOF", proto: redis, start: startRedis},
		{name: "kumofs, 1 server, -t", proto: memcached, start: startKumofs(bin, 1, true)},
		{name: "kumofs, 1 server, gateway", proto: memcached, start: startKumofs(bin, 1, false)},
		{name: "kumofs, 3 copies, gateway", proto: memcached, start: startKumofs(bin, 3, false)},
	}
	var systems []*system
	for _, s := range all {
		if only == "" || s.name == only {
			systems = append(systems, s)
		}
	}
	dir, err := os.MkdirTemp("", "kumofs-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i, s := range systems {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		defer s.stop()
		if err := s.start(s, d); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fill := job{addr: s.addr, proto: s.proto, set: true, ops: (keys/(4*conns) + 1) * 4 * conns, conns: conns, pipeline: 4, keys: keys, size: size, ordered: true}
		if _, err := fill.run(); err != nil {
			return fmt.Errorf("filling %s: %w", s.name, err)
		}
	}
	samples := map[string][]sample{}
	for range rounds {
		for _, set := range []bool{false, true} {
			for _, s := range systems {
				j := job{addr: s.addr, proto: s.proto, set: set, ops: ops, conns: conns, pipeline: pipeline, keys: keys, size: size}
				before, err := s.cpu()
				if err != nil {
					return err
				}
				r, err := j.run()
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				after, err := s.cpu()
				if err != nil {
					return err
				}
				k := fmt.Sprint(s.name, set)
				samples[k] = append(samples[k], sample{r.perSecond, float64(after-before) / float64(time.Microsecond) / float64(ops), float64(r.mean) / float64(time.Millisecond)})
			}
		}
	}
	fmt.Printf("%d B values, %d connections, pipeline %d, uniform over %d keys, %d operations, median of %d rounds\n\n", size, conns, pipeline, keys, ops, rounds)
	fmt.Println("| system | GET/s | ratio | CPU us/op | mean ms | SET/s | ratio | CPU us/op | mean ms |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	base := [2]float64{}
	for _, s := range systems {
		fmt.Printf("| %s |", s.name)
		for i, set := range []bool{false, true} {
			m := median(samples[fmt.Sprint(s.name, set)])
			if base[i] == 0 {
				base[i] = m.perSecond
			}
			fmt.Printf(" %.0f | %.2f | %.1f | %.2f |", m.perSecond, m.perSecond/base[i], m.cpu, m.mean)
		}
		fmt.Println()
	}
	return nil
}

// runAt measures one running system.
func runAt(addr string, ops, rounds, keys, conns, pipeline, size int) error {
	fill := job{addr: addr, proto: memcached, set: true, ops: (keys/(4*conns) + 1) * 4 * conns, conns: conns, pipeline: 4, keys: keys, size: size, ordered: true}
	if _, err := fill.run(); err != nil {
		return err
	}
	for range rounds {
		for _, set := range []bool{false, true} {
			j := job{addr: addr, proto: memcached, set: set, ops: ops, conns: conns, pipeline: pipeline, keys: keys, size: size}
			r, err := j.run()
			if err != nil {
				return err
			}
			fmt.Printf("set=%-5v %9.0f/s  mean %v\n", set, r.perSecond, r.mean)
		}
	}
	return nil
}

// median takes each figure's median.
func median(list []sample) (m sample) {
	pick := func(f func(sample) float64) float64 {
		v := make([]float64, len(list))
		for i := range list {
			v[i] = f(list[i])
		}
		sort.Float64s(v)
		return v[len(v)/2]
	}
	return sample{pick(func(s sample) float64 { return s.perSecond }), pick(func(s sample) float64 { return s.cpu }), pick(func(s sample) float64 { return s.mean })}
}
