package replica

import (
	"errors"
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

var errTest = errors.New("refused in the test")

func set(key, value string) item.Request {
	return item.Request{Op: item.OpSet, Key: []byte(key), Value: []byte(value)}
}
func get(key string) item.Request { return item.Request{Op: item.OpGet, Key: []byte(key)} }
func add(key, value string) item.Request {
	return item.Request{Op: item.OpAdd, Key: []byte(key), Value: []byte(value)}
}
func remove(key string) item.Request { return item.Request{Op: item.OpDelete, Key: []byte(key)} }

// ask gives a command to a server, at the epoch that the map shows. The answer
// comes with run.
func (r *rig) ask(to clustermap.ServerID, q item.Request) uint32 {
	h := r.hosts[to]
	return r.askAt(to, h.r.Config().Epoch, q)
}

func (r *rig) askAt(to clustermap.ServerID, epoch uint32, q item.Request) uint32 {
	h := r.hosts[to]
	h.nextID++
	h.r.Request(&wire.Request{ID: h.nextID, Partition: part, Epoch: epoch, Request: q}, Token{ID: h.nextID}, &h.fx)
	r.turn(h)
	return h.nextID
}

// do asks and runs until the answer is there.
func (r *rig) do(to clustermap.ServerID, q item.Request) item.Result {
	r.t.Helper()
	id := r.ask(to, q)
	r.run()
	return r.answered(to, id)
}

func (r *rig) answered(to clustermap.ServerID, id uint32) item.Result {
	r.t.Helper()
	reply, ok := r.hosts[to].replies[id]
	if !ok {
		r.t.Fatalf("request %d is not answered", id)
	}
	if reply.Nak != nil {
		r.t.Fatalf("request %d is refused: %+v", id, reply.Nak)
	}
	return reply.Result
}

func (r *rig) unanswered(to clustermap.ServerID, id uint32) {
	r.t.Helper()
	if reply, ok := r.hosts[to].replies[id]; ok {
		r.t.Fatalf("request %d is answered: %+v", id, reply)
	}
}

func (r *rig) refused(to clustermap.ServerID, id uint32, why wire.NakReason) *wire.Nak {
	r.t.Helper()
	reply, ok := r.hosts[to].replies[id]
	if !ok || reply.Nak == nil || reply.Nak.Reason != why {
		r.t.Fatalf("request %d: %+v (answered %v), should be refused for reason %d", id, reply, ok, why)
	}
	return reply.Nak
}

// expect runs a get and compares; "" is a miss.
func (r *rig) expect(at clustermap.ServerID, key, value string) {
	r.t.Helper()
	res := r.do(at, get(key))
	switch {
	case value == "" && res.Status != item.NotFound:
		r.t.Errorf("%s is %q, should be a miss", key, res.Item.Value)
	case value != "" && (res.Status != item.OK || string(res.Item.Value) != value):
		r.t.Errorf("%s is %d %q, should be %q", key, res.Status, res.Item.Value, value)
	}
}

// equal compares what the stores of the servers hold.
func (r *rig) equal(ids ...clustermap.ServerID) {
	r.t.Helper()
	want := r.hosts[ids[0]]
	for _, id := range ids[1:] {
		h := r.hosts[id]
		same := func(a, b *item.Item) bool { return a.Version == b.Version && string(a.Value) == string(b.Value) }
		if !maps.EqualFunc(want.store, h.store, same) {
			r.t.Errorf("server %d has %v, server %d has %v", want.id, keysOf(want), id, keysOf(h))
		}
		if want.stored != h.stored {
			r.t.Errorf("server %d is at %+v, server %d at %+v", want.id, want.stored, id, h.stored)
		}
	}
}

func keysOf(h *host) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(h.store)) {
		out = append(out, k+"="+string(h.store[k].Value))
	}
	return out
}
