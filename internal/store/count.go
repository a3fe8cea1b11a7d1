package store

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kumofs/kumofs/internal/item"
)

// counts remembers how many items each partition has, so that a count of all
// reads only the partitions that were written to since the last.
//
// A partition is marked after a commit was applied, and a count takes the mark
// away before it looks: so a count that missed a commit is followed by the
// commit's mark, and is done again by the next one. At rest the sum is exact.
type counts struct {
	dirty [FirstOwnPartition / 64]atomic.Uint64

	mu      sync.Mutex
	seeded  bool // what was in the store when it was opened is marked
	known   map[uint16]int64
	total   int64
	counted time.Time     // when the last count ended
	cost    time.Duration // what it took
}

func newCounts() *counts {
	return &counts{known: make(map[uint16]int64)}
}

func (c *counts) touch(parts []uint16) {
	for _, part := range parts {
		if part >= FirstOwnPartition {
			continue
		}
		w, bit := &c.dirty[part/64], uint64(1)<<(part%64)
		if w.Load()&bit == 0 {
			w.Or(bit)
		}
	}
}

const (
	// A count that took longer than countCheap is not done again before
	// countRest times as long has passed: so monitoring costs a tenth of a core
	// at most.
	countCheap = 100 * time.Millisecond
	countRest  = 10
)

// Items is the number of pairs in all partitions, bookkeeping and the chunks of
// large values not counted. At
// rest it is exact; under writes it lags behind, by as much as ten times what
// counting takes (a second for some million items). It blocks while counting, or
// until ctx is done.
func (s *Store) Items(ctx context.Context) (int64, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	c := s.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cost > countCheap && time.Since(c.counted) < countRest*c.cost {
		return c.total, nil
	}
	began := time.Now()
	if err := s.recount(ctx); err != nil {
		return 0, err
	}
	c.counted, c.cost = time.Now(), time.Since(began)
	return c.total, s.usable()
}

// recount counts the dirty partitions again. c.mu is held.
func (s *Store) recount(ctx context.Context) error {
	c := s.counts
	if !c.seeded {
		parts, err := s.Positions()
		if err != nil {
			return err
		}
		for part := range parts {
			c.touch([]uint16{part})
		}
		c.seeded = true
	}
	for w := range c.dirty {
		marks := c.dirty[w].Swap(0)
		if marks != 0 {
			if err := s.settle(); err != nil {
				c.dirty[w].Or(marks)
				return err
			}
		}
		for ; marks != 0; marks &= marks - 1 {
			part := uint16(w*64 + bits.TrailingZeros64(marks))
			n, err := countItems(ctx, s.view, part)
			if err != nil {
				c.dirty[w].Or(marks) // not counted
				return ioError(err, "cannot count the items")
			}
			c.total += n - c.known[part]
			c.known[part] = n
		}
	}
	return nil
}

// Count is the exact number of items of a partition, by a scan of its keys.
func (s *Store) Count(part uint16) (int64, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	n, err := countItems(context.Background(), s.view, part)
	if ferr := s.usable(); ferr != nil {
		err = ferr
	}
	return n, ioError(err, "cannot count a partition")
}

func countItems(ctx context.Context, r pebble.Reader, part uint16) (n int64, err error) {
	lower, upper := itemRange(part, nil, item.ChunkPrefix())
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
		n++
	}
	if err = it.Error(); err == nil {
		err = ctx.Err()
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return n, err
}
