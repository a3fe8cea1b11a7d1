package tools

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/secret"
)

const hashCommands = `Commands:
  hash KEY...    the hash of each key
  assign KEY...  the servers of each key; 0 is the primary
  dump           the servers of every partition: first hash, number, servers

With a list of servers it is planned as for a new cluster of just these; a
running cluster's own assignment is what -m shows.`

// keyPlace is where one key belongs, for --json.
type keyPlace struct {
	Key       string   `json:"key"`
	Hash      string   `json:"hash"`
	Partition *uint16  `json:"partition,omitempty"`
	Nodes     []string `json:"nodes,omitempty"`
}

// partPlace is where one partition lies, for --json.
type partPlace struct {
	Partition int      `json:"partition"`
	Hash      string   `json:"hash"`
	Nodes     []string `json:"nodes"`
}

// Kumohash is the program kumohash.
func Kumohash(ctx context.Context, args []string, out io.Writer) error {
	f := cli.NewFlags("kumohash", "SERVER[:PORT=19800]... -- COMMAND [flags]\n-m MANAGER[:PORT=19700][,MANAGER...] COMMAND [flags]")
	f.About(hashCommands)
	managers := ManagerFlag(f, "ask this manager for the running cluster's map")
	openSecret := SecretFlag(f)
	asJSON := f.Bool("", "json", "print JSON")
	if err := f.Parse(args, out); err != nil {
		return err
	}
	usage := func(format string, args ...any) error {
		return &cli.UsageError{Prog: "kumohash", Msg: fmt.Sprintf(format, args...), Help: "\n" + f.Help()}
	}
	servers, rest := splitServers(f, f.Given("manager"))
	if len(rest) == 0 {
		return usage("needs a command")
	}
	command, keys := rest[0], rest[1:]
	switch {
	case command != "hash" && command != "assign" && command != "dump":
		return usage("unknown command %q", command)
	case command == "dump" && len(keys) > 0:
		return usage("dump: unexpected argument %q", keys[0])
	case command != "dump" && len(keys) == 0:
		return usage("%s needs a key", command)
	}
	if command == "hash" {
		return writeKeys(out, nil, keys, *asJSON)
	}
	if !f.Given("manager") && len(servers) == 0 {
		return usage("%s needs a list of servers or -m MANAGER", command)
	}
	sec, err := openSecret()
	if err != nil {
		return err
	}
	m, err := hashMap(ctx, f, sec, *managers, servers)
	if err != nil {
		return err
	}
	if command == "dump" {
		return writePartitions(out, m, *asJSON)
	}
	return writeKeys(out, m, keys, *asJSON)
}

// splitServers parts the list of servers from the command. "--" stands between
// them; without it the first word that is a command does.
func splitServers(f *cli.Flags, managed bool) (servers, rest []string) {
	args := f.Args()
	if managed {
		return nil, args
	}
	if n := f.Dash(); n >= 0 {
		return args[:n], args[n:]
	}
	n := slices.IndexFunc(args, func(s string) bool { return s == "hash" || s == "assign" || s == "dump" })
	if n < 0 {
		return args, nil
	}
	return args[:n], args[n:]
}

// hashMap is the manager's map, or one planned for the servers named.
func hashMap(ctx context.Context, f *cli.Flags, sec *secret.Secret, managers string, servers []string) (*clustermap.Map, error) {
	if f.Given("manager") {
		addrs, err := ResolveAny(f, managers, cli.ManagerPort)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, Deadline)
		defer cancel()
		c := NewClient("manager", addrs...).WithSecret(sec)
		defer c.Close()
		return c.Map(ctx)
	}
	var addrs []string
	for _, s := range servers {
		addr, err := planAddr(s)
		if err != nil {
			return nil, f.UsageError("%s", err)
		}
		addrs = append(addrs, addr)
	}
	return clustermap.PlanAddrs(addrs, 0, 0), nil
}

// planAddr completes a server's address. Other names than localhost stay names:
// planning needs no server, so neither does it need a resolver.
func planAddr(s string) (string, error) {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host = s[:i]
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err == nil || host == "localhost" || strings.Contains(host, ":") || host == "" {
		return cli.ResolveAddr(s, cli.ServerPort)
	}
	// The port is checked as that of any address.
	addr, err := cli.ResolveAddr("127.0.0.1"+s[len(host):], cli.ServerPort)
	if err != nil {
		return "", fmt.Errorf("address %q: bad port", s)
	}
	return host + strings.TrimPrefix(addr, "127.0.0.1"), nil
}

// writeKeys prints keys with their hashes and, given a map, their servers.
func writeKeys(out io.Writer, m *clustermap.Map, keys []string, asJSON bool) error {
	places := []keyPlace{}
	for _, key := range keys {
		p := keyPlace{Key: key, Hash: fmt.Sprintf("%016x", clustermap.Hash([]byte(key)))}
		if m != nil && len(m.Partitions) > 0 {
			part := m.PartitionOf([]byte(key))
			p.Partition, p.Nodes = &part, partitionAddrs(m, int(part))
		}
		places = append(places, p)
	}
	if asJSON {
		return WriteJSON(out, places)
	}
	for _, p := range places {
		fmt.Fprintf(out, "%s  %s\n", p.Hash, p.Key)
		for i, addr := range p.Nodes {
			fmt.Fprintf(out, "  %d: %s\n", i, addr)
		}
	}
	return nil
}

// writePartitions prints a line a partition.
func writePartitions(out io.Writer, m *clustermap.Map, asJSON bool) error {
	places := []partPlace{}
	for i := range m.Partitions {
		first := uint64(i)
		if n := len(m.Partitions); n > 1 {
			first <<= 64 - bits.Len(uint(n-1))
		}
		places = append(places, partPlace{i, fmt.Sprintf("%016x", first), partitionAddrs(m, i)})
	}
	if asJSON {
		return WriteJSON(out, places)
	}
	for _, p := range places {
		fmt.Fprintf(out, "%s  %4d  %s\n", p.Hash, p.Partition, strings.Join(p.Nodes, " "))
	}
	return nil
}

// partitionAddrs are the addresses of a partition's replicas, the primary first.
func partitionAddrs(m *clustermap.Map, i int) []string {
	addrs := []string{}
	for _, id := range m.Partitions[i].Replicas {
		if s := m.Server(id); s != nil {
			addrs = append(addrs, s.Addr)
		}
	}
	return addrs
}
