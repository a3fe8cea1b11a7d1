package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

// readers read from the store what the cache did not have.
type readers struct {
	n     *node
	mu    sync.Mutex
	cond  *sync.Cond
	queue []wantedRead // bounded by the requests outstanding
	head  int          // those before it in queue are taken
	done  bool

	// now is the running time at the last tick (replica.Node.Awake), and began when
	// the read that a goroutine is at began; 0: it is at none.
	now   atomic.Int64
	began []atomic.Int64
}

// readBatch is how many reads a goroutine takes and posts back at a time, at most: it takes its
// share of those that wait, so that disks have as many to do at once as there are goroutines.
const readBatch = 32

// wantedRead is a read, and when it was asked for (replica.Node.Now).
type wantedRead struct {
	replica.Read
	at int64
}

func newReaders(n *node, threads int) *readers {
	r := &readers{n: n, began: make([]atomic.Int64, threads)}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *readers) submit(reads []replica.Read, now int64) {
	r.mu.Lock()
	for i := range reads {
		r.queue = append(r.queue, wantedRead{reads[i], now})
	}
	r.mu.Unlock()
	for range min(len(reads), len(r.began)) {
		r.cond.Signal()
	}
}

func (r *readers) stop() {
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
	r.cond.Broadcast()
}

type readResult struct {
	read  wantedRead
	items []*item.Item
	err   error
}

// take waits for reads and takes up to readBatch of them; nil: stop was called.
func (r *readers) take() []readResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.head == len(r.queue) && !r.done {
		r.cond.Wait()
	}
	if r.done {
		return nil
	}
	share := (len(r.queue) - r.head + len(r.began) - 1) / len(r.began)
	taken := r.queue[r.head:][:min(share, readBatch)]
	list := make([]readResult, len(taken))
	for i := range taken {
		list[i].read = taken[i]
	}
	clear(taken)
	r.head += len(taken)
	// Not at every take: the loop waits for mu meanwhile.
	if r.head > len(r.queue)/2 {
		rest := copy(r.queue, r.queue[r.head:])
		clear(r.queue[rest:])
		r.queue, r.head = r.queue[:rest], 0
	}
	return list
}

// oldest tells when the oldest read under way began; 0: there is none. Called on every tick.
func (r *readers) oldest(now int64) (oldest int64) {
	r.now.Store(now)
	for i := range r.began {
		if began := r.began[i].Load(); began != 0 && (oldest == 0 || began < oldest) {
			oldest = began
		}
	}
	return oldest
}

// run reads until stop, as the goroutine of that number.
func (r *readers) run(number int) {
	for {
		list := r.take()
		if list == nil {
			return
		}
		for i := range list {
			list[i].items, list[i].err = r.read(&list[i].read.Read, &r.began[number])
		}
		r.n.loop.Post(func() {
			r.n.touchClock()
			for i := range list {
				rd := &list[i]
				if rd.err != nil {
					r.n.unreadable(rd.read.Replica.Part(), rd.err)
				}
				r.n.meter.reads.Add(time.Duration(r.n.rn.Now-rd.read.at), 1)
				rd.read.Replica.ReadDone(&rd.read.Read, rd.items, rd.err, &r.n.fx)
			}
		})
	}
}

// unreadable gives a partition to others of which something cannot be read: a
// disk error is an accusation of oneself (R9). A store that has failed ends the
// server by itself.
func (n *node) unreadable(part uint16, err error) {
	if n.store.Failed() != nil || n.ctx.Err() != nil || slices.Contains(n.report.unreadable, part) {
		return
	}
	n.report.unreadable = append(n.report.unreadable, part)
	n.scrub.suspect(part)
	if n.rn.Now-n.report.unreadableAt < unreadableEvery {
		return
	}
	n.report.unreadableAt = n.rn.Now
	n.log.Error("cannot read the store: this server gives the partition to others, if there are any, and looks for what is damaged; look at the disk; "+
		"if this goes on stop the server, move its store away and start it again: the others fill it",
		"store", n.store.Path(), "partition", part, "err", err)
}

func (r *readers) read(rd *replica.Read, began *atomic.Int64) ([]*item.Item, error) {
	defer began.Store(0)
	items := make([]*item.Item, len(rd.Keys))
	for i, key := range rd.Keys {
		began.Store(r.now.Load()) // of each key: many that are slow are none that hangs
		rec, found, err := r.n.store.Get(rd.Replica.Part(), []byte(key), nil)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		it, err := item.ParseRecord(rec)
		if err != nil {
			return nil, err
		}
		items[i] = &it
	}
	return items, nil
}
