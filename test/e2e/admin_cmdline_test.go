package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// TestBadCommandLines gives every program what cannot work, beside a cluster
// under load that must not notice.
func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Dir = t.TempDir()
	c := harness.Start(t, opt)
	home := filepath.Join(opt.Dir, t.Name())
	l := fill(t, c, 2000)
	c.Ctl("backup", "b1")

	dir := t.TempDir()
	file := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	other := oneServer(t, dir) // another cluster's store, its server stopped
	file("plain.txt", "nothing of ours\n")
	file("old.tch", "ToKyO CaBiNeT\n1.0:813:813\n"+strings.Repeat("\x00", 512))
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	free, mgr, gw, srv := loopback(t), c.Manager.Addr, c.Gateway.Addr, c.Servers[0].Addr
	_, mgrPort, _ := strings.Cut(mgr, ":")
	_, gwPort, _ := strings.Cut(gw, ":")
	unknown := "no-such-host.invalid"

	type row struct {
		code int
		says string // parts with | between them, all on standard error
		argv string // words
	}
	rows := []row{
		{2, "missing required flag|-l", "kumo-manager"},
		{2, "-l|needs a value", "kumo-manager -l"},
		{2, "unknown flag --nix", "kumo-manager -l localhost --nix"},
		{2, `unexpected argument "extra"`, "kumo-manager -l localhost extra"},
		{2, "-l|port 99999", "kumo-manager -l localhost:99999"},
		{2, "-l|bad port", "kumo-manager -l localhost:http"},
		{2, "-l|every interface", "kumo-manager -l 0.0.0.0"},
		{2, "-l|unknown host|" + unknown, "kumo-manager -l " + unknown},
		{2, "-p|unknown host", "kumo-manager -l localhost -p " + unknown},
		{2, "-Ys", "kumo-manager -l localhost -Ys soon"},
		{2, "-Yn", "kumo-manager -l localhost -Yn 0"},
		{2, "-Rs", "kumo-manager -l localhost -Rs -1"},
		{1, "cannot listen on " + mgr + "|address already in use", "kumo-manager -l " + mgr + " -s m1"},
		{1, "cannot listen on 192.0.2.1|cannot assign", "kumo-manager -l 192.0.2.1 -s m2"},
		{1, "state directory|in use by another kumo-manager", "kumo-manager -l " + free + " -s " + home + "/kumo-manager-" + mgrPort},
		{1, "state directory|plain.txt|not a directory", "kumo-manager -l " + free + " -s plain.txt"},
		{1, "state directory|no such file or directory", "kumo-manager -l " + free + " -s not/there"},
		{1, "no-such-dir", "kumo-manager -l " + free + " -s m3 -o no-such-dir/log"},
		{1, "no-such-dir", "kumo-manager -l " + free + " -s m4 -d no-such-dir/pid"},

		{2, "missing required flag|-m", "kumo-server -l localhost -s x"},
		{2, "missing required flag|-l", "kumo-server -m localhost -s x"},
		{2, "missing required flag|-s", "kumo-server -m localhost -l localhost"},
		{2, "unknown flag -z", "kumo-server -z"},
		{2, "-m|unknown host", "kumo-server -m " + unknown + " -l localhost -s x"},
		{2, "-L|0", "kumo-server -m localhost -l localhost -s x -L 70000"},
		{2, "cache-size|much", "kumo-server -m localhost -l localhost -s x --cache-size much"},
		{2, "-s|must be a path", "kumo-server -m localhost -l localhost -s="},
		{1, "cannot listen on " + srv + "|address already in use", "kumo-server -m " + mgr + " -l " + srv + " -s x1"},
		{1, "memcached|" + gw + "|address already in use", "kumo-server -m " + mgr + " -l " + free + " -t " + gw + " -s x2"},
		{1, "plain.txt|is a file|directory", "kumo-server -m " + mgr + " -l " + free + " -s plain.txt"},
		{1, "old.tch|Tokyo Cabinet|kumomergedb", "kumo-server -m " + mgr + " -l " + free + " -s old.tch"},
		{1, "full|not empty|not a store", "kumo-server -m " + mgr + " -l " + free + " -s full"},
		{1, "there is no directory|not", "kumo-server -m " + mgr + " -l " + free + " -s not/there/x"},
		{1, "store in use by another process|kumodb1", "kumo-server -m " + mgr + " -l " + free + " -s " + home + "/kumodb1"},
		{1, "belongs to cluster|but this manager's cluster is", "kumo-server -m " + mgr + " -l " + free + " -s " + other},

		{2, "missing required flag|-m", "kumo-gateway"},
		{2, "unknown flag --nix", "kumo-gateway -m localhost --nix"},
		{2, "-t", "kumo-gateway -m localhost -t 0"},
		{2, "-t|unknown host", "kumo-gateway -m localhost -t " + unknown + ":11211"},
		{2, "--timeout", "kumo-gateway -m localhost --timeout soon"},
		{2, "--loops|64", "kumo-gateway -m localhost --loops 65"},
		{2, "--max-item-size|1K to 1G", "kumo-gateway -m localhost --max-item-size 2G"},
		{1, "cannot listen on|" + gwPort + "|address already in use", "kumo-gateway -m " + mgr + " -t " + gw},
		{1, "cannot listen on|" + gwPort + "|address already in use", "kumo-gateway -m " + mgr + " -t " + free + " --http " + gw},

		{2, "needs a manager's address and a command|Commands:", "kumoctl"},
		{2, "needs a manager's address and a command", "kumoctl localhost"},
		{2, `unknown command "atach"`, "kumoctl " + mgr + " atach"},
		{2, `unexpected argument "x"`, "kumoctl " + mgr + " status x"},
		{2, "unknown flag --nix", "kumoctl " + mgr + " status --nix"},
		{2, `suffix "a/b"`, "kumoctl " + mgr + " backup a/b"},
		{2, `suffix ""`, "kumoctl " + mgr + " backup "},
		{1, "unknown host", "kumoctl " + unknown + " status"},
		{1, free + ": connection refused", "kumoctl " + free + " status"},
		{1, "is it a kumo-manager?", "kumoctl " + srv + " status"},
		{1, gw, "kumoctl " + gw + " status"},
		{1, "b1-|exists already", "kumoctl " + mgr + " backup b1"},
		{1, "no server to attach", "kumoctl " + mgr + " attach"},
		{1, "detach", "kumoctl " + mgr + " detach"},

		{2, "Commands:", "kumostat"},
		{2, `unknown command "nix"`, "kumostat " + srv + " nix"},
		{1, "unknown host", "kumostat " + unknown + " items"},
		{1, free + ": connection refused", "kumostat " + free + " items"},
		{1, "this is a kumo-manager", "kumostat " + mgr + " items"},
		{1, free + ": connection refused", "kumostat -m " + free + " items"},

		{2, "", "kumohash"},
		{2, "nix", "kumohash -m " + mgr + " nix"},
		{1, "connection refused", "kumohash -m " + free + " assign a"},

		{2, "needs a destination and at least one source", "kumomergedb"},
		{2, "needs a destination and at least one source", "kumomergedb dst"},
		{1, "no store at nix", "kumomergedb dst1 nix"},
		{1, "full|exists already", "kumomergedb full " + home + "/kumodb1-b1"},
		{1, "kumodb1|in use by another process", "kumomergedb dst2 " + home + "/kumodb1"},
		{1, "plain.txt", "kumomergedb dst3 plain.txt"},

		{1, "no-such-log|no such file", "kumolog no-such-log"},
		{2, "", "kumotop --nix"},
		{1, "connection refused", "kumotop -m " + free + " --once"},

		{2, "needs the address of one server", "kumobench"},
		{2, "unknown flag --nix", "kumobench " + gw + " --nix"},
		{2, "--protocol|text, meta, binary, redis", "kumobench " + gw + " --protocol smtp"},
		{2, "--compare|NAME=HOST:PORT", "kumobench --compare " + gw},
		{1, "unknown host", "kumobench " + unknown},
		{1, "connection refused", "kumobench " + free},
		{1, "process 999999999", "kumobench " + gw + " --pid 999999999"},

		{2, "needs a command|local", "kumofs"},
		{2, `unknown command "nix"`, "kumofs nix"},
		{2, "--servers|0", "kumofs local --servers 0"},
		{2, "--port|70000", "kumofs local --port 70000"},
		{1, "cannot listen on " + gw + "|--port", "kumofs local --data f1 --port " + gwPort},
		{1, "data directory|plain.txt", "kumofs local --data plain.txt/x --port " + strings.TrimPrefix(free, "127.0.0.1:")},
	}
	for _, r := range rows {
		began := time.Now()
		argv := strings.Split(r.argv, " ")
		name := argv[0]
		argv[0] = tool(t, name)
		code, stdout, stderr := run(t, 8*time.Second, dir, argv...)
		bad := code != r.code || stdout != "" || !strings.HasPrefix(stderr, name) && r.code == 2
		for part := range strings.SplitSeq(r.says, "|") {
			bad = bad || !strings.Contains(stderr, part)
		}
		if took := time.Since(began); took > size(4*time.Second, time.Second) {
			t.Logf("%s: answered after %v", r.argv, took)
		}
		if bad || strings.Contains(stderr, "goroutine ") {
			t.Errorf("%s\n  status %d, wanted %d and %q\n  stdout %q\n  stderr %s", r.argv, code, r.code, r.says, stdout, stderr)
		}
	}
	// A refused command leaves nothing behind.
	for _, name := range []string{"m1", "m2", "m3", "m4", "not", "x", "x1", "x2", "dst", "dst1", "dst2", "dst3", "f1"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was made by a command that failed", name)
		}
	}
	t.Logf("%d command lines that cannot work, each refused with its reason", len(rows))
	finish(t, l, 0, besideBar())
	c.CheckCopies()
}

// oneServer makes the store of another cluster and stops its server.
func oneServer(t *testing.T, dir string) string {
	t.Helper()
	mgr, srv, store := loopback(t), loopback(t), filepath.Join(dir, "other-store")
	m := start(t, dir, tool(t, "kumo-manager"), "-v", "-l", mgr, "-s", "other-manager")
	s := start(t, dir, tool(t, "kumo-server"), "-v", "-m", mgr, "-l", srv, "-s", store)
	s.says(10*time.Second, "connect success")
	must(t, 30*time.Second, tool(t, "kumoctl"), mgr, "attach", "--wait")
	if code := s.stop(15, 5*time.Second); code != 0 {
		t.Errorf("the server of another cluster ended with status %d", code)
	}
	if code := m.stop(15, 5*time.Second); code != 0 {
		t.Errorf("the manager of another cluster ended with status %d", code)
	}
	return store
}
