package frontend

import (
	"reflect"
	"sync/atomic"

	"github.com/kumofs/kumofs/internal/memproto"
	"github.com/kumofs/kumofs/internal/router"
)

// team is the frontends that serve as one, each on a loop of its own, with the
// clients that are its. all is not changed once their loops run.
type team struct {
	all     []*Frontend
	clients atomic.Int64 // of all
}

// Together has all serve as one: they share the connections of their ports, count
// them together against MaxConnections, divide the bounds on what all clients hold,
// and stats of any shows those of all. Before any of them listens.
func Together(all ...*Frontend) {
	t := &team{all: all}
	for i, f := range all {
		f.team, f.place = t, i
		f.allBytes = max(maxAllBytes/len(all), leastAllBytes)
		f.inputLimit = max(maxInputBytes/len(all), leastAllBytes) + f.opt.MaxItemSize
	}
}

// Part is what one loop knows of what stats tells.
type Part struct {
	Counters Counters
	Router   router.Stats
	conns    []connection // if asked for
}

// Part is what f knows. On its loop.
func (f *Frontend) Part() Part { return Part{Counters: f.counters, Router: f.router.Stats()} }

// Sum is what several know together; there is one at least.
func Sum(parts []Part) Part {
	sum := parts[0]
	for i := range parts[1:] {
		p := &parts[1+i]
		oldest := min(sum.Router.MapVersion, p.Router.MapVersion) // which all have
		addFields(&sum.Counters, &p.Counters)
		addFields(&sum.Router, &p.Router)
		sum.Router.MapVersion = oldest
		sum.conns = append(sum.conns, p.conns...)
	}
	return sum
}

// addFields adds the fields of n, which are all integers, to those of sum.
func addFields[T any](sum, n *T) {
	a, b := reflect.ValueOf(sum).Elem(), reflect.ValueOf(n).Elem()
	for i := range a.NumField() {
		if to := a.Field(i); to.CanUint() {
			to.SetUint(to.Uint() + b.Field(i).Uint())
		} else {
			to.SetInt(to.Int() + b.Field(i).Int())
		}
	}
}

// ask has each of the team make its part, on its loop, and gives done their sum, on
// this one: within the call if there is no other. One whose loop has ended is left out.
func (f *Frontend) ask(make func(f *Frontend) Part, done func(sum Part)) {
	var parts []Part
	left := 1
	got := func(p Part) {
		parts = append(parts, p)
		if left--; left == 0 {
			done(Sum(parts))
		}
	}
	for _, g := range f.team.all {
		if g != f && g.loop.Post(func() {
			p := make(g)
			f.loop.Post(func() { got(p) })
		}) {
			left++
		}
	}
	got(make(f))
}

// beginStats answers stats when all loops have said what they know. The queue is empty,
// and nothing more is begun until then: the answer has what the client asked before, and
// not what it asks next.
func (cl *client) beginStats(cmd *memproto.Command) {
	f := cl.f
	group := ""
	if len(cmd.Keys) > 0 {
		group = string(cmd.Keys[0])
	}
	var make func(f *Frontend) Part
	var show func(dst []byte, form *memproto.Form, sum *Part) []byte
	switch group {
	case "":
		make, show = (*Frontend).Part, f.appendGeneral
	case "conns":
		make, show = (*Frontend).connsPart, appendConns
	case "reset":
		make, show = (*Frontend).reset, appendReset
	default: // it takes nothing that another loop knows
		cl.say(f.appendStats(nil, &cmd.Form, cmd.Keys))
		return
	}
	s := f.newSlot(cl, text)
	s.form = cmd.Form
	cl.push(s)
	f.ask(make, func(sum Part) {
		s.buf = show(s.buf[:0], &s.form, &sum)
		s.done = true
		if !cl.closed {
			cl.emit(s, nil)
		}
		cl.popDone()
	})
	if cl.head != nil {
		cl.waitAlone()
	}
}
