// Package metrics shows figures that others keep as metrics of Prometheus. A daemon has a
// list of its metrics, each with the way to find its value in a snapshot, which is made when somebody asks:
// between two scrapes nothing is done and nothing is kept.
package metrics

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/latency"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Desc describes a metric.
type Desc struct {
	Name string
	Type string // counter, gauge or histogram
	Help string // a sentence
	// Label is what tells its values apart; "": there is one value.
	Label string
}

// Unit is what it counts, by its name: seconds, bytes or "".
func (d *Desc) Unit() string {
	name := strings.TrimSuffix(d.Name, "_total")
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return ""
}

// Metric is one metric and where a snapshot S has its values.
type Metric[S any] struct {
	Desc
	collect func(s *S, put func(label string, value float64, h *latency.Histogram))
}

// A Number is a value that is shown.
type Number interface {
	~int | ~int64 | ~uint64 | ~float64
}

func single[S any, N Number](name, kind, help string, value func(*S) N) Metric[S] {
	return Metric[S]{Desc{name, kind, help, ""}, func(s *S, put func(string, float64, *latency.Histogram)) { put("", float64(value(s)), nil) }}
}

func labelled[S any](name, kind, help, label string, values func(s *S, put func(label string, value float64))) Metric[S] {
	return Metric[S]{Desc{name, kind, help, label}, func(s *S, put func(string, float64, *latency.Histogram)) {
		values(s, func(label string, value float64) { put(label, value, nil) })
	}}
}

// Counter is a metric that only grows while the process runs.
func Counter[S any, N Number](name, help string, value func(*S) N) Metric[S] {
	return single(name, "counter", help, value)
}

// Gauge is a metric that grows and falls.
func Gauge[S any, N Number](name, help string, value func(*S) N) Metric[S] {
	return single(name, "gauge", help, value)
}

// Flag is a gauge that is 1 or 0.
func Flag[S any](name, help string, value func(*S) bool) Metric[S] {
	return single(name, "gauge", help, func(s *S) int {
		if value(s) {
			return 1
		}
		return 0
	})
}

// CounterBy is a counter for each value of a label.
func CounterBy[S any](name, help, label string, values func(s *S, put func(label string, value float64))) Metric[S] {
	return labelled(name, "counter", help, label, values)
}

// GaugeBy is a gauge for each value of a label; there may be none.
func GaugeBy[S any](name, help, label string, values func(s *S, put func(label string, value float64))) Metric[S] {
	return labelled(name, "gauge", help, label, values)
}

// Histogram tells how long things took.
func Histogram[S any](name, help string, value func(*S) *latency.Histogram) Metric[S] {
	return Metric[S]{Desc{name, "histogram", help, ""}, func(s *S, put func(string, float64, *latency.Histogram)) { put("", 0, value(s)) }}
}

// HistogramBy is a histogram for each value of a label; there may be none.
func HistogramBy[S any](name, help, label string, values func(s *S, put func(label string, h *latency.Histogram))) Metric[S] {
	return Metric[S]{Desc{name, "histogram", help, label}, func(s *S, put func(string, float64, *latency.Histogram)) {
		values(s, func(label string, h *latency.Histogram) { put(label, 0, h) })
	}}
}

// HistogramByKind is a histogram for each kind of command; of a nil array there is none.
func HistogramByKind[S any](name, help string, values func(s *S) *[latency.Kinds]latency.Histogram) Metric[S] {
	return HistogramBy(name, help, "command", func(s *S, put func(label string, h *latency.Histogram)) {
		if all := values(s); all != nil {
			for k := range all {
				put(latency.Kind(k).String(), &all[k])
			}
		}
	})
}

// Descs are those of a list.
func Descs[S any](list []Metric[S]) []Desc {
	out := make([]Desc, len(list))
	for i := range list {
		out[i] = list[i].Desc
	}
	return out
}

// Shown buckets: two per octave from 16 us to 16 s.
const (
	firstShown = 12 * time.Microsecond // the bound before it
	lastShown  = 17 * time.Second
)

// buckets are the cumulated counts of h, by upper bound in seconds.
func buckets(h *latency.Histogram) map[float64]uint64 {
	out := map[float64]uint64{}
	below := uint64(0)
	for i := range latency.Buckets - 1 {
		below += h.Bucket(i)
		if b := latency.Bound(i); i%2 == 1 && b > firstShown && b < lastShown {
			out[b.Seconds()] = below
		}
	}
	return out
}

// collector is a list of metrics with one snapshot.
type collector[S any] struct {
	list  []Metric[S]
	descs []*prometheus.Desc
	s     *S
}

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector[S]) Collect(ch chan<- prometheus.Metric) {
	for i := range c.list {
		m := &c.list[i]
		kind := prometheus.GaugeValue
		if m.Type == "counter" {
			kind = prometheus.CounterValue
		}
		m.collect(c.s, func(label string, value float64, h *latency.Histogram) {
			var labels []string
			if m.Label != "" {
				labels = []string{label}
			}
			if m.Type == "histogram" {
				ch <- prometheus.MustNewConstHistogram(c.descs[i], h.Count(), h.Sum().Seconds(), buckets(h), labels...)
			} else {
				ch <- prometheus.MustNewConstMetric(c.descs[i], kind, value, labels...)
			}
		})
	}
}

func (m *Metric[S]) desc() *prometheus.Desc {
	var labels []string
	if m.Label != "" {
		labels = []string{m.Label}
	}
	return prometheus.NewDesc(m.Name, m.Help, labels, nil)
}

// Handler answers with the metrics of list, and those of the Go runtime and the process. snapshot is
// called for each scrape; its error is answered with status 503.
func Handler[S any](list []Metric[S], snapshot func(ctx context.Context) (*S, error)) http.Handler {
	var once sync.Once
	var descs []*prometheus.Desc
	var process *prometheus.Registry
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := snapshot(r.Context())
		if err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(control.Error{Error: err.Error()}) // the client is gone if it fails
			return
		}
		once.Do(func() {
			for i := range list {
				descs = append(descs, list[i].desc())
			}
			process = prometheus.NewRegistry()
			process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		})
		own := prometheus.NewRegistry()
		own.MustRegister(&collector[S]{list, descs, s})
		promhttp.HandlerFor(prometheus.Gatherers{process, own}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}
