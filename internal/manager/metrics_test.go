package manager

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/control"
)

// get asks a manager for a page.
func (x *fixture) get(path string) (int, string) {
	x.t.Helper()
	resp, err := http.Get("http://" + x.addr + path)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A manager that leads is ready, and tells of the cluster.
func TestReady(t *testing.T) {
	x := newFixture(t, Config{})
	newFake(t, 1, x.addr)
	x.command("attach")
	x.settled(1)
	for _, path := range []string{control.PathHealth, control.PathReady} {
		if code, body := x.get(path); code != 200 || body != "{\"status\":\"ok\"}\n" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	code, body := x.get(control.PathMetrics)
	for _, line := range []string{"kumo_manager_leader 1", "kumo_manager_leader_known 1", "kumo_manager_partitions 64", "kumo_manager_partitions_unavailable 0",
		`kumo_manager_servers{state="active"} 1`, `kumo_manager_servers{state="fault"} 0`, `kumo_manager_links{role="server"} 1`, `kumo_manager_links{role="gateway"} 0`, "kumo_manager_managers 1"} {
		if code != 200 || !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no %q in the metrics (%d):\n%s", line, code, body)
		}
	}
}

// One that waits for its partner is well, but not ready, and tells nothing of a cluster that it does not know.
func TestNotReady(t *testing.T) {
	x := newFixture(t, Config{Partners: []string{"127.0.0.1:1"}})
	if code, body := x.get(control.PathHealth); code != 200 {
		t.Errorf("health %d %q", code, body)
	}
	x.eventually("it says whom it waits for", func() bool {
		code, body := x.get(control.PathReady)
		return code == 503 && strings.Contains(body, "blank: it waits for 127.0.0.1:1")
	})
	_, body := x.get(control.PathMetrics)
	if !strings.Contains(body, "\nkumo_manager_leader 0\n") || strings.Contains(body, "\nkumo_manager_partitions") || strings.Contains(body, "\nkumo_manager_servers") {
		t.Errorf("%s", body)
	}
	if code, _ := x.get(control.PathLogLevel); code != 404 { // it was given none
		t.Errorf("log-level %d", code)
	}
}
