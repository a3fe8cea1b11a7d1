// Package looptest has a loop for benchmarks of what runs on one: without sockets
// and without sleep, so that only its user's own code is measured.
package looptest

import (
	"context"
	"net"
	"time"

	"github.com/kumofs/kumofs/internal/loop"
)

// Still is a loop whose turns its user makes: TurnEnd ends one. Timers never fire.
type Still struct {
	// Accept is what the last Listen was given.
	Accept func(loop.Conn) loop.Handler
	// Dialed is the handler of the last Dial, and Server its connection.
	Dialed loop.Handler
	Server *Conn

	hooks []func()
}

type timer struct{}

func (timer) Stop() bool { return true }

// Run returns at once.
func (l *Still) Run(context.Context) error { return nil }

// Post calls fn.
func (l *Still) Post(fn func()) bool { fn(); return true }

// After forgets the function.
func (l *Still) After(time.Duration, func()) loop.Timer { return timer{} }

// OnTurnEnd has TurnEnd call fn.
func (l *Still) OnTurnEnd(fn func()) { l.hooks = append(l.hooks, fn) }

// OnError does nothing.
func (l *Still) OnError(func(error)) {}

// Listen keeps accept; l is the listener.
func (l *Still) Listen(_ string, accept func(loop.Conn) loop.Handler) (loop.Listener, error) {
	l.Accept = accept
	return l, nil
}

// Addr is the listener's: none.
func (l *Still) Addr() string { return "" }

// Close does nothing.
func (l *Still) Close() {}

// Dial keeps h. The connection is never opened: that is its user's to do.
func (l *Still) Dial(_ string, _ time.Duration, h loop.Handler) loop.Conn {
	l.Dialed, l.Server = h, &Conn{}
	return l.Server
}

// TurnEnd makes the calls of a turn's end.
func (l *Still) TurnEnd() {
	for _, fn := range l.hooks {
		fn()
	}
}

// Conn keeps in Out what is written to it.
type Conn struct{ Out []byte }

var _ loop.Conn = (*Conn)(nil)

func (c *Conn) Write(b []byte)                    { c.Out = append(c.Out, b...) }
func (c *Conn) Append(fn func(dst []byte) []byte) { c.Out = fn(c.Out) }
func (c *Conn) Buffered() int                     { return len(c.Out) }
func (c *Conn) Sent() uint64                      { return 0 }
func (c *Conn) OnDrain(int, func())               {}
func (c *Conn) PauseRead()                        {}
func (c *Conn) ResumeRead()                       {}
func (c *Conn) Close()                            {}
func (c *Conn) CloseAfterFlush()                  {}
func (c *Conn) Detach([]byte) (net.Conn, error)   { return nil, nil }
func (c *Conn) RemoteAddr() string                { return "" }
func (c *Conn) LocalAddr() string                 { return "" }
