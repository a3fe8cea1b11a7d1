package manager

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// request sends a request with headers "Name: value", and tells status and body.
func request(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	c := http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}

func listener(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The console on a manager's ports: what each serves, and which commands are taken.
func TestConsolePages(t *testing.T) {
	l := listener(t)
	x := newFixture(t, Config{HTTPListener: l, ConsoleCommands: true})
	own, open := "http://"+x.addr, "http://"+l.Addr().String()
	if code, _ := request(t, "GET", own+"/", ""); code != 302 {
		t.Errorf("/ is answered %d", code)
	}
	if code, said := request(t, "GET", open+"/console/", ""); code != 200 || !strings.Contains(said, "<title>kumofs</title>") {
		t.Errorf("/console/ is answered %d: %s", code, said)
	}
	for path, want := range map[string]int{control.PathStatus: 404, control.PathMap: 404, control.PathMetrics: 200, "/console/session": 200} {
		if code, said := request(t, "GET", open+path, ""); code != want {
			t.Errorf("%s on the open port is answered %d: %s", path, code, said)
		}
	}
	if code, _ := request(t, "POST", open+control.PathCommand, `{"command":"attach"}`); code != 404 {
		t.Errorf("a command on the open port is answered %d", code)
	}

	newFake(t, 1, x.addr)
	x.eventually("a server waits", func() bool { return len(x.status().NotAttached) == 1 })
	for _, browser := range []string{"Origin: " + own, "Sec-Fetch-Site: cross-site"} {
		if code, said := request(t, "POST", own+control.PathCommand, `{"command":"attach"}`, browser); code != 403 {
			t.Errorf("a browser's command is answered %d: %s", code, said)
		}
	}
	var s struct{ Token string }
	_, said := request(t, "GET", open+"/console/session", "")
	if err := json.Unmarshal([]byte(said), &s); err != nil || s.Token == "" {
		t.Fatalf("%v: %s", err, said)
	}
	page := []string{"Origin: " + open, "Content-Type: application/json", "Kumofs-Console-Token: " + s.Token}
	if code, said := request(t, "POST", open+"/console/command", `{"command":"attach","nodes":["10.0.0.1:19800"]}`, page...); code != 409 || len(x.status().Attached) != 0 {
		t.Errorf("a command about other servers is answered %d: %s", code, said)
	}
	if code, said := request(t, "POST", open+"/console/command", `{"command":"attach","nodes":["`+x.status().NotAttached[0].Addr+`"]}`, page...); code != 200 || !strings.Contains(said, "attached ") {
		t.Errorf("attach is answered %d: %s", code, said)
	}
	var d struct {
		Status control.Status
		Events []struct{ Text string }
	}
	_, said = request(t, "GET", open+"/console/data", "")
	if err := json.Unmarshal([]byte(said), &d); err != nil || len(d.Status.Attached) != 1 || len(d.Events) == 0 {
		t.Errorf("data: %v: %s", err, said)
	}
}

// With a cluster secret a browser gets nothing on the manager's own port.
func TestConsoleWithSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("the secret of this cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sec, err := secret.Load(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := listener(t)
	x := newFixture(t, Config{HTTPListener: l, Secret: sec})
	for _, p := range []string{"/", "/console/", "/console/data"} {
		if code, said := request(t, "GET", "http://"+x.addr+p, ""); code != 403 {
			t.Errorf("%s on the manager's port is answered %d: %s", p, code, said)
		}
		if code, said := request(t, "GET", "http://"+l.Addr().String()+p, ""); code != 200 && code != 302 {
			t.Errorf("%s on the open port is answered %d: %s", p, code, said)
		}
	}
	if code, said := request(t, "POST", "http://"+l.Addr().String()+"/console/command", `{}`); code != 403 || !strings.Contains(said, "read-only") {
		t.Errorf("a command is answered %d: %s", code, said)
	}
}

// A manager that does not lead shows what the one that does knows, and passes commands on to it,
// which need not take any from browsers itself.
func TestConsoleOfFollower(t *testing.T) {
	x := newFixture(t, Config{})
	newFake(t, 1, x.addr)
	x.eventually("a server waits", func() bool { return len(x.status().NotAttached) == 1 })
	x.command("attach")
	y := newFixture(t, Config{Partners: []string{x.addr}, ConsoleCommands: true})
	var d struct{ Manager string }
	x.eventually("the follower knows the leader", func() bool {
		code, said := request(t, "GET", "http://"+y.addr+"/console/data", "")
		return code == 200 && json.Unmarshal([]byte(said), &d) == nil
	})
	if d.Manager != x.addr {
		t.Errorf("the data are of %s, not of %s", d.Manager, x.addr)
	}
	var s struct{ Manager, Token string }
	_, said := request(t, "GET", "http://"+y.addr+"/console/session", "")
	if err := json.Unmarshal([]byte(said), &s); err != nil || s.Token == "" || s.Manager != y.addr {
		t.Errorf("session: %v: %s", err, said)
	}
	code, said := request(t, "POST", "http://"+y.addr+"/console/command", `{"command":"replace","nodes":[]}`,
		"Origin: http://"+y.addr, "Content-Type: application/json", "Kumofs-Console-Token: "+s.Token)
	if code != 200 || !strings.Contains(said, "nothing to replace") {
		t.Errorf("replace is answered %d: %s", code, said)
	}
}
