// Package top is the program kumotop: a table of what each server does, redrawn
// every second.
package top

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/tools"
)

// answerLimit is how long a server may take: a dead one must not stop the table.
const answerLimit = 1500 * time.Millisecond

// Row is one server's line.
type Row struct {
	Addr  string `json:"addr"`
	State string `json:"state"`
	// The rates are operations a second; nil until there are two samples.
	Get    *float64 `json:"get_per_s"`
	Set    *float64 `json:"set_per_s"`
	Delete *float64 `json:"delete_per_s"`
	Items  *int64   `json:"items"`
	// CopiesLeft is how many copies are still to be made there; known to managers.
	CopiesLeft *int   `json:"copies_left"`
	Uptime     *int64 `json:"uptime"` // seconds
	Error      string `json:"error,omitempty"`
}

// Sample is one look at the cluster.
type Sample struct {
	Time   time.Time       `json:"time"`
	Status *control.Status `json:"-"` // nil without a manager
	Rows   []Row           `json:"servers"`
	Err    error           `json:"-"` // the manager's
}

// sampler asks managers and servers and remembers the counters.
type sampler struct {
	managers *tools.Client // nil: a fixed list of servers
	servers  []string
	secret   *secret.Secret
	mu       sync.Mutex
	clients  map[string]*tools.Client
	before   map[string]counters
	last     *control.Status
}

// counters are a server's at one moment.
type counters struct {
	at               time.Time
	get, set, delete int64
}

// newSampler looks at the servers at addrs or, if managed, at those of the
// managers there.
func newSampler(addrs []string, managed bool, sec *secret.Secret) *sampler {
	s := &sampler{secret: sec, clients: map[string]*tools.Client{}, before: map[string]counters{}}
	if managed {
		s.managers = tools.NewClient("manager", addrs...).WithSecret(sec)
	} else {
		s.servers = addrs
	}
	return s
}

// sample looks at all servers at once. While no manager answers, the servers
// it last named are shown.
func (s *sampler) sample(ctx context.Context) Sample {
	ctx, cancel := context.WithTimeout(ctx, 2*answerLimit)
	defer cancel()
	out := Sample{Time: time.Now()}
	nodes := []control.NodeStatus{}
	if s.managers == nil {
		for _, addr := range s.servers {
			nodes = append(nodes, control.NodeStatus{Addr: addr})
		}
	} else {
		askCtx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		if status, err := s.managers.Status(askCtx); err != nil {
			out.Err = err
		} else {
			s.last = status
		}
		if s.last != nil {
			out.Status, nodes = s.last, slices.Clone(s.last.Attached)
		}
		slices.SortFunc(nodes, func(a, b control.NodeStatus) int { return tools.CompareAddrs(a.Addr, b.Addr) })
	}
	out.Rows = make([]Row, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { out.Rows[i] = s.row(ctx, n) })
	}
	wg.Wait()
	return out
}

// row asks one server.
func (s *sampler) row(ctx context.Context, n control.NodeStatus) Row {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	r := Row{Addr: n.Addr, State: n.State}
	if s.managers != nil {
		r.CopiesLeft = &n.CopiesLeft
	}
	values, err := s.client(n.Addr).Stat(ctx, "stats", nil)
	if err != nil {
		r.Error = err.Error()
		if r.State == "" {
			r.State = "no answer"
		}
		return r
	}
	if r.State == "" {
		r.State = "up"
		if state, ok := values["replstat"].(string); ok {
			r.State = state
		}
	}
	r.Items, r.Uptime = number(values["items"]), number(values["uptime"])
	get, set, del := number(values["cmd_get"]), number(values["cmd_set"]), number(values["cmd_delete"])
	if get != nil && set != nil && del != nil {
		s.rates(&r, counters{time.Now(), *get, *set, *del})
	}
	return r
}

// rates fills in the rates since the sample before; a counter that went back
// belongs to another run of the server and tells nothing.
func (s *sampler) rates(r *Row, now counters) {
	s.mu.Lock()
	before, known := s.before[r.Addr]
	s.before[r.Addr] = now
	s.mu.Unlock()
	took := now.at.Sub(before.at).Seconds()
	if !known || took <= 0 || now.get < before.get || now.set < before.set || now.delete < before.delete {
		return
	}
	per := func(a, b int64) *float64 {
		v := float64(a-b) / took
		return &v
	}
	r.Get, r.Set, r.Delete = per(now.get, before.get), per(now.set, before.set), per(now.delete, before.delete)
}

// client keeps one connection to each server.
func (s *sampler) client(addr string) *tools.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[addr]
	if c == nil {
		c = tools.NewClient("server", addr).WithSecret(s.secret)
		s.clients[addr] = c
	}
	return c
}

// number reads a value of stats; nil if it is none.
func number(v any) *int64 {
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
	if err != nil {
		return nil
	}
	n := int64(f)
	if exact, err := strconv.ParseInt(text, 10, 64); err == nil {
		n = exact
	}
	return &n
}
