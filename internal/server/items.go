package server

import (
	"context"
	"sync"
	"time"
)

// itemsWait is how long who asks how the server is waits for a count of the pairs.
const itemsWait = 300 * time.Millisecond

// itemCount is how many pairs there are, as counted last. To count takes a second for some
// millions, and ends with an error where the disk does: figures and statistics do without then.
type itemCount struct {
	mu    sync.Mutex
	n     int64
	known bool
	done  chan struct{} // of the count under way; nil: there is none
}

// items counts the pairs aside and waits for that a little. false: no count has ended yet.
// For who holds n.web.
func (n *node) items(ctx context.Context) (int64, bool) {
	c := &n.itemCount
	c.mu.Lock()
	if c.done == nil {
		done := make(chan struct{})
		c.done = done
		n.wg.Go(func() {
			v, err := n.store.Items(n.ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil {
				c.n, c.known = v, true
			}
			c.done = nil
			close(done)
		})
	}
	done := c.done
	c.mu.Unlock()
	limit := time.NewTimer(itemsWait)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, c.known
}
