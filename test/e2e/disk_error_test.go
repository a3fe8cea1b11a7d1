package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// TestDiskDies: the disk of one of three servers fails for good. The server says
// why and ends with an error; no client sees one; when the disk is back it
// starts again and is as the others.
func TestDiskDies(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	d := newDisk(t, filepath.Join(home(t, opt), "kumodb2"), 256)
	c := harness.Start(t, opt)
	p := c.Servers[1]
	l := fill(t, c, 5000)
	began := time.Now()
	status := p.EndsBy(15*time.Second, d.cut)
	l.Mark("the disk of %s is gone; it has ended with status %d after %v", p.Name, status, time.Since(began).Round(time.Millisecond))
	if status == 0 || !strings.Contains(p.Log(), "look at the disk, then start this server again") {
		t.Errorf("status %d, and its log: %s", status, p.Tail(10))
	}
	l.Run(3 * time.Second)
	d.unmount()
	if err := d.mount(); err != nil {
		t.Fatal(err)
	}
	p.Start()
	harness.Until(t, 10*time.Second, "it is there again", func() error {
		if s := c.Status(); !harness.NotAttached(s, p) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	c.Ctl("attach", "--wait")
	c.WaitReady(60 * time.Second)
	finish(t, l, 0, besideBar())
	c.CheckCopies()
}

// TestDiskHangs: the disk of one of three servers answers no more, without an
// error. The others take over what it leads; when the disk works again it goes on
// by itself.
func TestDiskHangs(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	d := newDisk(t, filepath.Join(home(t, opt), "kumodb2"), 256)
	c := harness.Start(t, opt)
	p := c.Servers[1]
	l := fill(t, c, 5000)
	release := d.hang()
	l.Mark("the disk of %s hangs", p.Name)
	l.Run(8 * time.Second)
	if n := harness.Node(c.Status(), p); n == nil || n.State == "fault" || n.Replicas > 0 {
		t.Errorf("the server whose disk hangs: %+v", n)
	}
	// It says what is wrong, or does not answer if its loop is held up; what it may not
	// say is that all is well.
	client := http.Client{Timeout: 2 * time.Second}
	if r, err := client.Get("http://" + p.Addr + "/healthz"); err == nil {
		health, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if !strings.Contains(string(health), "disk") {
			t.Errorf("/healthz: %q", health)
		}
	}
	usable := everyPartition(t, c, l)
	release()
	l.Mark("it works again")
	ready := c.WaitReady(60 * time.Second)
	l.Mark("ready after %v", ready.Round(time.Millisecond))
	l.Run(time.Second)
	finish(t, l, 0, stallBar)
	c.CheckCopies()
	t.Logf("while it hung every partition answered within %v; ready %v after it worked again", usable.Round(time.Millisecond), ready.Round(time.Millisecond))
	if !strings.Contains(p.Log(), "the disk does not answer") || !strings.Contains(p.Log(), "the disk answers again") {
		t.Errorf("its log: %s", p.Tail(10))
	}
}

// TestUnreadableTable: tables of a server are damaged. A read of what they held
// is never a miss: with other servers it is theirs to answer, alone it is an error.
func TestUnreadableTable(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			opt := options(servers)
			opt.Dir = t.TempDir()
			opt.ServerArgs = []string{"--cache-size", "1M"} // less than there is to read
			opt.GatewayArgs = []string{"--timeout", "25"}   // partitions move, beside other tests
			c := harness.Start(t, opt)
			var sets, gets []load.Op
			rnd := rand.New(rand.NewPCG(1, 1))
			random := make([]byte, 3000*1000+10_000) // does not compress
			for i := range random {
				random[i] = 'a' + byte(rnd.IntN(26))
			}
			value := func(i int) string { return string(random[i*1000:][:10_000]) }
			for i := range 3000 {
				key := fmt.Sprintf("table-%d", i)
				sets = append(sets, load.Op{Kind: load.Set, Key: key, Value: value(i)})
				gets = append(gets, load.Op{Kind: load.Get, Key: key})
			}
			bad := func(i int, r load.Result) bool { return r.Status != load.Done }
			pipeline := func(ops []load.Op, bad func(i int, r load.Result) bool) (n int) {
				t.Helper()
				if err := load.Pipeline(c.Gateway.Addr, ops, 30*time.Second, func(i int, r load.Result) {
					if bad(i, r) {
						if n++; n < 5 {
							t.Errorf("%s: %v %s", ops[i].Key, r.Status, r.Error)
						}
					}
				}); err != nil {
					t.Fatal(err)
				}
				return n
			}
			pipeline(sets, bad)
			p := c.MostPrimaries()
			// All is in tables, and nothing is cached. (After kill -9 what the log has is in memory until it is flushed.)
			p.Terminate(30 * time.Second)
			p.Start()
			c.WaitReady(30 * time.Second)
			tables := settledTables(t, filepath.Join(home(t, opt), strings.Replace(p.Name, "server", "kumodb", 1), "data"))
			for _, name := range tables {
				damage(t, name)
			}
			failed := 0
			pipeline(gets, func(i int, r load.Result) bool {
				if r.Status == load.Failed && servers == 1 {
					failed++
					return !strings.Contains(r.Error, "cannot read the store")
				}
				return r.Status != load.Done || r.Value != value(i)
			})
			if !strings.Contains(p.Log(), "cannot read the store: this server gives the partition to others") || servers == 1 && failed == 0 {
				t.Errorf("%d tables were damaged, %d reads failed: the test tests nothing\n%s", len(tables), failed, p.Tail(5))
			}
			t.Logf("%d tables damaged; %d of %d reads failed", len(tables), failed, len(gets))
		})
	}
}

// settledTables are the tables in dir when compactions have left them alone for half a second.
func settledTables(t *testing.T, dir string) (tables []string) {
	t.Helper()
	same := 0
	harness.Until(t, 30*time.Second, "tables stay as they are", func() error {
		now, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(now) == 0 || !slices.Equal(now, tables) {
			tables, same = now, 0
			return fmt.Errorf("%d tables, %v", len(now), err)
		}
		if same++; same < 10 {
			return errors.New("not for long")
		}
		return nil
	})
	return tables
}

// damage flips a byte in some blocks of a table, but not at its end, where its
// index is.
func damage(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(100); off < st.Size()*3/4; off += 200_000 {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0xff
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
}
