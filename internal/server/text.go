package server

import (
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
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

// Submit takes a request, for which takeAsked calls.
func (b backend) Submit(_ *wire.Request, s router.Sink) { b.n.asked = append(b.n.asked, s) }

// maxAhead is for how many requests at a time memory is read ahead.
const maxAhead = 32

// takeAsked hands what this turn brought on the text port to the partitions; the
// answers come at the end of the turn.
//
// The clock is read once: that system call is a good part of what a get costs.
// That a lease holds is looked at with a newer reading (R5, carryOut).
//
// Requests come for any partition and any key, and most of what they cost is to wait
// for memory, again and again for each. So it is first touched for many of
// them at once, for a processor waits for as many reads at the same time as do not
// depend on each other.
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
	var keys [maxAhead][]byte
	var parts [maxAhead]*replica.Replica
	var writes [maxAhead]bool
	k := 0
	for _, s := range some {
		if r := s.Request(); r != nil && int(r.Partition) < len(n.replicas) {
			keys[k], parts[k], writes[k] = r.Key, n.replicas[r.Partition], r.Op != item.OpGet
			k++
		}
	}
	for i, r := range parts[:k] {
		n.ahead += r.Touch(writes[i])
	}
	n.ahead += n.rn.Values.(*values).c.Touch(keys[:k])
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
