package console

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultEvents is how many events a manager keeps.
	DefaultEvents = 200
	eventBytes    = 1000
)

// Event is one line of the log.
type Event struct {
	Seq   uint64 `json:"seq"`
	Time  int64  `json:"time"` // Unix ms
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Events keeps the last lines of a log, of level INFO and above. It is safe for use
// by several goroutines.
type Events struct {
	mu   sync.Mutex
	ring []Event
	size int
	next uint64
}

// NewEvents keeps size events.
func NewEvents(size int) *Events { return &Events{size: size, next: 1} }

// Since are the events after the one with number seq, the oldest first; never nil.
func (e *Events) Since(seq uint64) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, _ := slices.BinarySearchFunc(e.ring, seq, func(x Event, seq uint64) int {
		if x.Seq <= seq {
			return -1
		}
		return 1
	})
	return append([]Event{}, e.ring[i:]...)
}

func (e *Events) add(t time.Time, level slog.Level, text string) {
	if len(text) > eventBytes {
		text = strings.ToValidUTF8(text[:eventBytes], "") + "..."
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) == e.size {
		e.ring = append(e.ring[:0], e.ring[1:]...)
	}
	e.ring = append(e.ring, Event{Seq: e.next, Time: t.UnixMilli(), Level: level.String(), Text: text})
	e.next++
}

// Handler is a log's handler that passes everything on to inner, and keeps it.
func (e *Events) Handler(inner slog.Handler) slog.Handler { return &keeper{events: e, inner: inner} }

// keeper passes records on, and keeps them as text.
type keeper struct {
	events *Events
	inner  slog.Handler
	with   string // attributes of With, as text
	group  string
}

// Enabled: events are kept whether they are shown in the log or not.
func (k *keeper) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || k.inner.Enabled(ctx, l)
}

// Handle keeps a record and passes it on.
func (k *keeper) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		var b strings.Builder
		b.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			writeAttr(&b, k.group, a)
			return true
		})
		b.WriteString(k.with)
		k.events.add(r.Time, r.Level, b.String())
	}
	if !k.inner.Enabled(ctx, r.Level) {
		return nil
	}
	return k.inner.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (k *keeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(k.with)
	for _, a := range attrs {
		writeAttr(&b, k.group, a)
	}
	return &keeper{events: k.events, inner: k.inner.WithAttrs(attrs), with: b.String(), group: k.group}
}

// WithGroup is slog.Handler's.
func (k *keeper) WithGroup(name string) slog.Handler {
	return &keeper{events: k.events, inner: k.inner.WithGroup(name), with: k.with, group: k.group + name + "."}
}

func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, x := range v.Group() {
			writeAttr(b, group, x)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	text := v.String()
	if hidden(a.Key) {
		text = "(hidden)"
	}
	b.WriteString("  ")
	b.WriteString(group)
	b.WriteString(a.Key)
	b.WriteByte('=')
	b.WriteString(text)
}

// hidden: nothing logs secrets; this keeps it so for whoever can see the page.
func hidden(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "secret") || strings.Contains(key, "password") || strings.Contains(key, "token")
}
