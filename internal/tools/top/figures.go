package top

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Figures are what a server or a gateway says of itself, and the rates between
// the last two times that it did. nil is what is not known.
type Figures struct {
	Gets    *int64 `json:"cmd_get"`
	Sets    *int64 `json:"cmd_set"`
	Deletes *int64 `json:"cmd_delete"`
	// The rates are operations a second.
	Get    *float64 `json:"get_per_s"`
	Set    *float64 `json:"set_per_s"`
	Delete *float64 `json:"delete_per_s"`
	QPS    *float64 `json:"qps"`
	// The latencies are microseconds.
	GetP50      *float64 `json:"get_p50_us"`
	GetP99      *float64 `json:"get_p99_us"`
	SetP50      *float64 `json:"set_p50_us"`
	SetP99      *float64 `json:"set_p99_us"`
	Connections *int64   `json:"connections"`
	Uptime      *int64   `json:"uptime"` // seconds
}

// answer is what a daemon answered, or why it did not.
type answer struct {
	at     time.Time
	values map[string]any
	err    error
}

// daemon is what is known of a server or a gateway.
type daemon struct {
	Figures
	values map[string]any // of the last answer; nil: there was none yet
	err    error          // of the last try
	asked  bool           // an answer is awaited
	before counters
	trend  trend
}

// counters are a daemon's at one moment.
type counters struct {
	at               time.Time
	get, set, delete int64
}

// take takes an answer in. A daemon that does not answer does nothing that is known.
func (d *daemon) take(a answer) {
	d.err = a.err
	if a.err != nil {
		d.Figures = Figures{}
		return
	}
	d.values = a.values
	whole := func(name string) *int64 { return number(a.values[name]) }
	took := func(name string) *float64 {
		if v := fraction(a.values[name]); v != nil && *v > 0 {
			return v
		}
		return nil // 0: nothing was asked for of late
	}
	d.Figures = Figures{
		Gets: whole("cmd_get"), Sets: whole("cmd_set"), Deletes: whole("cmd_delete"),
		GetP50: took("get_p50_us"), GetP99: took("get_p99_us"), SetP50: took("set_p50_us"), SetP99: took("set_p99_us"),
		Connections: whole("connections"), Uptime: whole("uptime"),
	}
	if d.Gets != nil && d.Sets != nil && d.Deletes != nil {
		d.rates(counters{a.at, *d.Gets, *d.Sets, *d.Deletes})
	}
}

// rates fills in the rates since the answer before. A counter that went back
// belongs to another run of the daemon and tells nothing.
func (d *daemon) rates(now counters) {
	before := d.before
	d.before = now
	took := now.at.Sub(before.at).Seconds()
	if before.at.IsZero() || took <= 0 || now.get < before.get || now.set < before.set || now.delete < before.delete {
		return
	}
	per := func(a, b int64) *float64 {
		v := float64(a-b) / took
		return &v
	}
	d.Get, d.Set, d.Delete = per(now.get, before.get), per(now.set, before.set), per(now.delete, before.delete)
	d.QPS = sum(d.Get, d.Set, d.Delete)
}

// sum is that of what is known; nil where nothing is.
func sum[T int | int64 | float64](list ...*T) *T {
	var all *T
	for _, v := range list {
		if v != nil {
			if all == nil {
				all = new(T)
			}
			*all += *v
		}
	}
	return all
}

// add adds what another does; latencies cannot be added, nor times.
func (f *Figures) add(g *Figures) {
	f.Gets, f.Sets, f.Deletes = sum(f.Gets, g.Gets), sum(f.Sets, g.Sets), sum(f.Deletes, g.Deletes)
	f.Get, f.Set, f.Delete, f.QPS = sum(f.Get, g.Get), sum(f.Set, g.Set), sum(f.Delete, g.Delete), sum(f.QPS, g.QPS)
	f.Connections = sum(f.Connections, g.Connections)
}

// fraction reads a value of stats; nil if it is no number.
func fraction(v any) *float64 {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// number is the same for what has no fraction: counters have 64 bits.
func number(v any) *int64 {
	f := fraction(v)
	if f == nil || math.Abs(*f) > math.MaxInt64 {
		return nil
	}
	n := int64(*f)
	if text, ok := v.(json.Number); ok {
		if exact, err := text.Int64(); err == nil {
			n = exact
		}
	}
	return &n
}
