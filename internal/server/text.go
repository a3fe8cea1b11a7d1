package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/wire"
)

// backend lets this server's own text port (-t) hand requests to local
// partitions without a hop. It implements router.Backend, on the loop only.
type backend struct{ n *node }

// Local tells whether this server is the active primary of a partition.
func (b backend) Local(part uint16) bool {
	return b.n.rn.Serves(part)
}

// Submit takes a request, for which takeAsked calls.
func (b backend) Submit(_ *wire.Request, s router.Sink) { b.n.asked = append(b.n.asked, s) }

// takeAsked hands what this turn brought on the text port to the partitions; the
// answers come at the end of the turn.
//
// The clock is read once: that system call is a good part of what a get costs.
// That a lease holds is looked at with a newer reading (R5, carryOut).
func (n *node) takeAsked() {
	if len(n.asked) == 0 {
		return
	}
	n.touchClock()
	for done := 0; done < len(n.asked); { // a refusal may lead to another request
		some := n.asked[done:min(done+maxAhead, len(n.asked))]
		done += len(some)
		if len(some) > 1 {
			n.readAhead(some)
		}
		for _, s := range some {
			if r := s.Request(); r != nil {
				n.request(r, s)
			}
		}
	}
	clear(n.asked)
	n.asked = n.asked[:0]
}

func (n *node) readAhead(some []router.Sink) {
	var a ahead
	for _, s := range some {
		if r := s.Request(); r != nil {
			a.add(n, r.Partition, r.Key, r.Op != item.OpGet)
		}
	}
	a.read(n)
}

// serveText serves memcached from this server.
func (n *node) serveText(addr string) error {
	r := router.New(n.loop, router.Options{Timeout: 10 * time.Second, Backend: backend{n}, Secret: n.cfg.Secret, Log: n.log})
	f, l, err := frontend.Serve(n.loop, addr, frontend.Options{Router: r, Version: cli.Version, TLS: n.cfg.TextTLS, Auth: n.cfg.TextAuth, Log: n.log,
		MaxItemSize: int(n.cfg.Clients.MaxItemSize), AllowFlushAll: n.cfg.Clients.AllowFlushAll,
		MaxConnections: n.cfg.Clients.MaxConnections, IdleTimeout: n.cfg.Clients.IdleTimeout})
	if err != nil {
		return err
	}
	n.text, n.textPort = f, l
	n.mapSink = func(m *clustermap.Map) { r.SetMap(m) }
	n.log.Info("listening for memcached clients", "addr", l.Addr())
	return nil
}
