package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kumofs/kumofs/internal/certs/certstest"
	"github.com/kumofs/kumofs/internal/testlog"
)

// Who may come in where, as a warning, an error or nothing.
func TestOpenPorts(t *testing.T) {
	programs := map[string]func() *Flags{
		"manager": func() *Flags { f, _ := ManagerFlags(); return f },
		"server":  func() *Flags { f, _ := ServerFlags(); return f },
		"gateway": func() *Flags { f, _ := GatewayFlags(); return f },
		"local":   func() *Flags { f, _ := LocalFlags(); return f },
	}
	const daemon, memcached = "destroy all data", "through memcached"
	for _, c := range []struct{ program, args, warns string }{
		{"manager", "-l 10.0.0.1", daemon},
		{"manager", "-l 10.0.0.1 --cluster-secret-file x", ""},
		{"manager", "-l 127.0.0.1", ""},
		{"manager", "-l 127.0.0.1 --http 8080", ""},
		{"manager", "-l 127.0.0.1 --http :8080 --console-commands", ""},
		{"manager", "-l 127.0.0.1 --http 10.0.0.1:8080", "anybody who reaches 10.0.0.1:8080 can see in the console"},
		{"manager", "-l 127.0.0.1 --http *:8080 --console-commands", "anybody who reaches port 8080 can command the cluster"},
		{"server", "-m localhost -s x -l 10.0.0.1", daemon},
		{"server", "-m localhost -s x -l 127.0.0.2 -t 11211", memcached},
		{"server", "-m localhost -s x -l 127.0.0.2 -t 127.0.0.1:11211", ""},
		{"server", "-m localhost -s x -l 10.0.0.1 --cluster-secret-file x -t 11211 --auth-file y", ""},
		{"gateway", "-m 10.0.0.1", memcached},
		{"gateway", "-m 10.0.0.1 -t 10.0.0.2:1", memcached},
		{"gateway", "-m 10.0.0.1 -t 127.0.0.1:1", ""},
		{"gateway", "-m 10.0.0.1 -t 127.0.0.1:1 -b 2", memcached},
		{"gateway", "-m 10.0.0.1 --cluster-secret-file x", memcached},
		{"gateway", "-m 10.0.0.1 --tls-cert x --tls-key x", memcached}, // encrypted, and for anybody
		{"gateway", "-m 10.0.0.1 --tls-cert x --tls-key x --tls-ca x", ""},
		{"gateway", "-m 10.0.0.1 --auth-file x", ""},
		{"local", "", ""},
		{"local", "-t 1", memcached},
	} {
		f := programs[c.program]()
		err := f.Parse(strings.Fields(c.args), nil)
		said := strings.Join(f.Warnings(), "\n")
		if err != nil || (c.warns == "") != (said == "") || !strings.Contains(said, c.warns) {
			t.Errorf("%s %s: %v, %q", c.program, c.args, err, said)
		}
		f = programs[c.program]()
		err = f.Parse(append(strings.Fields(c.args), "--require-auth"), nil)
		if c.warns == "" && err != nil || c.warns != "" && (err == nil || !strings.Contains(err.Error(), "--require-auth: anybody") || report(c.program, err) != 2) {
			t.Errorf("%s %s --require-auth: %v", c.program, c.args, err)
		}
	}
	for args, want := range map[string]string{
		"--tls-cert x":                      "belong together",
		"--tls-key x":                       "belong together",
		"--tls-ca x":                        "--tls-ca needs",
		"--auth-file=":                      `invalid value "" for flag --auth-file: must be a path`,
		"--cluster-secret-file=":            `invalid value "" for flag --cluster-secret-file: must be a path`,
		"--tls-cert= --tls-key= --tls-ca=x": "must be a path",
	} {
		if err := programs["gateway"]().Parse(append([]string{"-m", "localhost"}, strings.Fields(args)...), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The console's port is on loopback unless an address is given.
func TestConsolePort(t *testing.T) {
	for given, want := range map[string]string{"8080": "127.0.0.1:8080", ":8080": "127.0.0.1:8080", "*:8080": ":8080", "10.0.0.1:8080": "10.0.0.1:8080", "[::1]:8080": "[::1]:8080",
		"": "!", "localhost": "!", "10.0.0.1": "!", "70000": "!"} {
		f, o := ManagerFlags()
		err := f.Parse([]string{"-l", "127.0.0.1", "--http=" + given}, nil)
		if got := o.HTTP; err != nil && want != "!" || err == nil && got != want {
			t.Errorf("--http %q: %q, %v", given, got, err)
		}
	}
}

// At SIGHUP the files are read again; a bad one changes nothing.
func TestGatesReadAgain(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.New(t, "authority")
	cert, key := ca.Write(dir, "server")
	a := Access{SecretFile: filepath.Join(dir, "secret"), Memcached: MemcachedAccess{Cert: cert, Key: key, AuthFile: filepath.Join(dir, "users")}}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &testlog.Buffer{}
	if _, _, err := a.Gates(slog.New(slog.NewTextHandler(log, nil))); err == nil {
		t.Fatal("no secret is there")
	}
	write(a.SecretFile, "the secret of this cluster")
	write(a.Memcached.AuthFile, "app:one")
	g, stop, err := a.Gates(slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	was := g.TLS()
	if !g.Secret.Known() || !g.Auth([]byte("app"), []byte("one")) {
		t.Error("not what is in the files")
	}
	write(a.Memcached.AuthFile, "app:two")
	write(a.SecretFile, "short")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"read again at SIGHUP: the users of memcached", "read again at SIGHUP: the TLS certificates", "a line has 5 bytes"} {
		log.Says(t, text)
	}
	if g.TLS() == was || !g.Auth([]byte("app"), []byte("two")) || g.Auth([]byte("app"), []byte("one")) {
		t.Error("not read again")
	}
	stop()
	none, stop, err := new(Access).Gates(slog.New(slog.NewTextHandler(log, nil)))
	if err != nil || none.Secret.Known() || none.TLS != nil || none.Auth != nil {
		t.Errorf("%+v %v", none, err)
	}
	stop()
}
