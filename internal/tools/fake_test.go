package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// The forms printed have local times in them.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("JST", 9*3600)
	os.Exit(m.Run())
}

var updated = time.Date(2008, 12, 3, 13, 16, 0, 0, time.UTC)

// fake is a manager or server that serves canned answers.
type fake struct {
	*httptest.Server
	status   *control.Status
	mapped   *clustermap.Map
	stats    map[string]map[string]any // by key
	respond  func(control.CommandRequest) (*control.CommandResponse, error)
	hot      *control.HotKeys
	healthy  bool
	level    string // of the log
	refuse   int    // status code of every answer, 0 for none
	commands []control.CommandRequest
}

func newFake(t *testing.T) *fake {
	f := &fake{}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) addr() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(code int, msg string) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(control.Error{Error: msg})
	}
	stat := f.stats[r.FormValue("key")]
	switch {
	case f.refuse != 0:
		fail(f.refuse, "no leader")
	case r.URL.Path == control.PathHealth && f.healthy:
	case r.URL.Path == control.PathStatus && f.status != nil:
		json.NewEncoder(w).Encode(f.status)
	case r.URL.Path == control.PathMap && f.mapped != nil:
		w.Write(clustermap.AppendMap(nil, f.mapped))
	case r.URL.Path == control.PathLogLevel:
		if r.Method == http.MethodPost {
			var want control.LogLevelState
			if err := json.NewDecoder(r.Body).Decode(&want); err != nil || want.Level == "loud" {
				fail(http.StatusBadRequest, "level: must be quiet")
				return
			}
			f.level = want.Level
		}
		json.NewEncoder(w).Encode(control.LogLevelState{Level: f.level})
	case r.URL.Path == control.PathHotKeys && f.hot != nil:
		hot, n := *f.hot, 0
		if _, err := fmt.Sscan(r.FormValue("n"), &n); err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
		hot.Reads = hot.Reads[:min(n, len(hot.Reads))]
		json.NewEncoder(w).Encode(hot)
	case r.URL.Path == control.PathStat && stat != nil:
		if p := r.FormValue("partition"); p != "" {
			stat = map[string]any{"checksum": "of " + p}
		}
		json.NewEncoder(w).Encode(control.StatResponse{Values: stat})
	case r.URL.Path == control.PathCommand && r.Method == http.MethodPost:
		var req control.CommandRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
		f.commands = append(f.commands, req)
		resp, err := f.respond(req)
		if err != nil {
			fail(http.StatusConflict, err.Error())
			return
		}
		json.NewEncoder(w).Encode(resp)
	default:
		fail(http.StatusNotFound, "no such thing")
	}
}

// deadAddr is an address that refuses connections.
func deadAddr(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	addr := strings.TrimPrefix(s.URL, "http://")
	s.Close()
	return addr
}

func threeServers() *clustermap.Map {
	m := clustermap.PlanAddrs([]string{"127.0.0.1:19802", "127.0.0.1:19801", "127.0.0.1:19803"}, 16, 3)
	m.Version, m.Updated = 72, updated.UnixMilli()
	return m
}

// check compares what a program printed and how it would end.
func check(t *testing.T, err error, out *bytes.Buffer, wantErr, wantOut string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != wantErr && (wantErr == "" || !strings.HasPrefix(got, wantErr)) {
		t.Errorf("error %q, want %q", got, wantErr)
	}
	if out.String() != wantOut {
		t.Errorf("printed\n%s\nwant\n%s", out, wantOut)
	}
	out.Reset()
}

func isUsage(err error) bool {
	var usage *cli.UsageError
	return errors.As(err, &usage)
}
