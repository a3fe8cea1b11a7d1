package client

import (
	"context"
	"log/slog"
	"sync"
)

// lastError remembers what managers said, or what was said of them, so that Open
// can tell why it failed.
type lastError struct {
	mu  sync.Mutex
	msg string
}

func (e *lastError) set(msg string) {
	e.mu.Lock()
	e.msg = msg
	e.mu.Unlock()
}

// text is what to append to an error; "": nothing is known.
func (e *lastError) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.msg == "" {
		return ""
	}
	return ": " + e.msg
}

// handler remembers warnings on their way to next.
func (e *lastError) handler(next slog.Handler) slog.Handler { return &warnings{next, e} }

type warnings struct {
	slog.Handler
	last *lastError
}

// Enabled implements slog.Handler.
func (w *warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || w.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (w *warnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		w.last.set(r.Message)
	}
	if !w.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return w.Handler.Handle(ctx, r)
}
