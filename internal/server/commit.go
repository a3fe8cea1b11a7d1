package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
)

// ref is a replica with writes in a batch.
type ref struct {
	r      *replica.Replica
	ticket uint64
}

// committer commits one batch after the other; what arrives meanwhile is the next
// batch. That order is what keeps a partition's writes in order (package replica).
//
// A batch for which the store promises no wait is committed at once, on the loop:
// to wake a goroutine and be woken by it costs more than the write, and its answers
// leave in the same turn. All others go through the committer's goroutine.
type committer struct {
	n *node
	// Being filled.
	batch *store.Batch
	refs  []ref
	after []func() // called when batch is stored
	key   []byte
	// chunks of copies wait for room in a batch, the oldest first: few of each
	// connection (incoming.slots). copied is how many bytes of them batch has.
	chunks []chunk
	copied int
	// filled are batches that were cut off before it, the oldest first.
	filled      []filled
	filledBytes int
	cutAt       int // cutBytes
	// Being committed.
	busy    bool
	spare   *store.Batch
	inRefs  []ref
	inAfter []func()

	jobs chan *store.Batch
	// aside is until when everything goes through the goroutine, because a commit on
	// the loop took long.
	aside time.Time
	// inline is when the commit began that the loop is in, in Unix ns; 0: it is in none.
	inline atomic.Int64
	hung   atomic.Bool // watchInline has said that it hangs
	// With set_delay a batch waits until it is due.
	timing, due bool
	// full is since when the disk has had no room; zero: it has.
	full time.Time
	// watch looks at how long commits and reads take; hangs is what it said last,
	// hungAt when they began to hang.
	watch  replica.Commits
	hangs  bool
	hungAt int64
}

// chunk is a piece of a copy.
type chunk struct {
	bytes int
	take  func() // gives it to its partition's replica
}

// filled is a batch to which nothing is added any more.
type filled struct {
	batch *store.Batch
	refs  []ref
	after []func()
}

// cutBytes is from which size on a batch that waits for the disk gets nothing
// more: a slow disk must not let it grow beyond what the store takes in one
// (store.MaxBatch), for a server bounds what gateways send, not what primaries do.
const cutBytes = 256 << 20

// copyBytes is how much of copies one batch may have, or one chunk if that is larger.
// Clients wait for the operations that are in it too, and for the batch before it.
// A commit of so much costs little more than its sync on a disk that writes 100 MiB/s,
// and less would make copies slow where a sync takes long.
const copyBytes = 1 << 20

const (
	// diskFullRetry is how often a batch that found no room is tried again.
	diskFullRetry = 200 * time.Millisecond
	// diskFullAlone: by then others have taken the partitions over, if there are
	// others with space. After it this server goes on as well as it can: what it
	// has ordered goes into the store's reserve, puts fail with the reason, and
	// deletes are taken, which make room.
	diskFullAlone = 2 * time.Second
)

func (c *committer) init(n *node) {
	c.n = n
	c.batch, c.spare = n.store.NewBatch(), n.store.NewBatch()
	c.jobs = make(chan *store.Batch, 1)
	c.cutAt = cutBytes
}

// bytes is the size of all that waits to be committed.
func (c *committer) bytes() int { return c.filledBytes + c.batch.Bytes() }

// stored is closed when all that waits to be committed is stored; nil: nothing waits.
func (c *committer) stored() <-chan struct{} {
	if !c.busy && len(c.filled) == 0 && c.batch.Len() == 0 {
		return nil
	}
	done := make(chan struct{})
	c.after = append(c.after, func() { close(done) })
	return done
}

// cut puts a large batch aside until the one being committed is done. Between
// the writes of one turn and the positions that belong to them nobody may call it.
func (c *committer) cut() {
	if !c.busy || c.batch.Bytes() < c.cutAt {
		return
	}
	c.filled = append(c.filled, filled{c.batch, c.refs, c.after})
	c.filledBytes += c.batch.Bytes()
	c.batch, c.refs, c.after, c.copied = c.n.store.NewBatch(), nil, nil, 0
}

const (
	// delayTime and delayBytes: with `kumostat set_delay` a batch is committed
	// when it is so old or so large, for more throughput at the expense of latency.
	delayTime  = time.Millisecond
	delayBytes = 64 << 10
)

// held tells whether the batch is to wait for more (set_delay).
func (c *committer) held() bool {
	if !c.n.counters.delay.Load() || c.due || c.batch.Bytes() >= delayBytes {
		c.due = false
		return false
	}
	if !c.timing {
		c.timing = true
		c.n.loop.After(delayTime, func() { c.timing, c.due = false, true }) // this turn's end commits
	}
	return true
}

// start commits what there is, unless a commit is under way: then done starts the
// next. It tells whether it is done already.
func (c *committer) start() (done bool) {
	if !c.busy {
		c.checkSpace() // a tick is a turn too
	}
	if !c.busy && len(c.filled) > 0 {
		f := c.filled[0]
		c.filled = append(c.filled[:0], c.filled[1:]...)
		c.filledBytes -= f.batch.Bytes()
		c.began()
		c.spare, c.inRefs, c.inAfter = f.batch, f.refs, f.after
		c.jobs <- f.batch
		return false
	}
	if c.busy || c.batch.Len() == 0 {
		if !c.busy && len(c.after) > 0 {
			for _, fn := range c.after {
				fn()
			}
			c.after = c.after[:0]
		}
		return false
	}
	if c.held() {
		return false
	}
	c.began()
	job := c.batch
	c.batch, c.spare = c.spare, job
	c.refs, c.inRefs = c.inRefs[:0], c.refs
	c.after, c.inAfter = c.inAfter[:0], c.after
	c.copied = 0
	if c.commitHere(job) {
		return true
	}
	c.jobs <- job // has room: one job at a time
	return false
}

const (
	// asideAfter is how long a commit may hold the loop up without consequences, and
	// asideFor for how long the goroutine does it then.
	asideAfter = 5 * time.Millisecond
	asideFor   = time.Second
	// hangPoll is how often a commit that the loop is in is looked at.
	hangPoll = 500 * time.Millisecond
)

// commitHere commits on the loop, if that is prompt.
func (c *committer) commitHere(job *store.Batch) bool {
	if !c.n.store.Prompt(job) {
		return false
	}
	began := time.Now()
	if began.Before(c.aside) {
		return false
	}
	c.inline.Store(began.UnixNano())
	err := c.n.store.Commit(job)
	c.inline.Store(0)
	took := time.Since(began)
	c.n.meter.commits.Add(took, 1)
	if took > asideAfter {
		c.aside = began.Add(took + asideFor)
		if c.hung.Swap(false) {
			c.watch.Hung(c.n.rn.Awake())
			c.look() // before anything else is reported
		}
	}
	if errors.Is(err, store.ErrDiskFull) && c.n.store.Failed() == nil {
		return false // nothing was done: run waits for space
	}
	c.done(err)
	return true
}

// watchInline tells the managers when a commit has the loop hang: the loop cannot.
// When it goes on it says what is then.
func (c *committer) watchInline(ctx context.Context) {
	t := time.NewTicker(hangPoll)
	defer t.Stop()
	// A process that stood still sees few looks, so it does not accuse its disk.
	seen, looks := int64(0), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		began := c.inline.Load()
		if began == 0 || began != seen {
			seen, looks = began, 0
			continue
		}
		if looks++; looks < int(replica.HangLimit/hangPoll) {
			continue
		}
		if !c.hung.Swap(true) {
			c.n.log.Error("the disk does not answer: this server gives its partitions to others, if their disks do; look at the disk",
				"store", c.n.store.Path(), "for", replica.HangLimit)
		}
		c.n.report.send(&control.Report{Incarnation: c.n.incarnation, Hangs: true, Leaving: c.n.leaving.wants(),
			Damaged: c.n.scrub.mends.waiting(), Disk: c.n.diskState(),
			CopiesLeft: int(c.n.report.left.Load()), CopyBytes: c.n.counters.copyBytes.Load()})
	}
}

func (c *committer) began() {
	c.busy = true
	c.watch.Began(c.n.rn.Awake())
}

// run commits what is not committed on the loop, until jobs is closed.
func (c *committer) run() {
	for b := range c.jobs {
		start := time.Now()
		err := c.n.store.Commit(b)
		began := time.Now()
		for errors.Is(err, store.ErrDiskFull) && c.n.store.Failed() == nil && c.n.ctx.Err() == nil {
			// Nothing was done. Others take over meanwhile (R9: a disk error is an
			// accusation of oneself); when there is room again this goes on where it was.
			c.n.loop.Post(c.diskFull)
			select {
			case <-c.n.ctx.Done():
			case <-time.After(diskFullRetry):
			}
			if time.Since(began) < diskFullAlone {
				err = c.n.store.Commit(b)
			} else {
				err = c.n.store.CommitReserve(b)
			}
		}
		took := time.Since(start)
		c.n.loop.Post(func() {
			c.n.meter.commits.Add(took, 1)
			c.done(err)
		})
	}
}

func (c *committer) diskFull() {
	c.n.touchClock()
	c.watch.Began(c.n.rn.Awake())
	if c.full.IsZero() {
		c.full = time.Now()
		c.n.log.Error("disk full: this server takes no writes and gives its partitions to others until there is space", "store", c.n.store.Path())
	}
}

// storeFailed ends this server: by that the others know at once, and go on
// without it (R9: a disk error is an accusation of oneself).
func (n *node) storeFailed(err error) {
	if n.ctx.Err() == nil {
		n.fatal(fmt.Errorf("store %s: %w; look at the disk, then start this server again: it gets from the others what it missed", n.store.Path(), err))
	}
}

// done tells the replicas that their writes are stored.
func (c *committer) done(err error) {
	n := c.n
	if err != nil {
		n.storeFailed(err)
		return
	}
	c.checkSpace()
	c.spare.Reset()
	c.busy = false
	n.touchClock()
	c.watch.Ended(n.rn.Awake())
	for i := range c.inRefs {
		r := &c.inRefs[i]
		r.r.Persisted(r.ticket, &n.fx)
		r.r = nil
	}
	for i, fn := range c.inAfter {
		fn()
		c.inAfter[i] = nil
	}
	c.inRefs, c.inAfter = c.inRefs[:0], c.inAfter[:0]
	// endTurn of this turn starts the next batch.
}

// checkSpace notices that a full disk has space again.
func (c *committer) checkSpace() {
	if c.full.IsZero() || c.n.store.Full() {
		return
	}
	c.n.log.Warn("disk has space again", "store", c.n.store.Path(), "after", time.Since(c.full).Round(time.Millisecond))
	c.full = time.Time{}
}

// isFull tells whether puts would wait for space.
func (c *committer) isFull() bool { return !c.full.IsZero() }

// alone tells whether the disk has been full for so long that nobody with space
// can have been there to take over what this server still leads.
func (c *committer) alone() bool { return c.isFull() && time.Since(c.full) >= diskFullAlone }

// look notices that commits or reads hang, or that they are quick again. Called on every tick.
func (c *committer) look() {
	now := c.n.rn.Awake()
	if began := c.n.reads.oldest(now); began != 0 {
		c.watch.Reading(now, began)
	}
	hangs := c.watch.Hang(now)
	if hangs == c.hangs {
		return
	}
	c.hangs = hangs
	if hangs {
		c.hungAt = now
		c.n.log.Error("the disk does not answer: this server gives its partitions to others, if their disks do; look at the disk",
			"store", c.n.store.Path(), "for", replica.HangLimit)
	} else {
		c.n.log.Warn("the disk answers again", "store", c.n.store.Path(), "after", time.Duration(now-c.hungAt).Round(time.Millisecond))
	}
}
