package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
)

// defaultPort is that of memcached and of `kumofs local`.
const defaultPort = 11211

// options are the command line.
type options struct {
	load     Load
	systems  []System
	compare  bool
	fill     bool
	rounds   int
	json     bool
	tolerate bool

	interrupted bool // before all was measured
}

// parseOptions reads the command line.
func parseOptions(args []string, out io.Writer) (*options, error) {
	f := cli.NewFlags("kumobench", fmt.Sprintf("HOST[:PORT=%d][+HOST[:PORT]...] [flags]\n--compare NAME=HOST[:PORT][+HOST[:PORT]...][,protocol=NAME][,pid=PID+PID...] --compare ... [flags]", defaultPort))
	f.About(`Puts a server under load and measures it. Every value is checked: a wrong one, or
a failed operation without --tolerate, makes the exit status 1.

Closed loop: each connection sends when it was answered, and latency counts from
sending. Open loop (--rate): operations are due at a fixed rate, whatever becomes of
those before, and latency counts from when they were due.

With --compare the systems take turns in each round, in another order each time, and
are compared with the first one. Connections are spread evenly over a system's
addresses, which must all show the same data. Keys bench:0000000000 and following are overwritten.`)
	o := &options{}
	protocol := f.String("", "protocol", "NAME", "text", "text, meta or binary of memcached, or redis")
	conns := f.Int("", "connections", "N", 32, 1, 65536, "connections")
	pipeline := f.Int("", "pipeline", "N", 1, 1, 65536, "operations in flight on each connection")
	keys := f.Int("", "keys", "N", 100000, 1, maxKeys, "keys that are used")
	distribution := f.String("", "distribution", "NAME", "uniform", "how often each key: uniform, zipf or zipf:EXPONENT")
	size := f.String("", "value-size", "SIZE[-SIZE]", "100", "bytes of a value, or from how many to how many")
	operations := f.Int("", "operations", "N", 100000, 1, 1<<50, "operations of a measurement")
	limit := f.Seconds("", "time", 0, "measure for so long instead (0: by --operations)")
	rate := f.Int("", "rate", "N", 0, 0, 100_000_000, "open loop: operations a second (0: closed loop)")
	sets := f.Int("", "set", "PERCENT", 0, 0, 100, "how many of the operations are sets; the others are gets")
	multiget := f.Int("", "multiget", "N", 1, 1, 1000, "keys of each get")
	warmUp := f.Int("", "warm-up", "N", 1000, 0, 1<<50, "operations before each measurement that are not counted")
	fill := f.Bool("", "fill", "store every key first")
	pids := f.String("", "pid", "PID,...", "", "print the CPU time that these processes use")
	rounds := f.Int("", "rounds", "N", 1, 1, 10000, "measurements of each system")
	compare := f.Strings("", "compare", "NAME=ADDR,...", "a system to compare; give it several times")
	threads := f.Int("", "threads", "N", 1, 1, 1024, "threads of this program")
	timeout := f.Seconds("", "timeout", 30*time.Second, "after which an operation has failed, and its connection is given up")
	seed := f.Int("", "seed", "N", 1, 0, 1<<62, "of the keys and operations that are drawn")
	tolerate := f.Bool("", "tolerate", "failed operations do not make the exit status 1")
	asJSON := f.Bool("", "json", "print JSON")
	f.Check(func() error {
		o.load = Load{
			Connections: *conns, Pipeline: *pipeline, Threads: *threads, Keys: uint64(*keys), Operations: int64(*operations), Time: *limit,
			Rate: *rate, Sets: *sets, Multiget: *multiget, WarmUp: int64(*warmUp), Seed: uint64(*seed), Timeout: *timeout,
		}
		o.fill, o.rounds, o.json, o.tolerate = *fill, *rounds, *asJSON, *tolerate
		var err error
		if o.load.Distribution, err = ParseDistribution(*distribution); err != nil {
			return f.BadValue("distribution", *distribution, err)
		}
		if o.load.MinValue, o.load.MaxValue, err = parseSizes(*size); err != nil {
			return f.BadValue("value-size", *size, err)
		}
		if *limit > 0 && f.Given("operations") {
			return errors.New("--operations and --time cannot both be given")
		}
		if !slices.Contains(Protocols, *protocol) {
			return f.BadValue("protocol", *protocol, fmt.Errorf("must be one of %s", strings.Join(Protocols, ", ")))
		}
		list, err := parsePIDs(*pids, ",")
		if err != nil {
			return f.BadValue("pid", *pids, err)
		}
		if o.compare = len(*compare) > 0; !o.compare {
			if len(f.Args()) != 1 {
				return errors.New("needs the address of one server, or --compare")
			}
			o.systems = []System{{Name: f.Args()[0], Addrs: strings.Split(f.Args()[0], "+"), Protocol: *protocol, PIDs: list}}
			return nil
		}
		if len(f.Args()) > 0 {
			return fmt.Errorf("unexpected argument %q beside --compare", f.Args()[0])
		}
		if len(list) > 0 {
			return errors.New("--pid cannot be given with --compare: write NAME=ADDR,pid=PID")
		}
		for _, text := range *compare {
			sys, err := parseSystem(text, *protocol)
			if err != nil {
				return f.BadValue("compare", text, err)
			}
			o.systems = append(o.systems, sys)
		}
		return nil
	})
	if err := f.Parse(args, out); err != nil {
		return nil, err
	}
	for i := range o.systems {
		addrs := o.systems[i].Addrs
		for j := range addrs {
			addr, err := cli.ResolveAddr(addrs[j], defaultPort)
			switch {
			case errors.Is(err, cli.ErrUnknownHost):
				return nil, err // the command line is good
			case err != nil:
				return nil, f.UsageError("%s", err)
			}
			addrs[j] = addr
		}
		if len(addrs) > o.load.Connections {
			return nil, f.UsageError("%d addresses need as many --connections", len(addrs))
		}
	}
	return o, nil
}

// parseSystem reads NAME=ADDR[+ADDR...][,protocol=NAME][,pid=PID+PID...].
func parseSystem(text, protocol string) (System, error) {
	parts := strings.Split(text, ",")
	name, addr, ok := strings.Cut(parts[0], "=")
	if !ok || name == "" || addr == "" {
		return System{}, errors.New("must begin with NAME=HOST:PORT")
	}
	s := System{Name: name, Addrs: strings.Split(addr, "+"), Protocol: protocol}
	for _, part := range parts[1:] {
		option, v, _ := strings.Cut(part, "=")
		var err error
		switch option {
		case "protocol":
			s.Protocol = v
			if !slices.Contains(Protocols, v) {
				err = fmt.Errorf("protocol must be one of %s", strings.Join(Protocols, ", "))
			}
		case "pid":
			s.PIDs, err = parsePIDs(v, "+")
		default:
			err = fmt.Errorf("unknown option %q: there are protocol and pid", option)
		}
		if err != nil {
			return System{}, err
		}
	}
	return s, nil
}

// parsePIDs reads a list of process IDs.
func parsePIDs(s, separator string) (pids []int, err error) {
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, separator) {
		pid, err := strconv.Atoi(part)
		if err != nil || pid < 1 {
			return nil, fmt.Errorf("%q is no process ID", part)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// parseSizes reads "100", "4K" or "10-1000".
func parseSizes(s string) (lo, hi int, err error) {
	first, last, two := strings.Cut(s, "-")
	if !two {
		last = first
	}
	a, err := cli.ParseSize(first)
	if err != nil {
		return 0, 0, err
	}
	b, err := cli.ParseSize(last)
	if err != nil {
		return 0, 0, err
	}
	if a > b || b > 1<<30 {
		return 0, 0, errors.New("must be from less to more, 1G at most")
	}
	return int(a), int(b), nil
}
