package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// stat is `kumostat ADDR KEY --json` decoded into v.
func (c *Cluster) stat(p *Process, key string, v any) error {
	out, err := run(30*time.Second, c.prog("kumostat"), p.Addr, key, "--json")
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

// CompareCopies is CheckCopies that tells instead of failing.
func (c *Cluster) CompareCopies() (items int64, err error) {
	m, err := c.TryMap()
	if err != nil {
		return 0, err
	}
	sums := map[clustermap.ServerID]map[uint16]string{}
	for _, s := range m.Servers {
		for _, p := range c.Servers {
			if p.Addr == s.Addr && p.PID() != 0 {
				if sums[s.ID], err = c.checksums(p); err != nil {
					return 0, err
				}
			}
		}
	}
	want := min(m.Replication, len(m.Servers))
	bad := 0
	var errs []error
	complain := func(format string, a ...any) {
		if bad++; bad <= 10 {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	for i := range m.Partitions {
		part := &m.Partitions[i]
		if len(part.Replicas) != want {
			complain("partition %d has %d copies, not %d: %v", i, len(part.Replicas), want, part.Replicas)
		}
		first := sums[part.Primary()][uint16(i)]
		for _, id := range part.Replicas {
			if sum := sums[id][uint16(i)]; sum != first {
				complain("partition %d: %s has %q, its primary %s has %q", i, m.Server(id).Addr, sum, m.Server(part.Primary()).Addr, first)
			}
		}
		if _, count, ok := strings.Cut(first, " "); ok {
			n, _ := strconv.ParseInt(count, 10, 64)
			items += n
		}
	}
	if bad > 0 {
		errs = append(errs, fmt.Errorf("%d copies of partitions are not as they should be", bad))
	}
	return items, errors.Join(errs...)
}
