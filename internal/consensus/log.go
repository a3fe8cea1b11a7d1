package consensus

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes raft's warnings and errors on to the daemon's logger.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(sink{to})
	return l
}

type sink struct{ to *slog.Logger }

// Accept is hclog.SinkAdapter's.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	l := slog.LevelWarn
	switch {
	case level < hclog.Warn:
		return
	case strings.HasPrefix(msg, "heartbeat timeout reached"):
		l = slog.LevelDebug // how every single voter comes to lead
	case level >= hclog.Error:
		l = slog.LevelError
	}
	s.to.Log(context.Background(), l, name+": "+msg, args...)
}
