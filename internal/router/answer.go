package router

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// answered ends c with what its latest try was answered.
func (r *Router) answered(c *call, res *item.Result) {
	c.link, c.try = nil, nil
	if res.Status == item.FateUnknown || res.Status == item.Failed && c.req.Retry {
		// The server stepped down; or it cannot do this try, which says nothing of
		// the ones before.
		c.req.Retry = c.isWrite()
		c.place.unlink()
		r.park(c)
		return
	}
	if res.Status == item.MustWrite && c.req.Op == item.OpGet {
		c.req.Op = item.OpMetaGet // from here on a write: with a number, done once
		c.place.unlink()
		r.dispatch(c)
		return
	}
	if c.req.Op == item.OpGet && len(res.Item.Value) > 0 && r.decline(c, res) {
		return
	}
	r.finish(c, res)
}

// refused sends c again, for it was not a try: at once where the refusal or a map that came meanwhile
// says that it was sent to the wrong place, else a little later.
func (r *Router) refused(c *call, n *wire.Nak) {
	r.stats.Refused++
	c.link, c.try = nil, nil
	c.place.unlink()
	if n.Reason == wire.NakUnknownSession && c.req.Number != 0 {
		r.sessionUnknown(c)
		return
	}
	if int(n.Index) < len(r.routes) && n.Partition.Epoch > r.routes[n.Index].epoch {
		r.routes[n.Index] = r.routeTo(n.Partition.Epoch, n.Partition.Primary())
	}
	if c.req.Epoch < r.routeOf(c).epoch {
		r.dispatch(c) // with this epoch: so it comes here once for each
		return
	}
	r.park(c)
}
