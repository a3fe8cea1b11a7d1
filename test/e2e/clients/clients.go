// Package clients runs real memcached clients against a server: each suite uses all
// that its library offers, on the library as it is installed. Its own test runs them
// against a real memcached, which shows that what they expect is right; the tests of
// test/e2e run the same against a gateway.
package clients

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// python is Debian's own: another one in PATH does not see its modules.
const python = "/usr/bin/python3"

// A Suite is a client and what is done with it.
type Suite struct {
	Name string

	missing func() error // why it cannot be run here
	argv    func(t *testing.T, host, port string) []string
	dir     string         // where it runs, relative to this directory
	env     string         // name of a variable that has the address
	passed  *regexp.Regexp // what its output has if all is well
	// unlucky, if not nil, is in the output of a run that failed by the moment at which it
	// was made, as it fails now and then against memcached: that is done again, once.
	unlucky *regexp.Regexp
}

// Suites is all of them. Each is to have the server for itself: they flush it.
func Suites() []Suite {
	counted := regexp.MustCompile(`(?m)^[1-9]\d* passed, 0 failed$`)
	script := func(interpreter string, args ...string) func(*testing.T, string, string) []string {
		return func(_ *testing.T, host, port string) []string {
			return append([]string{interpreter, args[0], host, port}, args[1:]...)
		}
	}
	module := func(name string) func() error {
		return func() error { return exec.Command(python, "-c", "import "+name).Run() }
	}
	capable := func(protocol string) func(*testing.T, string, string) []string {
		return func(_ *testing.T, host, port string) []string {
			// -t: the time that one answer may take, in seconds.
			return []string{"memccapable", "-h", host, "-p", port, "-t", "30", protocol}
		}
	}
	program := func(name string) func() error {
		return func() error {
			_, err := exec.LookPath(name)
			return err
		}
	}
	node := func(name string) func() error {
		return func() error {
			if _, err := exec.LookPath("node"); err != nil {
				return err
			}
			_, err := os.Stat(filepath.Join(here(), "node/node_modules", name))
			return err
		}
	}
	all := regexp.MustCompile(`(?m)^All tests passed$`)
	return []Suite{
		{Name: "gomemcache", missing: program("go"), argv: gomemcache, env: "SERVER",
			passed: regexp.MustCompile(`(?ms)^--- PASS: TestServer .*^--- PASS: TestServerMore `),
			// It touches an item every second, to live two. Exptimes are whole seconds of the clock, so that is
			// between one and two: too little if a touch late in a second is followed by one early in the next but one.
			unlucky: regexp.MustCompile(`(?m)error touching foo: memcache: cache miss$`)},
		{Name: "pymemcache", missing: module("pymemcache"), argv: script(python, "pymemcache_suite.py"), passed: counted},
		{Name: "pylibmc", missing: module("pylibmc"), argv: script(python, "pylibmc_suite.py"), passed: counted},
		{Name: "node memcached", missing: node("memcached"), argv: script("node", "memcached_suite.js"), dir: "node", passed: counted},
		{Name: "memccapable ascii", missing: program("memccapable"), argv: capable("-a"), passed: all},
		{Name: "pylibmc binary", missing: module("pylibmc"), argv: script(python, "pylibmc_suite.py", "binary"), passed: counted},
		{Name: "node memjs", missing: node("memjs"), argv: script("node", "memjs_suite.js"), dir: "node", passed: counted},
		{Name: "memccapable binary", missing: program("memccapable"), argv: capable("-b"), passed: all},
	}
}

// here is this directory: the suites' scripts are in it.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// gomemcache makes a copy of its package, with our test beside its own: they share
// testWithClient, which is all that it tests a server with.
func gomemcache(t *testing.T, _, _ string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bradfitz/gomemcache")
	cmd.Dir = here()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("where is gomemcache: %v", err)
	}
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "memcache", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("gomemcache is not in %s: %v", out, err)
	}
	for _, from := range append(files, filepath.Join(here(), "testdata/gomemcache_server_test.go")) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module memcache\n\ngo 1.22\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"go", "test", "-C", dir, "-count=1", "-v", "-run", "^TestServer", "."}
}

// Run runs it against the server at addr, or says why it cannot and skips.
func (s Suite) Run(t *testing.T, addr string) {
	t.Helper()
	if err := s.missing(); err != nil {
		t.Skipf("%s is not installed (scripts/deps installs it): %v", s.Name, err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	argv := s.argv(t, host, port)
	out, err := s.run(ctx, argv, addr)
	if err != nil && s.unlucky != nil && s.unlucky.Match(out) {
		t.Logf("%s: unlucky, once more\n%s", s.Name, out)
		out, err = s.run(ctx, argv, addr)
	}
	if err != nil || !s.passed.Match(out) {
		t.Errorf("%s: %v\n%s", s.Name, err, out)
	}
}

func (s Suite) run(ctx context.Context, argv []string, addr string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = filepath.Join(here(), s.dir)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if s.env != "" {
		cmd.Env = append(cmd.Env, s.env+"="+addr)
	}
	// What it starts itself must not outlive it, nor hold its output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}
