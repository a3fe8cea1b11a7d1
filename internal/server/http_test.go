package server

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Who gave up waiting for the loop has what it gave the loop to write for itself.
func TestOnLoopGivesUp(t *testing.T) {
	g := newGlue(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	written := 0
	if err := g.onLoop(ctx, func() { written++ }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := g.loop.Run(ctx); err != nil || written != 0 { // it runs what was posted
		t.Errorf("run %d times, although its caller has an error: %v", written, err)
	}
	if err := g.onLoop(t.Context(), func() {}); err == nil {
		t.Error("no error although the loop has ended")
	}
}

// What the loop has begun is waited for.
func TestOnLoopWaitsForWhatHasBegun(t *testing.T) {
	g := newGlue(t)
	end, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.loop.Run(end) }()
	ctx, cancel := context.WithCancel(t.Context())
	done := false
	err := g.onLoop(ctx, func() {
		cancel()
		time.Sleep(20 * time.Millisecond)
		done = true
	})
	if err != nil || !done {
		t.Errorf("%v, done: %v", err, done)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
