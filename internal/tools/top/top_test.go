package top

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// The forms printed have local times in them.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("JST", 9*3600)
	os.Exit(m.Run())
}

// newServer serves stats in which the counters grow by 10 with every look, and hot keys. As a gateway
// it knows less.
func newServer(t *testing.T) string {
	var looks atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == control.PathHotKeys {
			if r.FormValue("n") == "" {
				t.Error("no n")
			}
			json.NewEncoder(w).Encode(control.HotKeys{Every: 64,
				Reads:  []control.HotKey{{Bytes: []byte("hot\x1b[2J"), Partition: 7, PerSecond: 100.4}},
				Writes: []control.HotKey{{Bytes: []byte("hot\x1b[2J"), Partition: 7, PerSecond: 3}, {Bytes: []byte("w"), Partition: 8, PerSecond: 9}}})
			return
		}
		n := looks.Add(10)
		json.NewEncoder(w).Encode(control.StatResponse{Values: map[string]any{
			"cmd_get": n, "cmd_set": 2 * n, "cmd_delete": 5, "items": 1 << 40, "uptime": 3700, "replstat": "Copying",
			"time": 1228310160, "clock": 72, "get_p50_us": 85, "get_p99_us": 1200, "set_p50_us": 0, "set_p99_us": "x",
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

// words are the words of a line, one space between them.
func words(line string) string { return strings.Join(strings.Fields(line), " ") }

func TestOnce(t *testing.T) {
	server, gateway := newServer(t), newServer(t)
	manager := newManager(t, &control.Status{
		Attached: []control.NodeStatus{{Addr: server, State: "active", CopiesLeft: 12}, {Addr: "127.0.0.1:1", State: "fault"}},
		Gateways: []control.GatewayStatus{{Addr: "127.0.0.1:9", HTTP: gateway, Version: "1.0"}, {Addr: "127.0.0.1:8", Version: "a b"}, {Addr: "127.0.0.1:7", Client: true}},
	})
	const header = "address #Get #Set #Del Get/s Set/s Del/s QPS items time clock status"
	var out bytes.Buffer
	// No terminal: one table, without being asked.
	if err := Run(t.Context(), []string{"-m", manager, "-i", "0.05"}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || words(lines[0]) != header || words(lines[1]) != "127.0.0.1:1 - - - - - - - - - - fault" || lines[3] != "" {
		t.Fatalf("%q", lines)
	}
	cells := strings.Fields(lines[2])
	if len(cells) != 13 || cells[0] != server || cells[1] != "20" || cells[2] != "40" || cells[3] != "5" || cells[4] == "-" || cells[4] == "0" || cells[6] != "0" ||
		strings.Join(cells[8:], " ") != "1099511627776 2008-12-03 22:16:00 72 Copying" {
		t.Errorf("%q", cells)
	}

	out.Reset()
	if err := Run(t.Context(), []string{"-m", manager, "-i", "0.05", "--once", "--sort", "qps", "--wide", "--gateways", "--hot-keys", "1"}, &out); err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(out.String(), "\n")
	if len(lines) != 12 || words(lines[0]) != header+" GetP50 GetP99 SetP50 SetP99 copies uptime" || lines[3] != "" || lines[8] != "" {
		t.Fatalf("%q", lines)
	}
	if got := words(lines[1]); !strings.HasPrefix(got, server) || !strings.HasSuffix(got, "72 Copying 85us 1.2ms - - 12 1h01m") {
		t.Errorf("%q", got) // the other one has no QPS, and comes last
	}
	if words(lines[4]) != "gateway #Get #Set #Del Get/s Set/s Del/s QPS conns status GetP50 GetP99 SetP50 SetP99 uptime version" ||
		words(lines[5]) != "127.0.0.1:7 - - - - - - - - client - - - - - -" ||
		words(lines[6]) != `127.0.0.1:8 - - - - - - - - no-http - - - - - "a b"` ||
		!strings.HasPrefix(lines[7], gateway) || !strings.HasSuffix(words(lines[7]), "- up 85us 1.2ms - - 1h01m 1.0") {
		t.Errorf("%q", lines[4:8])
	}
	if words(lines[9]) != "reads/s writes/s part server key" || words(lines[10]) != `100 3 7 `+server+` "hot\x1b[2J"` {
		t.Errorf("%q", lines[9:])
	}
}

func TestJSON(t *testing.T) {
	server, gateway := newServer(t), newServer(t)
	manager := newManager(t, &control.Status{
		Attached: []control.NodeStatus{{Addr: server, State: "active", CopiesLeft: 12}},
		Gateways: []control.GatewayStatus{{Addr: "127.0.0.1:9", HTTP: gateway}},
	})
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"-m", manager, "-i", "0.05", "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	var got Sample
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Rows) != 1 || len(got.Gateways) != 1 || len(got.HotKeys) != 2 {
		t.Fatalf("%v %s", err, out.String())
	}
	r, g, h := &got.Rows[0], &got.Gateways[0], &got.HotKeys[0]
	if r.State != "active" || r.Status != "Copying" || *r.Set <= *r.Get || *r.QPS <= *r.Set || *r.CopiesLeft != 12 || *r.GetP99 != 1200 || r.SetP50 != nil {
		t.Errorf("%+v", r)
	}
	if g.HTTP != gateway || g.Status != "up" || g.QPS == nil || *g.GetP50 != 85 {
		t.Errorf("%+v", g)
	}
	if h.Key != `"hot\x1b[2J"` || string(h.Bytes) != "hot\x1b[2J" || h.Reads != 100.4 || h.Writes != 3 || h.Server != server || h.Partition != 7 {
		t.Errorf("%+v", h)
	}
	out.Reset()
	if err := Run(t.Context(), []string{server, "-i", "0.05", "--json", "--hot-keys", "1"}, &out); err != nil {
		t.Fatal(err)
	}
	got = Sample{}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Rows) != 1 || got.Rows[0].State != "Copying" || got.Rows[0].CopiesLeft != nil ||
		got.Gateways == nil || len(got.Gateways) != 0 || len(got.HotKeys) != 1 {
		t.Errorf("%v %s", err, out.String())
	}
}

func TestErrors(t *testing.T) {
	var out bytes.Buffer
	for args, want := range map[string]string{
		"127.0.0.1:1 -i 0.05":          "server 127.0.0.1:1: connection refused",
		"-m 127.0.0.1:1 -i 0.05":       "manager 127.0.0.1:1: connection refused",
		"":                             "needs either -m MANAGER",
		"-m 127.0.0.1:1 127.0.0.1:2":   "needs either -m MANAGER",
		"127.0.0.1:1 --gateways":       "--gateways needs -m",
		"127.0.0.1:1 --sort colour":    `--sort: there is no column "colour"; there are address #Get`,
		"127.0.0.1:1 --sort qps-trend": `--sort: there is no column "qps-trend"`,
		"127.0.0.1:1 --hot-keys 999":   "--hot-keys",
	} {
		if err := Run(t.Context(), strings.Fields(args), &out); err == nil || !strings.HasPrefix(err.Error(), want) && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func values(get, set, del int64) map[string]any {
	v := map[string]any{}
	for name, n := range map[string]int64{"cmd_get": get, "cmd_set": set, "cmd_delete": del} {
		v[name] = json.Number(fmt.Sprint(n))
	}
	return v
}

func TestRestartedServerHasNoRates(t *testing.T) {
	var d daemon
	at := time.Now()
	d.take(answer{at: at, values: values(100, 100, 100)})
	d.take(answer{at: at.Add(time.Second), values: values(5, 5, 5)})
	if d.Get != nil || d.QPS != nil {
		t.Error(*d.Get)
	}
	d.take(answer{at: at.Add(3 * time.Second), values: values(25, 5, 9)})
	if d.Get == nil || *d.Get != 10 || *d.Set != 0 || *d.QPS != 12 || *d.Gets != 25 {
		t.Errorf("%+v", d.Figures)
	}
	d.take(answer{at: at.Add(4 * time.Second), err: errors.New("gone")})
	if d.Get != nil || d.Gets != nil {
		t.Errorf("%+v", d.Figures)
	}
	// A look that was missed: the rate is that of the whole time.
	d.take(answer{at: at.Add(5 * time.Second), values: values(45, 5, 9)})
	if d.Get == nil || *d.Get != 10 {
		t.Errorf("%+v", d.Figures)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{{json.Number("18446744073709551615"), "-"}, {json.Number("9007199254740993"), "9007199254740993"}, {"12", "12"}, {json.Number("1.9"), "1"}, {"NaN", "-"}, {nil, "-"}, {true, "-"}, {"x", "-"}} {
		if got := count(number(c.v)); got != c.want {
			t.Errorf("%v: %s, want %s", c.v, got, c.want)
		}
	}
}

func TestLatency(t *testing.T) {
	for us, want := range map[float64]string{1: "1us", 85.4: "85us", 999.4: "999us", 999.6: "1.0ms", 1234: "1.2ms", 9949: "9.9ms", 9960: "10ms", 140_000: "140ms", 999_600: "1.0s", 3_500_000: "3.5s", 67_000_000: "67s"} {
		if got := latency(&us); got != want {
			t.Errorf("%v: %s, want %s", us, got, want)
		}
	}
}

func TestUptime(t *testing.T) {
	for seconds, want := range map[int64]string{0: "0s", 59: "59s", 63: "1m03s", 7*3600 + 5*60: "7h05m", 100 * 86400: "100d00h"} {
		if got := uptime(&seconds); got != want {
			t.Errorf("%d: %q, want %q", seconds, got, want)
		}
	}
}

func TestTrend(t *testing.T) {
	var tr trend
	if got := tr.spark(3, barLevels); got != "   " {
		t.Errorf("%q", got)
	}
	push := func(list ...float64) {
		for _, v := range list {
			tr.push(&v)
		}
	}
	push(0, 0)
	if got := tr.spark(4, barLevels); got != "  ▁▁" {
		t.Errorf("%q", got)
	}
	push(1, 50, 100)
	tr.push(nil)
	push(25)
	if got := tr.spark(9, barLevels); got != "  ▁▁▁▅█ ▃" {
		t.Errorf("%q", got)
	}
	if got := tr.spark(3, asciiLevels); got != "# +" && got != "# -" {
		t.Errorf("%q", got)
	}
	// The highest of those shown is the full height.
	if got := tr.spark(1, barLevels); got != "█" {
		t.Errorf("%q", got)
	}
	for i := range 100 {
		push(float64(i))
	}
	if len(tr) != trendLength || tr[0] != 70 || math.IsNaN(tr[29]) || len([]rune(tr.spark(30, barLevels))) != 30 {
		t.Errorf("%v", tr)
	}
}

func TestSort(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	rows := []Row{{Addr: "10.0.0.2:1", Status: "ready", Figures: Figures{QPS: f(5)}}, {Addr: "10.0.0.10:1", Status: "WAIT"},
		{Addr: "9.0.0.1:1", Status: "ready", Figures: Figures{QPS: f(70)}}, {Addr: "10.0.0.3:1", Status: "ready", Figures: Figures{QPS: f(5)}}}
	for _, c := range []struct {
		by      string
		reverse bool
		want    string
	}{
		{"address", false, "9.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.10:1"},
		{"ADDRESS", true, "10.0.0.10:1 10.0.0.3:1 10.0.0.2:1 9.0.0.1:1"},
		{"QPS", false, "9.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.10:1"},
		{"QPS", true, "10.0.0.2:1 10.0.0.3:1 9.0.0.1:1 10.0.0.10:1"},
		{"status", false, "10.0.0.10:1 10.0.0.2:1 9.0.0.1:1 10.0.0.3:1"},
		{"items", false, "10.0.0.2:1 10.0.0.10:1 9.0.0.1:1 10.0.0.3:1"},
	} {
		got := slices.Clone(rows)
		sortRows(got, sortColumn(c.by), c.reverse)
		var addrs []string
		for _, r := range got {
			addrs = append(addrs, r.Addr)
		}
		if s := strings.Join(addrs, " "); s != c.want {
			t.Errorf("%s %v: %s, want %s", c.by, c.reverse, s, c.want)
		}
	}
}

// Columns go in the order of their ranks, and none is cut before those have gone.
func TestLayout(t *testing.T) {
	rows := []Row{{Addr: "192.168.100.101:19800", Status: "ready"}}
	before := []string{"?"}
	for width := 300; width > 0; width-- {
		tb := table[Row]{columns: serverColumns, levels: barLevels, window: width}
		header, lines := tb.draw(rows)
		titles := strings.Fields(header)
		if len([]rune(header)) > width || len([]rune(lines[0])) > width {
			t.Fatalf("%d: %q %q", width, header, lines[0])
		}
		if width == 300 && len(titles) != len(serverColumns) {
			t.Errorf("of 300: %q", titles)
		}
		if width == 80 && words(header) != "address Get/s Set/s Del/s QPS status QPS-trend" {
			t.Errorf("of 80: %q", header)
		}
		if width < 300 && width > 30 && len(titles) > len(before) {
			t.Errorf("%d has %q, but %d %q", width, titles, width+1, before)
		}
		if width > 21 && (titles[0] != "address" || width > 31 && !slices.Contains(titles, "QPS")) {
			t.Errorf("%d: %q", width, titles)
		}
		before = titles
	}
	// A long key is cut, and leaves the others their room.
	keys := []HotKey{{Key: `"` + strings.Repeat("k", 200) + `"`, Server: "127.0.0.1:19801", Partition: 7}}
	tb := table[HotKey]{columns: hotColumns, window: 80}
	header, lines := tb.draw(keys)
	if words(header) != "reads/s writes/s part server key" || len(lines[0]) != 80 || !strings.Contains(lines[0], "127.0.0.1:19801") {
		t.Errorf("%q %q", header, lines)
	}
}

func TestBoard(t *testing.T) {
	b := newBoard(nil, true)
	if len(b.rows()) != 0 || len(b.gatewayRows()) != 0 || len(b.hotKeys(9)) != 0 {
		t.Error("something is known")
	}
	b.beat()
	b.takeStatus(&control.Status{Attached: []control.NodeStatus{{Addr: "127.0.0.1:10", State: "active"}, {Addr: "127.0.0.1:9", State: "active"}}}, nil)
	at := time.Now()
	for i := range int64(3) {
		of(b.servers, "127.0.0.1:9").take(answer{at: at.Add(time.Duration(i) * time.Second), values: values(100*i, 0, 0)})
		b.beat()
	}
	rows := b.rows()
	if len(rows) != 2 || rows[0].Addr != "127.0.0.1:9" || rows[0].Status != "up" || *rows[0].QPS != 100 || rows[1].Status != "asking" || rows[1].QPS != nil {
		t.Errorf("%+v", rows)
	}
	if total := b.sum(rows); *total.QPS != 100 || total.Status != "1/2" || len(total.trend) != 4 || total.Items != nil || *total.CopiesLeft != 0 {
		t.Errorf("%+v", total)
	}
	if len(rows[0].trend) != 3 {
		t.Errorf("%v", rows[0].trend)
	}
	// The managers are away: what they said stays. Then one server is gone.
	b.takeStatus(nil, errors.New("no leader"))
	if len(b.rows()) != 2 || b.statusErr == nil {
		t.Error("the servers are gone")
	}
	of(b.servers, "127.0.0.1:9").take(answer{err: errors.New("refused")})
	b.takeHotKeys("127.0.0.1:10", &control.HotKeys{}, nil)
	b.takeStatus(&control.Status{Attached: []control.NodeStatus{{Addr: "127.0.0.1:9", State: "active"}}}, nil)
	if rows := b.rows(); len(rows) != 1 || rows[0].Status != "no-answer" || rows[0].Error != "refused" || len(b.servers) != 1 || len(b.hot) != 0 {
		t.Errorf("%+v", rows)
	}
}

// A key that two servers tell of is one; the one that is asked more is named.
func TestHotKeysOfAll(t *testing.T) {
	b := newBoard([]string{"a", "b", "c"}, false)
	key := func(name string, rate float64) control.HotKey {
		return control.HotKey{Bytes: []byte(name), Partition: 1, PerSecond: rate}
	}
	b.takeHotKeys("a", &control.HotKeys{Reads: []control.HotKey{key("x", 10), key("y", 25)}}, nil)
	b.takeHotKeys("b", &control.HotKeys{Reads: []control.HotKey{key("x", 5)}, Writes: []control.HotKey{key("x", 15), key("z", 1)}}, nil)
	got := b.hotKeys(2)
	if len(got) != 2 || got[0].Key != `"x"` || got[0].Reads != 15 || got[0].Writes != 15 || got[0].Server != "b" || got[1].Key != `"y"` || got[1].Server != "a" {
		t.Errorf("%+v", got)
	}
	b.takeHotKeys("b", nil, errors.New("gone"))
	if got := b.hotKeys(9); len(got) != 2 || got[0].Key != `"y"` || got[1].Writes != 0 {
		t.Errorf("%+v", got)
	}
}
