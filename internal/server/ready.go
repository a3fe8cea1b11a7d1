package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/replica"
)

// serveHealth tells whether this process does its work: its loop turns, and its store works.
func (n *node) serveHealth(w http.ResponseWriter, req *http.Request) {
	var reasons []string
	if err := n.store.Health(); err != nil {
		reasons = append(reasons, err.Error())
	}
	hangs := false
	if err := n.onLoop(req.Context(), func() { hangs = n.commit.hangs }); err != nil {
		reasons = append(reasons, err.Error())
	}
	if hangs {
		reasons = append(reasons, "the disk does not answer: a commit or a read hangs, or did a moment ago")
	}
	control.WriteHealth(w, reasons...)
}

// leaseLook is how long answers that wait for a lease may wait before that is trouble: a lease
// that is missing is asked for at once.
const leaseLook = 300 * time.Millisecond

// serveReady tells whether this server serves clients now, as far as it is to.
func (n *node) serveReady(w http.ResponseWriter, req *http.Request) {
	var reasons []string
	waiting := map[*replica.Replica]bool{}
	err := n.onLoop(req.Context(), func() {
		reasons = n.notReady()
		for r := range n.leasing {
			waiting[r] = true
		}
	})
	if err == nil && len(waiting) > 0 {
		still := 0
		if err = wait(req.Context(), leaseLook); err == nil {
			err = n.onLoop(req.Context(), func() {
				for r := range n.leasing {
					if waiting[r] {
						still++
					}
				}
			})
		}
		if still > 0 {
			reasons = append(reasons, fmt.Sprintf("answers of %d partitions wait for another server's lease: does it answer?", still))
		}
	}
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	control.WriteHealth(w, reasons...)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// notReady says why this server would not serve clients now. On the loop.
func (n *node) notReady() (reasons []string) {
	switch {
	case n.cmap == nil && n.leaving.linked.Load():
		return []string{"it is not attached: its manager has sent it no cluster map"}
	case n.cmap == nil:
		return []string{"no manager is connected, and none has sent it a cluster map since it started"}
	case n.cmap.Server(n.self) == nil:
		return []string{"it is not attached"}
	case !n.member:
		return []string{"it is no active member of the cluster: it was away for too long (fault), or is about to be told that it is one"}
	}
	if n.leaving.wants() == control.Stops {
		reasons = append(reasons, "it hands its partitions over, to stop")
	}
	if n.commit.isFull() {
		reasons = append(reasons, "the disk is full")
	}
	if n.commit.hangs {
		reasons = append(reasons, "the disk does not answer")
	}
	if idle := n.notServing(); idle > 0 {
		reasons = append(reasons, fmt.Sprintf("%d of the %d partitions that it leads are not served yet", idle, len(n.leads)))
	}
	return reasons
}

// notServing is how many partitions it leads and does not serve. On the loop.
func (n *node) notServing() (idle int) {
	for _, r := range n.leads {
		if !r.Serving() {
			idle++
		}
	}
	return idle
}
