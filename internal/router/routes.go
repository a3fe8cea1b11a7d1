package router

import (
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// route is where a partition is: the newest of what the map and the servers'
// refusals have told.
type route struct {
	epoch   uint32
	primary clustermap.ServerID
	server  *server // nil: no primary, or one that the map does not know yet
}

func (r *Router) routeTo(epoch uint32, primary clustermap.ServerID) route {
	return route{epoch: epoch, primary: primary, server: r.servers[primary]}
}

// routeOf is the route of c's partition as it was at c's last try.
func (r *Router) routeOf(c *call) *route {
	// Another cluster's map may have fewer partitions than that try was for.
	return &r.routes[int(c.req.Partition)%len(r.routes)]
}

// SetMap takes a newer map; an older one is ignored. m is not altered and must
// not be altered later.
func (r *Router) SetMap(m *clustermap.Map) {
	if m == nil || (r.m != nil && r.m.ClusterID == m.ClusterID && m.Version <= r.m.Version) {
		return
	}
	var again, lost node
	again.init()
	lost.init()
	if r.m == nil || r.m.ClusterID != m.ClusterID || len(r.routes) != len(m.Partitions) {
		r.routes = make([]route, len(m.Partitions)) // epochs of another cluster mean nothing
		r.forgetSessions(len(m.Partitions), &again, &lost)
	}
	r.m = m
	r.setServers(m)
	for i := range r.routes {
		rt, p := &r.routes[i], &m.Partitions[i]
		if p.Epoch >= rt.epoch {
			*rt = r.routeTo(p.Epoch, p.Primary())
		} else {
			rt.server = r.servers[rt.primary] // a refusal knew better than this map
		}
	}
	r.reroute()
	r.dispatchAll(&again)
	for c := lost.first(); c != nil; c = lost.first() {
		c.place.unlink()
		r.finish(c, &item.Result{Status: item.FateUnknown})
	}
}

// setServers brings the table of servers up to the map.
func (r *Router) setServers(m *clustermap.Map) {
	for i := range m.Servers {
		ms := &m.Servers[i]
		s := r.servers[ms.ID]
		if s != nil && s.addr != ms.Addr {
			r.drop(s)
			s = nil
		}
		if s == nil {
			s = &server{r: r, id: ms.ID, addr: ms.Addr}
			r.servers[ms.ID] = s
		}
		s.incarnation, s.zone = ms.Incarnation, ms.Zone
	}
	for id, s := range r.servers {
		if m.Server(id) == nil {
			r.drop(s)
			delete(r.servers, id)
		}
	}
}

// drop closes the connection to a server that is no longer, or no longer there,
// once what was sent to it has been sent elsewhere.
func (r *Router) drop(s *server) {
	for _, l := range []*link{s.link, s.detour.direct} {
		if l != nil {
			r.loop.Post(l.shut)
		}
	}
}

// reroute looks at every call after the routes have changed. All follow their
// partition at once, for its old primary may hang; a write that was sent there,
// as a retry (R8).
func (r *Router) reroute() {
	var again node
	again.init()
	for n := r.outstanding.next; n != &r.outstanding; n = n.next {
		c := n.call
		if c.state != sent && c.state != queued {
			continue
		}
		rt := r.routeOf(c)
		if rt.epoch == c.req.Epoch || rt.server == c.link.server {
			continue
		}
		if c.state == sent && c.isWrite() {
			c.req.Retry = true
		}
		r.abandon(c)
		again.push(&c.place)
	}
	r.dispatchAll(&again)
	r.unpark(func(c *call) bool {
		return c.req.Epoch != r.routeOf(c).epoch
	})
}
