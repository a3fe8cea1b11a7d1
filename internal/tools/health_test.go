package tools

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/cli"
)

func TestHealth(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no manager leads", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("GET /slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	gone.Close()
	for _, test := range []struct {
		args, out, err string
		usage          bool
	}{
		{addr, "ok\n", "", false},
		{addr + " --path /readyz", "", "is not well: 503 Service Unavailable: no manager leads", false},
		{addr + " --path /slow --timeout 0.05", "", "does not answer", false},
		{nobody, "", "does not answer", false},
		{"", "", "needs one address", true},
		{"localhost", "", "needs a port", true},
		{addr + " --path x", "", "must begin with /", true},
		{addr + " --path /%zz", "", "invalid URL", true},
	} {
		var out bytes.Buffer
		err := Health(context.Background(), strings.Fields(test.args), &out)
		var usage *cli.UsageError
		if out.String() != test.out || (err == nil) != (test.err == "") || errors.As(err, &usage) != test.usage {
			t.Errorf("%s: %q, %v", test.args, out.String(), err)
		} else if err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %s", test.args, err, test.err)
		}
	}
}
