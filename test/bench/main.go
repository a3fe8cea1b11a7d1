// Command bench measures kumofs beside memcached and redis-server in one run on
// this machine: each system is started fresh on loopback, the systems take
// turns, medians are printed as a table. The load is kumobench's
// (internal/tools/bench), which measures systems that run already.
//
//	go build -o bin/ ./cmd/... && go run ./test/bench -bin bin
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

func main() {
	bin := flag.String("bin", "bin", "directory of kumofs's programs")
	ops := flag.Int64("ops", 100000, "operations of one measurement")
	rounds := flag.Int("rounds", 5, "measurements of each system")
	keys := flag.Uint64("keys", 100000, "keys, taken uniformly")
	conns := flag.Int("conns", 32, "connections")
	pipeline := flag.Int("pipeline", 1, "requests in flight on a connection")
	size := flag.Int("size", 100, "bytes of a value")
	only := flag.String("only", "", "measure only this system")
	flag.Parse()
	load := bench.Load{
		Connections: *conns, Pipeline: *pipeline, Threads: 1, Keys: *keys, MinValue: *size, MaxValue: *size,
		Operations: *ops, Multiget: 1, WarmUp: *ops / 20, Seed: 1, Timeout: 30 * time.Second,
	}
	// The systems' processes must not outlive an interrupt.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *only, load, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, only string, load bench.Load, rounds int) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	all := []*system{
		{name: "memcached -t 2", protocol: "text", start: startMemcached},
		{name: "redis-server, AOF", protocol: "redis", start: startRedis},
		{name: "kumofs, 1 server, -t", protocol: "text", start: startKumofs(bin, 1, true)},
		{name: "kumofs, 1 server, gateway", protocol: "text", start: startKumofs(bin, 1, false)},
		{name: "kumofs, 3 copies, gateway", protocol: "text", start: startKumofs(bin, 3, false)},
	}
	dir, err := os.MkdirTemp("", "kumofs-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var systems []bench.System
	for i, s := range all {
		if only != "" && s.name != only {
			continue
		}
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		defer s.stop()
		if err := s.start(s, d); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		systems = append(systems, bench.System{Name: s.name, Addrs: []string{s.addr}, Protocol: s.protocol, PIDs: s.pids()})
	}
	if len(systems) == 0 {
		return fmt.Errorf("there is no system %q", only)
	}
	gets, err := bench.Compare(ctx, systems, load, rounds, true)
	if err != nil {
		return err
	}
	load.Sets = 100
	sets, err := bench.Compare(ctx, systems, load, rounds, false)
	if err != nil {
		return err
	}
	fmt.Printf("%d B values, %d connections, pipeline %d, %s over %d keys, %d operations, closed loop, median of %d rounds (ratio: min-max of the rounds);\nthe load itself: %.1f us of CPU an operation\n\n",
		load.MinValue, load.Connections, load.Pipeline, load.Distribution, load.Keys, load.Operations, rounds, bench.Summarize(gets[0]).OwnCPU.Median)
	fmt.Println("| system | GET/s | ratio | CPU us/op | mean, p99 ms | SET/s | ratio | CPU us/op | mean, p99 ms |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for i, s := range systems {
		fmt.Printf("| %s |", s.Name)
		for _, results := range [][][]*bench.Result{gets, sets} {
			for _, r := range results[i] {
				if r.Wrong > 0 || r.Misses > 0 || r.Failed() > 0 {
					return fmt.Errorf("%s: %d wrong values, %d misses, errors %v", s.Name, r.Wrong, r.Misses, r.Errors)
				}
			}
			m, ratio := bench.Summarize(results[i]), bench.Ratios(results[i], results[0]).PerSecond
			fmt.Printf(" %.0f | %.2f (%.2f-%.2f) | %.1f | %.2f, %.2f |", m.PerSecond.Median, ratio.Median, ratio.Min, ratio.Max, m.CPU.Median, m.Mean.Median, m.P99.Median)
		}
		fmt.Println()
	}
	return nil
}
