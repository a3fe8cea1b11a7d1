package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/testlog"
	"github.com/kumofs/kumofs/internal/wire"
)

// alone runs a server that finds no manager.
func alone(t *testing.T, s *secret.Secret, openMetrics bool) (addr, stream string, log *testlog.Buffer) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stream = free.Addr().String()
	free.Close()
	_, number, _ := net.SplitHostPort(stream)
	port, _ := strconv.Atoi(number)
	log = &testlog.Buffer{}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			Listen: "127.0.0.1:0", StreamPort: port, Store: "/s", Managers: []string{"127.0.0.1:1"}, CacheSize: 1 << 20, Secret: s, OpenMetrics: openMetrics,
			Logger: slog.New(slog.NewTextHandler(log, nil)), Ready: func(addr string) { ready <- addr }, options: store.Options{FS: vfs.NewMem()},
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case addr = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return addr, stream, log
}

func secretOf(t *testing.T, line string) *secret.Secret {
	t.Helper()
	s, err := secret.New(nil, line)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stays tells whether a connection that says text is still open a moment later.
func stays(t *testing.T, s *secret.Secret, addr, text string) (bool, error) {
	t.Helper()
	nc, err := s.Dial(t.Context(), &net.Dialer{Timeout: 5 * time.Second}, "tcp", addr)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	if _, err := nc.Write([]byte(text)); err != nil {
		return false, nil
	}
	_ = nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = nc.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded), nil
}

// Nothing of what a server is told on its two ports is looked at before the secret was
// proven, but HTTP for monitoring.
func TestServerAsksForTheSecret(t *testing.T) {
	right, wrong := secretOf(t, "the secret of this cluster"), secretOf(t, "the secret of another cluster")
	addr, stream, log := alone(t, right, true)
	for _, c := range []struct{ name, addr, text string }{
		{"data", addr, wire.Magic},
		{"relay", addr, wire.RelayMagic},
		{"copy", stream, streamMagic},
	} {
		if ok, err := stays(t, right, c.addr, c.text); !ok || err != nil {
			t.Errorf("%s with the secret: %v %v", c.name, ok, err)
		}
		if ok, err := stays(t, nil, c.addr, c.text); ok || err != nil {
			t.Errorf("%s without the secret: %v %v", c.name, ok, err)
		}
		if ok, err := stays(t, wrong, c.addr, c.text); ok || !errors.Is(err, secret.ErrOther) {
			t.Errorf("%s with another secret: %v %v", c.name, ok, err)
		}
	}
	for _, text := range []string{consensus.StreamMagic, control.Magic, "rubbish", "\x80\x00", secret.Magic + strings.Repeat("x", 40)} {
		if ok, err := stays(t, nil, addr, text+"....."); ok || err != nil {
			t.Errorf("%q without the secret: %v %v", text, ok, err)
		}
	}
	if ok, err := stays(t, nil, addr, "K"); !ok || err != nil { // one that is slow is waited for
		t.Errorf("one byte: %v %v", ok, err)
	}
	// Said once, however many came.
	if n := strings.Count(log.String(), string(secret.ErrMissing)); n != 1 {
		t.Errorf("%d lines", n)
	}

	get := func(s *secret.Secret, path string) (int, string, error) {
		c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
		resp, err := c.Get("http://" + addr + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	for path, want := range map[string]int{control.PathMetrics: 200, control.PathHealth: 200, control.PathReady: 503} { // it is alone
		if code, body, err := get(nil, path); code != want || err != nil || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %q %v", path, code, body, err)
		}
	}
	const stat = control.PathStat + "?key=pid"
	if code, body, err := get(nil, stat); code != 403 || err != nil || !strings.Contains(body, "--cluster-secret-file") {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, body, err := get(right, stat); code != 200 || err != nil {
		t.Errorf("%d %q %v", code, body, err)
	}
}

// Without --open-metrics monitoring needs the secret too.
func TestServerHidesMetrics(t *testing.T) {
	addr, _, _ := alone(t, secretOf(t, "the secret of this cluster"), false)
	for _, path := range []string{control.PathMetrics, control.PathHealth, control.PathReady} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// A server without a secret tells who brings one.
func TestServerWithoutASecret(t *testing.T) {
	addr, stream, log := alone(t, nil, false)
	s := secretOf(t, "the secret of this cluster")
	for _, a := range []string{addr, stream} {
		if _, err := stays(t, s, a, wire.Magic); !errors.Is(err, secret.ErrNone) {
			t.Error(err)
		}
	}
	if strings.Count(log.String(), string(secret.ErrUnasked)) != 1 {
		t.Error("it does not say why")
	}
	for a, text := range map[string]string{addr: wire.Magic, stream: streamMagic} {
		if ok, err := stays(t, nil, a, text); !ok || err != nil {
			t.Errorf("%q: %v %v", text, ok, err)
		}
	}
}

// The handshake may come in any pieces, with what follows it in the last of them.
func TestGreetInPieces(t *testing.T) {
	s := secretOf(t, "the secret of this cluster")
	addr, _, _ := alone(t, s, false)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	d := s.Dialer()
	for _, b := range d.Hello() {
		if _, err := nc.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	var proof, answer []byte
	for proof == nil {
		b := make([]byte, 1)
		if _, err := io.ReadFull(nc, b); err != nil {
			t.Fatal(err)
		}
		if proof, err = d.Answer(append(answer, b...)); err != nil {
			t.Fatal(err)
		}
		answer = append(answer, b...)
	}
	if _, err := nc.Write(append(proof, "GET "+control.PathStat+"?key=pid HTTP/1.0\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(nc); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.0 200 OK")) {
		t.Errorf("%q %v", b, err)
	}
}
