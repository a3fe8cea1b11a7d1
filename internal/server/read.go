package server

import (
	"sync"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
)

// readers read from the store what the cache did not have.
type readers struct {
	n     *node
	mu    sync.Mutex
	cond  *sync.Cond
	queue []replica.Read // bounded by the requests outstanding
	done  bool
}

// readBatch is how many reads a goroutine takes and posts back at a time.
const readBatch = 32

func newReaders(n *node) *readers {
	r := &readers{n: n}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *readers) submit(reads []replica.Read) {
	r.mu.Lock()
	r.queue = append(r.queue, reads...)
	many := len(r.queue) > readBatch
	r.mu.Unlock()
	if many {
		r.cond.Broadcast()
	} else {
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
	read  replica.Read
	items []*item.Item
	err   error
}

// run reads until stop.
func (r *readers) run() {
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.done {
			r.cond.Wait()
		}
		if r.done {
			r.mu.Unlock()
			return
		}
		take := min(len(r.queue), readBatch)
		list := make([]readResult, take)
		for i := range list {
			list[i].read = r.queue[i]
		}
		rest := copy(r.queue, r.queue[take:])
		clear(r.queue[rest:])
		r.queue = r.queue[:rest]
		r.mu.Unlock()

		for i := range list {
			list[i].items, list[i].err = r.read(&list[i].read)
		}
		r.n.loop.Post(func() {
			r.n.touchClock()
			for i := range list {
				rd := &list[i]
				rd.read.Replica.ReadDone(&rd.read, rd.items, rd.err, &r.n.fx)
			}
		})
	}
}

func (r *readers) read(rd *replica.Read) ([]*item.Item, error) {
	items := make([]*item.Item, len(rd.Keys))
	for i, key := range rd.Keys {
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
