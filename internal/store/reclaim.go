package store

import (
	"context"
	"slices"
)

// reclaimStep is how many partitions are compacted at a time for their space:
// a compaction writes the new tables before it removes the old ones, and has
// only the reserve for it.
const reclaimStep = 64

// reclaim sees to it that what was deleted while the disk is full gives its
// space back: pebble by itself compacts when there have been enough writes,
// and there are none. It does not block; who is refused a write calls it again.
func (s *Store) reclaim() {
	sp := s.space
	if !sp.deleted.Load() || !sp.flushDue() || s.usable() != nil || !sp.reclaiming.CompareAndSwap(false, true) {
		return
	}
	sp.deleted.Store(false)
	s.reclaims.Go(func() {
		defer sp.reclaiming.Store(false)
		held, err := s.Positions()
		if err != nil {
			return
		}
		parts := make([]uint16, 0, len(held))
		for p := range held {
			parts = append(parts, p)
		}
		slices.Sort(parts)
		for chunk := range slices.Chunk(parts, reclaimStep) {
			if s.space.room(0) == roomy || s.usable() != nil {
				return
			}
			// One that finds no space is undone; the next ones may be smaller, and so may this one be
			// when more was deleted: it is tried again.
			if s.compact(chunk[0], chunk[len(chunk)-1]) != nil {
				sp.deleted.Store(true)
			}
		}
	})
}

// compact compacts partitions. It blocks until that is done, and no longer than the
// store works.
func (s *Store) compact(first, last uint16) error {
	if err := s.settle(); err != nil {
		return err
	}
	start, _ := partitionRange(first)
	_, end := partitionRange(last)
	return s.compactRange(context.Background(), start, end)
}

// compactRange compacts what lies from start to end in the store's order.
func (s *Store) compactRange(ctx context.Context, start, end []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.guard.closing:
		case <-s.guard.broken: // pebble would try for ever
		case <-ctx.Done():
		}
		cancel()
	}()
	err := s.db.Compact(ctx, start, end, false)
	if ferr := s.guard.err(); ferr != nil {
		err = ferr
	}
	return ioError(err, "cannot compact")
}
