package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"
)

// Log levels and forms, as flags and control.LogLevel name them.
var (
	logLevels  = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	errLevel   = errors.New("must be debug, info, warn or error")
	errLogForm = errors.New("must be text or json")
)

// LogLevel is the least level that is logged. It may be changed while the process runs,
// from any goroutine. It is a control.LogLevel.
type LogLevel struct {
	v     slog.LevelVar
	start slog.Level
}

func newLogLevel(start slog.Level) *LogLevel {
	l := &LogLevel{start: start}
	l.Reset()
	return l
}

// Level implements slog.Leveler.
func (l *LogLevel) Level() slog.Level { return l.v.Level() }

// String is the level's name.
func (l *LogLevel) String() string { return strings.ToLower(l.v.Level().String()) }

// Start is the name of the level that the command line asks for.
func (l *LogLevel) Start() string { return strings.ToLower(l.start.String()) }

// Set changes the level.
func (l *LogLevel) Set(name string) error {
	level, ok := logLevels[name]
	if !ok {
		return fmt.Errorf("level %q: %w", name, errLevel)
	}
	l.v.Set(level)
	return nil
}

// Reset returns to the level of the command line.
func (l *LogLevel) Reset() { l.v.Set(l.start) }

// orHigher is a level that is not below the lowest, orLower one that is not above the highest.
type orHigher struct {
	l      *LogLevel
	lowest slog.Level
}

type orLower struct {
	l       *LogLevel
	highest slog.Level
}

// Level implements slog.Leveler.
func (o orHigher) Level() slog.Level { return max(o.l.Level(), o.lowest) }

// Level implements slog.Leveler.
func (o orLower) Level() slog.Level { return min(o.l.Level(), o.highest) }

// upTo leaves out what is above a level.
type upTo struct {
	slog.Handler
	highest slog.Level
}

// Enabled implements slog.Handler.
func (u upTo) Enabled(ctx context.Context, level slog.Level) bool {
	return level <= u.highest && u.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (u upTo) WithAttrs(attrs []slog.Attr) slog.Handler {
	return upTo{u.Handler.WithAttrs(attrs), u.highest}
}

// WithGroup implements slog.Handler.
func (u upTo) WithGroup(name string) slog.Handler { return upTo{u.Handler.WithGroup(name), u.highest} }

// LogFlags registers the flags of the log's level and form; Parse fills o.
func LogFlags(f *Flags, o *LogOptions) {
	level := f.String("", "log-level", "LEVEL", "", "least level to log: debug, info, warn or error (default warn, with -v info)")
	form := f.String("", "log-format", "FORM", "text", "form of the log: text, or json for JSON lines")
	f.Check(func() error {
		o.Level, o.JSONLines = *level, *form == "json"
		if _, ok := logLevels[*level]; f.Given("log-level") && !ok {
			return f.BadValue("log-level", *level, errLevel)
		}
		if *form != "text" && *form != "json" {
			return f.BadValue("log-format", *form, errLogForm)
		}
		return nil
	})
}

// isTerminal tells whether standard input is a terminal: a person started this process, and
// its terminal's end is to end it.
func isTerminal() bool { return term.IsTerminal(os.Stdin.Fd()) }
