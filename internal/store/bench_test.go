package store

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

// benchItems is how many items the benchmarks' store holds.
const benchItems = 1_000_000

var bench struct {
	once sync.Once
	s    *Store
}

// benchStore is a store on disk with benchItems of 100 bytes in 256
// partitions, flushed.
func benchStore(b *testing.B) *Store {
	b.Helper()
	bench.once.Do(func() {
		dir := b.TempDir()
		s, err := Open(dir+"/s", Options{CacheSize: 256 << 20})
		if err != nil {
			b.Fatal(err)
		}
		batch := s.NewBatch()
		for i := range benchItems {
			part, key := benchKey(uint64(i))
			batch.PutItem(part, key[:], testItem(uint64(i+1), string(benchValue(uint64(i)))))
			if batch.Bytes() > 1<<20 {
				if err := s.Commit(batch); err != nil {
					b.Fatal(err)
				}
				batch.Reset()
			}
		}
		if err := s.Commit(batch); err != nil {
			b.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			b.Fatal(err)
		}
		bench.s = s
	})
	return bench.s
}

func benchKey(i uint64) (part uint16, key [16]byte) {
	h := i * 0x9E3779B97F4A7C15
	binary.BigEndian.PutUint64(key[:], h)
	binary.BigEndian.PutUint64(key[8:], i)
	return uint16(h >> 56), key
}

func benchValue(i uint64) []byte {
	v := make([]byte, 100)
	r := rand.New(rand.NewPCG(i, i))
	for j := 0; j < 50; j += 8 { // half of it compresses
		binary.BigEndian.PutUint64(v[j:], r.Uint64())
	}
	return v
}

// One function, because the store is made once and lives in its TempDir.
func BenchmarkStore(b *testing.B) {
	s := benchStore(b)
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			part, key := benchKey(rand.Uint64N(benchItems))
			var found bool
			var err error
			if dst, found, err = s.Get(part, key[:], dst[:0]); !found || err != nil {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("GetAbsent", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			part, key := benchKey(benchItems + rand.Uint64N(benchItems))
			if _, found, err := s.Get(part, key[:], nil); found || err != nil {
				b.Fatal(found, err)
			}
		}
	})
	for name, size := range map[string]int{"Commit1": 1, "Commit16": 16, "Commit100": 100} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			batch := s.NewBatch()
			it := testItem(1, string(benchValue(1)))
			for n := 0; b.Loop(); n++ {
				part, key := benchKey(rand.Uint64N(benchItems))
				it.Version++
				batch.PutItem(part, key[:], it)
				batch.SetPosition(part, Position{Version: it.Version})
				if n%size == size-1 {
					if err := s.Commit(batch); err != nil {
						b.Fatal(err)
					}
					batch.Reset()
				}
			}
		})
	}
	b.Run("Commit1Parallel8", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			batch := s.NewBatch()
			it := testItem(1, string(benchValue(1)))
			for pb.Next() {
				part, key := benchKey(rand.Uint64N(benchItems))
				batch.Reset()
				batch.PutItem(part, key[:], it)
				if err := s.Commit(batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("Scan", func(b *testing.B) { // ns per item
		sn := s.Snapshot()
		defer sn.Close()
		it := sn.Iter(0, nil)
		bytes := int64(0)
		for part := 0; b.Loop(); {
			for !it.Next() {
				if err := it.Close(); err != nil {
					b.Fatal(err)
				}
				part = (part + 1) % 256
				it = sn.Iter(uint16(part), nil)
			}
			rec, err := it.Record()
			if err != nil {
				b.Fatal(err)
			}
			bytes += int64(len(rec) + len(it.Key()))
		}
		b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
		_ = it.Close()
	})
	b.Run("Digest", func(b *testing.B) {
		sn := s.Snapshot()
		defer sn.Close()
		for b.Loop() {
			if err := sn.Digest(7, 128, func(RangeDigest) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ItemsAll", func(b *testing.B) {
		for b.Loop() {
			for part := range uint16(256) {
				s.counts.touch([]uint16{part})
			}
			s.counts.mu.Lock()
			err := s.recount(context.Background())
			n := s.counts.total
			s.counts.mu.Unlock()
			if n != benchItems || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("Partitions", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Partitions(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Metrics", func(b *testing.B) {
		for b.Loop() {
			s.Metrics()
		}
	})
	b.Run("Health", func(b *testing.B) {
		for b.Loop() {
			_ = s.Health()
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
