package router

import "github.com/kumofs/kumofs/internal/item"

// A Decliner is a Completion that may have no room for a value.
type Decliner interface {
	Completion
	// Decline is asked before Done when a get has found a value. True: it is not
	// taken, and Done will be called only if g is asked for again. res is borrowed.
	Decline(res *item.Result, g Declined) bool
}

// Declined is a get whose value was not taken. It keeps its place in its stream,
// and its time does not run, until one of its methods is called. That must be, once.
type Declined struct {
	r *Router
	c *call
}

// decline offers c's value to a Decliner and sets c aside if it is not taken.
func (r *Router) decline(c *call, res *item.Result) bool {
	d, ok := c.done.(Decliner)
	if !ok || !d.Decline(res, Declined{r, c}) {
		return false
	}
	c.state = declined
	c.refusals = 0
	c.byDeadline.unlink()
	r.bytes -= c.size() // the overload of others must not last until it is read
	if r.over {
		r.checkLoad()
	}
	return true
}

// Again asks for the value again.
func (g Declined) Again() {
	g.r.expect(g.c)
	g.r.dispatch(g.c)
}

// Drop ends the get without Done.
func (g Declined) Drop() {
	g.r.expect(g.c)
	g.c.done = nobody{}
	g.r.finish(g.c, &item.Result{})
}

// nobody is the Completion of what nobody waits for.
type nobody struct{}

func (nobody) Done(*item.Result) {}
