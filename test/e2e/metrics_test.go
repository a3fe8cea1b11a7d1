package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/gateway"
	"github.com/kumofs/kumofs/internal/manager"
	"github.com/kumofs/kumofs/internal/metrics"
	"github.com/kumofs/kumofs/internal/server"
	"github.com/kumofs/kumofs/test/e2e/harness"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// metricName is how metrics are called: kumo_<daemon>_<thing>_<unit>.
var metricName = regexp.MustCompile(`^kumo_(manager|server|gateway)_[a-z0-9]+(_[a-z0-9]+)*$`)

// scrape reads a daemon's metrics as Prometheus does. The parser refuses a metric that is there twice.
func scrape(t *testing.T, addr string) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := new(expfmt.TextParser).TextToMetricFamilies(strings.NewReader(httpGet(t, addr, control.PathMetrics)))
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	return families
}

// valueOf is that of a metric, by its label's value if it has one; a histogram's is its count.
func valueOf(families map[string]*dto.MetricFamily, name, label string) float64 {
	for _, m := range families[name].GetMetric() {
		if label != "" && (len(m.GetLabel()) != 1 || m.GetLabel()[0].GetValue() != label) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	return -1
}

// health asks for /healthz or /readyz; why is "" if it is well.
func health(t *testing.T, addr, path string) (why string, err error) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var h control.Health
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil || (resp.StatusCode == 200) != (h.Status == "ok") || (h.Status == "ok") != (len(h.Reasons) == 0) {
		t.Fatalf("%s: %s %+v %v", addr, resp.Status, h, err)
	}
	return h.Error, nil
}

// isReady is nil if /readyz says so.
func isReady(t *testing.T, addr string) error {
	why, err := health(t, addr, control.PathReady)
	if err == nil && why != "" {
		err = errors.New(why)
	}
	return err
}

// TestMetrics: what monitoring and an administrator see of each daemon, before there is a
// cluster, when it serves, and when servers are away.
func TestMetrics(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Text = true
	monitor := loopback(t)
	opt.GatewayArgs = []string{"--http", monitor}
	c := harness.New(t, opt)
	c.StartAll()
	for addr, want := range map[string]string{c.Servers[0].Addr: "attached", monitor: "no cluster map"} {
		harness.Until(t, 20*time.Second, addr+" is well, and not ready", func() error {
			if why, err := health(t, addr, control.PathHealth); why != "" || err != nil {
				return fmt.Errorf("health %q: %v", why, err)
			}
			if why, err := health(t, addr, control.PathReady); !strings.Contains(why, want) || err != nil {
				return fmt.Errorf("ready %q: %v", why, err)
			}
			return nil
		})
	}
	c.Ctl("attach")
	c.WaitReady(60 * time.Second)
	all := map[string]string{"manager": c.Manager.Addr, "server": c.Servers[0].Addr, "gateway": monitor}
	for name, addr := range all {
		harness.Until(t, 20*time.Second, name+" is ready", func() error { return isReady(t, addr) })
	}

	known := map[string][]metrics.Desc{"manager": manager.Metrics(), "server": server.Metrics(), "gateway": gateway.Metrics()}
	for name, addr := range all {
		families := scrape(t, addr)
		for _, d := range known[name] {
			f := families[d.Name]
			if f == nil && d.Label == "" && !strings.HasPrefix(d.Name, "kumo_server_append") {
				t.Errorf("%s has no %s", name, d.Name)
				continue
			}
			if f != nil && (strings.ToLower(f.GetType().String()) != d.Type || f.GetHelp() != d.Help) {
				t.Errorf("%s: %s %q", d.Name, f.GetType(), f.GetHelp())
			}
			delete(families, d.Name)
		}
		for other := range families {
			if metricName.MatchString(other) || !strings.HasPrefix(other, "go_") && !strings.HasPrefix(other, "process_") {
				t.Errorf("%s has %s, which is nowhere described", name, other)
			}
		}
	}

	before := map[string]map[string]*dto.MetricFamily{}
	for name, addr := range all {
		before[name] = scrape(t, addr)
	}
	const n = 100
	for _, addr := range []string{c.Gateway.Addr, c.Text(c.Servers[0])} {
		talk(t, addr, n)
	}
	after := map[string]map[string]*dto.MetricFamily{}
	for name, addr := range all {
		after[name] = scrape(t, addr)
	}
	grown := func(daemon, name, label string) float64 {
		return valueOf(after[daemon], name, label) - valueOf(before[daemon], name, label)
	}
	for _, m := range []struct {
		daemon, name, label string
		least, most         float64
	}{
		{"gateway", "kumo_gateway_commands_total", "set", n, n}, {"gateway", "kumo_gateway_commands_total", "get", 2 * n, 2 * n},
		{"gateway", "kumo_gateway_commands_total", "delete", n, n}, {"gateway", "kumo_gateway_commands_total", "incr", n, n}, {"gateway", "kumo_gateway_commands_total", "touch", n, n},
		{"gateway", "kumo_gateway_get_hits_total", "", n, n}, {"gateway", "kumo_gateway_get_misses_total", "", n, n}, {"gateway", "kumo_gateway_errors_total", "", 0, 0},
		{"gateway", "kumo_gateway_command_duration_seconds", "set", n, n}, {"gateway", "kumo_gateway_command_duration_seconds", "get", 2 * n, 2 * n},
		{"gateway", "kumo_gateway_command_duration_seconds", "incr", n, n}, {"gateway", "kumo_gateway_command_duration_seconds", "touch", n, n},
		{"gateway", "kumo_gateway_command_duration_seconds", "delete", n, n}, {"gateway", "kumo_gateway_received_bytes_total", "", 10 * n, 1 << 20},
		{"server", "kumo_server_command_duration_seconds", "set", n, n}, {"server", "kumo_server_command_duration_seconds", "delete", n, n},
		{"server", "kumo_server_request_duration_seconds", "get", n / 2, 4 * n}, {"server", "kumo_server_request_duration_seconds", "set", n / 4, 2 * n},
		{"server", "kumo_server_requests_total", "get", n / 2, 4 * n}, {"server", "kumo_server_commit_duration_seconds", "", 10, 1 << 20},
		{"manager", "kumo_manager_map_version", "", 0, 1 << 20},
	} {
		if got := grown(m.daemon, m.name, m.label); got < m.least || got > m.most {
			t.Errorf("%s{%s} has grown by %v, not %v to %v", m.name, m.label, got, m.least, m.most)
		}
	}
	peers := after["server"]["kumo_server_append_duration_seconds"].GetMetric()
	if len(peers) != 2 || peers[0].GetHistogram().GetSampleCount() == 0 || peers[0].GetHistogram().GetSampleSum() <= 0 {
		t.Errorf("appends to %v", peers)
	}
	for name, want := range map[string]float64{"kumo_manager_leader": 1, "kumo_manager_partitions_unavailable": 0, "kumo_manager_partitions": 4096, "kumo_manager_servers_unreachable": 0} {
		if got := valueOf(after["manager"], name, ""); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	if got := valueOf(after["manager"], "kumo_manager_servers", "active"); got != 3 {
		t.Errorf("%v active servers", got)
	}
	for _, addr := range []string{c.Servers[0].Addr, monitor} {
		var stat control.StatResponse
		if err := json.Unmarshal([]byte(httpGet(t, addr, control.PathStat)), &stat); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"get", "set"} {
			p50, _ := stat.Values[k+"_p50_us"].(float64)
			p99, _ := stat.Values[k+"_p99_us"].(float64)
			if p50 < 1 || p99 < p50 || p99 > 60e6 {
				t.Errorf("%s: %s takes %v us, %v us", addr, k, p50, p99)
			}
		}
	}

	t.Run("level", func(t *testing.T) {
		stat := tool(t, "kumostat")
		for name, addr := range all {
			for _, c := range [][2]string{{"", "info"}, {"debug", "debug"}, {"", "debug"}} { // the harness has -v
				if got := must(t, 15*time.Second, strings.Fields(stat+" "+addr+" log_level "+c[0])...); got != c[1]+"\n" {
					t.Errorf("%s: log_level %s says %q", name, c[0], got)
				}
			}
		}
		c.Servers[0].HangUp()
		harness.Until(t, 10*time.Second, "SIGHUP returns to the level of the command line", func() error {
			if got := must(t, 15*time.Second, stat, c.Servers[0].Addr, "log_level"); got != "info\n" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	})
	for name, addr := range all {
		if profile := httpGet(t, addr, control.PathProfiles+"goroutine?debug=1"); !strings.Contains(profile, "goroutine profile: total") {
			t.Errorf("%s: %.200q", name, profile)
		}
	}

	// With two servers away some partitions have no copy but one, and with the third none.
	harness.Kill9(c.Servers[1], c.Servers[2])
	harness.Until(t, 30*time.Second, "the manager tells of it", func() error {
		f := scrape(t, c.Manager.Addr)
		if short, away := valueOf(f, "kumo_manager_partitions_short", ""), valueOf(f, "kumo_manager_servers_unreachable", ""); short != 4096 || away != 2 {
			return fmt.Errorf("%v short, %v away", short, away)
		}
		return nil
	})
	harness.Until(t, 30*time.Second, "the last server serves alone", func() error { return isReady(t, c.Servers[0].Addr) })
	c.Manager.Kill9()
	harness.Until(t, 20*time.Second, "the gateway tells that no manager is there", func() error {
		if valueOf(scrape(t, monitor), "kumo_gateway_manager_connected", "") != 0 {
			return errors.New("it is connected")
		}
		return nil
	})
	if err := isReady(t, monitor); err != nil {
		t.Errorf("a gateway with a map is not ready: %v", err)
	}
}

// talk does n of each command at a port of memcached, and waits for all answers.
func talk(t *testing.T, addr string, n int) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "set k%d 0 0 1\r\n1\r\nget k%d\r\nincr k%d 1\r\ntouch k%d 0\r\ndelete k%d\r\nget k%d\r\n", i, i, i, i, i, i)
	}
	b.WriteString("quit\r\n")
	go func() { _, _ = io.WriteString(nc, b.String()) }() // it fails when the test has ended
	answer, err := io.ReadAll(nc)
	if err != nil || strings.Contains(string(answer), "ERROR") || strings.Count(string(answer), "DELETED") != n {
		t.Fatalf("%s: %v %.300q", addr, err, answer)
	}
}
