package console

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// cluster is a State of servers with IDs 1 to n, and partitions whose replicas are in order.
func cluster(n, partitions int) State {
	m := &clustermap.Map{ClusterID: 7, Version: 5, Replication: 3}
	st := &control.Status{Cluster: m.ClusterID.String(), Clock: 5, Replication: 3, Partitions: partitions, NotAttached: []control.NodeStatus{},
		Managers: []control.ManagerState{{ID: "m1", Addr: "10.0.0.1:19700", Leader: true, Voter: true, Reachable: true}, {ID: "m2", Voter: true, Reachable: true}, {ID: "m3", Voter: true, Reachable: true}}}
	for i := range n {
		s := clustermap.Server{ID: clustermap.ServerID(i + 1), Addr: fmt.Sprintf("10.0.0.%d:19800", i+1)}
		m.Servers = append(m.Servers, s)
		st.Attached = append(st.Attached, control.NodeStatus{ID: s.ID.String(), Addr: s.Addr, State: "active", Reachable: true})
	}
	for i := range partitions {
		p := clustermap.Partition{Epoch: 3, Active: true}
		for k := range 3 {
			p.Replicas = append(p.Replicas, m.Servers[(i+k)%n].ID)
		}
		p.Assigned, p.LastKnown = p.Replicas, p.Replicas
		m.Partitions = append(m.Partitions, p)
	}
	return State{st, m}
}

// rig is a Console before a cluster that is only told of.
type rig struct {
	*Console
	t       *testing.T
	s       State
	err     error
	given   *http.Request
	command control.CommandRequest
}

func newRig(t *testing.T, cfg Config) *rig {
	r := &rig{t: t, s: cluster(4, 8)}
	cfg.Addr, cfg.Events = "10.0.0.1:19700", NewEvents(10)
	cfg.State = func(context.Context) (State, error) { return r.s, r.err }
	cfg.Led = func(h http.HandlerFunc) http.HandlerFunc { return h }
	cfg.Command = func(w http.ResponseWriter, req *http.Request) {
		r.given = req
		json.NewDecoder(req.Body).Decode(&r.command)
		io.WriteString(w, `{"lines":["done"]}`)
	}
	r.Console = New(cfg)
	r.sampler.ask = func(context.Context, string) (map[string]any, error) { return map[string]any{}, nil }
	t.Cleanup(r.Close)
	return r
}

// get asks for a path, with headers "Name: value".
func (r *rig) get(method, path string, headers ...string) *http.Response {
	req := httptest.NewRequest(method, "http://10.0.0.1:19700"+path, nil)
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Result()
}

func (r *rig) data(query string) (d answered) {
	r.t.Helper()
	resp := r.get("GET", "/console/data?"+query)
	if resp.StatusCode != 200 {
		r.t.Fatalf("data: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func TestStatic(t *testing.T) {
	r := newRig(t, Config{})
	for name := range pages {
		resp := r.get("GET", "/console/"+name)
		body, _ := io.ReadAll(resp.Body)
		etag := resp.Header.Get("ETag")
		if resp.StatusCode != 200 || len(body) == 0 || etag == "" || resp.Header.Get("Cache-Control") != "no-cache" || resp.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %s, %d bytes, %v", name, resp.Status, len(body), resp.Header)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, resp.Header)
		}
		if resp := r.get("GET", "/console/"+name, "If-None-Match: "+etag); resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s asked for again: %s", name, resp.Status)
		}
		resp = r.get("GET", "/console/"+name, "Accept-Encoding: gzip")
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := io.ReadAll(z); string(again) != string(body) {
			t.Errorf("%s compressed is something else", name)
		}
		// The policy forbids what is inline, and there is no other place that it could ask.
		for _, bad := range []string{"http://", "https://", " style=", " onclick=", "<style", "<script>", "eval(", "innerHTML"} {
			if text := strings.ReplaceAll(string(body), "http://www.w3.org/", ""); strings.Contains(text, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/console/nothing.js", 404}, {"GET", "/console/../secret", 307}, {"HEAD", "/console/", 200}, {"POST", "/console/", 405}, {"PUT", "/console/data", 405},
		{"POST", "/console/data", 405}, {"DELETE", "/console/app.js", 405}, {"GET", "/console/command", 404}, {"POST", "/console/plan", 405}, {"POST", "/console/session", 405},
	} {
		if resp := r.get(c.method, c.path); resp.StatusCode != c.status {
			t.Errorf("%s %s: %s", c.method, c.path, resp.Status)
		}
	}
}

func TestData(t *testing.T) {
	r := newRig(t, Config{})
	log := slog.New(r.cfg.Events.Handler(slog.DiscardHandler))
	log.Info("first")
	d := r.data("")
	var p struct {
		Clock   uint64
		Count   int
		Servers []string
		At      []int
		Rows    [][]any
	}
	parts := func() {
		p.At, p.Rows = nil, nil
		if err := json.Unmarshal(d.Partitions, &p); err != nil {
			t.Fatal(err)
		}
	}
	parts()
	if d.Clock != 5 || d.Status.Partitions != 8 || len(d.Events) != 1 || d.Safety.Survives != 2 || d.Health.Level != "ok" || p.Clock != 5 || p.Count != 8 || len(p.Servers) != 4 || len(p.Rows) != 8 || p.At != nil {
		t.Errorf("%+v; partitions %s", d, d.Partitions)
	}
	if got := fmt.Sprint(p.Rows[2]); got != "[3 1 [2 3 0]]" {
		t.Errorf("row 2 is %s", got)
	}

	// What it has already is left out; what has changed is told alone.
	log.Warn("second")
	cursor := fmt.Sprintf("boot=%s&clock=5&event=%d", d.Boot, d.Events[0].Seq)
	d = r.data(cursor)
	if d.Partitions != nil || len(d.Events) != 1 || d.Events[0].Text != "second" || d.Events[0].Level != "WARN" {
		t.Errorf("again: %+v", d)
	}
	next := *r.s.Map
	next.Version = 6
	next.Partitions = slices.Clone(next.Partitions)
	next.Partitions[3] = clustermap.Partition{Epoch: 4, Replicas: []clustermap.ServerID{1, 2}, Joining: []clustermap.ServerID{4}, Assigned: []clustermap.ServerID{1, 3, 4}, LastKnown: []clustermap.ServerID{1, 2}}
	r.s.Map = &next
	r.forgetState()
	d = r.data(cursor)
	parts()
	if fmt.Sprint(p.At, p.Rows, p.Clock) != "[3] [[4 0 [0 1] [3] [2]]] 6" {
		t.Errorf("the difference is %s", d.Partitions)
	}
	// Another run of a manager knows nothing of this page.
	if d = r.data("boot=other&clock=6&event=2"); len(d.Partitions) == 0 || len(d.Events) != 2 {
		t.Errorf("with another's cursor: %+v", d)
	}
	if d = r.data("boot=" + d.Boot + "&clock=junk&event=-1&sample=99999999999999999999&server=nobody"); len(d.Events) != 2 || d.Server != nil {
		t.Errorf("with junk: %+v", d)
	}
	r.err = errors.New("no manager leads")
	r.forgetState()
	if resp := r.get("GET", "/console/data"); resp.StatusCode != 503 {
		t.Errorf("without a leader: %s", resp.Status)
	}
	if resp := r.get("GET", "/console/events"); resp.StatusCode != 200 {
		t.Errorf("this manager's events without a leader: %s", resp.Status)
	}
}

// forgetState lets the next question be asked of the manager.
func (r *rig) forgetState() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = State{}
}

func TestLocate(t *testing.T) {
	r := newRig(t, Config{})
	var a struct {
		Partition uint16
		Hash      string
	}
	if err := json.NewDecoder(r.get("GET", "/console/locate?key=the-key").Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Hash != "4bcafb7878221cb2" || a.Partition != r.s.Map.PartitionOf([]byte("the-key")) {
		t.Errorf("%+v", a)
	}
}

func TestCommandsAreGuarded(t *testing.T) {
	readOnly, r := newRig(t, Config{}), newRig(t, Config{Commands: true})
	var s struct {
		Commands   bool
		Token, Why string
	}
	session := func(r *rig, host string) {
		s.Commands, s.Token, s.Why = false, "", ""
		req := httptest.NewRequest("GET", "http://"+host+"/console/session", nil)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if err := json.NewDecoder(w.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
	}
	if session(readOnly, "10.0.0.1"); s.Commands || s.Token != "" || s.Why == "" {
		t.Errorf("read-only: %+v", s)
	}
	for _, host := range []string{"10.0.0.1:19700", "[::1]:19700", "localhost:19700", "svr1"} {
		if session(r, host); !s.Commands || s.Token == "" {
			t.Errorf("%s: %+v", host, s)
		}
	}
	if session(r, "rebound.example.com:19700"); s.Commands || s.Token != "" {
		t.Errorf("by a name from outside: %+v", s)
	}
	good := []string{"Origin: http://10.0.0.1:19700", "Sec-Fetch-Site: same-origin", "Content-Type: application/json", "Kumofs-Console-Token: " + r.token}
	post := func(r *rig, host, body string, headers ...string) int {
		r.given = nil
		req := httptest.NewRequest("POST", "http://"+host+"/console/command", strings.NewReader(body))
		for _, h := range headers {
			k, v, _ := strings.Cut(h, ": ")
			req.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if (w.Code == 200) != (r.given != nil) {
			t.Errorf("answered %d, carried out: %v", w.Code, r.given != nil)
		}
		return w.Code
	}
	const host, body = "10.0.0.1:19700", `{"command":"attach","nodes":["10.0.0.9:19800","10.0.0.8:19800"]}`
	if code := post(r, host, body, good...); code != 200 {
		t.Fatalf("the page's own command: %d", code)
	}
	if r.command.Command != "attach" || r.given.URL.Path != control.PathCommand || r.given.Header.Get(Expect) != "10.0.0.9:19800,10.0.0.8:19800" || control.FromBrowser(r.given) || r.given.Header.Get(tokenHeader) != "" {
		t.Errorf("carried out: %+v %v", r.command, r.given.Header)
	}
	if code := post(readOnly, host, body, good...); code != 403 {
		t.Errorf("read-only: %d", code)
	}
	for i, other := range []string{"Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Content-Type: text/plain", "Kumofs-Console-Token: guess"} {
		if code := post(r, host, body, append(slices.Clone(good), other)...); code != 403 {
			t.Errorf("%s: %d", other, code)
		}
		if i != 1 { // old browsers do not send Sec-Fetch-Site
			if code := post(r, host, body, slices.Delete(slices.Clone(good), i, i+1)...); code != 403 {
				t.Errorf("without %s: %d", good[i], code)
			}
		}
	}
	rebound := slices.Clone(good)
	rebound[0] = "Origin: http://rebound.example.com:19700"
	if code := post(r, "rebound.example.com:19700", body, rebound...); code != 403 {
		t.Errorf("by a name from outside: %d", code)
	}
	for _, body := range []string{`{"command":"recover"}`, `{"command":""}`, `{`, `{"command":"backup"}`} {
		if code := post(r, host, body, good...); code != 400 {
			t.Errorf("%s: %d", body, code)
		}
	}
}

func TestPlan(t *testing.T) {
	s := cluster(4, 64)
	s.Status.NotAttached = []control.NodeStatus{{ID: "0000000000000009", Addr: "10.0.0.9:19800", State: "new", Reachable: true}, {ID: "000000000000000a", Addr: "10.0.0.10:19800", State: "refused", Reachable: true}}
	p := planOf("attach", s)
	if fmt.Sprint(p.Nodes) != "[10.0.0.9:19800]" || p.Copies < 30 || len(p.Servers) != 5 || p.Servers[4].Addr != "10.0.0.9:19800" || p.Servers[4].Then != p.Servers[4].Copies {
		t.Errorf("attach: %+v", p)
	}
	s.Status.Attached[0].State, s.Map.Servers[0].State = "fault", clustermap.Fault
	p = planOf("detach", s)
	if fmt.Sprint(p.Nodes) != "[10.0.0.1:19800]" || p.Copies != 48 || p.Servers[0].Then != 0 || p.Servers[0].Replicas != 48 {
		t.Errorf("detach: %+v", p)
	}
	if p = planOf("pause", s); p.Copies != 0 || len(p.Nodes) != 0 {
		t.Errorf("pause: %+v", p)
	}
	if p = planOf("attach", State{Status: &control.Status{NotAttached: []control.NodeStatus{{ID: "1", Addr: "10.0.0.1:1", Reachable: true}}}, Map: &clustermap.Map{}}); len(p.Nodes) != 1 || p.Copies != 0 {
		t.Errorf("the first attach: %+v", p)
	}
	r := newRig(t, Config{})
	if resp := r.get("GET", "/console/plan?command=recover"); resp.StatusCode != 400 {
		t.Errorf("recover: %s", resp.Status)
	}
	if resp := r.get("GET", "/console/plan?command=replace"); resp.StatusCode != 200 {
		t.Errorf("replace: %s", resp.Status)
	}
}

func TestHealth(t *testing.T) {
	judge := func(change func(*State, *[]Live)) (Health, Safety) {
		s, live := cluster(4, 8), []Live{}
		change(&s, &live)
		safe := safetyOf(s)
		return healthOf(s, safe, live), safe
	}
	large, small := 100e9, 1e9
	for _, c := range []struct {
		name     string
		change   func(*State, *[]Live)
		level    string
		survives int
		says     string
	}{
		{"well", func(*State, *[]Live) {}, "ok", 2, ""},
		{"silent", func(s *State, _ *[]Live) { s.Status.Attached[1].Reachable = false }, "warning", 1, "10.0.0.2:19800 is not heard"},
		{"fault", func(s *State, _ *[]Live) { s.Status.Attached[1].State = "fault" }, "error", 1, "10.0.0.2:19800 is at fault"},
		{"fault, just now", func(s *State, l *[]Live) {
			s.Status.Attached[1].State, s.Status.Short = "fault", 6
			*l = []Live{{ID: "0000000000000002", Error: "connection refused"}}
		}, "error", 1, "6 partitions lack copies.\n"},
		{"two", func(s *State, _ *[]Live) {
			s.Status.Attached[1].State, s.Status.Attached[2].State = "fault", "fault"
		}, "error", 0, "2 active servers cannot hold 3 copies"},
		{"gone", func(s *State, _ *[]Live) {
			s.Status.Unavailable = 2
			s.Map.Partitions[0].Replicas = nil
		}, "error", -1, "2 of 8 partitions have no server"},
		{"all copies silent", func(s *State, _ *[]Live) {
			for i := range 3 {
				s.Status.Attached[i].Reachable = false
			}
		}, "error", -1, "2 of 8 partitions have no server"},
		{"trouble", func(s *State, _ *[]Live) { s.Status.Troubles = []control.Trouble{{Text: "stuck", Do: "mend"}} }, "error", 2, "stuck"},
		{"new", func(s *State, _ *[]Live) {
			s.Status.NotAttached = []control.NodeStatus{{Addr: "10.0.0.9:19800", State: "new", Reachable: true}}
		}, "warning", 2, "10.0.0.9:19800 waits to be attached"},
		{"refused", func(s *State, _ *[]Live) {
			s.Status.NotAttached = []control.NodeStatus{{Addr: "10.0.0.9:19800", State: "refused", Note: "why"}}
		}, "error", 2, "is refused: why"},
		{"short", func(s *State, _ *[]Live) { s.Status.Short = 1 }, "warning", 2, "1 partition lacks copies"},
		{"copying", func(s *State, _ *[]Live) { s.Status.Short, s.Status.Moving = 1, 2 }, "warning", 2, "2 copies are being made"},
		{"moving", func(s *State, _ *[]Live) { s.Status.Moving = 2 }, "ok", 2, "2 moves are under way"},
		{"manager", func(s *State, _ *[]Live) { s.Status.Managers[1].Reachable = false }, "warning", 2, "bare majority, 2 of 3 voters"},
		{"one manager", func(s *State, _ *[]Live) { s.Status.Managers = s.Status.Managers[:1] }, "ok", 2, "one manager"},
		{"hung", func(_ *State, l *[]Live) {
			*l = []Live{{ID: "0000000000000001", Addr: "10.0.0.1:19800", Error: "no answer in time"}}
		}, "warning", 2, "does not tell what it does"},
		{"store", func(_ *State, l *[]Live) {
			*l = []Live{{ID: "0000000000000001", Addr: "10.0.0.1:19800", Store: "damaged"}}
		}, "error", 2, "damaged"},
		{"disk", func(_ *State, l *[]Live) { *l = []Live{{ID: "0000000000000001", DiskUsage: &large, DiskAvail: &small}} }, "warning", 2, "nearly full: 953.7 MiB left"},
		{"nothing", func(s *State, _ *[]Live) { s.Status.Attached = nil }, "warning", -1, ""},
	} {
		h, safe := judge(c.change)
		said := ""
		for _, p := range h.Problems {
			said += p.Text + "\n"
		}
		if h.Level != c.level || !strings.Contains(said, c.says) || c.says == "" && said != "" || h.Headline == "" || h.Detail == "" || c.name != "nothing" && safe.Survives != c.survives {
			t.Errorf("%s: %+v %+v", c.name, h, safe)
		}
		if c.survives < 0 && c.name != "nothing" && (h.Headline != "Some keys cannot be reached" || h.Detail != "2 partitions of 8 not served.") {
			t.Errorf("%s: %q %q", c.name, h.Headline, h.Detail)
		}
	}
}

func TestEvents(t *testing.T) {
	e := NewEvents(3)
	var inner strings.Builder
	log := slog.New(e.Handler(slog.NewTextHandler(&inner, &slog.HandlerOptions{Level: slog.LevelWarn})))
	log.Debug("nobody sees this")
	log.Info("kept, not shown", "addr", "10.0.0.1:1", "n", 3)
	log.With("daemon", "manager").WithGroup("g").Warn("kept and shown", "cluster_secret", "hush", slog.Group("in", "a", time.Second))
	got := e.Since(0)
	if len(got) != 2 || got[0].Text != "kept, not shown  addr=10.0.0.1:1  n=3" || got[1].Text != "kept and shown  g.cluster_secret=(hidden)  g.in.a=1s  daemon=manager" || got[1].Seq != 2 {
		t.Errorf("%+v", got)
	}
	if s := inner.String(); strings.Contains(s, "not shown") || strings.Count(s, "kept and shown") != 1 {
		t.Errorf("the log has %q", s)
	}
	log.Error(strings.Repeat("é", eventBytes))
	log.Info("the last")
	got = e.Since(0)
	if len(got) != 3 || got[0].Seq != 2 || got[2].Seq != 4 || len(got[1].Text) > eventBytes+3 {
		t.Errorf("%d events: %+v", len(got), got)
	}
	if got = e.Since(3); len(got) != 1 || got[0].Seq != 4 {
		t.Errorf("since 3: %+v", got)
	}
	if got = e.Since(99); got == nil || len(got) != 0 {
		t.Errorf("since 99: %v", got)
	}
}

// A page of a large cluster costs little: what the largest map takes is far below its refresh.
func BenchmarkLargest(b *testing.B) {
	s := cluster(100, clustermap.MaxPartitions)
	next := *s.Map
	next.Version++
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			zipped(encodePartitions(s.Map, nil))
		}
		b.ReportMetric(float64(len(zipped(encodePartitions(s.Map, nil)))), "bytes")
	})
	b.Run("difference", func(b *testing.B) {
		for b.Loop() {
			encodePartitions(&next, s.Map)
		}
	})
	b.Run("health", func(b *testing.B) {
		for b.Loop() {
			safetyOf(s)
		}
	})
}
