// Package manager is the kumo-manager daemon: it keeps the cluster map (package
// consensus), decides what becomes of it (package council) and tells servers,
// gateways and tools (package control).
//
// One goroutine owns the council and all that is in Manager. Everything else
// posts to it: connections, timers, what raft has committed. It never waits for
// any of them. The effects of a decision are carried out in order: persist,
// send, reply.
package manager

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/console"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
	"github.com/kumofs/kumofs/internal/secret"
)

// Config of a manager.
type Config struct {
	// Listen is where it listens, "ip:port"; Advertise is where others reach it
	// (default Listen), numeric.
	Listen    string
	Advertise string
	// Listener is used instead of Listen where it is set.
	Listener net.Listener
	// Partners are the other managers; Alone: where none of them has a cluster,
	// begin one although some are silent.
	Partners []string
	Alone    bool
	// StateDir holds the cluster map (default ./kumo-manager-<port>).
	StateDir string
	// AutoReplace is -a, ReplaceDelay -Rs (default 4 s), DetachDelay --detach-delay
	// (default ReplaceDelay).
	AutoReplace  bool
	ReplaceDelay time.Duration
	DetachDelay  time.Duration
	// ConnectTimeout (-Ys, default 0.5 s) times ConnectRetry (-Yn, default 4) is
	// how long a server may be silent.
	ConnectTimeout time.Duration
	ConnectRetry   int
	// Keepalive is the longest interval of heartbeats.
	Keepalive time.Duration
	// Partitions and Replication of a new cluster, where they are not the defaults.
	Partitions  int
	Replication int
	// Secret is the cluster's; nil: there is none, and everybody is let in.
	Secret *secret.Secret
	// OpenMetrics: /metrics, /healthz and /readyz are answered to who has not got the secret.
	OpenMetrics bool
	// HTTP is where the console and monitoring are served too, without the secret: what
	// net.Listen takes; "": nowhere. HTTPListener is used instead where it is set.
	HTTP         string
	HTTPListener net.Listener
	// ConsoleCommands: the console's page may give commands.
	ConsoleCommands bool
	Logger          *slog.Logger
	// LogLevel, if not nil, is that of Logger, for who may change it.
	LogLevel control.LogLevel
	// Watch, if not nil, is given what asks the event loop how this manager is; again where that begins
	// anew. Up is called once it listens.
	Watch func(probe func(context.Context) (status string, err error))
	Up    func()
}

const (
	tickEvery = 50 * time.Millisecond
	// restEvery is the same while there is nothing to do but to see who is silent.
	restEvery = 2 * tickEvery
	// awayAfter: when the clock was not read for so long, the rest is left out.
	awayAfter   = 4 * tickEvery
	proposeWait = 10 * time.Second
	stateAgain  = 5 * time.Second
	inboxSize   = 1024
)

// Manager is the daemon's state, owned by the goroutine of loop.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	node    *consensus.Node
	council *council.Council
	start   time.Time
	inbox   chan func()
	ctx     context.Context // ends with the loop
	end     context.CancelFunc
	workers sync.WaitGroup

	servers map[clustermap.ServerID]*link
	links   map[*link]struct{}
	waiting []*link     // whose Hello waits for a leader
	leading atomic.Bool // the council's, for other goroutines

	heard        map[string]*heard      // voters and partners, by address
	waits        atomic.Pointer[string] // why this manager is blank, while it is
	waitsSaid    time.Time
	replacedSaid time.Time
	joining      bool // bootstrap or join is under way
	asks         []ask
	staff        map[clustermap.ServerID]*staff
	orders       map[uint64]order
	changing     bool   // a change of the voters is under way
	changed      uint64 // the index of the last one in this term
	onward       *http.Transport
	console      *console.Console

	history  history
	tickets  map[uint64]*ticket
	next     uint64
	backups  map[uint64]*backup
	told     map[uint64]*told
	waiters  []chan error // each is told once
	progress progress
	beat     time.Duration
	beatAt   time.Time
	lastRead time.Duration                  // when the clock was read last, since start
	away     time.Duration                  // what the clock has left out
	refusals map[clustermap.ServerID]string // said already
	leadSeq  int
	idle     bool // what came changes nothing that cannot wait for a tick
}

func (c *Config) fill() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Listener != nil {
		c.Listen = c.Listener.Addr().String()
	}
	if c.Advertise == "" {
		c.Advertise = c.Listen
	}
	c.Partners = slices.DeleteFunc(slices.Clone(c.Partners), func(a string) bool { return a == c.Advertise })
	if c.StateDir == "" {
		_, port, err := net.SplitHostPort(c.Advertise)
		if err != nil {
			return fmt.Errorf("address %q: %w", c.Advertise, err)
		}
		c.StateDir = "./kumo-manager-" + port
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 500 * time.Millisecond
	}
	if c.ConnectRetry <= 0 {
		c.ConnectRetry = 4
	}
	if c.ReplaceDelay <= 0 {
		c.ReplaceDelay = 4 * time.Second
	}
	return nil
}

// silence is how long a server may be silent.
func (c *Config) silence() time.Duration { return c.ConnectTimeout * time.Duration(c.ConnectRetry) }

// Run is the daemon. It returns when ctx ends or when it cannot begin. A manager
// whose state cannot be written any more (its disk is full) takes no part, and
// tries again every stateAgain.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.fill(); err != nil {
		return err
	}
	// Outlives what run has: events are kept while the state cannot be written.
	events := console.NewEvents(console.DefaultEvents)
	cfg.Logger = slog.New(events.Handler(cfg.Logger.Handler()))
	began := false
	for {
		err := run(ctx, cfg, events)
		if ctx.Err() != nil || err == nil || !began && !errors.Is(err, errState) {
			return err
		}
		began = true
		cfg.Logger.Error("this manager takes no part until its state can be written: make room, or mend the disk", "error", err, "again", stateAgain)
		if cfg.Watch != nil { // to be started again would not help it
			cfg.Watch(func(context.Context) (string, error) { return "takes no part: its state cannot be written", nil })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(stateAgain):
		}
		cfg.Listener, cfg.HTTPListener, cfg.Up = nil, nil, nil // the ports are opened anew
	}
}

// errState: the state directory cannot be written.
var errState = errors.New("the manager's state cannot be written")

// run is the daemon until its state cannot be written.
func run(ctx context.Context, cfg Config, events *console.Events) error {
	l := cfg.Listener
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", cfg.Listen); err != nil {
			return fmt.Errorf("cannot listen on %s: %w", cfg.Listen, err)
		}
	}
	defer l.Close()
	pl, err := listenPages(cfg)
	if err != nil {
		return err
	}
	m := newManager(cfg)
	m.console = m.newConsole(events)
	defer m.console.Close()
	mux := control.NewMux(l, cfg.Secret, cfg.Logger)
	// Routes are there before the first connection is looked at.
	links, pages := mux.Magic(control.Magic), mux.HTTP()
	if err := m.open(mux.Magic(consensus.StreamMagic)); err != nil {
		m.end()
		if pl != nil {
			pl.Close()
		}
		return err
	}
	m.go_(func() { m.acceptLinks(links) })
	web := m.webServer()
	open := m.servePages(pl, web.Handler)
	control.Guard(web, cfg.Secret, "manager", cfg.OpenMetrics)
	m.go_(func() { web.Serve(pages) })
	served := make(chan error, 1)
	m.go_(func() { served <- mux.Serve() })
	switch {
	case len(m.node.Members()) > 0:
		m.go_(func() {
			if err := m.node.LeadIfAlone(); err != nil && m.ctx.Err() == nil {
				m.log.Warn("cannot lead at once", "error", err)
			}
		})
	case len(cfg.Partners) == 0:
		m.post(m.begin)
	}
	m.go_(m.poll)
	m.log.Info("start kumo-manager", "addr", cfg.Advertise, "state", cfg.StateDir, "id", m.node.ID())
	if cfg.Watch != nil {
		cfg.Watch(m.watched)
	}
	if cfg.Up != nil {
		cfg.Up()
	}
	err = m.loop(ctx, served)
	m.end()
	mux.Close()
	web.Close()
	open.Close()
	// Before the workers: what they wait for ends with it.
	if cerr := m.node.Close(); cerr != nil {
		m.log.Error("closing the state", "error", cerr)
	}
	m.workers.Wait()
	m.onward.CloseIdleConnections()
	return err
}

func newManager(cfg Config) *Manager {
	beat := cfg.silence() / 4
	if cfg.Keepalive > 0 {
		beat = min(beat, cfg.Keepalive)
	}
	ctx, end := context.WithCancel(context.Background())
	// Servers keep the answers to orders for the next manager: whose numbers must be others.
	var first [8]byte
	rand.Read(first[:])
	return &Manager{cfg: cfg, next: binary.BigEndian.Uint64(first[:]) >> 1, log: cfg.Logger, start: time.Now(), inbox: make(chan func(), inboxSize), ctx: ctx, end: end,
		servers: map[clustermap.ServerID]*link{}, links: map[*link]struct{}{}, tickets: map[uint64]*ticket{}, backups: map[uint64]*backup{}, told: map[uint64]*told{},
		refusals: map[clustermap.ServerID]string{}, beat: max(beat, 10*time.Millisecond),
		heard: map[string]*heard{}, staff: map[clustermap.ServerID]*staff{}, orders: map[uint64]order{},
		onward: &http.Transport{DialContext: cfg.Secret.DialContext(&net.Dialer{Timeout: leaderDial}), MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, DisableCompression: true}}
}

// open starts the council and raft.
func (m *Manager) open(voters net.Listener) error {
	silence := m.cfg.silence().Milliseconds()
	var r [8]byte
	rand.Read(r[:])
	m.council = council.New(council.Config{
		Silence: silence, Fault: max(2000, silence), ReplaceDelay: m.cfg.ReplaceDelay.Milliseconds(), DetachDelay: m.cfg.DetachDelay.Milliseconds(),
		ClusterID: clustermap.ClusterID(binary.BigEndian.Uint64(r[:]) | 1), Partitions: m.cfg.Partitions, Replication: m.cfg.Replication,
		AutoReplace: m.cfg.AutoReplace,
	})
	if _, err := os.Stat(m.cfg.StateDir); errors.Is(err, os.ErrNotExist) {
		m.log.Info("new state directory", "path", m.cfg.StateDir)
	}
	var err error
	m.node, err = consensus.Open(consensus.Config{
		Dir: m.cfg.StateDir, Listener: voters, Advertise: m.cfg.Advertise, Logger: m.log, Secret: m.cfg.Secret,
		OnApply: func(n *clustermap.Map, d *clustermap.Delta) { m.post(func() { m.committed(n, d) }) },
	})
	return err
}

// now is the council's clock. It stands still while this process does (stopped,
// starved, the machine suspended), so that its own absence is nobody's silence.
// It is read at every tick.
func (m *Manager) now() int64 {
	t := time.Since(m.start)
	m.away += max(0, t-m.lastRead-awayAfter)
	m.lastRead = t
	return (t - m.away).Milliseconds()
}

// post hands f to the loop. It may wait for the loop, which never waits for others.
func (m *Manager) post(f func()) bool {
	return m.postIdle(func() { m.idle = false; f() })
}

// postIdle is post for what need not be decided upon before the next tick.
func (m *Manager) postIdle(f func()) bool {
	select {
	case m.inbox <- f:
		return true
	case <-m.ctx.Done():
		return false
	}
}

// go_ runs f; Run waits for it at the end.
func (m *Manager) go_(f func()) {
	m.workers.Add(1)
	go func() {
		defer m.workers.Done()
		f()
	}()
}

func (m *Manager) loop(ctx context.Context, served <-chan error) error {
	every := tickEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			m.handOver()
			return nil
		case err := <-served:
			return err
		case leads := <-m.node.Leading():
			m.leadership(leads)
		case err := <-m.node.Failed():
			return fmt.Errorf("%w: state directory %s: %v", errState, m.cfg.StateDir, err)
		case f := <-m.inbox:
			m.idle = true
			f()
			m.drain()
			if m.idle {
				continue // heartbeats alone: the next tick sees to them
			}
		case <-tick.C:
			m.heartbeat()
			m.sendOn()
			m.watchBackups()
			m.watchMoves()
		}
		m.turn()
		next := tickEvery
		if m.council.AtRest() {
			next = restEvery
		}
		if next != every {
			every = next
			tick.Reset(every)
		}
	}
}

// drain takes what else has come, so that one decision covers it all.
func (m *Manager) drain() {
	for range inboxSize {
		select {
		case f := <-m.inbox:
			f()
		default:
			return
		}
	}
}

// turn asks the council what is to be done and does it.
func (m *Manager) turn() {
	out := m.council.Next(m.now())
	for _, e := range out.Events {
		args := []any{"addr", e.Addr}
		if e.Note != "" {
			args = append(args, "note", e.Note)
		}
		m.log.Info(e.Text, args...)
	}
	if out.Delta != nil {
		m.propose(out.Delta)
	}
	for to, ids := range out.Dead {
		if k := m.servers[to]; k != nil {
			k.s.Send(control.Frame(control.KindDead, control.Dead{Servers: ids}))
		}
	}
	for to, how := range out.Released {
		if k := m.servers[to]; k != nil {
			k.s.Send(control.Frame(control.KindReleased, control.Released{Leaving: how}))
		}
	}
	for _, r := range out.Replies {
		if t := m.tickets[r.Ticket]; t != nil {
			delete(m.tickets, r.Ticket)
			t.reply <- r
		}
	}
}

// propose persists a delta; the loop goes on meanwhile.
func (m *Manager) propose(d *clustermap.Delta) {
	d.Updated = time.Now().UnixMilli()
	seq := m.leadSeq
	m.go_(func() {
		n, err := m.node.Propose(d, proposeWait)
		m.post(func() {
			switch {
			case seq != m.leadSeq:
			case err == nil:
				m.council.Applied(m.now(), n)
				m.report()
			default:
				m.log.Error("a change of the cluster map was not recorded", "error", err)
				m.council.Refused(m.now(), m.node.Map(), err.Error())
			}
		})
	})
}

// leadership follows raft: a new leader decides once it knows all that was
// committed. What it decided in a term before is over, whoever led since.
func (m *Manager) leadership(leads bool) {
	m.leadSeq++
	seq := m.leadSeq
	m.council.Follow()
	m.leading.Store(false)
	m.changing, m.changed = false, 0
	clear(m.orders)
	clear(m.staff)
	for _, w := range m.waiters {
		w <- errLeadLost
	}
	m.waiters = nil
	for k := range m.links {
		if k.taken {
			k.s.Close()
		}
	}
	if !leads {
		return
	}
	m.go_(func() {
		n, err := m.node.Catch(proposeWait)
		m.post(func() {
			if seq != m.leadSeq {
				return
			}
			if err != nil {
				m.log.Error("cannot lead", "error", err)
				m.leadership(m.node.IsLeader())
				return
			}
			m.council.Lead(m.now(), n)
			m.leading.Store(true)
			if !m.history.shows(n) { // its last step is still on its way here
				m.history.reset(n)
			}
			m.log.Info("this manager leads", "clock", n.Version)
			waiting := m.waiting
			m.waiting = nil
			for _, k := range waiting {
				m.hello(k)
			}
			m.elect()
		})
	})
}
