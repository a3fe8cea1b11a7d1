package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// LogTime is the form of times in logs: local, to the millisecond.
const LogTime = "2006-01-02T15:04:05.000"

// human is the short form of the log, a line an event:
//
//	2026-11-22T19:30:00.123 INFO server connected addr=127.0.0.1:19801
type human struct {
	mu     *sync.Mutex
	out    io.Writer
	min    slog.Leveler
	max    slog.Level
	prefix string // of attribute names, from WithGroup
	attrs  string // from WithAttrs, ready to print
}

// newHuman makes a handler for the levels min to max.
func newHuman(out io.Writer, min slog.Leveler, max slog.Level) *human {
	return &human{mu: &sync.Mutex{}, out: out, min: min, max: max}
}

// Enabled reports whether this handler wants events of the level.
func (h *human) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.min.Level() && level <= h.max
}

// Handle writes one line with one write call, so that lines of several
// processes do not mix in one file.
func (h *human) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Time.Format(LogTime))
	b.WriteByte(' ')
	b.WriteString(r.Level.String())
	b.WriteByte(' ')
	b.WriteString(oneLine(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.prefix, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

// WithAttrs returns a handler that adds these to every line.
func (h *human) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&b, h.prefix, a)
	}
	c := *h
	c.attrs = b.String()
	return &c
}

// WithGroup returns a handler that puts the name before attribute names.
func (h *human) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.prefix += name + "."
	}
	return &c
}

// appendAttr writes " name=value"; groups become "group.name=value".
func appendAttr(b *strings.Builder, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			appendAttr(b, prefix, member)
		}
		return
	}
	if a.Key == "" {
		return
	}
	b.WriteByte(' ')
	b.WriteString(prefix + a.Key + "=" + Quote(ValueText(v.Any())))
}

// ValueText is a logged value as people read it.
func ValueText(v any) string {
	switch v := v.(type) {
	case time.Time:
		return v.Format(LogTime)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// Quote quotes a value that would not read as one word.
func Quote(s string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != ' ' && r != '"' && r != '=' }
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// oneLine keeps a message on one line.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", " ") }
