// Package console is the web page of a manager: how the cluster is, for a person
// with a browser. Its files are in the program; they ask for nothing outside.
//
// The page is read-only unless Config.Commands. What servers do is asked of them
// only while somebody looks (sampler).
package console

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

// Root is the path under which everything of the console lies.
const Root = "/console/"

const (
	// freshFor is how long what the manager said is given to further viewers.
	freshFor = 900 * time.Millisecond
	// keptMaps is of how many maps the differences to the newest can be told.
	keptMaps = 4
)

// State is the cluster as the manager that leads has it.
type State struct {
	Status *control.Status
	Map    *clustermap.Map
}

// Config of a Console.
type Config struct {
	// Addr is this manager's, as others reach it.
	Addr string
	// State is called by several goroutines; an error where this manager does not
	// lead. What it returns is not altered.
	State func(ctx context.Context) (State, error)
	// Led has a request answered by the manager that leads.
	Led func(http.HandlerFunc) http.HandlerFunc
	// Command carries out a POST of a control.CommandRequest with an Expect header.
	Command http.HandlerFunc
	// Commands: the page may give commands.
	Commands bool
	// Secret is the cluster's; nil: there is none.
	Secret *secret.Secret
	Events *Events
	Logger *slog.Logger
}

// Console serves the page and its data.
type Console struct {
	cfg     Config
	handler http.Handler
	boot    string // which console the page's cursors belong to
	token   string
	sampler *sampler
	planMu  sync.Mutex // one plan at a time: it costs

	mu     sync.Mutex
	state  State
	at     time.Time
	maps   []*clustermap.Map // told lately, the newest last
	full   []byte            // the last of them, encoded
	fullOf *clustermap.Map
}

// New makes a Console; the caller closes it.
func New(cfg Config) *Console {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Console{cfg: cfg, boot: rand.Text()[:12], token: rand.Text()}
	c.sampler = newSampler(c.now, cfg.Secret)
	c.sampler.onRest = c.forget
	h := http.NewServeMux()
	h.HandleFunc("GET "+Root+"session", c.session)
	h.HandleFunc("GET "+Root+"events", c.localEvents)
	h.HandleFunc("GET "+Root+"data", cfg.Led(c.data))
	h.HandleFunc("GET "+Root+"locate", cfg.Led(c.locate))
	h.HandleFunc("GET "+Root+"plan", cfg.Led(c.plan))
	h.HandleFunc("POST "+Root+"command", c.command)
	h.HandleFunc("GET "+Root+"{file...}", c.static)
	c.handler = withHeaders(h)
	return c
}

// ServeHTTP serves what is under Root.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Close ends what runs, and waits for it.
func (c *Console) Close() { c.sampler.close() }

// now is the cluster's state, freshFor old at most.
func (c *Console) now(ctx context.Context) (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Map != nil && time.Since(c.at) < freshFor {
		return c.state, nil
	}
	s, err := c.cfg.State(ctx)
	if err != nil {
		c.state = State{}
		return s, err
	}
	c.state, c.at = s, time.Now()
	return s, nil
}

// forget drops what was kept for viewers that are gone.
func (c *Console) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.maps, c.full, c.fullOf = State{}, nil, nil, nil
}

// data is what the page asks for every two seconds. Query: boot, clock, event and
// sample are what it has already, of which it is told the rest; server is the ID of
// the one whose own history it shows.
func (c *Console) data(w http.ResponseWriter, r *http.Request) {
	s, err := c.now(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	c.sampler.look()
	q := r.URL.Query()
	var has struct{ clock, event, sample uint64 }
	if q.Get("boot") == c.boot {
		has.clock, has.event, has.sample = number64(q.Get("clock")), number64(q.Get("event")), number64(q.Get("sample"))
	}
	d := answered{
		Boot: c.boot, Now: time.Now().UnixMilli(), Manager: c.cfg.Addr, Version: cli.Version, Every: sampleEvery.Seconds(),
		Status: s.Status, Clock: s.Map.Version, Live: c.sampler.live(), Samples: c.sampler.since(int64(has.sample)),
		Events: c.cfg.Events.Since(has.event), Partitions: c.partitions(s.Map, has.clock),
	}
	d.Safety = safetyOf(s)
	d.Health = healthOf(s, d.Safety, d.Live)
	if id := q.Get("server"); id != "" {
		d.Server = c.sampler.history(id)
	}
	answer(w, r, d)
}

// answered is the body of data.
type answered struct {
	Boot    string  `json:"boot"`
	Now     int64   `json:"now"`     // Unix ms
	Manager string  `json:"manager"` // who answers: it leads
	Version string  `json:"version"`
	Every   float64 `json:"every"` // seconds between samples
	Clock   uint64  `json:"clock"`
	// Status is what kumoctl status --json shows.
	Status     *control.Status `json:"status"`
	Safety     Safety          `json:"safety"`
	Health     Health          `json:"health"`
	Live       []Live          `json:"live"`
	Samples    *Series         `json:"samples"`
	Server     *History        `json:"server,omitempty"`
	Events     []Event         `json:"events"`
	Partitions json.RawMessage `json:"partitions,omitempty"`
}

// number64 is a cursor of a query; 0 where it is none.
func number64(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// localEvents is what this manager logged, whoever leads.
func (c *Console) localEvents(w http.ResponseWriter, r *http.Request) {
	answer(w, r, struct {
		Manager string  `json:"manager"`
		Events  []Event `json:"events"`
	}{c.cfg.Addr, c.cfg.Events.Since(0)})
}

// locate tells where a key lives: the query's key, as it is.
func (c *Console) locate(w http.ResponseWriter, r *http.Request) {
	s, err := c.now(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	if len(s.Map.Partitions) == 0 {
		fail(w, http.StatusConflict, errNoCluster)
		return
	}
	key := []byte(r.URL.Query().Get("key"))
	answer(w, r, struct {
		Partition uint16 `json:"partition"`
		Hash      string `json:"hash"`
	}{s.Map.PartitionOf(key), hex64(clustermap.Hash(key))})
}
