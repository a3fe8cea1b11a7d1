package replica

import (
	"reflect"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// gateway is one session as its gateway has it.
type gateway struct {
	r       *rig
	id      uint64
	next    uint32
	lowest  uint32
	at      clustermap.ServerID
	numbers map[uint32]item.Request
}

func (r *rig) gateway(at clustermap.ServerID) *gateway {
	r.t.Helper()
	res := r.do(at, item.Request{Op: item.OpOpenSession})
	if res.Status != item.OK || res.Item.Version == 0 {
		r.t.Fatalf("no session: %+v", res)
	}
	return &gateway{r: r, id: res.Item.Version, lowest: 1, at: at, numbers: map[uint32]item.Request{}}
}

// first sends the first try of a write; its number comes back with the request's ID.
func (g *gateway) first(q item.Request) (number, id uint32) {
	g.next++
	g.numbers[g.next] = q
	return g.next, g.try(g.next, false)
}

func (g *gateway) retry(number uint32) uint32 { return g.try(number, true) }

func (g *gateway) try(number uint32, retry bool) uint32 {
	h := g.r.hosts[g.at]
	h.nextID++
	h.r.Request(&wire.Request{ID: h.nextID, Partition: part, Epoch: h.r.Config().Epoch, Retry: retry,
		Session: g.id, Number: number, Lowest: g.lowest, Request: g.numbers[number]}, Token{ID: h.nextID}, &h.fx)
	g.r.turn(h)
	return h.nextID
}

// answer runs until a request is answered. What it clears tells of the moment of
// the answer: a retry's may differ.
func (g *gateway) answer(id uint32) item.Result {
	g.r.t.Helper()
	g.r.run()
	res := g.r.answered(g.at, id)
	res.Now, res.Item.Fetched, res.Item.Accessed = 0, false, 0
	return res
}

func (g *gateway) do(q item.Request) (number uint32, res item.Result) {
	g.r.t.Helper()
	number, id := g.first(q)
	return number, g.answer(id)
}

func incr(key string) item.Request {
	return item.Request{Op: item.OpIncr, Key: []byte(key), Delta: 1}
}

// sameTables compares session tables.
func (r *rig) sameTables(list ...clustermap.ServerID) {
	r.t.Helper()
	table := func(id clustermap.ServerID) []wire.Session {
		t := &r.hosts[id].r.sessions
		return t.states(t.ids())
	}
	for _, id := range list[1:] {
		if a, b := table(list[0]), table(id); !reflect.DeepEqual(a, b) {
			r.t.Errorf("server %d has sessions\n%+v, server %d\n%+v", list[0], a, id, b)
		}
	}
}

// failover crashes the primary and has the next one take over, with the leases' wait.
func (r *rig) failover(replicas ...clustermap.ServerID) {
	r.t.Helper()
	r.lose, r.hold = nil, nil
	r.crash(r.cfg().Primary())
	r.lead(replicas, replicas...)
	r.pass(2 * LeaseLength)
	r.tick(300 * time.Millisecond)
	r.record()
	r.leases()
}
