package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// home is where a cluster with these options has its stores.
func home(t *testing.T, opt harness.Options) string {
	return filepath.Join(opt.Dir, strings.ReplaceAll(t.Name(), "/", "_"))
}

// backupKeys are what TestBackupAndRestore stores: key i of a kind of its own.
const backupKinds = 10

// TestBackupAndRestore: a backup made under load, restored twice: merged into
// one store, and each server on its own part.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	opt := options(4)
	opt.Dir = t.TempDir()
	c := harness.Start(t, opt)
	mergedb := tool(t, "kumomergedb")
	l := fill(t, c, 300)
	keys := size(1500, 100_000)
	key := func(i int) string { return fmt.Sprintf("backup-%d", i) }
	value := func(i int) string {
		if i%backupKinds == 3 {
			return strings.Repeat(fmt.Sprintf("large-%d ", i), 1000)
		}
		return fmt.Sprintf("value-%d", i)
	}
	mc := dialRaw(t, c.Gateway.Addr)
	var cmds []string
	for i := range keys {
		exptime := 0
		switch i % backupKinds {
		case 1:
			exptime = 3600
		case 2:
			exptime = 5 // gone before the restore is asked
		}
		cmds = append(cmds, fmt.Sprintf("set %s %d %d %d\r\n%s\r\n", key(i), i, exptime, len(value(i)), value(i)))
	}
	mc.each(cmds, "STORED")
	expire := time.Now().Add(6 * time.Second)
	cmds = cmds[:0]
	for i := 0; i < keys; i += backupKinds {
		cmds = append(cmds, "delete "+key(i)+"\r\n")
	}
	mc.each(cmds, "DELETED")

	began := time.Now()
	if out := c.Ctl("backup", "b1"); strings.Count(out, "suffix=b1\n") != 1 || strings.Count(out, "made a backup on ") != 4 {
		t.Errorf("kumoctl backup says\n%s", out)
	}
	t.Logf("backup of %d keys on 4 servers, under load: %v", keys, time.Since(began).Round(time.Millisecond))
	if out := c.Ctl("backup"); !strings.HasPrefix(out, "suffix="+time.Now().Format("20060102")+"\n") {
		t.Errorf("kumoctl backup says\n%s", out)
	}

	// What comes after the backup is not in it.
	cmds = cmds[:0]
	for i := range keys / backupKinds {
		k := i*backupKinds + 4
		cmds = append(cmds, fmt.Sprintf("set %s 0 0 5\r\nlater\r\n", key(k)), fmt.Sprintf("set later-%d 0 0 5\r\nlater\r\n", i),
			fmt.Sprintf("set %s 0 0 5\r\nagain\r\n", key(i*backupKinds))) // deleted in the backup
	}
	mc.each(cmds, "STORED")
	cmds = cmds[:0]
	for i := 5; i < keys; i += backupKinds {
		cmds = append(cmds, "delete "+key(i)+"\r\n")
	}
	mc.each(cmds, "DELETED")
	finish(t, l, 0, besideBar())

	// One server cannot be reached: the backup fails by name, on it alone.
	c.Servers[3].Kill9()
	if _, err := c.TryCtl("backup", "b2"); err == nil || !strings.Contains(err.Error(), c.Servers[3].Addr+": not connected") && !strings.Contains(err.Error(), "made on ") {
		// A second later it is a fault server, and not asked.
		t.Errorf("a backup while a server is away: %v", err)
	}

	from := home(t, opt)
	var parts []string
	for i := range 4 {
		parts = append(parts, filepath.Join(from, fmt.Sprintf("kumodb%d-b1", i+1)))
	}
	check := func(c *harness.Cluster) {
		t.Helper()
		time.Sleep(time.Until(expire))
		mc := dialRaw(t, c.Gateway.Addr)
		var names []string
		for i := range keys {
			names = append(names, key(i))
		}
		for i := range keys / backupKinds {
			names = append(names, fmt.Sprintf("later-%d", i))
		}
		found := mc.getAll(names)
		bad := 0
		for i := range keys {
			got, ok := found[key(i)]
			want := i%backupKinds != 0 && i%backupKinds != 2
			if ok != want || ok && (got.value != value(i) || got.flags != uint32(i)) {
				if bad++; bad < 10 {
					t.Errorf("%s: there %v, wanted %v; flags %d, %.40q", key(i), ok, want, got.flags, got.value)
				}
			}
			delete(found, key(i))
		}
		if bad > 0 {
			t.Errorf("%d of %d keys are not as they were backed up", bad, keys)
		}
		for k := range found {
			t.Errorf("%s was written after the backup", k)
			break
		}
		if line := mc.ask("mg " + key(1) + " t\r\n"); !strings.HasPrefix(line, "HD t3") {
			t.Errorf("the time of %s: %q", key(1), line)
		}
		// It is a cluster like any other.
		mc.each([]string{"set new 0 0 1\r\nx\r\n", "set " + key(1) + " 0 0 1\r\nx\r\n"}, "STORED")
		c.WaitReady(30 * time.Second)
		items := c.CheckCopies()
		t.Logf("restored: %d keys of the backup are there, %d pairs in all, three equal copies of each", keys-2*keys/backupKinds, items)
	}

	t.Run("merged", func(t *testing.T) {
		opt := options(3)
		opt.Dir = t.TempDir()
		c2 := harness.New(t, opt)
		dst := filepath.Join(home(t, opt), "kumodb1")
		began := time.Now()
		out := must(t, time.Minute, append([]string{mergedb, dst}, parts...)...)
		t.Logf("kumomergedb: %s in %v", strings.TrimSpace(out), time.Since(began).Round(time.Millisecond))
		began = time.Now()
		c2.StartAll()
		if log := c2.Servers[0].Log(); !strings.Contains(log, "restored from a backup") {
			harness.Until(t, 5*time.Second, "it says what it found", func() error {
				if log = c2.Servers[0].Log(); strings.Contains(log, "restored from a backup") {
					return nil
				}
				return fmt.Errorf("%s", log)
			})
		}
		c2.WaitNotAttached(3)
		out = c2.Ctl("attach", "--wait")
		if !strings.Contains(out, "begin with the pairs that the stores hold") {
			t.Errorf("kumoctl attach says\n%s", out)
		}
		t.Logf("kumoctl attach --wait: %v after the start: %s", time.Since(began).Round(time.Millisecond), strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
		check(c2)
	})
	t.Run("each its own", func(t *testing.T) {
		opt := options(4)
		opt.Dir = t.TempDir()
		c3 := harness.New(t, opt)
		for i, p := range parts {
			if out, err := exec.Command("cp", "-r", p, filepath.Join(home(t, opt), fmt.Sprintf("kumodb%d", i+1))).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
		}
		began := time.Now()
		c3.StartAll()
		c3.WaitNotAttached(4)
		out := c3.Ctl("attach", "--wait")
		t.Logf("kumoctl attach --wait: %v after the start: %s", time.Since(began).Round(time.Millisecond), strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
		check(c3)
	})
}

// TestStoresThatAreNotTaken starts servers on stores that must not take part,
// beside a cluster under load.
func TestStoresThatAreNotTaken(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	c := harness.Start(t, opt)
	l := fill(t, c, 2000)
	dir := home(t, opt)
	c.Ctl("backup", "b1")
	server := func(store string) []string {
		return []string{tool(t, "kumo-server"), "-v", "-m", c.Manager.Addr, "-l", loopback(t), "-s", store}
	}
	copied := func(name string) string {
		t.Helper()
		to := filepath.Join(t.TempDir(), "copy")
		// Of a live store: files may go while they are copied.
		if out, err := exec.Command("sh", "-c", "cp -r "+filepath.Join(dir, name)+" "+to+" || cp -r "+filepath.Join(dir, name)+"/. "+to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
		return to
	}

	// A checkpoint in the cluster that it is of: attaching it would destroy it.
	b := start(t, dir, server(copied("kumodb1-b1"))...)
	b.says(10*time.Second, "restored from a backup")
	b.says(10*time.Second, "a manager refuses this server")
	b.says(time.Second, "start a new cluster with it, or merge it with kumomergedb, or start this server with an empty store")
	if _, err := c.TryCtl("attach"); err == nil || !strings.Contains(err.Error(), "1 refused") {
		t.Errorf("attach: %v", err)
	}
	if out := c.Ctl("status", "--verbose"); !strings.Contains(out, "(refused)") || !strings.Contains(out, "a restored backup") {
		t.Errorf("status:\n%s", out)
	}
	time.Sleep(2 * time.Second) // several tries
	if n := strings.Count(b.said.String(), "a manager refuses this server"); n != 1 {
		t.Errorf("the refusal is said %d times:\n%s", n, b.said.String())
	}
	if code := b.stop(15, 5*time.Second); code != 0 {
		t.Errorf("status %d", code)
	}

	// A copy of a running server's store, at another address. A copy made while
	// the store is written may be damaged, which is said as well.
	code, _, stderr := run(t, 15*time.Second, dir, server(copied("kumodb2"))...)
	if code != 1 || !strings.Contains(stderr, "it is a copied disk; start this server with an empty store") && !strings.Contains(stderr, "is damaged") {
		t.Errorf("a copy of a running server's store: status %d\n%s", code, stderr)
	}
	t.Logf("a copy of a running server's store: %s", lastLine(stderr))

	// A copy made while the server was stopped, when it runs again: twice.
	p := c.Servers[2]
	p.Kill9()
	disk := copied("kumodb3")
	p.Start()
	c.WaitReady(30 * time.Second)
	for range 2 {
		code, _, stderr := run(t, 15*time.Second, dir, server(disk)...)
		if code != 1 || !strings.Contains(stderr, "copied") {
			t.Errorf("a copied disk: status %d\n%s", code, stderr)
		}
	}
	for _, s := range c.Servers {
		if s.PID() == 0 {
			t.Errorf("%s was ended by a copy of its store", s.Name)
		}
	}

	// A rolled-back disk: the server ends, its store of before, at the same address.
	p.Kill9()
	now := filepath.Join(dir, "kumodb3")
	if err := os.Rename(now, now+".now"); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-r", disk, old).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	setIncarnation(t, old, 1)
	if err := os.Rename(old, now); err != nil {
		t.Fatal(err)
	}
	argv := server("./kumodb3")
	argv[5] = p.Addr
	code, _, stderr = run(t, 15*time.Second, dir, argv...)
	if code != 1 || !strings.Contains(stderr, "rolled-back disk") {
		t.Errorf("a rolled-back disk: status %d\n%s", code, stderr)
	}
	t.Logf("a rolled-back disk: %s", lastLine(stderr))
	if err := os.RemoveAll(now); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(now+".now", now); err != nil {
		t.Fatal(err)
	}
	p.Start()
	harness.Until(t, 10*time.Second, "the server is back", func() error {
		n := harness.Node(c.Status(), p)
		if n == nil || !n.Reachable {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	if harness.Node(c.Status(), p).State == "fault" {
		c.Ctl("attach")
	}
	c.WaitReady(30 * time.Second)
	finish(t, l, 2*clients, besideBar(), unknownWrite) // two kills
	c.CheckCopies()

	t.Run("not writable", func(t *testing.T) {
		needRoot(t, "running a program as another user")
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("not run: there is no setpriv")
		}
		open, err := os.MkdirTemp("", "kumofs-nobody-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(open)
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
		mine := oneServer(t, open) // root's store and state
		for _, row := range [][]string{
			{"state directory|permission denied", "kumo-manager -l " + loopback(t) + " -s m"},
			{"state directory|other-manager|permission denied", "kumo-manager -l " + loopback(t) + " -s other-manager"},
			{"permission denied|m.log", "kumo-manager -l " + loopback(t) + " -s m -o m.log"},
			{"permission denied|m.pid", "kumo-manager -l " + loopback(t) + " -s m -d m.pid"},
			{"permission denied|store", "kumo-server -m " + c.Manager.Addr + " -l " + loopback(t) + " -s x"},
			{"permission denied|" + mine, "kumo-server -m " + c.Manager.Addr + " -l " + loopback(t) + " -s " + mine},
			{"permission denied|" + mine, "kumomergedb dst " + mine},
			{"permission denied|data directory", "kumofs local --port " + strings.TrimPrefix(loopback(t), "127.0.0.1:")},
		} {
			argv := strings.Split(row[1], " ")
			program := filepath.Join(open, argv[0])
			if _, err := os.Stat(program); err != nil {
				if out, err := exec.Command("cp", tool(t, argv[0]), program).CombinedOutput(); err != nil {
					t.Fatalf("cp: %v\n%s", err, out)
				}
			}
			as := append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program}, argv[1:]...)
			code, _, stderr := run(t, 10*time.Second, open, as...)
			bad := code != 1
			for part := range strings.SplitSeq(row[0], "|") {
				bad = bad || !strings.Contains(stderr, part)
			}
			if bad {
				t.Errorf("%s as nobody: status %d, wanted 1 and %q\n%s", row[1], code, row[0], stderr)
			}
		}
	})
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// setIncarnation alters a store's identity, as an older copy of it would be.
func setIncarnation(t *testing.T, store string, n int) {
	t.Helper()
	path := filepath.Join(store, "identity.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		if strings.Contains(line, `"incarnation"`) {
			lines[i] = fmt.Sprintf("  %q: %d,", "incarnation", n-1) // the start counts it up
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
