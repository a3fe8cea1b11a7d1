package server

import (
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// Backend lets this server's own text port hand requests to local partitions
// without a hop (router.Backend). On the loop only.
type Backend struct{ n *node }

// Local tells whether this server is the active primary of a partition.
func (b *Backend) Local(part uint16) bool {
	return int(part) < len(b.n.replicas) && b.n.replicas[part].Serving()
}

// Submit hands a request to its partition; sink gets the answer, not within the call.
func (b *Backend) Submit(r *wire.Request, s router.Sink) {
	b.n.touchClock()
	b.n.request(r, s)
}
