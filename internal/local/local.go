// Package local is `kumofs local`: a manager, servers and a gateway in one
// process, on loopback, with their data in one directory. It composes the
// daemons from above; none of them knows of it.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/gateway"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/manager"
	"github.com/kumofs/kumofs/internal/server"
	"github.com/kumofs/kumofs/internal/tools"
)

// Config of a local cluster.
type Config struct {
	Servers   int
	Port      int // memcached, on 127.0.0.1
	Data      string
	Fsync     bool
	CacheSize int64 // of each server, bytes
	Serve     cli.ServeOptions
	Gates     cli.Gates // who may come in
	// SecretFile is where Gates.Secret is from, for what a person is told.
	SecretFile string
	Out        io.Writer // what a person reads
	Log        *slog.Logger
	LogLevel   control.LogLevel // of Log, for who may change it; nil: nobody
	// Watch, if not nil, is given what asks all event loops how the cluster is. Up, if not nil, is called
	// then, once it serves.
	Watch func(probe func(context.Context) (status string, err error))
	Up    func()
}

const (
	host        = "127.0.0.1"
	managerName = "manager"
	// settleLimit bounds the wait for the cluster to serve.
	settleLimit = 30 * time.Second
	settleStep  = 50 * time.Millisecond
)

// Run runs the cluster until ctx is done, or returns why it cannot. What is in
// cfg.Data is used again.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Servers < 1 || cfg.Servers > 64 {
		return fmt.Errorf("--servers %d: must be within 1 to 64", cfg.Servers)
	}
	text := net.JoinHostPort(host, strconv.Itoa(cfg.Port))
	if l, err := net.Listen("tcp", text); err != nil {
		return fmt.Errorf("cannot listen on %s: %w; another one can be chosen with --port", text, err)
	} else if err := l.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Data, 0o755); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	stores, err := storePaths(&cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &cluster{cfg: &cfg, ctx: ctx, fail: cancel, probes: map[string]func(context.Context) (string, error){}}
	err = c.makeLoops(len(stores) + 1)
	if err == nil {
		err = c.start(text, stores)
	}
	if err == nil {
		<-ctx.Done()
		fmt.Fprintln(cfg.Out, "stopping")
	}
	cancel(err)
	c.wg.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// storePaths are the servers' stores. A cluster of more servers than asked for
// is started whole: leaving some out would leave their copies out.
func storePaths(cfg *Config) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(cfg.Data, "server[0-9]*"))
	if err != nil {
		return nil, err
	}
	n := cfg.Servers
	for _, f := range found {
		if i, err := strconv.Atoi(filepath.Base(f)[len("server"):]); err == nil && i > n {
			n = i
		}
	}
	if n > cfg.Servers {
		cfg.Log.Warn(fmt.Sprintf("%s has the data of %d servers; starting all of them", cfg.Data, n))
	}
	stores := make([]string, n)
	for i := range stores {
		stores[i] = filepath.Join(cfg.Data, fmt.Sprintf("server%d", i+1))
	}
	return stores, nil
}

type cluster struct {
	cfg  *Config
	ctx  context.Context
	fail context.CancelCauseFunc
	wg   sync.WaitGroup
	// groups are whose loops the daemons get, in turns.
	groups []*loop.Group
	loops  int
	// probes ask the daemons' event loops, by the daemon's name.
	mu     sync.Mutex
	probes map[string]func(context.Context) (string, error)
}

// watch keeps a daemon's probe.
func (c *cluster) watch(name string) func(func(context.Context) (string, error)) {
	return func(probe func(context.Context) (string, error)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.probes[name] = probe
	}
}

// probe asks all daemons; what the manager says is what there is to say.
func (c *cluster) probe(ctx context.Context) (status string, err error) {
	c.mu.Lock()
	probes := maps.Clone(c.probes)
	c.mu.Unlock()
	for name, probe := range probes {
		said, err := probe(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if name == managerName {
			status = said
		}
	}
	return status, nil
}

// makeLoops makes groups of loops for so many daemons, one for two processors: in one
// process a daemon need not be woken for what another sends it. On small machines one group is
// fastest; on larger ones it would keep all daemons on one processor.
func (c *cluster) makeLoops(daemons int) error {
	network := loop.NewMemNetwork()
	for range max(1, min(daemons, runtime.GOMAXPROCS(0)/2)) {
		g, err := loop.NewGroup(network)
		if err != nil {
			return fmt.Errorf("cannot make an event loop: %w", err)
		}
		c.groups = append(c.groups, g)
		c.wg.Go(func() {
			if err := g.Run(c.ctx); err != nil {
				c.fail(fmt.Errorf("event loop: %w", err))
			}
		})
	}
	return nil
}

// loop makes a loop for the next daemon.
func (c *cluster) loop() (loop.Loop, error) {
	g := c.groups[c.loops%len(c.groups)]
	c.loops++
	return g.Loop()
}

// run runs one daemon; what ends it ends the cluster.
func (c *cluster) run(name string, body func(up func(string)) error) (addr string, err error) {
	ready := make(chan string, 1)
	c.wg.Go(func() {
		err := body(func(addr string) {
			select {
			case ready <- addr:
			default:
			}
		})
		if err == nil {
			err = context.Canceled
		}
		c.fail(fmt.Errorf("%s: %w", name, err))
	})
	select {
	case addr := <-ready:
		return addr, nil
	case <-c.ctx.Done():
		return "", context.Cause(c.ctx)
	}
}

func (c *cluster) start(text string, stores []string) error {
	cfg := c.cfg
	ml, err := listenNear(cli.ManagerPort)
	if err != nil {
		return err
	}
	mgr := ml.Addr().String()
	_, err = c.run(managerName, func(up func(string)) error {
		return manager.Run(c.ctx, manager.Config{
			Listener: ml, StateDir: filepath.Join(cfg.Data, "manager"), Secret: cfg.Gates.Secret, Logger: cfg.Log.With("daemon", "manager"), LogLevel: cfg.LogLevel,
			Watch: c.watch(managerName), Up: func() { up(mgr) },
		})
	})
	if err != nil {
		return err
	}
	var addrs []string
	for i, path := range stores {
		addr, err := freeNear(cli.ServerPort + 1 + i)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		l, err := c.loop()
		if err != nil {
			return err
		}
		got, err := c.run(name, func(up func(string)) error {
			return server.Run(c.ctx, server.Config{
				Listen: addr, StreamPort: 0, Store: path, Managers: []string{mgr}, Fsync: cfg.Fsync, CacheSize: cfg.CacheSize,
				ReplaceRate: 64 << 20, ScrubRate: cli.ScrubRate, Secret: cfg.Gates.Secret, Logger: cfg.Log.With("daemon", name), LogLevel: cfg.LogLevel, Watch: c.watch(name), Ready: up,
				Loop: l,
			})
		})
		if err != nil {
			return err
		}
		addrs = append(addrs, got)
	}
	if err := c.attach(mgr, len(stores)); err != nil {
		return err
	}
	s := &cfg.Serve
	l, err := c.loop()
	if err != nil {
		return err
	}
	_, err = c.run("gateway", func(up func(string)) error {
		return gateway.Run(c.ctx, gateway.Config{
			Managers: []string{mgr}, Text: append([]string{text}, given(s.Text)...), Binary: given(s.Binary, s.Cloudy),
			KeyPrefix: s.KeyPrefix, Timeout: s.Timeout, HTTP: s.HTTP, MaxItemSize: int(s.Clients.MaxItemSize),
			AllowFlushAll: s.Clients.AllowFlushAll, MaxConnections: s.Clients.MaxConnections, IdleTimeout: s.Clients.IdleTimeout, Version: cli.Version,
			Secret: cfg.Gates.Secret, TLS: cfg.Gates.TLS, Auth: cfg.Gates.Auth,
			Log:       cfg.Log.With("daemon", "gateway"),
			LogLevel:  cfg.LogLevel,
			Watch:     c.watch("gateway"),
			Listening: func([]string) { up(text) },
			Loop:      l,
		})
	})
	if err != nil {
		return err
	}
	c.greet(text, mgr, addrs)
	if cfg.Watch != nil {
		cfg.Watch(c.probe)
	}
	if cfg.Up != nil {
		cfg.Up()
	}
	return nil
}

// attach waits until all servers are known, attaches those that are new, and
// waits until every partition is served.
func (c *cluster) attach(mgr string, servers int) error {
	client := tools.NewClient("manager", mgr).WithSecret(c.cfg.Gates.Secret)
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.ctx, settleLimit)
	defer cancel()
	asked := false
	for {
		s, err := client.Status(ctx)
		if err == nil {
			reachable := 0
			for _, n := range s.Attached {
				if n.Reachable && n.State == "active" {
					reachable++
				}
			}
			switch {
			case reachable >= servers && s.Unavailable == 0 && s.Short == 0:
				return nil
			case !asked && len(s.NotAttached) > 0 && reachable+len(s.NotAttached) >= servers:
				asked = true
				if _, err := client.Command(ctx, control.CommandRequest{Command: "attach"}); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(c.ctx); cause != nil {
				return cause
			}
			return fmt.Errorf("the cluster does not serve after %v; its state: kumoctl %s status", settleLimit, mgr)
		case <-time.After(settleStep):
		}
	}
}

func (c *cluster) greet(text, mgr string, addrs []string) {
	out := c.cfg.Out
	fmt.Fprintf(out, "kumofs %s: %d servers, data in %s\n", cli.Version, len(addrs), c.cfg.Data)
	fmt.Fprintf(out, "  memcached  %s\n  manager    %s\n", text, mgr)
	if c.cfg.SecretFile == "" { // a browser knows no secret
		fmt.Fprintf(out, "  console    http://%s/\n", mgr)
	}
	for i, a := range addrs {
		fmt.Fprintf(out, "  server %d   %s\n", i+1, a)
	}
	_, port, _ := net.SplitHostPort(text) // it was made by JoinHostPort
	// bash is there where nc may not be.
	client, secret := fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%s/%s; cat >&3; cat <&3'", host, port), ""
	if c.cfg.Gates.TLS != nil {
		client = "openssl s_client -quiet -connect " + text
	}
	if c.cfg.SecretFile != "" {
		secret = " --cluster-secret-file " + c.cfg.SecretFile
	}
	fmt.Fprintf(out, `
Try it:
  printf 'set greeting 0 0 5\r\nhello\r\nget greeting\r\nquit\r\n' | %s
  kumoctl %s status%s
Stop it with Ctrl-C; the data stays.
`, client, mgr, secret)
}

// listenNear listens on a port of loopback, or on a free one if it is taken.
func listenNear(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	return l, err
}

// freeNear is an address that can be listened at, the wanted port if it is free.
func freeNear(port int) (string, error) {
	l, err := listenNear(port)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func given(addrs ...string) (out []string) {
	for _, a := range addrs {
		if a != "" {
			out = append(out, a)
		}
	}
	return out
}
