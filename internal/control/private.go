package control

import (
	"encoding/json"
	"net/http"
	"strings"
)

// LogLevel is the least level of what a daemon logs: debug, info, warn or error. Any goroutine.
type LogLevel interface {
	String() string
	// Start is the level of the command line, to which SIGHUP returns.
	Start() string
	// Set changes it; the error says which levels there are.
	Set(level string) error
}

// LogLevelState is the answer to PathLogLevel; what is asked for has Level alone.
type LogLevelState struct {
	Level string `json:"level"`
	Start string `json:"start,omitempty"`
}

// WriteError answers with an Error.
func WriteError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Error{text}) // fails if nobody is there to read it
}

// isPrivate tells whether a path is one of inspect.Private's: they guard themselves.
func isPrivate(path string) bool {
	return strings.HasPrefix(path, PathProfiles) || path == PathLogLevel
}

// Health is the answer to PathHealth and PathReady, with status 200 or 503.
type Health struct {
	Status string `json:"status"` // "ok" or "failing"
	// Reasons say what is wrong; Error is all of them.
	Reasons []string `json:"reasons,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// WriteHealth answers PathHealth or PathReady: without a reason it is well.
func WriteHealth(w http.ResponseWriter, reasons ...string) {
	h, status := Health{Status: "ok"}, http.StatusOK
	if len(reasons) > 0 {
		h, status = Health{"failing", reasons, strings.Join(reasons, "; ")}, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h) // fails if nobody is there to read it
}
