package server

import (
	"context"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/store"
)

const (
	// spaceEvery is how often the disk is asked how much of it is free.
	spaceEvery = time.Second
	// spaceAgain: as much more, in parts of what is low, has to be free before that is over.
	spaceAgain = 10
)

// watchSpace says when the disk is about to be full, and tells the managers. What is done when it is: commit.go.
func (n *node) watchSpace(ctx context.Context) {
	t := time.NewTicker(spaceEvery)
	defer t.Stop()
	var low uint64 // what was free when it was low first; 0: it is not
	for {
		d := n.store.Disk()
		state := control.DiskOK
		switch {
		case d.Full:
			state = control.DiskFull
		case d.Low, low > 0 && d.Avail < low+low/spaceAgain:
			state = control.DiskLow
		}
		if state == control.DiskOK {
			if low > 0 {
				n.log.Warn("the disk is not low on space any more", "store", n.store.Path(), "free", cli.ShowSize(int64(d.Avail)))
			}
			low = 0
		} else if low == 0 && d.Total > 0 {
			low = max(d.Avail, 1)
			n.log.Warn("the disk is low on space: make room, or add servers, before it is full", "store", n.store.Path(),
				"free", cli.ShowSize(int64(d.Avail)), "of", cli.ShowSize(int64(d.Total)))
		}
		n.disk.Store(&state)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// diskState is what watchSpace found last.
func (n *node) diskState() string {
	if s := n.disk.Load(); s != nil {
		return *s
	}
	return control.DiskOK
}

// Share makes of what the command line says what a store is told.
func Share(a cli.Amount) store.Share { return store.Share{Bytes: uint64(a.Bytes), Percent: a.Percent} }
