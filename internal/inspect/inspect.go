// Package inspect lets administrators look into a daemon: Go's profiles and the level of its log.
// It is apart from control because it changes the process that links it: net/http/pprof adds
// itself to http.DefaultServeMux, and allocations are not sampled. A program with the client
// is to keep its own of both.
package inspect

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// Private adds to mux what looks into a process, Go's profiles and the level of the log. It is for
// who has the cluster secret, or comes from this machine, and for nobody else, whatever
// is open otherwise. who is "manager", "server" or "gateway"; a nil level is not shown.
func Private(mux *http.ServeMux, who string, level control.LogLevel) {
	add := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !control.IsProven(r) && !fromHere(r) {
				control.WriteError(w, http.StatusForbidden, fmt.Sprintf("this %s answers %s only on its own machine, or to who has the cluster secret", who, r.URL.Path))
				return
			}
			// A profile takes longer than a request may.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			h(w, r)
		})
	}
	add("GET "+control.PathProfiles, pprof.Index)
	add("GET "+control.PathProfiles+"heap", sampled(pprof.Handler("heap")))
	add("GET "+control.PathProfiles+"allocs", sampled(pprof.Handler("allocs")))
	add("GET "+control.PathProfiles+"cmdline", pprof.Cmdline)
	add("GET "+control.PathProfiles+"profile", pprof.Profile)
	add("GET "+control.PathProfiles+"symbol", pprof.Symbol)
	add("POST "+control.PathProfiles+"symbol", pprof.Symbol)
	add("GET "+control.PathProfiles+"trace", pprof.Trace)
	if level == nil {
		return
	}
	add("GET "+control.PathLogLevel, func(w http.ResponseWriter, _ *http.Request) { writeLevel(w, level) })
	add("POST "+control.PathLogLevel, func(w http.ResponseWriter, r *http.Request) {
		var want control.LogLevelState
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&want)
		if err == nil {
			err = level.Set(want.Level)
		}
		if err != nil {
			control.WriteError(w, http.StatusBadRequest, "the level of the log was not changed: "+err.Error())
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
			control.WriteError(w, http.StatusBadRequest, "allocations are sampled only while a profile is made: add ?seconds=30, or start the process with GODEBUG=memprofilerate=524288")
			return
		}
		sample(1)
		defer sample(-1)
		h.ServeHTTP(w, r)
	}
}

func writeLevel(w http.ResponseWriter, level control.LogLevel) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(control.LogLevelState{Level: level.String(), Start: level.Start()}) // fails if nobody is there to read it
}

// fromHere tells whether a request comes from this machine, and was neither passed on by a proxy
// on it nor made by a web site in a browser on it. A proxy that adds no header looks like this
// machine.
func fromHere(r *http.Request) bool {
	for _, other := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via", "Origin"} {
		if len(r.Header[other]) > 0 {
			return false
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return false
	}
	if !isOwn(r.Host) {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// isOwn tells whether a Host is an address, or a name without a dot. Any other may have been
// pointed here by a web site, whose pages a browser lets read the answer (DNS rebinding).
func isOwn(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.Contains(host, ".")
}
