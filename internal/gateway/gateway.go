// Package gateway is kumo-gateway: memcached to applications on one side, the
// cluster on the other. It keeps no state; the work is done by internal/frontend
// and internal/router on event loops, which this package feeds with maps. With several
// loops each has its own router, with its own connections to the servers, and its part
// of the clients.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/secret"
)

// Config of a gateway.
type Config struct {
	Managers []string // numeric ip:port
	// Text are ports that serve memcached's protocols, told apart by the first
	// byte of a connection. Binary (-b, -c) are those that serve the binary one alone.
	Text, Binary []string

	KeyPrefix      string
	Zone           string // where it runs: see router.Options
	Timeout        time.Duration
	HTTP           string           // "" is off
	LogLevel       control.LogLevel // that of Log, for who may change it; nil: nobody
	MaxItemSize    int
	AllowFlushAll  bool
	MaxConnections int
	IdleTimeout    time.Duration // 0: never
	// DrainTimeout bounds how long a gateway that is told to end answers what its clients
	// have asked for; 0: it ends at once.
	DrainTimeout time.Duration

	// Secret is the cluster's; nil: there is none.
	Secret *secret.Secret
	// TLS, if not nil, has the ports take TLS alone, with the present one of its
	// configurations; Auth, if not nil, has clients tell user and password.
	TLS  func() *tls.Config
	Auth func(user, password []byte) bool

	Version string
	Log     *slog.Logger
	// Watch, if any, is given what asks the event loops how this gateway is. Listening, if any, is called
	// then with the real addresses, Text before Binary, when the ports are open.
	Watch     func(probe func(context.Context) (status string, err error))
	Listening func(addrs []string)
	// Loops is how many event loops it runs; 0 is 1.
	Loops int
	// Loop is the event loop it runs, not yet run; nil: Loops of its own.
	Loop loop.Loop
}

// Gateway is a running gateway.
type gateway struct {
	cfg       Config
	log       *slog.Logger
	loops     []loop.Loop
	routers   []*router.Router     // of each loop
	frontends []*frontend.Frontend // of each loop
	listeners []loop.Listener
	member    *control.Member
	linked    atomic.Bool // a manager is connected
	started   time.Time
	http      string // the address of the port for monitoring; "": there is none
}

// Run serves until told ends and what its clients have asked for is answered (for
// DrainTimeout at most), or something that it cannot do without fails.
func Run(told context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(told))
	defer cancel()
	g := &gateway{cfg: cfg, log: cfg.Log, started: time.Now()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	fail := func(err error) error { // having released what the loops hold
		cancel()
		return errors.Join(err, g.runLoops(ctx))
	}
	if cfg.Loop != nil {
		g.loops = []loop.Loop{cfg.Loop}
	} else {
		for range max(cfg.Loops, 1) {
			l, err := loop.New()
			if err != nil {
				return fail(err)
			}
			g.loops = append(g.loops, l)
		}
	}
	addrs, err := g.listen()
	if err != nil {
		return fail(err)
	}
	g.member = control.NewMember(control.MemberConfig{
		Managers:       cfg.Managers,
		Logger:         g.log,
		Secret:         cfg.Secret,
		Hello:          g.hello,
		OnMap:          g.onMap,
		OnConnected:    g.onConnected,
		OnDisconnected: g.onDisconnected,
		OnRefused:      func(r control.Refuse) { g.log.Warn("manager refuses this gateway", "reason", r.Reason) },
	})
	stopHTTP, err := g.serveHTTP()
	if err != nil {
		return fail(err)
	}
	defer stopHTTP()
	if cfg.Watch != nil {
		cfg.Watch(g.probe)
	}
	if cfg.Listening != nil {
		cfg.Listening(addrs)
	}
	var linkErr error
	var link sync.WaitGroup
	link.Go(func() {
		linkErr = g.member.Run(ctx)
		cancel() // a fatal refusal; otherwise ctx is done already
	})
	defer context.AfterFunc(told, func() {
		g.finish(ctx)
		cancel()
	})()
	err = g.runLoops(ctx)
	cancel()
	link.Wait()
	return errors.Join(err, linkErr)
}

// runLoops runs all until ctx ends, or one of them. (One that has not run yet is run to
// release what it holds.)
func (g *gateway) runLoops(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(g.loops))
	var all sync.WaitGroup
	for i, l := range g.loops {
		all.Go(func() {
			defer cancel()
			errs[i] = l.Run(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// finishPoll is how often a gateway that is about to end looks whether it may.
const finishPoll = 5 * time.Millisecond

// finish answers what clients have asked for, and closes them. It blocks until that is
// done, for DrainTimeout at most, or until ctx ends.
func (g *gateway) finish(ctx context.Context) {
	if g.cfg.DrainTimeout <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DrainTimeout)
	defer cancel()
	stopped := make(chan struct{}, len(g.loops))
	for i, l := range g.loops {
		if !l.Post(func() {
			if i == 0 {
				for _, li := range g.listeners {
					li.Close()
				}
			}
			g.frontends[i].Stop()
			stopped <- struct{}{}
		}) {
			return
		}
	}
	for range g.loops {
		select {
		case <-stopped:
		case <-ctx.Done():
			return
		}
	}
	poll := time.NewTicker(finishPoll)
	defer poll.Stop()
	for g.frontends[0].Clients() > 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen makes the routers and opens the ports, which all loops share.
func (g *gateway) listen() ([]string, error) {
	cfg := &g.cfg
	for _, l := range g.loops {
		r := router.New(l, router.Options{Timeout: cfg.Timeout, Zone: cfg.Zone, Secret: cfg.Secret, Log: g.log,
			MaxBytes: max(router.DefaultMaxBytes/len(g.loops), router.DefaultMaxServerBytes)})
		g.routers = append(g.routers, r)
		g.frontends = append(g.frontends, frontend.New(l, frontend.Options{
			Router:         r,
			MaxItemSize:    cfg.MaxItemSize,
			AllowFlushAll:  cfg.AllowFlushAll,
			KeyPrefix:      cfg.KeyPrefix,
			MaxConnections: cfg.MaxConnections,
			IdleTimeout:    cfg.IdleTimeout,
			TLS:            cfg.TLS,
			Auth:           cfg.Auth,
			Version:        cfg.Version,
			Log:            g.log,
		}))
		l.OnError(func(err error) { g.log.Warn("cannot take a connection", "error", err) })
	}
	frontend.Together(g.frontends...)
	var addrs []string
	for i, addr := range append(append([]string(nil), cfg.Text...), cfg.Binary...) {
		listen, protocol := g.frontends[0].Listen, "any"
		if i >= len(cfg.Text) {
			listen, protocol = g.frontends[0].ListenBinary, "binary"
		}
		li, err := listen(addr)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
		}
		g.listeners = append(g.listeners, li)
		addrs = append(addrs, li.Addr())
		g.log.Info("listening for memcached clients", "addr", li.Addr(), "protocol", protocol, "tls", cfg.TLS != nil)
	}
	return addrs, nil
}

func (g *gateway) hello() control.Hello {
	h := control.Hello{Role: control.RoleGateway, Version: g.cfg.Version, HTTP: g.http}
	if m := g.member.Map(); m != nil {
		h.ClusterID = m.ClusterID
	}
	return h
}

// onMap runs on the member's goroutine, as the next two do.
func (g *gateway) onMap(m *clustermap.Map) {
	for i, l := range g.loops {
		l.Post(func() { g.routers[i].SetMap(m) })
	}
}

func (g *gateway) onConnected(manager string) {
	g.linked.Store(true)
	g.log.Info("connect success", "addr", manager)
}

func (g *gateway) onDisconnected(manager string, err error) {
	g.linked.Store(false)
	g.log.Info("lost manager", "addr", manager, "error", err)
}
