package router

import "github.com/kumofs/kumofs/internal/wire"

// Backend is a server in this process: what it is primary of needs no hop.
type Backend interface {
	// Local tells whether it is primary of the partition.
	Local(partition uint16) bool
	// Submit takes a request and answers it exactly once, on the loop, perhaps
	// before it returns. r and its slices are only borrowed during the call; who
	// deals with it later asks sink for it then.
	Submit(r *wire.Request, sink Sink)
}

// Sink takes the answer to one Submit. What it is given is only borrowed.
type Sink interface {
	Reply(*wire.Reply)
	Nak(*wire.Nak)
	// Request is what was submitted, borrowed until it is answered or anything else
	// runs on the loop. Nil: nobody waits for the answer any more, and none need be
	// given.
	Request() *wire.Request
}

// localTry is one try at the Backend: the Sink of its Submit.
type localTry struct {
	r    *Router
	call *call // nil: it has given up on this try
	next *localTry
}

func (r *Router) submit(c *call) {
	t := r.freeTry
	if t == nil {
		t = &localTry{r: r}
	} else {
		r.freeTry = t.next
	}
	t.call = c
	c.state, c.try = local, t
	r.stats.Local++
	r.setLowest(c)
	r.backend.Submit(&c.req, t)
}

func (t *localTry) end() *call {
	c := t.call
	t.call, t.next = nil, t.r.freeTry
	t.r.freeTry = t
	return c
}

// Request implements Sink.
func (t *localTry) Request() *wire.Request {
	if t.call == nil {
		return nil
	}
	return &t.call.req
}

// Reply implements Sink.
func (t *localTry) Reply(rep *wire.Reply) {
	if c := t.end(); c != nil {
		t.r.answered(c, &rep.Result)
	}
}

// Nak implements Sink.
func (t *localTry) Nak(n *wire.Nak) {
	if c := t.end(); c != nil {
		t.r.refused(c, n)
	}
}
