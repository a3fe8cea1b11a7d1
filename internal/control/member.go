package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/secret"
)

// MemberConfig is a server's or gateway's side of the link. The callbacks run
// one at a time on the member's own goroutine and should only post what they
// are told.
type MemberConfig struct {
	// Managers are the addresses to begin with; others are learned.
	Managers []string
	// Hello is asked for at each connection; MapVersion, and a gateway's
	// ClusterID, are filled in here.
	Hello func() Hello
	// Map is the one held at the start, or nil.
	Map    *clustermap.Map
	Logger *slog.Logger
	// Secret is the cluster's; nil: there is none.
	Secret *secret.Secret

	// OnMap is given every newer map, each once; deltas have been applied.
	OnMap func(*clustermap.Map)
	// OnDead is told whom the manager holds dead (R3).
	OnDead func(Dead)
	// OnReleased is told that a leaving server has nothing more to wait for; may be nil.
	OnReleased func(Released)
	// OnCommand is asked to do something; Member.Reply answers.
	OnCommand func(Command)
	// OnRefused is told of a refusal, of one that stays now and then; a fatal
	// one ends the member.
	OnRefused func(Refuse)
	// OnConnected and OnDisconnected tell of the link to a manager.
	OnConnected    func(manager string)
	OnDisconnected func(manager string, err error)
}

const (
	dialTimeout    = 2 * time.Second
	backoffFirst   = 50 * time.Millisecond
	backoffMost    = time.Second
	sayAgain       = 30 * time.Second
	heartbeatUsual = 500 * time.Millisecond
	managerSilence = 2 * time.Second // a manager silent for so long is left
)

// Member keeps a link to one of the managers.
type Member struct {
	cfg     MemberConfig
	now     atomic.Pointer[clustermap.Map]
	changed chan struct{}

	mu      sync.Mutex
	report  *Report
	results []Result
	learned []string
}

// NewMember makes a member; Run starts it.
func NewMember(cfg MemberConfig) *Member {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Member{cfg: cfg, changed: make(chan struct{}, 1)}
	if cfg.Map != nil {
		m.now.Store(cfg.Map)
	}
	return m
}

// Map is the newest map seen, or nil.
func (m *Member) Map() *clustermap.Map { return m.now.Load() }

// Offer hands in a map that came from elsewhere (R10: a peer knew better). It
// may be called from anywhere; OnMap is not called for it.
func (m *Member) Offer(n *clustermap.Map) bool {
	for {
		old := m.now.Load()
		if !newer(n, old) {
			return false
		}
		if m.now.CompareAndSwap(old, n) {
			return true
		}
	}
}

func newer(n, old *clustermap.Map) bool {
	if n == nil || n.ClusterID == 0 {
		return false
	}
	return old == nil || old.ClusterID == 0 || n.ClusterID == old.ClusterID && n.Version > old.Version
}

// Send queues a report. It never blocks: what is not sent yet is merged with it.
func (m *Member) Send(r Report) {
	m.mu.Lock()
	if m.report == nil {
		m.report = &r
	} else {
		m.report.Append(r)
	}
	m.mu.Unlock()
	m.signal()
}

// Reply answers a command.
func (m *Member) Reply(r Result) {
	m.mu.Lock()
	if len(m.results) < 1024 {
		m.results = append(m.results, r)
	}
	m.mu.Unlock()
	m.signal()
}

func (m *Member) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Managers are all managers known of.
func (m *Member) Managers() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.cfg.Managers)
	for _, a := range m.learned {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// errRefused ends a link whose Hello was not taken.
type errRefused struct{ r Refuse }

func (e errRefused) Error() string { return e.r.Reason }

// spoken is what was logged last of a manager.
type spoken struct {
	msg string
	at  time.Time
}

// order is in what order managers are tried: the one whose link ended last.
func (m *Member) order(last string) []string {
	list := m.Managers()
	if i := slices.Index(list, last); i >= 0 {
		list = slices.Concat(list[i+1:], list[:i+1])
	}
	return list
}

// Run keeps the link until ctx ends or a refusal is fatal, whose reason it returns.
func (m *Member) Run(ctx context.Context) error {
	said := map[string]spoken{} // by manager
	wait := backoffFirst
	last := ""
	for ctx.Err() == nil {
		for _, addr := range m.order(last) {
			up, err := m.serve(ctx, addr)
			var ref errRefused
			if errors.As(err, &ref) && ref.r.Leader != "" && ref.r.Leader != addr {
				addr = ref.r.Leader
				up, err = m.serve(ctx, addr)
			}
			if ctx.Err() != nil {
				return nil
			}
			if up {
				wait, last = backoffFirst, addr
				clear(said)
				break
			}
			refused := errors.As(err, &ref)
			// Without a manager it waits, and says so: once, and now and then.
			if msg := err.Error(); msg != said[addr].msg || time.Since(said[addr].at) > sayAgain {
				said[addr] = spoken{msg, time.Now()}
				switch {
				case !refused:
					m.cfg.Logger.Warn(fmt.Sprintf("no link to manager %s: %v; waiting for a manager", addr, err))
				case ref.r.Leader != "": // it is asked next time
				case m.cfg.OnRefused != nil:
					m.cfg.OnRefused(ref.r)
				}
			}
			if refused && ref.r.Fatal {
				return fmt.Errorf("manager %s refuses: %s", addr, ref.r.Reason)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, backoffMost)
	}
	return nil
}

// serve is one link, from dial to end; up tells whether it was welcomed.
func (m *Member) serve(ctx context.Context, addr string) (up bool, err error) {
	d := net.Dialer{Timeout: dialTimeout}
	nc, err := m.cfg.Secret.Dial(ctx, &d, "tcp", addr)
	if err != nil {
		return false, err
	}
	p := newPipe(nc)
	defer p.close(nil)
	stop := context.AfterFunc(ctx, func() { p.close(ctx.Err()) })
	defer stop()
	h := m.cfg.Hello()
	if cur := m.now.Load(); cur != nil {
		h.MapVersion = cur.Version
		if h.Role == RoleGateway {
			h.ClusterID = cur.ClusterID // a server's is its store's
		}
	}
	p.send(append([]byte(Magic), Frame(KindHello, h)...))
	k, b, err := p.read(managerSilence)
	for err == nil && k == KindHeartbeat { // no manager leads yet: this one waits too
		k, b, err = p.read(managerSilence)
	}
	if err != nil {
		return false, err
	}
	switch k {
	case KindRefuse:
		var r Refuse
		if err := json.Unmarshal(b, &r); err != nil {
			return false, err
		}
		return false, errRefused{r}
	case KindWelcome:
	default:
		return false, fmt.Errorf("an answer of kind %d", k)
	}
	var w Welcome
	if err := json.Unmarshal(b, &w); err != nil {
		return false, err
	}
	m.mu.Lock()
	m.learned = w.Managers
	if m.report != nil {
		// What it says of others, and of this member's disk, may be over since long ago; what is not
		// is said again in a moment.
		m.report.Accuse, m.report.StepDown = nil, nil
	}
	m.mu.Unlock()
	beat := time.Duration(w.HeartbeatMillis) * time.Millisecond
	if beat <= 0 {
		beat = heartbeatUsual
	}
	if m.cfg.OnConnected != nil {
		m.cfg.OnConnected(addr)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); m.talk(p, beat) }()
	err = m.listen(p, max(managerSilence, 4*beat))
	p.close(err)
	<-ended
	if m.cfg.OnDisconnected != nil {
		m.cfg.OnDisconnected(addr, err)
	}
	return true, err
}

// talk sends heartbeats, reports and results.
func (m *Member) talk(p *pipe, beat time.Duration) {
	t := time.NewTimer(untilBeat(beat))
	defer t.Stop()
	m.signal() // what was left over from before
	for {
		select {
		case <-p.done:
			return
		case <-t.C:
			t.Reset(untilBeat(beat))
			var hb Heartbeat
			if cur := m.now.Load(); cur != nil {
				hb.MapVersion = cur.Version
			}
			p.send(Frame(KindHeartbeat, hb))
		case <-m.changed:
			m.mu.Lock()
			r, results := m.report, m.results
			m.report, m.results = nil, nil
			m.mu.Unlock()
			if r != nil {
				p.send(Frame(KindReport, r))
			}
			for _, res := range results {
				p.send(Frame(KindResult, res))
			}
		}
	}
}

// untilBeat is how long it is to the next heartbeat. Members send them at multiples of the
// interval of the wall's clock, so that a manager is woken once for many of them. Nothing
// else depends on it.
func untilBeat(beat time.Duration) time.Duration {
	return beat - time.Duration(time.Now().UnixNano())%beat
}

// listen takes what the manager sends.
func (m *Member) listen(p *pipe, silence time.Duration) error {
	for {
		k, b, err := p.read(silence)
		if err != nil {
			return err
		}
		switch k {
		case KindMap:
			n, err := clustermap.DecodeMap(b)
			if err == nil {
				err = n.Validate()
			}
			if err != nil {
				return fmt.Errorf("the map: %w", err)
			}
			m.adopt(n)
		case KindDelta:
			d, err := clustermap.DecodeDelta(b)
			if err != nil {
				return fmt.Errorf("a step of the map: %w", err)
			}
			cur := m.now.Load()
			if cur != nil && d.Base < cur.Version {
				continue
			}
			n, err := cur.Apply(d)
			if err != nil {
				return fmt.Errorf("a step of the map: %w", err) // begins again with a whole map
			}
			m.adopt(n)
		case KindDead:
			if err := call(b, m.cfg.OnDead); err != nil {
				return err
			}
		case KindReleased:
			if err := call(b, m.cfg.OnReleased); err != nil {
				return err
			}
		case KindCommand:
			if err := call(b, m.cfg.OnCommand); err != nil {
				return err
			}
		}
	}
}

func (m *Member) adopt(n *clustermap.Map) {
	if m.Offer(n) && m.cfg.OnMap != nil {
		m.cfg.OnMap(n)
	}
}

func call[T any](b []byte, f func(T)) error {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if f != nil {
		f(v)
	}
	return nil
}
