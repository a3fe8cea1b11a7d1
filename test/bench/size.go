package main

import (
	"time"

	"github.com/kumofs/kumofs/internal/tools/bench"
)

// size is how much of everything is measured.
type size struct {
	rounds     int
	operations int64         // of one measurement in a closed loop
	keys       uint64        // of most sections
	quiet      time.Duration // without a compaction: a store is as it will be

	tailTime time.Duration // of one measurement in an open loop

	attachKeys uint64
	attachTime time.Duration // of a measurement without an attach

	bigKeys uint64

	wideSteps []int // servers
	wideIdle  time.Duration

	memoryLimit int64
	memoryKeys  uint64
}

// full is what figures are for.
var full = size{
	rounds: 5, operations: 100_000, keys: 100_000, quiet: 3 * time.Second,
	tailTime:   5 * time.Second,
	attachKeys: 1_000_000, attachTime: 5 * time.Second,
	bigKeys:   10_000_000,
	wideSteps: []int{3, 6, 12, 24, 40, 60}, wideIdle: 10 * time.Second,
	memoryLimit: 512 << 20, memoryKeys: uint64(4 * (512 << 20) / (bench.KeySize + valueSize)),
}

// small shows in seconds that every section works.
var small = size{
	rounds: 1, operations: 2_000, keys: 1_000, quiet: 50 * time.Millisecond,
	tailTime:   300 * time.Millisecond,
	attachKeys: 5_000, attachTime: 300 * time.Millisecond,
	bigKeys:   20_000,
	wideSteps: []int{3, 5}, wideIdle: 500 * time.Millisecond,
	memoryLimit: 96 << 20, memoryKeys: 20_000,
}

const (
	valueSize = 100
	itemSize  = float64(bench.KeySize + valueSize)
)

// load is 100 B values, 32 connections, one operation at a time on each, uniform over
// the keys.
func (r *run) load() bench.Load {
	return bench.Load{
		Connections: 32, Pipeline: 1, Threads: 1, Keys: r.keys, MinValue: valueSize, MaxValue: valueSize,
		Operations: r.operations, Multiget: 1, WarmUp: r.operations / 20, Seed: 1, Timeout: 30 * time.Second,
	}
}
