package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// stat is `kumostat ADDR KEY --json` decoded into v.
func (c *Cluster) stat(p *Process, key string, v any) error {
	out, err := c.tool(30*time.Second, "kumostat", p.Addr, key, "--json")
	if err != nil {
		return err
	}
	answer := map[string]json.RawMessage{}
	if err := json.Unmarshal(out, &answer); err == nil {
		err = json.Unmarshal(answer[key], v)
	}
	if err != nil {
		return fmt.Errorf("kumostat %s %s: %w\n%s", p.Addr, key, err, out)
	}
	return nil
}

// Stats are the numbers of `kumostat ADDR stats`.
func (c *Cluster) Stats(p *Process) map[string]int64 {
	c.t.Helper()
	all := map[string]any{}
	if err := c.stat(p, "stats", &all); err != nil {
		c.t.Fatal(err)
	}
	nums := map[string]int64{}
	for k, v := range all {
		if f, ok := v.(float64); ok {
			nums[k] = int64(f)
		}
	}
	return nums
}

// Sum adds one of the Stats over servers that run.
func (c *Cluster) Sum(key string) (n int64) {
	c.t.Helper()
	for _, p := range c.Servers {
		if p.PID() != 0 {
			n += c.Stats(p)[key]
		}
	}
	return n
}

// nothing is the checksum of a partition without pairs.
const nothing = "0000000000000000 0"

// checksums are those of every partition of which a server's store holds
// pairs: "SUM COUNT" by number.
func (c *Cluster) checksums(p *Process) (map[uint16]string, error) {
	raw := map[string]string{}
	if err := c.stat(p, "checksum", &raw); err != nil {
		return nil, err
	}
	sums := map[uint16]string{}
	for k, v := range raw {
		n, err := strconv.Atoi(k)
		if err != nil {
			return nil, fmt.Errorf("kumostat %s checksum: %q", p.Addr, k)
		}
		if v != nothing { // a server that knows the partition may hold nothing of it
			sums[uint16(n)] = v
		}
	}
	return sums, nil
}

// Checksums are those of every partition of which a server's store holds pairs.
func (c *Cluster) Checksums(p *Process) map[uint16]string {
	c.t.Helper()
	sums, err := c.checksums(p)
	if err != nil {
		c.t.Fatal(err)
	}
	return sums
}

// ErrDiffer: servers that have a partition hold different pairs of it.
var ErrDiffer = errors.New("copies differ")

// settle is how long copies may take to be alike once writes have ended. What
// expired or was flushed is removed for as long, here and there at different
// moments, so copies are not looked at only once.
const settle = 10 * time.Second

// CheckCopies compares every partition's checksum over its replicas, which must
// be three (or all the servers that there are), and gives how many pairs the
// cluster holds. Writes must have ended.
func (c *Cluster) CheckCopies() (items int64) {
	c.t.Helper()
	items, err := c.CompareCopies()
	if err != nil {
		c.t.Error(err)
	}
	return items
}

// CompareCopies is CheckCopies that tells instead of failing. Each partition
// must be seen alike once within settle; one that is not is shown pair by pair.
func (c *Cluster) CompareCopies() (items int64, err error) {
	alike := map[uint16]int64{} // how many pairs each has
	if _, err = Poll(settle, func() error { return c.compare(alike, false) }); err != nil {
		err = c.compare(alike, true)
	}
	for _, n := range alike {
		items += n
	}
	return items, err
}

// compare looks once at all partitions that were not seen alike yet. show: the
// error tells of the first three's pairs.
func (c *Cluster) compare(alike map[uint16]int64, show bool) error {
	m, err := c.TryMap()
	if err != nil {
		return err
	}
	sums := map[clustermap.ServerID]map[uint16]string{}
	for _, s := range m.Servers {
		for _, p := range c.Servers {
			if p.Addr == s.Addr && p.PID() != 0 {
				if sums[s.ID], err = c.checksums(p); err != nil {
					return err
				}
			}
		}
	}
	want := min(m.Replication, len(m.Servers))
	bad := 0
	var errs []error
	for i := range m.Partitions {
		n, part := uint16(i), &m.Partitions[i]
		if _, seen := alike[n]; seen {
			continue
		}
		var wrong error
		first := sums[part.Primary()][n]
		if len(part.Replicas) != want {
			wrong = fmt.Errorf("partition %d has %d copies, not %d: %v", i, len(part.Replicas), want, part.Replicas)
		}
		for _, id := range part.Replicas {
			if sum := sums[id][n]; sum != first && wrong == nil {
				wrong = fmt.Errorf("%w: partition %d: %s has %q, its primary %s has %q", ErrDiffer, i, m.Server(id).Addr, sum, m.Server(part.Primary()).Addr, first)
				if show && bad < 3 {
					wrong = fmt.Errorf("%w%s", wrong, c.showPairs(m, n))
				}
			}
		}
		if wrong == nil {
			_, count, _ := strings.Cut(first, " ")
			alike[n], _ = strconv.ParseInt(count, 10, 64)
			continue
		}
		if bad++; bad <= 10 {
			errs = append(errs, wrong)
		}
	}
	if bad > 0 {
		errs = append(errs, fmt.Errorf("%d partitions are not as they should be", bad))
	}
	return errors.Join(errs...)
}

// showPairs is what a partition's servers say of the pairs that they do not all
// have alike, and of their positions.
func (c *Cluster) showPairs(m *clustermap.Map, part uint16) string {
	lines := map[string][]string{}
	replicas := m.Partitions[part].Replicas
	for _, id := range replicas {
		addr := m.Server(id).Addr
		pairs := map[string]string{}
		out, err := c.tool(30*time.Second, "kumostat", addr, "pairs", strconv.Itoa(int(part)), "--json")
		if err == nil {
			answer := map[string]map[string]string{}
			err = json.Unmarshal(out, &answer)
			pairs = answer["pairs"]
		}
		if err != nil {
			return "\n    " + err.Error()
		}
		for name, text := range pairs {
			lines[name+": "+text] = append(lines[name+": "+text], addr)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "; epoch %d, active %v, replicas %v", m.Partitions[part].Epoch, m.Partitions[part].Active, replicas)
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		if len(lines[line]) < len(replicas) || strings.HasPrefix(line, "position") {
			fmt.Fprintf(&b, "\n    %v: %s", lines[line], line)
		}
	}
	return b.String()
}
