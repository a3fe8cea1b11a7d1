package top

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/kumofs/kumofs/internal/control"
)

// newServer serves stats in which the counters grow by 10 with every look.
func newServer(t *testing.T) string {
	var looks atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := looks.Add(10)
		json.NewEncoder(w).Encode(control.StatResponse{Values: map[string]any{
			"cmd_get": n, "cmd_set": 2 * n, "cmd_delete": 5, "items": 1 << 40, "uptime": 3700, "replstat": "Copying",
		}})
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func newManager(t *testing.T, status *control.Status) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(status)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestOnce(t *testing.T) {
	server := newServer(t)
	manager := newManager(t, &control.Status{Attached: []control.NodeStatus{
		{Addr: server, State: "active", CopiesLeft: 12}, {Addr: "127.0.0.1:1", State: "fault"},
	}})
	var out bytes.Buffer
	// No terminal: one table, without being asked.
	if err := Run(t.Context(), []string{"-m", manager, "-i", "0.05"}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || strings.Join(strings.Fields(lines[0]), " ") != "address state get/s set/s delete/s items copies left uptime" ||
		strings.Join(strings.Fields(lines[1]), " ") != "127.0.0.1:1 fault, no answer - - - - 0 -" {
		t.Fatalf("%q", lines)
	}
	cells := strings.Fields(lines[2])
	if len(cells) != 8 || cells[0] != server || cells[1] != "active" || cells[2] == "0" || cells[2] == "-" || cells[4] != "0" ||
		cells[5] != "1099511627776" || cells[6] != "12" || cells[7] != "1h01m" {
		t.Errorf("%q", cells)
	}

	out.Reset()
	if err := Run(t.Context(), []string{server, "-i", "0.05", "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	var got Sample
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Rows) != 1 || got.Rows[0].State != "Copying" ||
		*got.Rows[0].Set <= *got.Rows[0].Get || got.Rows[0].CopiesLeft != nil {
		t.Errorf("%v %s", err, out.String())
	}
	if err := Run(t.Context(), []string{"127.0.0.1:1", "-i", "0.05"}, &out); err == nil || err.Error() != "server 127.0.0.1:1: connection refused" {
		t.Error(err)
	}
	if err := Run(t.Context(), []string{"-m", "127.0.0.1:1", "-i", "0.05"}, &out); err == nil || err.Error() != "manager 127.0.0.1:1: connection refused" {
		t.Error(err)
	}
}

func TestRestartedServerHasNoRates(t *testing.T) {
	s := newSampler([]string{"x"}, false, nil)
	r := Row{Addr: "x"}
	at := time.Now()
	s.rates(&r, counters{at, 100, 100, 100})
	s.rates(&r, counters{at.Add(time.Second), 5, 5, 5})
	if r.Get != nil {
		t.Error(*r.Get)
	}
	s.rates(&r, counters{at.Add(3 * time.Second), 25, 5, 5})
	if r.Get == nil || *r.Get != 10 || *r.Set != 0 {
		t.Errorf("%+v", r)
	}
}

func TestModel(t *testing.T) {
	m := model{ctx: t.Context(), s: newSampler([]string{newServer(t)}, false, nil), interval: time.Hour}
	var live tea.Model = m
	if v := live.View(); !strings.HasPrefix(v.Content, "asking the servers") || !v.AltScreen {
		t.Errorf("%+v", v)
	}
	live, _ = live.Update(tea.WindowSizeMsg{Width: 30, Height: 3})
	live, next := live.Update(live.Init()())
	if next == nil {
		t.Error("no further look")
	}
	lines := strings.Split(live.View().Content, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "kumofs  ") || lines[2] != "q quits" {
		t.Errorf("%q", lines)
	}
	for _, line := range lines {
		if len(line) > 30 {
			t.Errorf("too wide: %q", line)
		}
	}
	_, quit := live.Update(tea.KeyPressMsg{Code: 'q', Text: "q"})
	if quit == nil || quit() != tea.Quit() {
		t.Error("q does not quit")
	}
}

func TestUptime(t *testing.T) {
	for seconds, want := range map[int64]string{0: "0s", 59: "59s", 63: "1m03s", 7*3600 + 5*60: "7h05m", 100 * 86400: "100d00h"} {
		if got := uptime(&seconds); got != want {
			t.Errorf("%d: %q, want %q", seconds, got, want)
		}
	}
}
