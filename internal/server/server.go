package server

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/store"
	"golang.org/x/sys/unix"
)

// Config is what a server is started with.
type Config struct {
	Listen     string // numeric ip:port
	StreamPort int    // on Listen's address; taken: a free one
	Store      string
	Managers   []string
	Zone       string
	// DrainTimeout bounds how long a server that is told to end hands its partitions to
	// others first; 0: it does not.
	DrainTimeout time.Duration
	Fsync        bool
	CacheSize    int64 // bytes for items and blocks read from disk
	// ReplaceRate limits copying from this server, in bytes a second; 0 is no limit.
	ReplaceRate int64
	// DiskFull is the free space below which this server takes no writes, beside the store's reserve; DiskLow
	// is where it warns.
	DiskFull, DiskLow store.Share
	// ScrubRate limits what scrubbing reads, in bytes a second; 0: there is none. A round
	// begins ScrubInterval after the one before; 0 is a week.
	ScrubRate     int64
	ScrubInterval time.Duration
	// ConnectTimeout bounds one try to reach a peer; 0 is 0.5 s.
	ConnectTimeout time.Duration
	ReadThreads    int // goroutines that read what the cache does not have; 0: readThreads
	Logger         *slog.Logger
	// Secret is the cluster's; nil: there is none, and everybody is let in.
	Secret *secret.Secret
	// OpenMetrics: /metrics, /healthz and /readyz are answered to who has not got the secret.
	OpenMetrics bool
	// LogLevel, if not nil, is that of Logger, for who may change it.
	LogLevel control.LogLevel
	// Text is where to serve memcached itself ("ip:port"); "" is nowhere.
	Text string
	// TextTLS, if not nil, has Text take TLS alone, with the present one of its configurations;
	// TextAuth, if not nil, has its clients tell user and password.
	TextTLS  func() *tls.Config
	TextAuth func(user, password []byte) bool
	// Clients bounds what its clients may do.
	Clients cli.ClientLimits
	// Watch, if not nil, is given what asks the event loop how this server is. Ready, if not nil, is
	// called then, when the store is open and the server listens.
	Watch func(probe func(context.Context) (status string, err error))
	Ready func(addr string)
	// Loop is the event loop it runs, not yet run; nil: one of its own.
	Loop loop.Loop

	http *connListener
	// options are what the store is opened with beside the above; tests set some.
	options store.Options
}

// readThreads is how many reads the disk has to do at a time.
const readThreads = 16

const (
	// saveAgain is when a map that could not be saved is tried again.
	saveAgain = time.Second
	// saveShare is how many times longer than to save a map the next one waits.
	saveShare = 10
)

func errPartitions(got, want int) error {
	return fmt.Errorf("the cluster map has %d partitions, this server's store has %d", got, want)
}

// boottime is CLOCK_BOOTTIME in ns: it counts the time a machine is suspended (R5).
func boottime() int64 {
	var ts unix.Timespec
	// Raw: it is called several times a turn, and does not wait.
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		panic("server: no CLOCK_BOOTTIME: " + e.Error())
	}
	return ts.Nano()
}

func random64() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// storeLog lets the store write to the daemon's log.
type storeLog struct{ *slog.Logger }

func (l storeLog) Infof(f string, a ...any)  { l.Info(fmt.Sprintf(f, a...)) }
func (l storeLog) Errorf(f string, a ...any) { l.Error(fmt.Sprintf(f, a...)) }

// Run is kumo-server: it serves until ctx is done and others have taken what it had
// (DrainTimeout), or returns why it cannot.
func Run(told context.Context, cfg Config) (err error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(told))
	defer cancel(nil)
	atOnce := context.AfterFunc(told, func() { cancel(nil) })
	defer atOnce()
	if cfg.ReadThreads <= 0 {
		cfg.ReadThreads = readThreads
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 500 * time.Millisecond
	}
	if cfg.ScrubInterval <= 0 {
		cfg.ScrubInterval = cli.ScrubInterval
	}
	n := &node{
		cfg: cfg, log: cfg.Logger, ctx: ctx, clock: boottime, started: time.Now(), runID: random64(),
		peers: map[clustermap.ServerID]*peer{}, inbound: map[clustermap.ServerID]*dataConn{},
		joins: map[replica.JoinWanted]struct{}{}, leasing: map[*replica.Replica]struct{}{},
		heldLimit: maxHeld,
	}
	n.leaving.released = make(chan struct{})
	n.scrub = newScrubber(n, cfg.ScrubRate, cfg.ScrubInterval)
	n.fatal = func(err error) {
		n.log.Error("this server stops", "err", err)
		cancel(err)
	}
	// Listen first: a port in use is found before the store counts a new incarnation.
	if n.loop = cfg.Loop; n.loop == nil {
		n.loop, err = loop.New()
	}
	if err != nil {
		return fmt.Errorf("cannot make an event loop: %w", err)
	}
	n.loop.OnError(func(err error) { n.log.Warn("cannot take a connection", "error", err) })
	ran := false
	defer func() {
		if !ran {
			cancel(nil)
			_ = n.loop.Run(ctx) // releases what it holds
		}
	}()
	listener, err := n.loop.Listen(cfg.Listen, n.accept)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", cfg.Listen, err)
	}
	n.cfg.http = newConnListener(listener.Addr())
	streams, err := n.listenStream()
	if err != nil {
		return err
	}
	defer streams.Close()
	if cfg.Text != "" {
		if err := n.serveText(cfg.Text); err != nil {
			return fmt.Errorf("cannot serve memcached on %s: %w", cfg.Text, err)
		}
	}
	if err := n.openStore(); err != nil {
		return err
	}
	defer func() {
		if cerr := n.store.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}()
	cache := store.NewCache(cfg.CacheSize / 2)
	n.rn = &replica.Node{Self: n.self, Leases: replica.NewLeases(n.clock()), Values: &values{c: cache}}
	n.commit.init(n)
	n.reads = newReaders(n, cfg.ReadThreads)
	n.scans = newScanner(n)
	n.copies = newCopier(n, cfg.ReplaceRate)
	n.backups = &backups{n: n}
	n.sweep.n, n.sweep.chunks.n = n, n
	n.witness = newWitness(n, listener.Addr())
	member, maps := n.newMember(listener.Addr(), streams.Addr().String())
	n.report.send = func(r *control.Report) { member.Send(*r) }
	n.loop.OnTurnEnd(n.endTurn)
	if n.text != nil {
		n.loop.OnTurnEnd(n.text.TurnEnd) // endTurn answers its commands
	}
	n.loop.Post(n.tick)

	wg := &n.wg
	wg.Go(n.witness.resume)
	wg.Go(func() { n.saveMaps(maps) })
	wg.Go(n.commit.run)
	wg.Go(func() { n.commit.watchInline(ctx) })
	for i := range cfg.ReadThreads {
		wg.Go(func() { n.reads.run(i) })
	}
	for range scanWorkers {
		wg.Go(n.scans.run)
	}
	n.copies.staff(ctx)
	wg.Go(func() { n.serveStreams(ctx, streams) })
	wg.Go(func() { n.sweep.run(ctx) })
	wg.Go(func() { n.scrub.run(ctx) })
	wg.Go(func() { n.watchSpace(ctx) })
	wg.Go(func() { n.scrub.mends.run(ctx) })
	web := &http.Server{Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }, // what reads the store for a tool ends with it
		ErrorLog:    slog.NewLogLogger(n.log.Handler(), slog.LevelInfo)}
	control.Guard(web, cfg.Secret, "server", cfg.OpenMetrics)
	wg.Go(func() { _ = web.Serve(n.cfg.http) }) // ends with http.ErrServerClosed
	wg.Go(func() {
		if err := member.Run(ctx); err != nil && ctx.Err() == nil {
			cancel(err)
		}
	})
	n.log.Info("listening", "addr", listener.Addr(), "stream", streams.Addr().String(), "store", n.store.Describe())
	if cfg.Watch != nil {
		cfg.Watch(n.probe)
	}
	if cfg.Ready != nil {
		cfg.Ready(listener.Addr())
	}
	ran = true
	if atOnce() { // it may have been told already
		defer context.AfterFunc(told, func() {
			n.leave(ctx)
			cancel(nil)
		})()
	}
	runErr := n.loop.Run(ctx)
	cancel(nil)
	close(n.commit.jobs)
	n.reads.stop()
	n.scans.stop()
	n.copies.stop()
	quit, done := context.WithTimeout(context.Background(), 2*time.Second)
	_ = web.Shutdown(quit) // closes its listener; who is not done by then is cut off
	done()
	_ = web.Close()
	n.web.Lock() // those who are cut off may be reading the store
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return runErr
}

// listenStream opens the stream port. One that is taken is replaced by a free
// one: the published tutorial names the same port twice.
func (n *node) listenStream() (net.Listener, error) {
	host, _, err := net.SplitHostPort(n.cfg.Listen)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(host, strconv.Itoa(n.cfg.StreamPort))
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			n.log.Warn(fmt.Sprintf("stream port %s is in use; using %s instead", addr, l.Addr()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on stream port %s: %w", addr, err)
	}
	return l, nil
}

func (n *node) openStore() error {
	cfg := &n.cfg
	opt := cfg.options
	opt.Fsync, opt.CacheSize, opt.Logger, opt.OnFatal = cfg.Fsync, max(cfg.CacheSize/2, 8<<20), storeLog{n.log}, n.storeFailed
	opt.OnDamage = n.scrub.suspectFile
	opt.Full, opt.Low = cfg.DiskFull, cfg.DiskLow
	s, err := store.Open(cfg.Store, opt)
	if err != nil {
		return err
	}
	id := s.Identity()
	n.store, n.self, n.cluster, n.uncertain = s, id.ID, id.ClusterID, id.UncertainTail
	if n.incarnation, err = s.StartIncarnation(); err == nil {
		n.stored, err = storedPartitions(s)
	}
	if err == nil {
		err = n.loadMap()
	}
	if err != nil {
		_ = s.Close() // the first error says more
		return err
	}
	n.log.Info("opened store", "path", cfg.Store, "found", s.Describe())
	return nil
}

// storedPartitions is the bookkeeping that a server begins with.
func storedPartitions(s *store.Store) (map[uint16]store.Bookkeeping, error) {
	stored, err := s.Partitions()
	if err != nil {
		return nil, err
	}
	sn := s.Snapshot()
	for part, b := range stored {
		// The zero position is also that of a whole copy of partition 0 that never had an operation.
		if b.Position != (store.Position{}) {
			continue
		}
		it := sn.Iter(part, nil)
		some := it.Next()
		if it.Close() != nil || some {
			// Pairs of which nobody knows how old they are: they are compared, not taken for a blank copy.
			b.Position.Unfinished = true
			stored[part] = b
		}
	}
	return stored, sn.Close()
}

// newMember makes the link to the managers. Its callbacks are on its own goroutine.
func (n *node) newMember(addr, streamAddr string) (*control.Member, <-chan *clustermap.Map) {
	maps := make(chan *clustermap.Map, 1)
	var member *control.Member
	cfg := control.MemberConfig{
		Managers: n.cfg.Managers,
		Logger:   n.log,
		Secret:   n.cfg.Secret,
		Hello: func() control.Hello {
			found := n.store.Identity() // as it is now: it becomes certain again
			h := control.Hello{
				Role: control.RoleServer, Version: cli.Version, ClusterID: found.ClusterID,
				ID: n.self, Addr: addr, StreamAddr: streamAddr, Zone: n.cfg.Zone,
				Incarnation: n.incarnation, RunID: n.runID, Uncertain: found.UncertainTail,
				Witness: n.witness.id(), Leaving: n.leaving.wants(),
			}
			if m := n.newestMap(); m != nil && m.ClusterID == h.ClusterID {
				h.KnownMap = m.Version
			}
			_ = n.onLoop(n.ctx, func() { // fails only when the server ends
				list := n.positions()
				h.HasData, h.Positions = len(list) > 0, control.EncodePositions(list)
			})
			return h
		},
		OnMap: func(m *clustermap.Map) {
			if id := n.store.Identity().ClusterID; id == 0 && m.Server(n.self) != nil {
				// Durable before this server takes part, so that it never serves another cluster.
				if err := n.store.SetCluster(m.ClusterID); err != nil {
					n.fatal(err)
					return
				}
			}
			if n.arrived.Swap(m) == nil { // of many that come meanwhile the last is enough
				n.loop.Post(func() { n.adopt(n.arrived.Swap(nil)) })
			}
			select { // the newest is kept for recovery
			case <-maps:
			default:
			}
			maps <- m
		},
		OnDead: func(d control.Dead) { n.loop.Post(func() { n.managerHoldsDead(d.Servers) }) },
		OnCommand: func(c control.Command) {
			n.wg.Go(func() { member.Reply(n.command(c)) })
		},
		OnRefused:  func(r control.Refuse) { n.log.Warn("a manager refuses this server", "reason", r.Reason) },
		OnReleased: n.leaving.onReleased,
		OnConnected: func(m string) {
			n.leaving.linked.Store(true)
			n.log.Info("connect success", "manager", m)
		},
		OnDisconnected: func(m string, err error) {
			n.leaving.linked.Store(false)
			n.log.Info("lost manager", "manager", m, "err", err)
		},
	}
	member = control.NewMember(cfg)
	return member, maps
}

// loadMap reads the map that an earlier run saved. It is for `kumoctl recover`
// alone: this run takes part by what a manager tells it.
func (n *node) loadMap() error {
	b, err := n.store.LoadMap()
	if err != nil || b == nil {
		return err
	}
	m, err := clustermap.DecodeMap(b)
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		n.log.Warn("the cluster map that was saved cannot be read", "err", err)
		return nil
	}
	n.saved.Store(m)
	return nil
}

// saveMaps keeps the newest map on disk, where `kumoctl recover` looks for it.
func (n *node) saveMaps(maps <-chan *clustermap.Map) {
	var m *clustermap.Map // to be saved
	said := false
	var rested time.Time // when the next may be saved
	for {
		var again <-chan time.Time
		if m != nil {
			again = time.After(saveAgain)
		}
		select {
		case <-n.ctx.Done():
			return
		case m = <-maps:
		case <-again:
		}
		if left := time.Until(rested); left > 0 {
			// While many steps follow each other not each is saved: that would be most of what this server does.
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(left):
			}
			select {
			case m = <-maps:
			default:
			}
		}
		began := time.Now()
		if m.Server(n.self) == nil {
			m = nil
			continue
		}
		err := n.store.SaveMap(clustermap.AppendMap(nil, m))
		rested = time.Now().Add(min(saveShare*time.Since(began), saveAgain))
		if err != nil {
			if !said && n.ctx.Err() == nil {
				said = true
				n.log.Warn("cannot save the cluster map; until it can be, no join at this server is recorded", "err", err)
			}
			continue
		}
		said = false
		n.saved.Store(m)
		m = nil
		n.loop.Post(func() {}) // what waited for it is reported at the turn's end
	}
}

// command carries out a manager's command; it may block.
func (n *node) command(c control.Command) control.Result {
	res := control.Result{ID: c.ID}
	switch c.Name {
	case "backup":
		dir := n.cfg.Store + "-" + c.Arg
		if err := n.store.Checkpoint(dir); err != nil {
			res.Error = err.Error()
		} else {
			res.Text = dir
		}
	case control.CommandDrain:
		how := control.Drains
		if c.Arg == control.DrainEnds {
			how = control.Stays
		}
		n.leaving.set(how)
		n.loop.Post(func() {}) // the end of the turn reports it
	case control.CommandWitness:
		var err error
		if res.Text, err = n.witness.command(c.Arg); err != nil {
			res.Error = err.Error()
		}
	default:
		res.Error = fmt.Sprintf("unknown command %q: is this server older than the manager?", c.Name)
	}
	return res
}
