package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/latency"
	"github.com/prometheus/common/expfmt"
)

type figures struct {
	n     uint64
	up    bool
	times latency.Histogram
	kinds *[latency.Kinds]latency.Histogram
}

var list = []Metric[figures]{
	Counter("kumo_test_things_total", "Things.", func(f *figures) uint64 { return f.n }),
	Gauge("kumo_test_half", "Half of them.", func(f *figures) float64 { return float64(f.n) / 2 }),
	Flag("kumo_test_up", "Whether it is up.", func(f *figures) bool { return f.up }),
	GaugeBy("kumo_test_by", "By letter.", "letter", func(f *figures, put func(string, float64)) { put("a", 1); put("b\"", 2) }),
	CounterBy("kumo_test_none_total", "None.", "letter", func(*figures, func(string, float64)) {}),
	Histogram("kumo_test_duration_seconds", "How long.", func(f *figures) *latency.Histogram { return &f.times }),
	HistogramByKind("kumo_test_command_duration_seconds", "By kind.", func(f *figures) *[latency.Kinds]latency.Histogram { return f.kinds }),
}

func scrape(t *testing.T, f *figures) string {
	w := httptest.NewRecorder()
	Handler(list, func(context.Context) (*figures, error) { return f, nil }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatal(w.Code, w.Header())
	}
	return w.Body.String()
}

func TestHandler(t *testing.T) {
	f := &figures{n: 7, up: true}
	for _, d := range []time.Duration{10 * time.Microsecond, 16 * time.Microsecond, 20 * time.Microsecond, 3 * time.Second, time.Minute} {
		f.times.Add(d, 2)
	}
	text := scrape(t, f)
	for _, line := range []string{
		"# HELP kumo_test_things_total Things.\n# TYPE kumo_test_things_total counter\nkumo_test_things_total 7\n",
		"kumo_test_half 3.5\n", "kumo_test_up 1\n", "kumo_test_by{letter=\"a\"} 1\n", "kumo_test_by{letter=\"b\\\"\"} 2\n",
		"kumo_test_duration_seconds_bucket{le=\"1.6e-05\"} 4\n", "kumo_test_duration_seconds_bucket{le=\"2.4e-05\"} 6\n",
		"kumo_test_duration_seconds_bucket{le=\"+Inf\"} 10\n", "kumo_test_duration_seconds_count 10\n", "kumo_test_duration_seconds_sum 126.000092\n",
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	for _, absent := range []string{"kumo_test_none_total", "kumo_test_command_duration_seconds"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s has no value", absent)
		}
	}
	if n := strings.Count(text, "kumo_test_duration_seconds_bucket"); n != 42 {
		t.Errorf("%d buckets", n)
	}
	f.kinds = new([latency.Kinds]latency.Histogram)
	f.kinds[latency.Set].Add(time.Millisecond, 1)
	families, err := new(expfmt.TextParser).TextToMetricFamilies(strings.NewReader(scrape(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	if all := families["kumo_test_command_duration_seconds"].GetMetric(); len(all) != latency.Kinds {
		t.Errorf("%v", all)
	}
}

// A snapshot that cannot be made is told.
func TestNoSnapshot(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(list, func(context.Context) (*figures, error) { return nil, errors.New("the loop is away") }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 503 || w.Body.String() != "{\"error\":\"the loop is away\"}\n" {
		t.Error(w.Code, w.Body.String())
	}
}

func TestUnit(t *testing.T) {
	for name, want := range map[string]string{"a_bytes_total": "bytes", "a_bytes": "bytes", "a_duration_seconds": "seconds", "a_seconds_total": "seconds", "a_total": "", "bytes": ""} {
		if got := (&Desc{Name: name}).Unit(); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Whoever has a label has a name for it, and whoever has none has one value.
func TestDescs(t *testing.T) {
	descs := Descs(list)
	if len(descs) != len(list) || descs[0].Type != "counter" || descs[3].Label != "letter" || descs[6].Label != "command" || descs[6].Type != "histogram" {
		t.Errorf("%+v", descs)
	}
}
