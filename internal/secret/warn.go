package secret

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// warnEvery is how often a Warner says the same of one machine, warnMost of how many
// it keeps in mind.
const (
	warnEvery = 30 * time.Second
	warnMost  = 64
)

// Warner says who was refused, and why: of one machine and cause now and then, and
// not more in all than a log bears, however many come. The zero value is usable, from
// anywhere.
type Warner struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// Warn says what happened with addr and why, or nothing if it was said lately.
func (w *Warner) Warn(log *slog.Logger, what, addr string, why error) {
	if w.due(addr, why, time.Now()) {
		log.Warn(what + " " + addr + ": " + why.Error())
	}
}

func (w *Warner) due(addr string, why error, now time.Time) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	k := host + "\x00" + why.Error()
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, is := w.said[k]; is && now.Sub(at) < warnEvery {
		return false
	}
	for old, at := range w.said {
		if now.Sub(at) >= warnEvery {
			delete(w.said, old)
		}
	}
	if len(w.said) >= warnMost {
		return false
	}
	if w.said == nil {
		w.said = map[string]time.Time{}
	}
	w.said[k] = now
	return true
}
