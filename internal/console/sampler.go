package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

const (
	sampleEvery = 2 * time.Second
	// lookedFor is how long after a request somebody is held to look still.
	lookedFor = 15 * time.Second
	// askLimit is how long a server may take; what comes later belongs to no sample.
	askLimit = 1500 * time.Millisecond
	keepFor  = 10 * time.Minute
	// askAtOnce servers are asked side by side, and beside these slowAtOnce of those
	// that did not answer last time: they hold up each other alone.
	askAtOnce  = 32
	slowAtOnce = 8
	statBytes  = 1 << 20
)

// Live is what one server does. Figures that it did not tell are absent.
type Live struct {
	ID    string `json:"id"`
	Addr  string `json:"addr"`
	Time  int64  `json:"time,omitempty"`  // Unix ms of the figures; 0: none yet
	Error string `json:"error,omitempty"` // why the last question brought none
	// Operations, and bytes of copies, a second; absent until there are two samples.
	Get     *float64 `json:"get,omitempty"`
	Set     *float64 `json:"set,omitempty"`
	Delete  *float64 `json:"delete,omitempty"`
	CopyIn  *float64 `json:"copy_in,omitempty"`
	CopyOut *float64 `json:"copy_out,omitempty"`
	// The rest is what /v1/stat calls so.
	Items       *float64 `json:"items,omitempty"`
	DiskUsage   *float64 `json:"disk_usage,omitempty"` // bytes
	DiskAvail   *float64 `json:"disk_avail,omitempty"` // bytes
	Uptime      *float64 `json:"uptime,omitempty"`     // seconds
	Connections *float64 `json:"connections,omitempty"`
	CacheItems  *float64 `json:"cache_items,omitempty"`
	Compactions *float64 `json:"compactions,omitempty"`
	WriteStalls *float64 `json:"write_stalls,omitempty"`
	GetP50      *float64 `json:"get_p50_us,omitempty"`
	GetP99      *float64 `json:"get_p99_us,omitempty"`
	SetP50      *float64 `json:"set_p50_us,omitempty"`
	SetP99      *float64 `json:"set_p99_us,omitempty"`
	Version     string   `json:"version,omitempty"`
	Replstat    string   `json:"replstat,omitempty"`
	Store       string   `json:"store,omitempty"`
}

// sampler asks all active servers what they do, while somebody looks.
type sampler struct {
	state func(context.Context) (State, error)
	// ask asks one server; it heeds its context.
	ask  func(ctx context.Context, addr string) (map[string]any, error)
	drop func() // kept connections
	// onRest is called when nobody looks any more.
	onRest func()
	every  time.Duration
	looked time.Duration

	mu      sync.Mutex
	last    time.Time          // when somebody looked
	cancel  context.CancelFunc // nil: it rests
	closed  bool
	wg      sync.WaitGroup
	rounds  int
	total   Series
	servers map[string]*watched // by ID
}

// watched is one server that is asked.
type watched struct {
	live   Live
	series Series
	before map[string]float64 // counters
	at     time.Time          // of before
	slow   bool               // it did not answer last time
}

func newSampler(state func(context.Context) (State, error), sec *secret.Secret) *sampler {
	t := &http.Transport{DialContext: sec.DialContext(&net.Dialer{Timeout: askLimit}), MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true}
	return &sampler{state: state, every: sampleEvery, looked: lookedFor, servers: map[string]*watched{}, onRest: func() {},
		ask:  func(ctx context.Context, addr string) (map[string]any, error) { return askStat(ctx, t, addr) },
		drop: t.CloseIdleConnections}
}

// look says that somebody looks.
func (s *sampler) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	if s.cancel != nil || s.closed {
		return
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() { s.run(ctx) })
}

// close ends it for good.
func (s *sampler) close() {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.drop()
}

func (s *sampler) run(ctx context.Context) {
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		s.round(ctx)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		if s.rest(ctx) {
			return
		}
	}
}

// rest ends the run where nobody looks any more. What has been seen is kept.
func (s *sampler) rest(ctx context.Context) bool {
	s.mu.Lock()
	over := ctx.Err() != nil || time.Since(s.last) > s.looked
	if over {
		s.cancel()
		s.cancel = nil
		// Figures of now are none later; rates begin anew.
		for _, w := range s.servers {
			w.live, w.before = Live{ID: w.live.ID, Addr: w.live.Addr}, nil
		}
	}
	s.mu.Unlock()
	if over {
		s.drop()
		s.onRest()
	}
	return over
}

// round takes one sample of all active servers.
func (s *sampler) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	st, err := s.state(ctx)
	if err != nil {
		return
	}
	asked := s.list(st.Status.Attached)
	quick, slow := make(chan struct{}, askAtOnce), make(chan struct{}, slowAtOnce)
	var wg sync.WaitGroup
	for _, w := range asked {
		lane := quick
		if w.slow {
			lane = slow
		}
		wg.Go(func() {
			select {
			case lane <- struct{}{}:
				values, err := s.ask(ctx, w.live.Addr)
				<-lane
				s.heard(w, values, err)
			case <-ctx.Done():
				s.heard(w, nil, errTurn)
			}
		})
	}
	wg.Wait()
	s.sum(asked)
}

// errTurn: there was no time left to ask it.
var errTurn = errors.New("it was not asked: others did not answer in time")

// list is whom to ask; the others are forgotten. Only the run's goroutine alters slow,
// between rounds.
func (s *sampler) list(nodes []control.NodeStatus) (asked []*watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	for _, n := range nodes {
		there[n.ID] = true
		w := s.servers[n.ID]
		if w == nil {
			w = &watched{}
			s.servers[n.ID] = w
		}
		w.live.ID, w.live.Addr = n.ID, n.Addr
		if n.State != "active" {
			w.live, w.before = Live{ID: n.ID, Addr: n.Addr}, nil
			continue
		}
		w.slow = w.live.Error != "" || !n.Reachable
		asked = append(asked, w)
	}
	for id := range s.servers {
		if !there[id] {
			delete(s.servers, id)
		}
	}
	return asked
}

// heard takes one server's answer.
func (s *sampler) heard(w *watched, values map[string]any, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	id, addr := w.live.ID, w.live.Addr
	if err != nil {
		w.live = Live{ID: id, Addr: addr, Error: plain(err)}
		return
	}
	l := Live{ID: id, Addr: addr, Time: now.UnixMilli()}
	for name, to := range map[string]**float64{"items": &l.Items, "disk_usage": &l.DiskUsage, "disk_avail": &l.DiskAvail, "uptime": &l.Uptime,
		"connections": &l.Connections, "cache_items": &l.CacheItems, "compactions": &l.Compactions, "write_stalls": &l.WriteStalls,
		"get_p50_us": &l.GetP50, "get_p99_us": &l.GetP99, "set_p50_us": &l.SetP50, "set_p99_us": &l.SetP99} {
		*to = number(values[name])
	}
	for _, to := range []**float64{&l.GetP50, &l.GetP99, &l.SetP50, &l.SetP99} {
		if *to != nil && **to == 0 { // none was measured lately
			*to = nil
		}
	}
	for name, to := range map[string]*string{"version": &l.Version, "replstat": &l.Replstat, "store": &l.Store} {
		*to, _ = values[name].(string)
	}
	counters := map[string]float64{}
	rates := map[string]**float64{"cmd_get": &l.Get, "cmd_set": &l.Set, "cmd_delete": &l.Delete, "copy_bytes_received": &l.CopyIn, "copy_bytes_sent": &l.CopyOut}
	took := now.Sub(w.at).Seconds()
	for name, to := range rates {
		n := number(values[name])
		if n == nil {
			continue
		}
		counters[name] = *n
		// A counter that went back is of another run of the server.
		if before, ok := w.before[name]; ok && took > 0 && *n >= before {
			rate := (*n - before) / took
			*to = &rate
		}
	}
	w.live, w.before, w.at = l, counters, now
	w.series.add(l.Time, point{value(l.Get), value(l.Set), value(l.Delete), value(l.GetP50), value(l.GetP99), value(l.SetP50), value(l.SetP99), value(l.CopyIn), 1})
}

// sum adds a point of all servers together.
func (s *sampler) sum(asked []*watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds++
	add := func(field func(*Live) *float64) float64 {
		sum, any := 0.0, false
		for _, w := range asked {
			if v := field(&w.live); v != nil {
				sum, any = sum+*v, true
			}
		}
		if !any {
			return math.NaN()
		}
		return sum
	}
	sorted := func(field func(*Live) *float64) (list []float64) {
		for _, w := range asked {
			if v := field(&w.live); v != nil {
				list = append(list, *v)
			}
		}
		slices.Sort(list)
		return list
	}
	median := func(field func(*Live) *float64) float64 {
		if list := sorted(field); len(list) > 0 {
			return list[len(list)/2]
		}
		return math.NaN()
	}
	most := func(field func(*Live) *float64) float64 {
		if list := sorted(field); len(list) > 0 {
			return list[len(list)-1]
		}
		return math.NaN()
	}
	answered := 0
	for _, w := range asked {
		if w.live.Time != 0 {
			answered++
		}
	}
	s.total.add(time.Now().UnixMilli(), point{
		add(func(l *Live) *float64 { return l.Get }), add(func(l *Live) *float64 { return l.Set }), add(func(l *Live) *float64 { return l.Delete }),
		median(func(l *Live) *float64 { return l.GetP50 }), most(func(l *Live) *float64 { return l.GetP99 }),
		median(func(l *Live) *float64 { return l.SetP50 }), most(func(l *Live) *float64 { return l.SetP99 }),
		add(func(l *Live) *float64 { return l.CopyIn }), float64(answered),
	})
}

func value(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// live is what all servers do, by ID; never nil.
func (s *sampler) live() []Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Live{}
	for _, w := range s.servers {
		out = append(out, w.live)
	}
	slices.SortFunc(out, func(a, b Live) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// since are the cluster's figures after t, Unix ms.
func (s *sampler) since(t int64) *Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total.since(t)
}

// history is one server's; nil: there is no such server.
func (s *sampler) history(id string) *History {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.servers[id]
	if w == nil {
		return nil
	}
	return &History{id, w.series.since(0)}
}

// askStat asks a server for its figures.
func askStat(ctx context.Context, t *http.Transport, addr string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+control.PathStat+"?key=stats", nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, statBytes))
	if err != nil {
		return nil, err
	}
	return parseStat(resp.StatusCode, body)
}

// parseStat reads a server's answer. Numbers stay as they were written.
func parseStat(status int, body []byte) (map[string]any, error) {
	if status != http.StatusOK {
		var e control.Error
		if json.Unmarshal(body, &e) != nil || e.Error == "" {
			e.Error = fmt.Sprintf("answered %d", status)
		}
		return nil, errors.New(e.Error)
	}
	var s control.StatResponse
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return s.Values, nil
}

// number is a value of stats; nil if it is no number.
func number(v any) *float64 {
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

// plain is an error as a person reads it.
func plain(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "not asked to the end"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
