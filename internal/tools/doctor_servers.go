package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

const (
	// clockLimit is how far a server's clock may be from this machine's: expiry times given
	// in seconds from now are counted by the clock of whichever server leads the key.
	clockLimit = 2 * time.Second
	// spaceLow and spaceLeast are how much of a server's disk should be free, as a share of what
	// its store and the free space are together, and in bytes.
	spaceLow   = 0.10
	spaceLeast = 1 << 30
)

// seen is what a server answered.
type seen struct {
	healthy error
	stats   map[string]any // nil: it did not answer
	off     time.Duration  // its clock less ours, as far as one can tell
}

// examineServers asks each active server whether it does its work, and how it is.
func (ctl *ctl) examineServers(ctx context.Context, s *control.Status) (out []Finding) {
	found := make([]seen, len(s.Attached))
	var wg sync.WaitGroup
	for i, n := range s.Attached {
		if n.State == "active" {
			wg.Go(func() { found[i] = ctl.ask(ctx, n.Addr) })
		}
	}
	wg.Wait()
	versions := map[string][]string{}
	open := []string{}
	say := func(level, do, format string, args ...any) {
		out = append(out, Finding{level, fmt.Sprintf(format, args...), do})
	}
	for i := range found {
		f, addr := &found[i], s.Attached[i].Addr
		if f.healthy != nil {
			say("ERROR", "", "server %s is not healthy: %s", addr, f.healthy)
		}
		if f.stats == nil {
			continue
		}
		if v, ok := f.stats["version"].(string); ok {
			versions[v] = append(versions[v], addr)
		}
		if f.off.Abs() > clockLimit {
			say("WARNING", "set its clock (run an NTP client there): expiry times are counted by it", "the clock of server %s is %s from this machine's", addr, f.off.Round(time.Second/10))
		}
		if avail, usage := number(f.stats["disk_avail"]), number(f.stats["disk_usage"]); f.stats["disk_avail"] != nil && (avail < spaceLow*(avail+usage) || avail < spaceLeast) {
			say("WARNING", "make room there, or attach another server: a full disk takes no writes", "server %s has %s of disk left, its store takes %s", addr, showBytes(uint64(avail)), showBytes(uint64(usage)))
		}
		if secret, ok := f.stats["cluster_secret"].(bool); ok && !secret && !loopback(addr) {
			open = append(open, addr)
		}
	}
	for _, m := range s.Managers {
		if m.Version != "" {
			versions[m.Version] = append(versions[m.Version], m.Addr)
		}
	}
	if len(versions) > 1 {
		var list []string
		for v, addrs := range versions {
			list = append(list, v+" on "+strings.Join(addrs, ", "))
		}
		slices.Sort(list)
		say("WARNING", "finish the upgrade", "daemons are of different versions: %s", strings.Join(list, "; "))
	}
	if len(open) > 0 {
		say("WARNING", "give every process a --cluster-secret-file, or keep these ports within a trusted network", "anybody who reaches %s can read, alter and destroy all data", strings.Join(open, ", "))
	}
	return out
}

// ask asks one server.
func (ctl *ctl) ask(ctx context.Context, addr string) (f seen) {
	c := NewClient("server", addr).WithSecret(ctl.secret)
	defer c.Close()
	_, f.healthy = c.do(ctx, http.MethodGet, control.PathHealth, nil)
	if f.healthy != nil {
		return f
	}
	began := ctl.now()
	stats, err := c.Stat(ctx, "stats", nil)
	took := ctl.now().Sub(began)
	if err != nil {
		return f
	}
	f.stats = stats
	if t := number(stats["time"]); t > 0 && took < clockLimit {
		// Whole seconds, told some time between asking and the answer.
		f.off = time.Unix(int64(t), 0).Add(time.Second / 2).Sub(began.Add(took / 2))
	}
	return f
}

// number is a JSON number, or 0.
func number(v any) float64 {
	if n, ok := v.(json.Number); ok {
		f, _ := n.Float64() // a number that is none is 0
		return f
	}
	return 0
}

// loopback: an address that only this machine reaches.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// survives is how many crashes every pair survives, for a person.
func survives(s *control.Status) string {
	switch n := s.Survives; {
	case s.Partitions == 0:
		return "nothing is attached yet"
	case s.Unavailable > 0:
		return "some pairs have no server now"
	case n == 0:
		return "some pairs have one copy: the crash of the server that holds them stops their keys until it is back"
	case n == 1:
		return "every pair survives the crash of any one server more"
	default:
		return fmt.Sprintf("every pair survives the crash of any %d servers more", n)
	}
}
