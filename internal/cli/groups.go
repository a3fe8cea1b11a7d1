package cli

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Common are the flags that every daemon takes.
type Common struct {
	Log       string     // -o: a path, "-" or "" for standard output
	BinaryLog string     // -g: structured log, JSON lines
	Verbose   bool       // -v
	LogForm   LogOptions // --log-level, --log-format
	// LogLevel is that of the log, once it is open.
	LogLevel *LogLevel
	PIDFile  string // -d: run as a daemon
	// ConnectTimeout times ConnectRetryLimit is the silence after which a peer
	// is held dead.
	ConnectTimeout    time.Duration // -Ys
	ConnectRetryLimit int           // -Yn
	ReadThreads       int           // -TR: goroutines that read what the cache misses
	Keepalive         time.Duration // -k; not a gateway's
	Access            Access
}

// CommonFlags registers them; Parse fills c. keepalive: -k is the keepalive
// interval, as everywhere but on a gateway.
func CommonFlags(f *Flags, c *Common, keepalive bool) {
	f.NoArgs()
	stringVar(f, &c.Log, "o", "log", "PATH", "append the log to this file; - is standard output")
	boolVar(f, &c.Verbose, "v", "verbose", "log events too, not only warnings and errors")
	LogFlags(f, &c.LogForm)
	stringVar(f, &c.BinaryLog, "g", "binary-log", "PATH", "append a structured log (JSON lines) for kumolog")
	stringVar(f, &c.PIDFile, "d", "daemon", "PIDFILE", "run in the background and write the process ID there")
	timeout := f.Seconds("Ys", "connect-timeout", 500*time.Millisecond, "how long one try to reach a peer may take")
	retries := f.Int("Yn", "connect-retry-limit", "N", 4, 1, 1000, "tries before a peer is held dead: -Ys times -Yn of silence")
	readers := f.Int("TR", "read-threads", "N", 0, 0, 1024, "goroutines that read from disk (0: 16)")
	interval := new(time.Duration)
	*interval = 2 * time.Second
	if keepalive {
		interval = f.Seconds("k", "keepalive-interval", *interval, "longest interval of heartbeats")
	}
	f.Ignored("TW", "write-threads", true, "writes are batched, not spread over threads")
	f.Ignored("Ci", "clock-interval", true, "no clock takes part in replication")
	f.Check(func() error {
		c.ConnectTimeout, c.ConnectRetryLimit = *timeout, *retries
		c.ReadThreads, c.Keepalive = *readers, *interval
		return nil
	})
}

// ManagerOptions are kumo-manager's command line.
type ManagerOptions struct {
	Common
	Listen       string   // numeric ip:port
	Advertise    string   // numeric ip:port; Listen unless it is given
	Partners     []string // the other managers
	AutoReplace  bool
	ReplaceDelay time.Duration
	DetachDelay  time.Duration // ReplaceDelay unless it is given
	State        string        // state directory
	Alone        bool          // bootstrap although a partner is silent
	HTTP         string        // the console and monitoring, without the secret; "" is off
	// ConsoleCommands: the console's page may give commands.
	ConsoleCommands bool
}

// ManagerFlags makes kumo-manager's command line; Parse fills the options.
func ManagerFlags() (*Flags, *ManagerOptions) {
	f := NewFlags("kumo-manager", "-l ADDR[:PORT] [-p ADDR[:PORT],...] [flags]")
	f.About("Keeps the cluster map: which servers there are and what each of them holds.\nRun 1, 2, 3 or 5 of them; each names the others with -p.")
	o := &ManagerOptions{}
	listen := f.Addr("l", "listen", "", ManagerPort, "address of this manager, as others reach it")
	f.Require("listen")
	advertise := f.Addr("", "advertise", "", ManagerPort, "address at which others reach this manager, where that is another (a container's service)")
	partners := f.AddrList("p", "partner", ManagerPort, "the other managers")
	boolVar(f, &o.AutoReplace, "a", "auto-replace", "attach and detach servers without being told")
	delay := f.Seconds("Rs", "replace-delay", 4*time.Second, "how long -a waits before it acts")
	detach := f.Seconds("", "detach-delay", 0, "how long -a waits before it gives up a server at fault (0: as -Rs)")
	stringVar(f, &o.State, "s", "state", "DIR", "state directory (default ./kumo-manager-PORT)")
	boolVar(f, &o.Alone, "", "alone", "start a cluster although a partner does not answer")
	f.Ignored("c", "control", true, "tools talk to the listening port")
	CommonFlags(f, &o.Common, true)
	f.Check(func() error {
		o.Listen, o.Advertise, o.ReplaceDelay, o.DetachDelay = *listen, *advertise, *delay, *detach
		if o.Advertise == "" {
			o.Advertise = o.Listen
		}
		if o.DetachDelay == 0 {
			o.DetachDelay = o.ReplaceDelay
		}
		o.Partners = without(without(*partners, o.Listen), o.Advertise)
		if o.State == "" {
			_, port, err := net.SplitHostPort(o.Listen)
			if err != nil {
				return err
			}
			o.State = "kumo-manager-" + port
		}
		return nil
	})
	accessFlags(f, &o.Access, func() []string { return []string{o.Listen} }, nil)
	consoleFlags(f, o)
	return f, o
}

// ServerOptions are kumo-server's command line.
type ServerOptions struct {
	Common
	Listen     string // numeric ip:port
	StreamPort int
	Store      string
	Managers   []string // -m and -p together
	Text       string   // -t: serve memcached itself; "" is off
	Fsync      bool
	CacheSize  int64
	// ReplaceRate limits copying, in bytes a second; 0 is no limit.
	ReplaceRate int64
	// ScrubRate limits scrubbing, in bytes a second; 0: there is none. ScrubInterval is between
	// the beginnings of two rounds.
	ScrubRate     int64
	ScrubInterval time.Duration
	// DiskLow is the free space of the disk below which the server warns, DiskFull below which it takes no writes.
	DiskLow, DiskFull Amount
	// DrainTimeout is how long SIGTERM hands partitions over before the end; 0: not at all.
	DrainTimeout time.Duration
	Zone         string
	Clients      ClientLimits // of Text
}

// What servers that are not told scrub: all of the store once in a week, at a rate that reads 2 TiB in that time.
const (
	ScrubRate     = 4 << 20
	ScrubInterval = 7 * 24 * time.Hour
)

// ServerFlags makes kumo-server's command line; Parse fills the options.
func ServerFlags() (*Flags, *ServerOptions) {
	f := NewFlags("kumo-server", "-m ADDR[:PORT] [-p ADDR[:PORT]] -l ADDR[:PORT] -s PATH [flags]")
	f.About("Stores the data. A new server takes part after `kumoctl MANAGER attach`.")
	o := &ServerOptions{}
	managers := managerFlags(f)
	listen := f.Addr("l", "listen", "", ServerPort, "address of this server, as others reach it")
	stream := f.Port("L", "stream-listen", StreamPort, "port for copying; a free one if it is taken")
	stringVar(f, &o.Store, "s", "store", "PATH", "directory of the data")
	f.Require("manager1", "listen", "store")
	text := f.Listen("t", "memproto-text", TextPort, "serve memcached from here too")
	clientFlags(f, &o.Clients)
	boolVar(f, &o.Fsync, "", "fsync", "acknowledge a write only when it is safe from power loss")
	cache := CacheFlag(f)
	rate := f.Rate("", "replace-rate", 64<<20, "limit of copying between servers; 0 is none")
	drain := f.Seconds("", "drain-timeout", 10*time.Second, "how long SIGTERM hands partitions to others before the end (0: not at all)")
	scrub := f.Rate("", "scrub-rate", ScrubRate, "limit of reading in search of damage; 0 is not at all")
	interval := f.Seconds("", "scrub-interval", ScrubInterval, "how often all of the store is read for that")
	low := f.Amount("", "disk-low", "5%", "warn when less of the disk is free")
	full := f.Amount("", "disk-full", "0", "take no writes when less of the disk is free; never less than a reserve of 64M (5% of a small disk)")
	stringVar(f, &o.Zone, "", "zone", "NAME", "rack or room: copies of a pair go to different zones")
	f.Ignored("f", "offer-tmp", true, "copies are streamed, not written to files")
	f.Ignored("S", "replicate-set-retry", true, "replication does not give up by count")
	f.Ignored("D", "replicate-delete-retry", true, "replication does not give up by count")
	f.Ignored("M", "replace-memory-limit", true, "copies are streamed, and what waits is bounded")
	for _, g := range [][2]string{{"gN", "garbage-min-time"}, {"gX", "garbage-max-time"}, {"gS", "garbage-mem-limit"}} {
		f.Ignored(g[0], g[1], true, "deletes leave no garbage behind")
	}
	f.Ignored("k", "keepalive-interval", true, "managers tell servers how often to send heartbeats")
	CommonFlags(f, &o.Common, false)
	f.Check(func() error {
		o.Listen, o.StreamPort, o.Managers, o.Text = *listen, *stream, managers(), *text
		o.CacheSize, o.ReplaceRate, o.DrainTimeout = cache(1), *rate, *drain
		o.ScrubRate, o.ScrubInterval = *scrub, *interval
		o.DiskLow, o.DiskFull = *low, *full
		if o.Store == "" {
			return f.BadValue("store", "", errors.New("must be a path"))
		}
		return nil
	})
	accessFlags(f, &o.Access, func() []string { return []string{o.Listen} }, func() []string { return []string{o.Text} })
	return f, o
}

// GatewayOptions are kumo-gateway's command line.
type GatewayOptions struct {
	Common
	Managers []string // -m and -p together
	Serve    ServeOptions
	Loops    int    // event loops
	Zone     string // where it runs
}

// ServeOptions are how memcached is served to applications: kumo-gateway's
// flags that `kumofs local` takes too.
type ServeOptions struct {
	// Text, Binary and Cloudy are what to listen on, "" for not at all. Text takes
	// all protocols, told apart by the first byte; the others take binary alone.
	Text, Binary, Cloudy string
	KeyPrefix            string
	Timeout              time.Duration // of one request, retries included
	HTTP                 string        // /metrics, /healthz, /readyz, /v1/stat; "" is off
	Clients              ClientLimits
}

// ClientLimits are what memcached's clients may do, wherever it is served.
type ClientLimits struct {
	MaxItemSize    int64 // bytes
	AllowFlushAll  bool
	MaxConnections int
	IdleTimeout    time.Duration // 0: never
}

func clientFlags(f *Flags, o *ClientLimits) {
	size := f.Size("", "max-item-size", 1<<20, "largest value taken, 1G at most")
	boolVar(f, &o.AllowFlushAll, "", "allow-flush-all", "let flush_all wipe the store")
	conns := f.Int("", "max-connections", "N", 65536, 1, 1<<20, "client connections at one time")
	idle := f.Seconds("", "idle-timeout", 0, "close clients that say nothing for so long (0: never)")
	f.Check(func() error {
		o.MaxItemSize, o.MaxConnections, o.IdleTimeout = *size, *conns, *idle
		if o.MaxItemSize < 1024 || o.MaxItemSize > 1<<30 {
			return f.BadValue("max-item-size", ShowSize(o.MaxItemSize), errors.New("must be within 1K to 1G"))
		}
		return nil
	})
}

// ports are all that memcached is served on.
func (o *ServeOptions) ports() []string { return []string{o.Text, o.Binary, o.Cloudy} }

// GatewayFlags makes kumo-gateway's command line; Parse fills the options.
func GatewayFlags() (*Flags, *GatewayOptions) {
	f := NewFlags("kumo-gateway", "-m ADDR[:PORT] [-p ADDR[:PORT]] [-t PORT] [-b PORT] [-c PORT] [flags]")
	f.About(fmt.Sprintf("Speaks memcached to applications and keeps no state. Without -t, -b and -c it\nlistens on port %d.", TextPort))
	o := &GatewayOptions{}
	managers := managerFlags(f)
	f.Require("manager1")
	ServeFlags(f, &o.Serve)
	stringVar(f, &o.Zone, "", "zone", "NAME", "rack or room: servers that it does not reach itself are reached through one there")
	loops := f.Int("", "loops", "N", 1, 1, 64, "event loops, a processor each at most; clients are divided among them")
	CommonFlags(f, &o.Common, false)
	f.Check(func() error {
		o.Managers, o.Loops = managers(), *loops
		if o.Serve.Text == "" && o.Serve.Binary == "" && o.Serve.Cloudy == "" {
			o.Serve.Text = fmt.Sprintf(":%d", TextPort)
		}
		return nil
	})
	accessFlags(f, &o.Access, nil, o.Serve.ports)
	return f, o
}

// ServeFlags registers the flags of serving memcached; Parse fills the options.
func ServeFlags(f *Flags, o *ServeOptions) {
	text := f.Listen("t", "memproto-text", TextPort, "serve memcached here (text, meta and binary)")
	binary := f.Listen("b", "memproto-binary", BinaryPort, "serve memcached's binary protocol here")
	cloudy := f.Listen("c", "cloudy", CloudyPort, "serve memcached's binary protocol here too")
	stringVar(f, &o.KeyPrefix, "k", "key-prefix", "PREFIX", "put this before every key")
	timeout := f.Seconds("", "timeout", 10*time.Second, "how long a request is retried through failures")
	stringVar(f, &o.HTTP, "", "http", "[ADDR:]PORT", "serve /metrics, /healthz, /readyz and /v1/stat here")
	clientFlags(f, &o.Clients)
	f.Ignored("F", "memproto-save-flag", false, "flags are always kept")
	f.Ignored("E", "memproto-save-expire", false, "expiry times are always kept")
	for _, r := range [][2]string{{"G", "get-retry"}, {"S", "set-retry"}, {"D", "delete-retry"}} {
		f.Ignored(r[0], r[1], true, "retries go on within --timeout")
	}
	f.Ignored("rn", "renew-threshold", true, "the map is renewed at once")
	f.Ignored("As", "async-replicate-set", false, "an answer before all copies are written could be lost")
	f.Ignored("Ad", "async-replicate-delete", false, "an answer before all copies are deleted could be lost")
	f.Ignored("lc", "local-cache", true, "a cache of the gateway's own would answer old values")
	f.Check(func() error {
		o.Text, o.Binary, o.Cloudy = *text, *binary, *cloudy
		o.Timeout = *timeout
		if strings.HasPrefix(o.KeyPrefix, "\xff") { // so that no key looks like one of package item's chunks
			return f.BadValue("key-prefix", o.KeyPrefix, errors.New("must not begin with the byte 0xff"))
		}
		if o.HTTP == "" {
			return nil
		}
		addr, err := ResolveListen(o.HTTP, 0)
		if err != nil {
			return f.BadValue("http", o.HTTP, err)
		}
		o.HTTP = addr
		return nil
	})
}

// managerFlags registers -m and -p of servers and gateways; the function gives
// both together after Parse.
func managerFlags(f *Flags) func() []string {
	first := f.AddrList("m", "manager1", ManagerPort, "managers")
	second := f.AddrList("p", "manager2", ManagerPort, "further managers")
	return func() []string { return MergeAddrs(*first, *second) }
}

// stringVar and boolVar register into a field that Parse's checks fill.
func stringVar(f *Flags, dst *string, short, long, valueName, help string) {
	v := f.String(short, long, valueName, "", help)
	f.Check(func() error { *dst = *v; return nil })
}

func boolVar(f *Flags, dst *bool, short, long, help string) {
	v := f.Bool(short, long, help)
	f.Check(func() error { *dst = *v; return nil })
}

// without drops one address from a list: a manager may be given its own in -p,
// so that all can share one command line.
func without(list []string, addr string) []string {
	var out []string
	for _, a := range list {
		if a != addr {
			out = append(out, a)
		}
	}
	return out
}
