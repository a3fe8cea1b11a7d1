package loop

import (
	"errors"
	"sync"
)

// Share has l take its part of the connections that come to li, which a loop of the same
// kind listens for: they go to all that share it in turn, and accept is for l what it is for
// Listen. Any goroutine, before l has ended.
//
// (SO_REUSEPORT would give each loop a socket of its own, but the kernel picks one by a
// hash, so that many of a few clients may meet on one loop; and a second process could
// take the port unnoticed.)
func Share(li Listener, l Loop, accept func(c Conn) Handler) error {
	if s, ok := li.(interface {
		share(l Loop, accept func(c Conn) Handler) bool
	}); ok && s.share(l, accept) {
		return nil
	}
	return errors.New("loop: these loops cannot share a listener")
}

// A taker is a loop and what is done there with a connection.
type taker[L any] struct {
	l      L
	accept func(Conn) Handler
}

// takers are those of a listener.
type takers[L any] struct {
	mu   sync.Mutex
	all  []taker[L]
	last int
}

func newTakers[L any](l L, accept func(Conn) Handler) *takers[L] {
	return &takers[L]{all: []taker[L]{{l, accept}}}
}

func (t *takers[L]) add(l L, accept func(Conn) Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, taker[L]{l, accept})
}

// next is whose turn it is.
func (t *takers[L]) next() taker[L] {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = (t.last + 1) % len(t.all)
	return t.all[t.last]
}
