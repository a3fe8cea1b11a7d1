package server

import (
	"context"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// Sweeping gives back the space of items that expired or were flushed and that
// nobody asks for (R11). The primary of a partition looks through it now and
// then and asks for such keys itself: whoever finds an expired item deletes it.
//
// Chunks of large values that no item lists any more go on the same rounds (collect.go).
const (
	// sweepPause is between two partitions, and sweepShare how many times longer
	// than the look itself a pause is: sweeping costs at most 1/20 of a core.
	// sweepRest is between two rounds through all partitions.
	sweepPause = 2 * time.Millisecond
	sweepShare = 20
	sweepRest  = 10 * time.Second
	// sweepView is for how long looks are at the same snapshot: to take one has the store
	// move to pebble what was written of late, which it does at less cost all at once.
	sweepView = time.Second
	// sweepKeys bounds what one look removes.
	sweepKeys = 1000
)

// sweeper belongs to the loop but for run.
type sweeper struct {
	n *node
	// due are the partitions that may hold something with an expiry time, or
	// flushed: all of them at the start, as nobody knows.
	due  []mark
	next int
	// views counts the snapshots that looks have asked for. A look must not undo what was
	// noted after its own was asked for.
	views uint64
	asked time.Time       // the last of them; zero: the next look needs one
	view  *store.Snapshot // run's; nil: none
	// chunks of large values are looked for on the same rounds.
	chunks collector
}

// mark is that something may be found, by a snapshot of this number or a later one; 0: nothing.
type mark uint64

// mark notes that something may be found that the present snapshot may not have.
func (s *sweeper) mark() mark { return mark(s.views + 1) }

// seenBy is what is left of m when the snapshot with that number has been looked at.
func (m mark) seenBy(view uint64) mark {
	if uint64(m) <= view {
		return 0
	}
	return m
}

// sweepJob is one partition to look through.
type sweepJob struct {
	part    uint16
	fresh   bool            // on a new snapshot
	stored  <-chan struct{} // closed when that has all that was noted; nil: it has
	flushed uint64
	now     int64

	items bool // look for expired and flushed items
	keys  []string
	more  bool

	chunks     *uploads // look for these too; nil: do not
	ripe       map[item.UploadID]bool
	uploads    []found
	gone       []item.Request
	moreChunks bool

	failed bool // something could not be read
}

// wrote notes what may have to be swept later.
func (s *sweeper) wrote(w *replica.Write) {
	s.chunks.wrote(w)
	if (w.IsFlush || w.Item != nil && w.Item.Exptime != 0) && int(w.Partition) < len(s.due) {
		s.due[w.Partition] = s.mark()
	}
}

// pick is the next partition of the round that this server serves and that is due.
func (s *sweeper) pick() (job sweepJob, ok bool) {
	n := s.n
	if len(s.due) != len(n.replicas) {
		s.due = make([]mark, len(n.replicas))
		for i := range s.due {
			s.due[i] = s.mark()
		}
	}
	if s.next == 0 {
		s.asked = time.Time{}
	}
	for s.next < len(s.due) {
		i := s.next
		s.next++
		if !n.replicas[i].Serving() {
			s.chunks.rest(i)
			continue
		}
		now := time.Now()
		job = sweepJob{part: uint16(i), flushed: n.replicas[i].Flush().Version, now: now.Unix(), items: s.due[i] != 0}
		chunks := s.chunks.wants(job.part)
		if !chunks && !job.items {
			continue
		}
		if job.fresh = now.Sub(s.asked) >= sweepView; job.fresh {
			s.asked = now
			s.views++
			job.stored = n.commit.stored()
		}
		s.due[i] = s.due[i].seenBy(s.views) // marked again by what the look finds
		if chunks {
			s.chunks.pick(&job)
		}
		return job, true
	}
	s.next = 0
	return job, false
}

// run sweeps until ctx is done.
func (s *sweeper) run(ctx context.Context) {
	defer s.leave()
	pause := sweepPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		var job sweepJob
		var ok bool
		if s.n.onLoop(ctx, func() { job, ok = s.pick() }) != nil {
			return
		}
		if !ok { // the round is over
			s.leave()
			pause = sweepRest
			continue
		}
		began := time.Now()
		if err := s.look(&job); err != nil && ctx.Err() == nil {
			s.n.log.Warn("cannot look for what has expired or is not used any more", "partition", job.part, "err", err)
			job.failed = true
		}
		pause = max(sweepPause, sweepShare*time.Since(began))
		if s.n.onLoop(ctx, func() { s.remove(&job) }) != nil {
			return
		}
	}
}

// look finds what is to be removed.
func (s *sweeper) look(job *sweepJob) (err error) {
	if job.stored != nil {
		select {
		case <-job.stored:
		case <-s.n.ctx.Done():
			return s.n.ctx.Err()
		}
	}
	if job.fresh || s.view == nil {
		s.leave()
		s.view = s.n.store.Snapshot()
	}
	if job.items {
		job.keys, job.more, err = lookForItems(s.view, job)
	}
	if err == nil && job.chunks != nil {
		job.uploads, job.gone, job.moreChunks, err = lookForChunks(s.view, job)
	}
	return err
}

// leave gives the snapshot up.
func (s *sweeper) leave() {
	if s.view != nil {
		_ = s.view.Close() // it has been read
		s.view = nil
	}
}

// lookForItems finds expired and flushed items; more: there are more, or will be.
func lookForItems(sn *store.Snapshot, job *sweepJob) (keys []string, more bool, err error) {
	it := sn.Iter(job.part, nil)
	for it.Next() && !item.IsChunk(it.Key()) {
		rec, err := it.Record()
		if err != nil {
			_ = it.Close() // the first error says more
			return keys, true, err
		}
		i, err := item.ParseRecord(rec)
		if err != nil {
			_ = it.Close()
			return keys, true, err
		}
		switch {
		case i.Version < job.flushed || i.Expired(job.now):
			if keys = append(keys, string(it.Key())); len(keys) == sweepKeys {
				return keys, true, it.Close()
			}
		case i.Exptime != 0:
			more = true
		}
	}
	return keys, more, it.Close()
}

func (s *sweeper) remove(job *sweepJob) {
	n := s.n
	if int(job.part) >= len(s.due) {
		return
	}
	if job.failed {
		if job.items {
			s.due[job.part] = s.mark()
		}
		if job.chunks != nil {
			job.chunks.due = s.mark()
		}
		return
	}
	if job.more {
		s.due[job.part] = s.mark()
	}
	r := n.replicas[job.part]
	if !r.Serving() {
		s.due[job.part] = s.mark()
		return
	}
	n.touchClock()
	if job.chunks != nil {
		if s.chunks.collect(job) {
			job.chunks.due = s.mark()
		}
		if job.moreChunks && s.next > 0 {
			s.asked = time.Time{}
			s.next-- // again, lest a value of many chunks take as many rounds
		}
	}
	for _, key := range job.keys {
		req := wire.Request{Partition: job.part, Epoch: r.Config().Epoch, Request: item.Request{Op: item.OpGet, Options: item.NoBump | item.NoValue, Key: []byte(key)}}
		r.Request(&req, replica.Token{Owner: nobody{}}, &n.fx)
	}
}

// nobody is told nothing.
type nobody struct{}

func (nobody) Reply(*wire.Reply) {}
func (nobody) Nak(*wire.Nak)     {}
