package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/certs/certstest"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// tlsSet dials addr, stores a pair and reads it back; it gives the server's certificate.
func tlsSet(addr string, config *tls.Config, key string) (serial string, err error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	value := strings.Repeat("v", 100_000)
	if _, err := fmt.Fprintf(c, "set %s 0 0 %d\r\n%s\r\nget %s\r\nquit\r\n", key, len(value), value, key); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	if want := fmt.Sprintf("STORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\n", key, len(value), value); err == nil && string(got) != want {
		err = fmt.Errorf("answered %.100q", got)
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), err
}

// TestTLS is memcached over TLS at a gateway and at a server itself: clients with a good
// certificate are served, others not, and the files can be changed.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, stranger := certstest.New(t, "authority"), certstest.New(t, "stranger")
	cert, key := ca.Write(dir, "server")
	flags := []string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", ca.WriteCA(dir)}
	monitor := loopback(t)
	opt := options(1)
	opt.Text = true
	opt.ServerArgs, opt.GatewayArgs = flags, append([]string{"--http", monitor}, flags...)
	c := harness.Start(t, opt)
	good := func() *tls.Config {
		return &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Issue("client")}}
	}
	for _, addr := range []string{c.Gateway.Addr, c.Text(c.Servers[0])} {
		if _, err := tlsSet(addr, good(), "k"); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		for name, change := range map[string]func(*tls.Config){
			"no certificate":        func(c *tls.Config) { c.Certificates = nil },
			"another's certificate": func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger.Issue("client")} },
			"TLS 1.1":               func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		} {
			config := good()
			change(config)
			if _, err := tlsSet(addr, config, "k"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %s: %v", addr, name, err)
			}
		}
		plain, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		_ = plain.SetDeadline(time.Now().Add(15 * time.Second))
		if _, err := plain.Write([]byte("get k\r\n")); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(plain); strings.Contains(string(got), "END") || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: without TLS: %q %v", addr, got, err)
		}
	}
	if metrics := httpGet(t, monitor, "/metrics"); !strings.Contains(metrics, "kumo_gateway_tls_handshakes_failed_total 4\n") {
		t.Error(metrics)
	}

	// A bad file is said, and the old one holds; a good one is for new connections.
	before, err := tlsSet(c.Gateway.Addr, good(), "k")
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func(says string) {
		t.Helper()
		c.Gateway.HangUp()
		harness.Until(t, 10*time.Second, "the gateway says "+says, func() error {
			if !strings.Contains(c.Gateway.Log(), says) {
				return errors.New(c.Gateway.Tail(3))
			}
			return nil
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "server.key"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp("what was read before holds")
	if same, err := tlsSet(c.Gateway.Addr, good(), "k"); err != nil || same != before {
		t.Error(same == before, err)
	}
	ca.Write(dir, "server")
	hangUp("read again at SIGHUP: the TLS certificates")
	if after, err := tlsSet(c.Gateway.Addr, good(), "k"); err != nil || after == before {
		t.Error(after == before, err)
	}
}

// TestLocalSecure is `kumofs local` with TLS and a secret.
func TestLocalSecure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := certstest.New(t, "authority")
	cert, key := ca.Write(dir, "server")
	sec := secretFile(t, "the secret of this cluster")
	addr := loopback(t)
	_, port, _ := net.SplitHostPort(addr)
	d := start(t, dir, tool(t, "kumofs"), "local", "--port", port, "--tls-cert", cert, "--tls-key", key, "--cluster-secret-file", sec)
	d.says(40*time.Second, "Stop it with Ctrl-C")
	if _, err := tlsSet(addr, &tls.Config{RootCAs: ca.Pool()}, "k"); err != nil {
		t.Error(err)
	}
	out := d.said.String()
	if !strings.Contains(out, "--cluster-secret-file "+sec) {
		t.Error(out)
	}
	mgr := strings.Fields(out[strings.Index(out, "manager "):])[1]
	if status := must(t, 10*time.Second, tool(t, "kumoctl"), mgr, "status", "--cluster-secret-file", sec); strings.Count(status, "(active)") != 3 {
		t.Error(status)
	}
	if code, _, stderr := run(t, 10*time.Second, "", tool(t, "kumoctl"), mgr, "status"); code != 1 || !strings.Contains(stderr, "--cluster-secret-file") {
		t.Errorf("status %d, %q", code, stderr)
	}
}

// TestRequireAuth: what is a warning is an error with --require-auth, with the status of
// a bad command line; and a file of users is not passed over in silence.
func TestRequireAuth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("app\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		argv []string
	}{
		{2, "--require-auth: anybody who reaches port 11411", []string{"kumo-gateway", "-m", "127.0.0.1", "--require-auth"}},
		{2, "--require-auth: anybody who reaches 192.0.2.1:19700", []string{"kumo-manager", "-l", "192.0.2.1", "--require-auth"}},
		{2, "--tls-cert and --tls-key belong together", []string{"kumo-gateway", "-m", "127.0.0.1", "--tls-cert", "x"}},
		{1, "line 1: it has no colon", []string{"kumo-gateway", "-m", "127.0.0.1", "-t", loopback(t), "--auth-file", users}},
		{1, "no such file", []string{"kumo-server", "-m", "127.0.0.1", "-l", loopback(t), "-s", "s", "--cluster-secret-file", "none"}},
	} {
		c.argv[0] = tool(t, c.argv[0])
		if code, stdout, stderr := run(t, 10*time.Second, dir, c.argv...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: status %d, %q %q", c.argv, code, stdout, stderr)
		}
	}
}
