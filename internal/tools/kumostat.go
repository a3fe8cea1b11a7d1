package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
)

const statKeys = `Commands:
  pid                   process ID
  uptime                seconds since its start
  time                  Unix time there
  version               version of kumofs
  cmd_get               gets done
  cmd_set               sets done
  cmd_delete            deletes done
  items                 pairs stored there
  stats                 all numbers there are
  rhs                   the servers that reads go to
  whs                   the servers that writes go to
  hscheck               whether these two are the same
  replstat              ready, WAIT, Copying, Deleting or inactive
  checksum [PARTITION]  checksum over the pairs stored there
  pairs PARTITION       keys and versions stored there, where copies differ
  log_level [LEVEL]     the least level that is logged: debug, info, warn or error, and
                        changes it until SIGHUP or the end; managers and gateways
                        (their port of --http) take it too
  hotkeys [N]           the N keys (20) read and written most in about the last minute,
                        found by samples: how often a second, share of all there, key
  set_delay             favour throughput over latency
  unset_delay           favour latency over throughput`

var statNames = strings.Fields("pid uptime time version cmd_get cmd_set cmd_delete items stats rhs whs hscheck replstat checksum pairs hotkeys log_level set_delay unset_delay")

// statAnswer is one server's answer, in both forms.
type statAnswer struct {
	addr  string
	text  string // without the last newline
	value any    // for --json
	err   error
}

// Kumostat is the program kumostat.
func Kumostat(ctx context.Context, args []string, out, errOut io.Writer) error {
	f := cli.NewFlags("kumostat", "SERVER[:PORT=19800] COMMAND [flags]\n-m MANAGER[:PORT=19700][,MANAGER...] COMMAND [flags]")
	f.About(statKeys)
	managers := ManagerFlag(f, "ask every active server of this manager's cluster")
	openSecret := SecretFlag(f)
	asJSON := f.Bool("", "json", "print JSON")
	if err := f.Parse(args, out); err != nil {
		return err
	}
	usage := func(format string, args ...any) error {
		return &cli.UsageError{Prog: "kumostat", Msg: fmt.Sprintf(format, args...), Help: "\n" + f.Help()}
	}
	rest, many := f.Args(), f.Given("manager")
	list, port := *managers, cli.ManagerPort
	if !many {
		if len(rest) == 0 {
			return usage("needs a server's address and a command")
		}
		list, port, rest = rest[0], cli.ServerPort, rest[1:]
	}
	if len(rest) == 0 {
		return usage("needs a command")
	}
	key, rest := rest[0], rest[1:]
	if !slices.Contains(statNames, key) {
		return usage("unknown command %q", key)
	}
	more := url.Values{}
	if key == "pairs" && len(rest) == 0 {
		return usage("pairs: needs the number of a partition")
	}
	if (key == "checksum" || key == "pairs") && len(rest) > 0 {
		if n, err := strconv.Atoi(rest[0]); err != nil || n < 0 || n >= clustermap.MaxPartitions {
			return usage("%s: %q is not the number of a partition", key, rest[0])
		}
		more.Set("partition", rest[0])
		rest = rest[1:]
	}
	if key == "log_level" && len(rest) > 0 {
		more.Set("level", rest[0])
		rest = rest[1:]
	}
	if key == "hotkeys" && len(rest) > 0 {
		if n, err := strconv.Atoi(rest[0]); err != nil || n < 1 {
			return usage("hotkeys: %q is not a number of keys", rest[0])
		}
		more.Set("n", rest[0])
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return usage("%s: unexpected argument %q", key, rest[0])
	}
	addrs, err := ResolveAny(f, list, port)
	if err != nil {
		return err
	}
	sec, err := openSecret()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	if many {
		if addrs, err = activeServers(ctx, sec, addrs); err != nil {
			return err
		}
	}
	return writeAnswers(askAll(ctx, sec, addrs, key, more), key, many, *asJSON, out, errOut)
}

// activeServers asks a manager which servers are active.
func activeServers(ctx context.Context, sec *secret.Secret, managers []string) ([]string, error) {
	c := NewClient("manager", managers...).WithSecret(sec)
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	sortNodes(s.Attached)
	servers := []string{}
	for _, n := range s.Attached {
		if n.State == "active" {
			servers = append(servers, n.Addr)
		}
	}
	return servers, nil
}

// askAll asks all servers at once: a dead one does not hold up the others.
func askAll(ctx context.Context, sec *secret.Secret, servers []string, key string, more url.Values) []statAnswer {
	answers := make([]statAnswer, len(servers))
	var wg sync.WaitGroup
	for i, addr := range servers {
		wg.Go(func() { answers[i] = ask(ctx, sec, addr, key, more) })
	}
	wg.Wait()
	return answers
}

// ask asks one server.
func ask(ctx context.Context, sec *secret.Secret, addr, key string, more url.Values) statAnswer {
	c := NewClient("server", addr).WithSecret(sec)
	defer c.Close()
	a := statAnswer{addr: addr}
	if key == "rhs" || key == "whs" {
		// There is one map for both here; the server's own is what it routes by.
		var m *clustermap.Map
		if m, a.err = c.Map(ctx); a.err == nil {
			a.text, a.value = mapText(m), mapJSON(m)
		}
		return a
	}
	if key == "log_level" {
		if a.text, a.err = c.LogLevel(ctx, more.Get("level")); a.err == nil {
			a.value = a.text
		}
		return a
	}
	if key == "hotkeys" {
		n := hotKeysUsual
		if asked := more.Get("n"); asked != "" {
			n, _ = strconv.Atoi(asked) // a number: the command line was looked at
		}
		var hot *control.HotKeys
		if hot, a.err = c.HotKeys(ctx, n); a.err == nil {
			a.text, a.value = hotText(hot), hot
		}
		return a
	}
	var values map[string]any
	if values, a.err = c.Stat(ctx, key, more); a.err != nil {
		return a
	}
	if v, one := values[key]; one && (len(values) == 1 || key != "stats") {
		a.text, a.value = statText(v), v
		return a
	}
	if len(values) == 0 {
		a.err = fmt.Errorf("server %s: has no value for %s", addr, key)
		return a
	}
	lines := []string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, name+": "+statText(values[name]))
	}
	a.text, a.value = strings.Join(lines, "\n"), values
	return a
}

// hotKeysUsual is how many keys hotkeys shows.
const hotKeysUsual = 20

// hotText is a line for each key; the key is last, quoted: it may be any bytes.
func hotText(hot *control.HotKeys) string {
	var lines []string
	for _, kind := range []struct {
		name string
		keys []control.HotKey
	}{{"read", hot.Reads}, {"write", hot.Writes}} {
		for _, k := range kind.keys {
			lines = append(lines, fmt.Sprintf("%-5s %10.1f/s %5.1f%%  partition %5d  %s", kind.name, k.PerSecond, 100*k.Share, k.Partition, strconv.Quote(string(k.Bytes))))
		}
	}
	return strings.Join(lines, "\n")
}

// statText is one value as a person or a script reads it.
func statText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// mapText is what rhs and whs print.
func mapText(m *clustermap.Map) string {
	var b strings.Builder
	writeStamp(&b, mapTime(m), m.Version)
	b.WriteString("node:")
	for _, s := range sortedServers(m) {
		fmt.Fprintf(&b, "\n  %s  (%s)", s.Addr, s.State)
	}
	return b.String()
}

// mapTime is when the map changed last; zero without a cluster.
func mapTime(m *clustermap.Map) time.Time {
	if m.Updated == 0 {
		return time.Time{}
	}
	return time.UnixMilli(m.Updated)
}

// mapJSON is the same for --json.
func mapJSON(m *clustermap.Map) any {
	type node struct {
		ID    string `json:"id"`
		Addr  string `json:"addr"`
		State string `json:"state"`
	}
	nodes := []node{}
	for _, s := range sortedServers(m) {
		nodes = append(nodes, node{s.ID.String(), s.Addr, s.State.String()})
	}
	return map[string]any{"cluster": m.ClusterID.String(), "clock": m.Version, "timestamp": mapTime(m), "nodes": nodes}
}

func sortedServers(m *clustermap.Map) []clustermap.Server {
	return slices.SortedFunc(slices.Values(m.Servers), func(a, b clustermap.Server) int { return CompareAddrs(a.Addr, b.Addr) })
}

// writeAnswers prints the answers; the error says that some server gave none.
func writeAnswers(answers []statAnswer, key string, many, asJSON bool, out, errOut io.Writer) error {
	failed := 0
	values := map[string]any{}
	for _, a := range answers {
		switch {
		case a.err != nil && !many:
			return a.err
		case a.err != nil:
			failed++
			fmt.Fprintf(errOut, "kumostat: %s\n", a.err)
		case asJSON:
			values[a.addr] = a.value
		case a.text == "" && key == "hotkeys": // none
		case !many:
			fmt.Fprintln(out, a.text)
		case key == "stats" || key == "hotkeys":
			for line := range strings.SplitSeq(a.text, "\n") {
				fmt.Fprintf(out, "%s:  %s\n", a.addr, line)
			}
		default:
			fmt.Fprintf(out, "%s:  %s\n", a.addr, a.text)
		}
	}
	if asJSON {
		var v any = values
		if !many {
			v = map[string]any{key: answers[0].value}
		}
		if err := WriteJSON(out, v); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &cli.Exit{Code: 1}
	}
	if len(answers) == 0 && !asJSON {
		return errors.New("no active server")
	}
	return nil
}
