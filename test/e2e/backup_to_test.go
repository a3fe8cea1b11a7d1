package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/internal/backup"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// span is when a backup was made, by the load's clock.
type span struct{ began, ended time.Duration }

// TestBackupTo: backups of a cluster with a secret, under load, one of them while a server is killed. What a
// restored cluster holds of a key is what a get could have found while the backup was made,
// so it is judged as one.
func TestBackupTo(t *testing.T) {
	t.Parallel()
	const keys = 300
	opt := options(3)
	opt.Secret = secretFile(t, "the secret of this cluster")
	opt.GatewayArgs = []string{"--max-item-size", "16M"}
	c := harness.Start(t, opt)
	ctl := func(c *harness.Cluster, secret string, args ...string) (int, string, string) {
		t.Helper()
		argv := append([]string{tool(t, "kumoctl"), c.Manager.Addr}, args...)
		if secret != "" {
			argv = append(argv, "--cluster-secret-file", secret)
		}
		began := time.Now()
		code, stdout, stderr := run(t, 2*time.Minute, "", argv...)
		t.Logf("kumoctl %s: status %d in %v: %s", strings.Join(args, " "), code, time.Since(began).Round(time.Millisecond), strings.TrimSpace(stdout+lastLine(stderr)))
		return code, stdout, stderr
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }

	l := fill(t, c, keys)
	mc := dialRaw(t, c.Gateway.Addr)
	exptime := time.Now().Unix() + 86400
	large := strings.Repeat("0123456789abcde\n", 3<<16) // 3 MiB
	mc.each([]string{
		fmt.Sprintf("set flags 4294967295 %d 5\r\nvalue\r\n", exptime), "set old 1 0 1\r\na\r\n", "set gone 0 0 1\r\na\r\n", "set again 0 0 1\r\na\r\n",
		"set short 0 2 1\r\na\r\n", fmt.Sprintf("set large 7 0 %d\r\n%s\r\n", len(large), large), "set stale 3 0 1\r\na\r\n", "set empty 0 0 0\r\n\r\n",
	}, "STORED")
	mc.each([]string{"ms unique 5 E123456789\r\nvalue\r\n", "md stale I\r\n"}, "HD")

	// Who has not got the secret gets nothing.
	if code, _, stderr := ctl(c, "", "backup", "--to", path("b0")); code != 1 || !strings.Contains(stderr, "secret") {
		t.Errorf("without the secret: status %d, %s", code, stderr)
	}
	whole := span{began: l.Now()}
	code, out, stderr := ctl(c, opt.Secret, "backup", "--to", path("b1"))
	if whole.ended = l.Now(); code != 0 || !strings.HasPrefix(out, "backed up ") {
		t.Fatalf("backup: status %d\n%s%s", code, out, stderr)
	}
	mc.each([]string{"delete gone\r\n"}, "DELETED")
	mc.each([]string{"set again 9 0 5\r\nagain\r\n", "set later 0 0 5\r\nlater\r\n"}, "STORED")

	// An interrupted one goes on.
	d := start(t, dir, tool(t, "kumoctl"), c.Manager.Addr, "backup", "--to", path("b3"), "--rate", "100K", "--cluster-secret-file", opt.Secret)
	under := func(name string, size int64) {
		t.Helper()
		harness.Until(t, 30*time.Second, "a backup is under way", func() error {
			st, err := os.Stat(path(name + "/pairs-0001.kfb"))
			if err == nil && st.Size() < size {
				err = fmt.Errorf("%d bytes of it", st.Size())
			}
			return err
		})
	}
	under("b3", 20_000)
	if code := d.stop(syscall.SIGINT, 10*time.Second); code != 1 || !strings.Contains(d.said.String(), "backup: interrupted; ") || !strings.Contains(d.said.String(), "the same command goes on") {
		t.Errorf("an interrupted backup: status %d\n%s", code, d.said.String())
	}
	if code, _, stderr := run(t, time.Minute, "", tool(t, "kumoctl"), "verify", path("b3")); code != 1 || !strings.Contains(stderr, "is not complete") {
		t.Errorf("verify of an unfinished backup: status %d\n%s", code, stderr)
	}
	if code, _, stderr := ctl(c, opt.Secret, "backup", "--to", path("b3"), "--since", path("b1")); code != 1 || !strings.Contains(stderr, "stands on another one") {
		t.Errorf("an unfinished backup that goes on as another: status %d\n%s", code, stderr)
	}
	if code, _, _ := ctl(c, opt.Secret, "backup", "--to", path("b3")); code != 0 {
		t.Error("an unfinished backup does not go on")
	}

	// A server dies in the middle of an incremental one.
	victim := c.MostPrimaries()
	since := span{began: l.Now()}
	type result struct {
		code        int
		out, stderr string
	}
	made := make(chan result, 1)
	go func() {
		code, out, stderr := run(t, 2*time.Minute, "", tool(t, "kumoctl"), c.Manager.Addr, "backup", "--to", path("b2"), "--since", path("b1"), "--rate", "2M", "--json", "--cluster-secret-file", opt.Secret)
		made <- result{code, out, stderr}
	}()
	under("b2", 5_000)
	l.Mark("kill -9 %s", victim.Name)
	victim.Kill9()
	r := <-made
	since.ended = l.Now()
	var said struct {
		Pairs, Bytes, Size int64
		Stored             int64 `json:"pairs_stored"`
		Deleted            int64 `json:"pairs_deleted"`
		Seconds            float64
	}
	if err := json.Unmarshal([]byte(r.out), &said); r.code != 0 || err != nil || said.Stored == 0 {
		t.Fatalf("a backup while a server is killed: status %d, %v\n%s%s", r.code, err, r.out, r.stderr)
	}
	t.Logf("a backup while a server is killed: %+v", said)
	l.Run(500 * time.Millisecond)

	for _, name := range []string{"b1", "b2", "b3"} {
		if code, out, stderr := run(t, time.Minute, "", tool(t, "kumoctl"), "verify", path(name)); code != 0 || !strings.Contains(out, "all is well") {
			t.Errorf("verify %s: status %d\n%s%s", name, code, out, stderr)
		}
	}

	opt2 := options(2)
	opt2.GatewayArgs = []string{"--max-item-size", "16M", "--allow-flush-all"}
	c2 := harness.Start(t, opt2)
	mc2 := dialRaw(t, c2.Gateway.Addr)
	restore := func(wantCode int, says string, args ...string) {
		t.Helper()
		code, out, stderr := ctl(c2, opt2.Secret, append([]string{"restore"}, args...)...)
		if code != wantCode || !strings.Contains(out+stderr, says) {
			t.Errorf("restore %v: status %d, wanted %d and %q\n%s%s", args, code, wantCode, says, out, stderr)
		}
	}
	line := func(cmd, want string) {
		t.Helper()
		got := mc2.ask(cmd)
		if strings.HasPrefix(got, "VA ") {
			got += " " + mc2.line()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, wanted %q", cmd, got, want)
		}
	}
	restore(0, "restored ", path("b1"), "-q")
	observe(t, l, c2, path("b1"), whole, keys)
	line("mg flags v f\r\n", "VA 5 f4294967295 value")
	line("mg flags t\r\n", "HD t86")
	line("mg unique v f c\r\n", "VA 5 f0 c123456789 value")
	line("mg stale v f\r\n", "VA 1 f3 X W a") // stale, and its token can be won
	line("mg empty v\r\n", "VA 0 ")
	line("mg gone v\r\n", "VA 1 a")
	line("mg again v\r\n", "VA 1 a")
	line("mg later v\r\n", "EN")
	line("mg short v\r\n", "EN")
	if got := mc2.getAll([]string{"large"})["large"]; got.value != large || got.flags != 7 {
		t.Errorf("the large value has %d bytes, flags %d", len(got.value), got.flags)
	}

	// With the incremental one on it, into the cluster that was emptied.
	restore(1, "the cluster holds pairs already", path("b2"), "-q")
	if got := mc2.ask("flush_all\r\n"); got != "OK" {
		t.Fatal(got)
	}
	restore(0, "restored ", path("b2"), "-q")
	observe(t, l, c2, path("b2"), since, keys)
	line("mg gone v\r\n", "EN")
	line("mg again v f\r\n", "VA 5 f9 again")
	line("mg later v\r\n", "VA 5 later")
	line("mg unique v f c\r\n", "VA 5 f0 c123456789 value")
	if got := mc2.getAll([]string{"large"})["large"]; got.value != large {
		t.Errorf("the large value has %d bytes", len(got.value))
	}

	// Into a cluster that is in use.
	mc2.each([]string{"set old 2 0 4\r\nmine\r\n", "set own 0 0 1\r\nx\r\n"}, "STORED")
	mc2.each([]string{"delete again\r\n"}, "DELETED")
	restore(1, "nothing was done", path("b2"), "-q")
	line("mg again v\r\n", "EN")
	restore(0, "are as they were", path("b2"), "-q", "--keep")
	line("mg again v\r\n", "VA 5 again")
	line("mg old v f\r\n", "VA 4 f2 mine")
	restore(0, "restored ", path("b2"), "-q", "--overwrite")
	line("mg old v f\r\n", "VA 1 f1 a")
	line("mg own v\r\n", "VA 1 x") // nothing is deleted
	c2.CheckCopies()

	victim.Start()
	finish(t, l, 2*clients, besideBar(), unknownWrite)

	// Damage is found, named, and not restored.
	file := path("b1/pairs-0001.kfb")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = run(t, time.Minute, "", tool(t, "kumoctl"), "verify", path("b2"))
	if code != 1 || !strings.Contains(out, "damaged: "+file+": partition ") {
		t.Errorf("verify of a damaged backup: status %d\n%s%s", code, out, stderr)
	}
	restore(1, file+": partition ", path("b2"), "-q", "--keep")
}

// observe adds to the load's histories, as gets, what a cluster holds that was restored from the
// backup in dir, made in that time. (The uniques of the gets are those of the backup: a restored item has one of its own.)
func observe(t *testing.T, l *load.Load, c *harness.Cluster, dir string, made span, keys int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := client.Open(ctx, client.Options{Managers: []string{c.Manager.Addr}, ClusterSecretFile: *file})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	all := map[string]string{}
	for it, err := range cl.Scan(ctx, nil, client.ScanOptions{Unordered: true}) {
		if err != nil {
			t.Fatal(err)
		}
		all[it.Key] = string(it.Value)
	}
	mine := []string{"flags", "old", "gone", "again", "short", "large", "stale", "empty", "unique", "later"}
	for i := range keys {
		if _, there := all[load.Key(i)]; !there {
			l.Observe(load.Op{Kind: load.Get, Key: load.Key(i)}, load.Result{Status: load.Missing}, made.began, made.ended)
		}
	}
	n := 0
	cas := uniquesOf(t, dir)
	for key, value := range all {
		if cas[key] == 0 {
			t.Errorf("key %q is in the restored cluster, and not in the backup", key)
		}
		if !slices.Contains(mine, key) {
			n++
			l.Observe(load.Op{Kind: load.Get, Key: key}, load.Result{Status: load.Done, Value: value, Unique: cas[key]}, made.began, made.ended)
		}
	}
	if len(cas) != len(all) {
		t.Errorf("%d pairs are in the backup, %d in the cluster", len(cas), len(all))
	}
	if n < keys/2 {
		t.Errorf("only %d keys of the load are in the backup", n)
	}
	t.Logf("%d keys of the load are in the backup", n)
}

// uniquesOf reads the uniques of a backup's pairs.
func uniquesOf(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	r, err := backup.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for part := range r.Manifest.Partitions {
		p, err := r.Pairs(uint16(part))
		if err != nil {
			t.Fatal(err)
		}
		var e backup.Entry
		for err = p.Next(&e); err == nil; err = p.Next(&e) {
			if e.Kind != backup.Part {
				all[string(e.Key)] = cmp.Or(e.Unique, e.Version)
			}
		}
		p.Close()
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	return all
}
