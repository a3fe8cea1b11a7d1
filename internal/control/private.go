package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
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

// Private adds to mux what looks into a process, Go's profiles and the level of the log. It is for
// who has the cluster secret, or comes from this machine, and for nobody else, whatever
// is open otherwise. who is "manager", "server" or "gateway"; a nil level is not shown.
func Private(mux *http.ServeMux, who string, level LogLevel) {
	add := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !isProven(r) && !fromHere(r) {
				writeError(w, http.StatusForbidden, fmt.Sprintf("this %s answers %s only on its own machine, or to who has the cluster secret", who, r.URL.Path))
				return
			}
			// A profile takes longer than a request may.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			h(w, r)
		})
	}
	add("GET "+PathProfiles, pprof.Index)
	add("GET "+PathProfiles+"heap", sampled(pprof.Handler("heap")))
	add("GET "+PathProfiles+"allocs", sampled(pprof.Handler("allocs")))
	add("GET "+PathProfiles+"cmdline", pprof.Cmdline)
	add("GET "+PathProfiles+"profile", pprof.Profile)
	add("GET "+PathProfiles+"symbol", pprof.Symbol)
	add("POST "+PathProfiles+"symbol", pprof.Symbol)
	add("GET "+PathProfiles+"trace", pprof.Trace)
	if level == nil {
		return
	}
	add("GET "+PathLogLevel, func(w http.ResponseWriter, _ *http.Request) { writeLevel(w, level) })
	add("POST "+PathLogLevel, func(w http.ResponseWriter, r *http.Request) {
		var want LogLevelState
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&want)
		if err == nil {
			err = level.Set(want.Level)
		}
		if err != nil {
			writeError(w, http.StatusBadRequest, "the level of the log was not changed: "+err.Error())
			return
		}
		writeLevel(w, level)
	})
}

// heapRate is every how many bytes an allocation is sampled, while they are.
const heapRate = 512 << 10

// Go samples allocations of every program that can show them, for some memory and time. These
// do so only while somebody asks, or all the time with GODEBUG=memprofilerate=524288.
var heapSampling = struct {
	sync.Mutex
	always bool
	now    int // requests
}{always: strings.Contains(os.Getenv("GODEBUG"), "memprofilerate=")}

func init() {
	if !heapSampling.always {
		runtime.MemProfileRate = 0
	}
}

// sampled has allocations sampled while a profile of some seconds is made.
func sampled(h http.Handler) http.HandlerFunc {
	sample := func(n int) {
		s := &heapSampling
		s.Lock()
		defer s.Unlock()
		if s.now += n; s.always {
			return
		}
		runtime.MemProfileRate = 0
		if s.now > 0 {
			runtime.MemProfileRate = heapRate
		}
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("seconds") == "" && !heapSampling.always {
			writeError(w, http.StatusBadRequest, "allocations are sampled only while a profile is made: add ?seconds=30, or start the process with GODEBUG=memprofilerate=524288")
			return
		}
		sample(1)
		defer sample(-1)
		h.ServeHTTP(w, r)
	}
}

func writeLevel(w http.ResponseWriter, level LogLevel) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(LogLevelState{level.String(), level.Start()}) // fails if nobody is there to read it
}

func writeError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Error{text}) // the same
}

// isPrivate tells whether a path is one of Private's.
func isPrivate(path string) bool {
	return strings.HasPrefix(path, PathProfiles) || path == PathLogLevel
}

// fromHere tells whether a request comes from this machine, and was not passed on by a proxy on it.
func fromHere(r *http.Request) bool {
	if r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
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
