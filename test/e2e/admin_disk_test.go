package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// tmpfs mounts a small file system at dir, which is made.
func tmpfs(t *testing.T, dir string, mib int) {
	t.Helper()
	needRoot(t, "mounting a small file system")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("kumofs-e2e", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("%s: not run: cannot mount a tmpfs: %v", t.Name(), err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// ballast fills a file system, leaving about keep bytes.
func ballast(t *testing.T, dir string, keep uint64) (path string, n int) {
	t.Helper()
	path = filepath.Join(dir, "lost+found") // a name that a store leaves alone
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		left := st.Bavail * uint64(st.Bsize)
		if left <= keep {
			return path, n
		}
		m, err := f.Write(b[:min(uint64(len(b)), left-keep)])
		n += m
		if errors.Is(err, syscall.ENOSPC) {
			return path, n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFullUnderLoad: the disk of one of three servers fills up. The others
// take over, nothing that was acknowledged is lost, and when there is space
// again the server goes on by itself.
func TestDiskFullUnderLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		keep uint64 // what somebody else leaves free
	}{
		{"by others, to the last byte", 0},
		{"by its own pairs", 24 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.keep > 0 && !*long {
				t.Skip("left to -e2e.long")
			}
			opt := options(3)
			opt.Dir = t.TempDir()
			dir := filepath.Join(home(t, opt), "kumodb2")
			tmpfs(t, dir, 256)
			c := harness.Start(t, opt)
			full := c.Servers[1]
			l := fill(t, c, 5000)
			file, n := ballast(t, dir, test.keep)
			l.Mark("%d MiB of %s's disk are taken by somebody else", n>>20, full.Name)
			stop := make(chan struct{})
			written := make(chan string, 1)
			go func() { written <- bulk(c.Gateway.Addr, stop) }() // 100 KB values, until told
			took := harness.Until(t, 30*time.Second, "the server says that its disk is full", func() error {
				if !strings.Contains(full.Log(), "disk full") {
					return errors.New(full.Tail(3))
				}
				return nil
			})
			l.Mark("it says so after %v", took.Round(time.Millisecond))
			harness.Until(t, 15*time.Second, "it leads no partition", func() error {
				if n := harness.Node(c.Status(), full); n == nil || n.Primaries > 0 {
					return fmt.Errorf("%+v", n)
				}
				return nil
			})
			usable := everyPartitionWithin(t, c, l, besideBar())
			l.Run(4 * time.Second) // it stays full
			close(stop)
			t.Logf("large values: %s", <-written)
			status, _ := exec.Command(tool(t, "kumoctl"), c.Manager.Addr, "status").Output()
			code, out, stderr := run(t, 10*time.Second, "", tool(t, "kumoctl"), c.Manager.Addr, "doctor")
			t.Logf("full: kumoctl doctor, status %d:\n%s%s%s", code, out, stderr, status)
			if health := httpGet(t, full.Addr, "/healthz"); !strings.Contains(health, "disk") {
				t.Errorf("/healthz of the full server: %q", health)
			}
			if full.PID() == 0 {
				t.Fatal("the server ended")
			}

			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			l.Mark("there is space again")
			if harness.Node(c.Status(), full).State == "fault" {
				t.Error("a full server that lives is fault")
			}
			ready := c.WaitReady(60 * time.Second)
			l.Mark("ready after %v", ready.Round(time.Millisecond))
			l.Run(time.Second)
			finish(t, l, 4*clients, besideBar(), unknownWrite)
			items := c.CheckCopies()
			t.Logf("every partition usable %v after the manager moved them; ready %v after there was space; %d pairs, three equal copies of each", usable.Round(time.Millisecond), ready.Round(time.Millisecond), items)
		})
	}
}

// bulk sets large values until stop is closed, and tells what was answered.
func bulk(addr string, stop <-chan struct{}) string {
	conn, err := load.Dial(addr, 30*time.Second)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	value := strings.Repeat("x", 100<<10)
	answers := map[string]int{}
	var worst time.Duration
	for i := 0; ; i++ {
		select {
		case <-stop:
			return fmt.Sprintf("%v, the slowest after %v", answers, worst.Round(time.Millisecond))
		case <-time.After(5 * time.Millisecond):
		}
		began := time.Now()
		r, err := conn.Do(&load.Op{Kind: load.Set, Key: fmt.Sprintf("bulk-%d", i%600), Value: value})
		if err != nil {
			return fmt.Sprintf("%v, then %v", answers, err)
		}
		answers[fmt.Sprintf("%v %s", r.Status, r.Error)]++
		worst = max(worst, time.Since(began))
	}
}

// TestDiskFullEverywhere: where nobody can take over, writes fail with the
// reason, reads go on, deletes make room.
func TestDiskFullEverywhere(t *testing.T) {
	t.Parallel()
	opt := options(1)
	opt.Dir = t.TempDir()
	opt.GatewayArgs = []string{"--timeout", "2"}
	dir := filepath.Join(home(t, opt), "kumodb1")
	tmpfs(t, dir, 1400) // so large that the store keeps its whole reserve of 64 MiB
	c := harness.Start(t, opt)
	ballast(t, dir, 450<<20)
	mc := dialRaw(t, c.Gateway.Addr)
	value := make([]byte, 50<<10) // does not compress
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range value {
		value[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[rnd.IntN(64)]
	}
	set := func(i int) string { return mc.ask(fmt.Sprintf("set k%d 0 0 %d\r\n%s\r\n", i, len(value), value)) }
	n := 0
	var began time.Time
	line := "STORED"
	// Not only until the first refusal: a compaction may make room once more.
	for round := 0; line == "STORED"; round++ {
		for ; set(n) == "STORED"; n++ {
			if n > 10_000 || round > 10 {
				t.Fatal("its disk does not fill")
			}
		}
		time.Sleep(3 * time.Second) // as long as others might take over
		began = time.Now()
		if line = set(n); line == "STORED" {
			n++
		}
	}
	t.Logf("%d values of 50 KiB in 450 MiB, then after %v: %s", n, time.Since(began).Round(time.Millisecond), line)
	if !strings.HasPrefix(line, "SERVER_ERROR ") || !strings.Contains(line, "disk full") {
		t.Errorf("a set on a full disk: %q", line)
	}
	if !strings.Contains(c.Servers[0].Log(), "disk full") {
		t.Errorf("its log: %s", c.Servers[0].Tail(10))
	}
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("k%d", i))
	}
	read := func() {
		t.Helper()
		for len(keys) > 0 {
			k := keys[:min(10, len(keys))]
			keys = keys[len(k):]
			got := mc.getAll(k)
			for _, k := range k {
				if got[k].value != string(value) {
					t.Fatalf("%s: %d bytes", k, len(got[k].value))
				}
			}
		}
	}
	all := keys
	read()
	began = time.Now()
	keys = all
	for i := range n / 2 {
		harness.Until(t, 30*time.Second, "a delete", func() error {
			if line := mc.ask(fmt.Sprintf("delete k%d\r\n", i)); line != "DELETED" && line != "NOT_FOUND" {
				return errors.New(line)
			}
			return nil
		})
	}
	harness.Until(t, 30*time.Second, "sets are taken again", func() error {
		if line := set(n); line != "STORED" {
			return errors.New(line)
		}
		return nil
	})
	t.Logf("half of them deleted: a set is taken again after %v", time.Since(began).Round(time.Millisecond))
	keys = all[n/2:]
	read()
	c.Servers[0].Restart(0)
	harness.Until(t, 15*time.Second, "it serves again", func() error {
		if line := mc.ask("get k1\r\n"); line != "END" {
			return errors.New(line)
		}
		return nil
	})
	keys = all[n/2:]
	read()
}

// TestManagerDiskFull: a manager that cannot record changes says so; what is
// recorded stays, and it goes on when there is space.
func TestManagerDiskFull(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	state := filepath.Join(opt.Dir, "state")
	tmpfs(t, state, 16)
	opt.ManagerArgs = []string{"-s", state}
	c := harness.Start(t, opt)
	l := fill(t, c, 2000)
	file, n := ballast(t, state, 0)
	l.Mark("%d MiB: the manager's disk is full", n>>20)
	// Changes until one does not fit.
	var err error
	for i := 0; i < 5000 && err == nil; i++ {
		_, err = c.TryCtl([]string{"enable-auto-replace", "disable-auto-replace"}[i%2])
	}
	if err == nil {
		t.Fatal("the manager's state fits into a full disk")
	}
	t.Logf("kumoctl: %v", err)
	l.Run(time.Second)
	if c.Manager.PID() == 0 {
		t.Error("the manager ended")
	}
	t.Logf("manager: %s", c.Manager.Tail(5))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, 20*time.Second, "changes are recorded again", func() error {
		if _, err := c.TryCtl("enable-auto-replace"); err != nil {
			return err
		}
		_, err := c.TryCtl("disable-auto-replace")
		return err
	})
	c.Manager.Restart(0)
	c.WaitReady(30 * time.Second)
	finish(t, l, 0, besideBar())
	c.CheckCopies()
}
