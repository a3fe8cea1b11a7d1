package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// backend lets this server's own text port (-t) hand requests to local
// partitions without a hop. It implements router.Backend, on the loop only.
type backend struct{ n *node }

// Local tells whether this server is the active primary of a partition.
func (b backend) Local(part uint16) bool {
	return int(part) < len(b.n.replicas) && b.n.replicas[part].Serving()
}

// Submit hands a request to its partition; s gets the answer at the end of the turn.
//
// The clock is read for the first of a turn only: that system call is a good part of
// what a get costs. Nothing that a request does with it gets wrong by its being a
// little old; that a lease holds is looked at with a newer reading (R5, endTurn).
func (b backend) Submit(r *wire.Request, s router.Sink) {
	if !b.n.clocked {
		b.n.touchClock()
	}
	b.n.request(r, s)
}

// serveText serves memcached from this server.
func (n *node) serveText(addr string) error {
	r := router.New(n.loop, router.Options{Timeout: 10 * time.Second, Backend: backend{n}, Secret: n.cfg.Secret, Log: n.log})
	_, l, err := frontend.Serve(n.loop, addr, frontend.Options{Router: r, Version: cli.Version, TLS: n.cfg.TextTLS, Auth: n.cfg.TextAuth, Log: n.log,
		MaxItemSize: int(n.cfg.Clients.MaxItemSize), AllowFlushAll: n.cfg.Clients.AllowFlushAll,
		MaxConnections: n.cfg.Clients.MaxConnections, IdleTimeout: n.cfg.Clients.IdleTimeout})
	if err != nil {
		return err
	}
	n.mapSink = func(m *clustermap.Map) { r.SetMap(m) }
	n.log.Info("listening for memcached clients", "addr", l.Addr())
	return nil
}
