package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/secret"
)

// proven is a connection whose other side has proven that it has the cluster secret.
type proven struct{ net.Conn }

func (proven) isProven() bool { return true }

// Proven marks a connection for a Web: its other side has the cluster secret.
func Proven(nc net.Conn) net.Conn { return proven{nc} }

type provenKey struct{}

// IsProven tells whether who sent r has proven that it has the cluster secret: see MarkProven.
func IsProven(r *http.Request) bool { return r.Context().Value(provenKey{}) != nil }

// MarkProven has IsProven know which of s's connections are proven; Guard calls it.
func MarkProven(s *http.Server) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if p, ok := c.(interface{ isProven() bool }); ok && p.isProven() {
			return context.WithValue(ctx, provenKey{}, true)
		}
		return ctx
	}
}

// isMonitoring tells whether a request is one of monitoring.
func isMonitoring(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		(r.URL.Path == PathMetrics || r.URL.Path == PathHealth || r.URL.Path == PathReady)
}

// Guard has s refuse who comes without the cluster secret, and tell what is lacking.
// With openMetrics what is for monitoring, PathMetrics, PathHealth and PathReady, is served to
// everybody; what is inspect.Private's guards itself. Without a secret it changes nothing. The listener's connections are a Mux's, or marked by Proven.
func Guard(s *http.Server, sec *secret.Secret, who string, openMetrics bool) {
	if !sec.Known() {
		return
	}
	inner := s.Handler
	MarkProven(s)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if openMetrics && isMonitoring(r) || isPrivate(r.URL.Path) || IsProven(r) {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		WriteError(w, http.StatusForbidden, needsSecret(who))
	})
}

// ErrBrowser is what a browser is told.
var ErrBrowser = errors.New("a browser may not do this: any site could have told it to; use kumoctl, kumostat, or a manager's console")

// FromBrowser tells whether a browser sent r: it may have been told to by any site. The User-Agent
// is there for images and the like: without TLS they come with nothing else, and every browser's
// begins like this.
func FromBrowser(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" || strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// NotFromBrowser keeps a site from having an operator's browser command a daemon that asks for
// no secret.
func NotFromBrowser(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if FromBrowser(r) {
			WriteError(w, http.StatusForbidden, ErrBrowser.Error())
			return
		}
		h(w, r)
	}
}

// lingerTimeout and lingerBytes bound how long, and how much, a refused connection is
// read from, so that the refusal is not lost with what it sent meanwhile.
const (
	lingerTimeout = time.Second
	lingerBytes   = 1 << 20
)

// refuseLink tells a member that came without the cluster secret so, and closes.
func refuseLink(nc net.Conn) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(lingerTimeout))
	if _, err := nc.Write(Frame(KindRefuse, Refuse{Reason: needsSecret("manager")})); err != nil {
		return
	}
	if cw, ok := nc.(interface{ CloseWrite() error }); ok && cw.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(nc, lingerBytes))
	}
}

func needsSecret(who string) string {
	return "this " + who + " asks for the cluster secret: give the same --cluster-secret-file"
}
