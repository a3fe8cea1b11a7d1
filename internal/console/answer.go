package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/kumofs/kumofs/internal/control"
)

// gzipFrom is from which size on, in bytes, an answer is worth compressing.
const gzipFrom = 2 << 10

var errNoCluster = errors.New("there is no cluster yet: attach servers first")

//go:embed static
var embedded embed.FS

// page is one static file.
type page struct {
	kind, etag string
	body, gz   []byte
}

// pages are by name; "" is the page itself.
var pages = loadPages()

func loadPages() map[string]*page {
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	out := map[string]*page{}
	files, err := fs.Glob(embedded, "static/*")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, f := range files {
		body, err := embedded.ReadFile(f)
		if err != nil {
			panic(err) // it was just listed
		}
		sum := sha256.Sum256(body)
		out[path.Base(f)] = &page{kind: kinds[path.Ext(f)], etag: `"` + hex.EncodeToString(sum[:8]) + `"`, body: body, gz: zipped(body)}
	}
	out[""] = out["index.html"]
	return out
}

// zipped is b compressed.
func zipped(b []byte) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is right
	}
	_, _ = z.Write(b) // a bytes.Buffer takes all
	_ = z.Close()
	return out.Bytes()
}

// policy lets the page have what is of this console, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func withHeaders(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			w.Header().Set(k, v)
		}
		h.ServeHTTP(w, r)
	})
}

func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	p := pages[r.PathValue("file")]
	if p == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("the console has no %s", r.URL.Path))
		return
	}
	h := w.Header()
	// Asked for each time, so that a page is never half of one version and half of another.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", p.etag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == p.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", p.kind)
	body := p.body
	if takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = p.gz
	}
	_, _ = w.Write(body) // the browser is gone if it fails
}

func takesGzip(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if len(body) >= gzipFrom && takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = zipped(body)
	}
	_, _ = w.Write(body) // the browser is gone if it fails
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(control.Error{Error: err.Error()}) // the same
}

func hex64(n uint64) string { return fmt.Sprintf("%016x", n) }
