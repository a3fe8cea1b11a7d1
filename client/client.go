package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/secret"
)

// Defaults and limits of Options.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxItemSize = 1 << 20  // bytes
	DefaultMaxInFlight = 64 << 20 // bytes
	// MaxItemSize is the largest Options.MaxItemSize, in bytes.
	MaxItemSize = 1 << 30
)

// Options of a Client. Managers is needed; everything else has a default.
type Options struct {
	// Managers are the cluster's managers, "host" or "host:port" (port 19700).
	// One that can be reached is enough: it names the others.
	Managers []string
	// Timeout bounds every call, its retries included, and Open; of a scan every page,
	// and of a value above 1 MiB every part of it.
	// While a call waits for room (MaxInFlight) its time does not run. A context may
	// end a call earlier, not later.
	Timeout time.Duration
	// MaxItemSize bounds the values that this client writes, in bytes. A gateway
	// has its own (--max-item-size).
	MaxItemSize int
	// MaxInFlight bounds what calls under way hold, in bytes of keys and values to
	// be written and about 500 for each call: further calls wait.
	MaxInFlight int
	// AllowFlushAll lets FlushAll empty the store.
	AllowFlushAll bool
	// ClusterSecretFile is the file of a cluster that has a secret
	// (--cluster-secret-file); "" is one that has none. It is read by Open, and again
	// by ReloadSecret.
	ClusterSecretFile string
	// Logger hears of connections made and lost, and of managers that refuse; nil is
	// nobody.
	Logger *slog.Logger
}

// Client is a connection to a cluster. All methods may be called by any number of
// goroutines at once.
type Client struct {
	opt        Options
	ctx        context.Context // done when the client is closed or has failed
	cancel     context.CancelFunc
	loop       loop.Loop
	router     *router.Router // the loop's
	member     *control.Member
	secret     *secret.Secret      // nil: there is none
	budget     *semaphore.Weighted // of MaxInFlight
	goroutines sync.WaitGroup
	partitions atomic.Int32          // 0: no map yet
	mapped     chan struct{}         // closed with the first map that has servers
	ended      chan struct{}         // closed when the loop has ended
	failed     atomic.Pointer[error] // why it failed; set before ctx is done

	// The loop's:
	held     []work // begun when the router has room
	flushing bool
}

// Open connects to a cluster. It returns when a manager has told where the servers
// are, which connections are made to when they are first needed. When ctx ends, or
// after Options.Timeout, it fails with ErrUnavailable, and nothing is left behind.
//
// ctx is for Open alone: the client lives until Close.
func Open(ctx context.Context, opt Options) (*Client, error) {
	managers, err := opt.check()
	if err != nil {
		return nil, err
	}
	c := &Client{opt: opt, budget: semaphore.NewWeighted(int64(opt.MaxInFlight)), mapped: make(chan struct{}), ended: make(chan struct{})}
	if opt.ClusterSecretFile != "" {
		if c.secret, err = secret.Load(opt.ClusterSecretFile, opt.Logger); err != nil {
			return nil, err
		}
	}
	if c.loop, err = loop.New(); err != nil {
		return nil, fmt.Errorf("%w: cannot make an event loop: %w", ErrUnavailable, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.router = router.New(c.loop, router.Options{Timeout: opt.Timeout, Secret: c.secret, Log: opt.Logger})
	var said lastError
	c.member = control.NewMember(control.MemberConfig{
		Managers: managers,
		Secret:   c.secret,
		Logger:   slog.New(said.handler(opt.Logger.Handler())),
		Hello: func() control.Hello {
			return control.Hello{Role: control.RoleGateway, Version: cli.Version, Client: true}
		},
		OnMap:          func(m *clustermap.Map) { c.loop.Post(func() { c.adopt(m) }) },
		OnConnected:    func(m string) { opt.Logger.Info("connected to manager", "addr", m) },
		OnDisconnected: func(m string, err error) { opt.Logger.Info("lost manager", "addr", m, "error", err) },
		OnRefused: func(r control.Refuse) {
			said.set(r.Reason)
			opt.Logger.Warn("a manager refuses this client", "reason", r.Reason)
		},
	})
	c.goroutines.Go(func() {
		if err := c.member.Run(c.ctx); err != nil { // a refusal for good
			c.failed.Store(&err)
		}
		c.cancel()
	})
	c.goroutines.Go(func() {
		defer close(c.ended)
		_ = c.loop.Run(c.ctx) // nil
	})
	limit := time.NewTimer(opt.Timeout)
	defer limit.Stop()
	select {
	case <-c.mapped:
		return c, nil
	case <-c.ended:
		err = c.gone()
	case <-ctx.Done():
		err = fmt.Errorf("%w: no cluster map: %w%s", ErrUnavailable, ctx.Err(), said.text())
	case <-limit.C:
		err = fmt.Errorf("%w: no cluster map within %v: no manager was reached, or no server is attached%s", ErrUnavailable, opt.Timeout, said.text())
	}
	_ = c.Close()
	return nil, err
}

// check sets defaults and gives the managers' addresses as they are dialed.
func (opt *Options) check() (managers []string, err error) {
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.MaxItemSize <= 0 {
		opt.MaxItemSize = DefaultMaxItemSize
	}
	if opt.MaxItemSize > MaxItemSize {
		return nil, fmt.Errorf("kumofs: Options.MaxItemSize is %d, more than %d", opt.MaxItemSize, MaxItemSize)
	}
	if opt.MaxInFlight <= 0 {
		opt.MaxInFlight = DefaultMaxInFlight
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if len(opt.Managers) == 0 {
		return nil, errors.New("kumofs: Options.Managers is empty")
	}
	for _, m := range opt.Managers {
		addr, err := managerAddr(m)
		if err != nil {
			return nil, err
		}
		managers = append(managers, addr)
	}
	return managers, nil
}

// managerAddr adds the port. Names stay names, and are looked up at each connection:
// a program may outlive a name's address.
func managerAddr(s string) (string, error) {
	host, port := s, strconv.Itoa(cli.ManagerPort)
	switch {
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.Count(s, ":") == 1 || strings.HasPrefix(s, "["):
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("kumofs: manager %q is not host:port", s)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("kumofs: manager %q: bad port", s)
		}
	}
	switch host {
	case "":
		return "", fmt.Errorf("kumofs: manager %q lacks a host", s)
	case "localhost": // not asked of the resolver, as kumofs' programs do not
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// adopt takes a newer map, on the loop.
func (c *Client) adopt(m *clustermap.Map) {
	c.router.SetMap(m)
	if len(m.Servers) > 0 && c.partitions.Swap(int32(len(m.Partitions))) == 0 {
		close(c.mapped)
	}
}

// Close ends the client and its goroutines, and waits for them. Calls under way
// return with ErrClosed, writes that may have been done with ErrOutcomeUnknown. It
// may be called again, and returns nil.
func (c *Client) Close() error {
	c.cancel()
	c.goroutines.Wait()
	return nil
}

// ReloadSecret reads Options.ClusterSecretFile again, for connections that are opened
// from now on. After an error what was known before stays.
func (c *Client) ReloadSecret() error {
	if c.secret == nil {
		return nil
	}
	return c.secret.Reload()
}
