package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes raft's warnings and errors on to the daemon's logger.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&sink{to: to, said: map[string]time.Time{}})
	return l
}

const (
	sayAgain   = time.Minute
	saidAtOnce = 256
)

// sink passes on what raft says of itself; what it repeats of a partner that is
// away, once a minute.
type sink struct {
	to   *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time
}

// Accept is hclog.SinkAdapter's.
func (s *sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn {
		return
	}
	key := msg
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "from", "candidate", "server-id":
			key += fmt.Sprint(" ", args[i+1])
		case "error":
			if err, ok := args[i+1].(error); ok && (errors.Is(err, errPatient) || errors.Is(err, net.ErrClosed)) {
				return
			}
		}
	}
	l := slog.LevelWarn
	switch {
	case strings.HasPrefix(msg, "heartbeat timeout reached"), strings.HasPrefix(msg, "Election timeout reached"),
		strings.HasPrefix(msg, "no known peers"), strings.HasPrefix(msg, "not part of stable"), strings.HasPrefix(msg, "rejecting "),
		strings.HasPrefix(msg, "failed to decode incoming"), strings.HasPrefix(msg, "failed to get previous log"):
		l = slog.LevelDebug // part of how a leader is found
	}
	now := time.Now()
	s.mu.Lock()
	again := now.Sub(s.said[key]) < sayAgain
	if !again {
		if len(s.said) >= saidAtOnce {
			clear(s.said)
		}
		s.said[key] = now
	}
	s.mu.Unlock()
	if !again {
		s.to.Log(context.Background(), l, name+": "+msg, args...)
	}
}
