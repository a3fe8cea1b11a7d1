//go:build !linux

package loop

import "context"

// A Group is loops of one process. Only on Linux do they share a goroutine and reach
// each other without sockets.
type Group struct{}

// NewGroup makes a group without loops.
func NewGroup(*MemNetwork) (*Group, error) { return &Group{}, nil }

// Loop makes a loop, with a goroutine of its own.
func (g *Group) Loop() (Loop, error) { return New() }

// Run waits for ctx.
func (g *Group) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
