package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// scrubSet fills a cluster with values that do not compress, and returns what reads all of
// them again and tells how many failed; wrong ones are errors.
func scrubSet(t *testing.T, c *harness.Cluster, keys, bytes int) (read func(mayFail bool) (failed int)) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	random := make([]byte, keys*100+bytes)
	for i := range random {
		random[i] = 'a' + byte(rnd.IntN(26))
	}
	value := func(i int) string { return string(random[i*100:][:bytes]) }
	ops := func(kind load.Kind) (list []load.Op) {
		for i := range keys {
			op := load.Op{Kind: kind, Key: fmt.Sprintf("scrub-%d", i)}
			if kind == load.Set {
				op.Value = value(i)
			}
			list = append(list, op)
		}
		return list
	}
	if err := load.Pipeline(c.Gateway.Addr, ops(load.Set), 30*time.Second, func(i int, r load.Result) {
		if r.Status != load.Done {
			t.Fatalf("set %d: %v %s", i, r.Status, r.Error)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return func(mayFail bool) (failed int) {
		t.Helper()
		if err := load.Pipeline(c.Gateway.Addr, ops(load.Get), 30*time.Second, func(i int, r load.Result) {
			switch {
			case mayFail && r.Status == load.Failed && strings.Contains(r.Error, "cannot read the store"):
				failed++
			case r.Status != load.Done || r.Value != value(i):
				t.Fatalf("get %d: %v %s, %d bytes", i, r.Status, r.Error, len(r.Value))
			}
		}); err != nil {
			t.Fatal(err)
		}
		return failed
	}
}

// flipBit flips one bit in the middle of the largest table of a store.
func flipBit(t *testing.T, p *harness.Process) (table string) {
	t.Helper()
	most := int64(0)
	for _, name := range settledTables(t, filepath.Join(p.StoreDir(), "data")) {
		if st, err := os.Stat(name); err == nil && st.Size() > most {
			table, most = name, st.Size()
		}
	}
	f, err := os.OpenFile(table, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, most/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, most/2); err != nil {
		t.Fatal(err)
	}
	return table
}

// scrubbed runs kumoctl scrub --wait and returns the servers' states, in the order of addresses.
func scrubbed(t *testing.T, c *harness.Cluster, status int) map[string]control.ScrubStatus {
	t.Helper()
	began := time.Now()
	code, out, stderr := run(t, 2*time.Minute, "", tool(t, "kumoctl"), c.Manager.Addr, "scrub", "--wait", "--json")
	var all []struct {
		Addr   string
		Status *control.ScrubStatus
		Error  string
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != status || len(all) != len(c.Servers) {
		t.Fatalf("kumoctl scrub: status %d, want %d: %v\n%s%s", code, status, err, out, stderr)
	}
	by := map[string]control.ScrubStatus{}
	for _, a := range all {
		if a.Status == nil || a.Error != "" {
			t.Fatalf("%s: %s", a.Addr, out)
		}
		by[a.Addr] = *a.Status
	}
	t.Logf("kumoctl scrub --wait took %v: %s", time.Since(began).Round(time.Millisecond), strings.Join(strings.Fields(out), " "))
	return by
}

// soundTables reads the whole store of a server, which is stopped for it.
func soundTables(t *testing.T, p *harness.Process) {
	t.Helper()
	p.Terminate(30 * time.Second)
	s, err := store.Open(p.StoreDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := s.Tables()
	for _, table := range tables {
		bad, cerr := s.CheckTable(context.Background(), table, func(context.Context, int) error { return nil })
		if len(bad) > 0 || cerr != nil {
			t.Errorf("%s: table %d: %v, %v", p.Name, table.File, bad, cerr)
		}
	}
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestScrub: bits flip in tables of a server that is stopped, and of one that runs, and a copy is not
// what the others are. Scrubbing finds it, says what it is, and gets it from the others; nothing is wrong after that.
func TestScrub(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	opt.ServerArgs = []string{"--scrub-rate", "200M/s", "--cache-size", "1M"}
	opt.GatewayArgs = []string{"--timeout", "25"} // partitions move, beside other tests
	c := harness.Start(t, opt)
	read := scrubSet(t, c, 3000, 3000)

	a, b, forged := c.Servers[0], c.Servers[1], c.Servers[2]
	b.Terminate(30 * time.Second) // so that all it has is in tables
	b.Start()
	c.WaitReady(30 * time.Second)
	a.Terminate(30 * time.Second)
	file := flipBit(t, a)
	a.Start()
	c.WaitReady(30 * time.Second)
	st := scrubbed(t, c, 0)[a.Addr]
	if st.Found == 0 || st.Mended != st.Found || len(st.Damaged) > 0 || st.Round != 1 {
		t.Errorf("a bit was flipped in %s while it was stopped: %+v", a.Name, st)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged table is still there: %v", err)
	}
	file = flipBit(t, b)
	st = scrubbed(t, c, 0)[b.Addr]
	if st.Found == 0 || st.Mended != st.Found || len(st.Damaged) > 0 {
		t.Errorf("a bit was flipped in %s while it ran: %+v", b.Name, st)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged table is still there: %v", err)
	}
	for _, p := range []*harness.Process{a, b} {
		for _, want := range []string{"the store is damaged: this server gets what cannot be read from another copy", "what was damaged in the store is mended"} {
			if !strings.Contains(p.Log(), want) {
				t.Errorf("%s does not say %q: %s", p.Name, want, p.Tail(10))
			}
		}
	}
	read(false)

	// Nobody's checksum tells of these: another value under the same version, and a pair that nobody else has.
	forged.Terminate(30 * time.Second)
	s, err := store.Open(forged.StoreDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	batch := s.NewBatch()
	other := ""
	sn := s.Snapshot()
	for part, done := uint16(100), false; !done; part++ {
		it := sn.Iter(part, nil)
		if it.Next() {
			rec, err := it.Record()
			if err != nil {
				t.Fatal(err)
			}
			i, err := item.ParseRecord(rec)
			if err != nil {
				t.Fatal(err)
			}
			if other != "" {
				batch.PutItem(part, []byte("forged"), &item.Item{Version: i.Version, Value: []byte("x")})
				done = true
			} else {
				i.Value = []byte("another")
				other = string(it.Key())
				batch.PutItem(part, it.Key(), &i)
			}
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sn.Close(), s.Commit(batch), s.Close()); err != nil {
		t.Fatal(err)
	}
	forged.Start()
	c.WaitReady(30 * time.Second)
	if _, err := c.CompareCopies(); err == nil {
		t.Error("what was forged is not there")
	}
	st = scrubbed(t, c, 0)[forged.Addr]
	if st.Mended < 2 || len(st.Damaged) > 0 {
		t.Errorf("two of its copies were forged: %+v", st)
	}
	said := ""
	for _, p := range c.Servers {
		for _, line := range strings.Split(p.Log(), "\n") {
			if strings.Contains(line, "two copies of a partition differ") {
				said += line + "\n"
			}
		}
	}
	for _, want := range []string{"odd=" + forged.Addr, "forged", other + `\" has another value there`} {
		if !strings.Contains(said, want) {
			t.Errorf("nobody says %q: %s", want, said)
		}
	}
	read(false)
	c.CheckCopies()
	for _, st := range scrubbed(t, c, 0) {
		if st.Found != st.Mended || st.Skipped > 0 {
			t.Errorf("there is damage still: %+v", st)
		}
	}
	for _, p := range []*harness.Process{a, b} {
		soundTables(t, p)
	}
}

// TestScrubOnlyCopy: where there is no other copy nothing is removed. It is said what is damaged, and what
// can be read is served.
func TestScrubOnlyCopy(t *testing.T) {
	t.Parallel()
	opt := options(1)
	opt.Dir = t.TempDir()
	opt.ServerArgs = []string{"--scrub-rate", "200M/s", "--cache-size", "1M"}
	opt.GatewayArgs = []string{"--timeout", "25"} // pebble looks for the bit that flipped, which takes its time
	c := harness.Start(t, opt)
	read := scrubSet(t, c, 1000, 10_000)
	p := c.Servers[0]
	p.Terminate(30 * time.Second)
	p.Start()
	c.WaitReady(30 * time.Second)
	tables := settledTables(t, filepath.Join(p.StoreDir(), "data"))
	for _, name := range tables { // many places: some are not in the cache
		damage(t, name)
	}
	st := scrubbed(t, c, 1)[p.Addr]
	if st.Found == 0 || int(st.Found) != len(st.Damaged) {
		t.Errorf("%+v", st)
	}
	for _, d := range st.Damaged {
		if d.Why != control.ScrubNoCopy {
			t.Errorf("%+v", d)
		}
	}
	harness.Until(t, 15*time.Second, "it says what cannot be mended", func() error {
		if !strings.Contains(p.Log(), "what is damaged in the store cannot be mended now") {
			return errors.New(p.Tail(5))
		}
		return nil
	})
	if n := harness.Node(c.Status(), p); n == nil || n.Damaged != len(st.Damaged) {
		t.Errorf("the manager's status: %+v", n)
	}
	failed := read(true)
	if failed == 0 || failed > 500 {
		t.Errorf("%d of 1000 reads failed", failed)
	}
	if again := read(true); again < failed/2 { // some of them were in the cache
		t.Errorf("%d failed, now %d: the only copy was removed", failed, again)
	}
	t.Logf("%d of 1000 keys cannot be read", failed)
}
