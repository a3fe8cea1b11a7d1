package loop

import (
	"context"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// rig makes the loops of one test, all of one kind.
type rig struct {
	t      *testing.T
	kind   string
	memory *MemNetwork
	group  *Group
}

// each runs a test of the conformance suite with every kind of loop.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, kind := range []string{"new", "net", "memory", "group"} {
		t.Run(kind, func(t *testing.T) {
			test(t, &rig{t: t, kind: kind, memory: NewMemNetwork()})
		})
	}
}

func (r *rig) make() Loop {
	r.t.Helper()
	switch r.kind {
	case "new":
		l, err := New()
		if err != nil {
			r.t.Fatal(err)
		}
		return l
	case "net":
		return NewNet()
	case "group":
		if r.group == nil {
			r.group = startGroup(r.t, r.memory)
		}
		l, err := r.group.Loop()
		if err != nil {
			r.t.Fatal(err)
		}
		return l
	}
	return NewMemory(r.memory)
}

// loop makes a loop and runs it until the test ends.
func (r *rig) loop() Loop {
	r.t.Helper()
	l := r.make()
	startLoop(r.t, l)
	return l
}

// startGroup makes a group and runs it until the test ends.
func startGroup(t *testing.T, network *MemNetwork) *Group {
	g, err := NewGroup(network)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

// startLoop runs l until the test ends, or stop is called.
func startLoop(tb testing.TB, l Loop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			tb.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(stop)
	return stop
}

// do runs fn on l and waits for it.
func do(tb testing.TB, l Loop, fn func()) {
	tb.Helper()
	done := make(chan struct{})
	if !l.Post(func() { fn(); close(done) }) {
		tb.Fatal("the loop has ended")
	}
	await(tb, done)
}

func await[T any](tb testing.TB, ch <-chan T) (v T) {
	tb.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		tb.Fatal("nothing came")
	}
	return v
}

// listen has l listen with the same functions for each connection.
func (r *rig) listen(l Loop, h func(c Conn) Handler) string {
	r.t.Helper()
	var li Listener
	var err error
	do(r.t, l, func() { li, err = l.Listen("127.0.0.1:0", h) })
	if err != nil {
		r.t.Fatal(err)
	}
	return li.Addr()
}

func (r *rig) dial(l Loop, addr string, h Handler) (c Conn) {
	r.t.Helper()
	do(r.t, l, func() { c = l.Dial(addr, patience, h) })
	return c
}

// calls is a Handler made of functions; nil ones do nothing.
type calls struct {
	open  func(Conn)
	data  func(Conn, []byte) int
	close func(Conn, error)
}

func (h *calls) OnOpen(c Conn) {
	if h.open != nil {
		h.open(c)
	}
}

func (h *calls) OnData(c Conn, b []byte) int {
	if h.data != nil {
		return h.data(c, b)
	}
	return len(b)
}

func (h *calls) OnClose(c Conn, err error) {
	if h.close != nil {
		h.close(c, err)
	}
}

func echo(Conn) Handler {
	return &calls{data: func(c Conn, b []byte) int {
		c.Write(b)
		return len(b)
	}}
}

// collect takes input until it has n bytes, then gives them to got.
func collect(n int, got chan<- []byte) func(Conn, []byte) int {
	var all []byte
	return func(_ Conn, b []byte) int {
		all = append(all, b...)
		if len(all) >= n {
			got <- all
			all = nil
		}
		return len(b)
	}
}

// pattern is n bytes that repeat nowhere near a buffer's size.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
