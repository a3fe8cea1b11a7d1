package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/testlog"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// freeAddr is an address at which nobody listens.
func freeAddr(t *testing.T) string {
	li, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer li.Close()
	return li.Addr().String()
}

// manage is a manager that only hands out m.
func manage(t *testing.T, addr string, m *clustermap.Map) {
	li, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { li.Close() })
	go func() {
		for {
			nc, err := li.Accept()
			if err != nil {
				return
			}
			s, err := control.Accept(nc)
			if err != nil {
				continue
			}
			if s.Hello.Role != control.RoleGateway {
				t.Errorf("role %q", s.Hello.Role)
			}
			s.Send(control.Frame(control.KindWelcome, control.Welcome{ClusterID: m.ClusterID, HeartbeatMillis: 100, Managers: []string{addr}}))
			s.Send(control.AppendFrame(nil, control.KindMap, clustermap.AppendMap(nil, m)))
			go func() {
				for {
					if _, _, err := s.Receive(time.Minute); err != nil {
						return
					}
					s.Send(control.Frame(control.KindHeartbeat, control.Heartbeat{MapVersion: m.Version}))
				}
			}()
		}
	}()
}

// fakeServer is a kumo-server on a loop of its own.
func fakeServer(t *testing.T) *routertest.Server {
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &routertest.Server{ID: 1, Addr: "127.0.0.1:0", Store: routertest.NewStore()}
	if err := s.Start(l); err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { return l.Run(ctx) })
	return s
}

func run(t *testing.T, fn func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func status(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// A gateway that is started first waits for its manager, and so do its clients.
func TestGateway(t *testing.T) {
	for _, loops := range []int{1, 3} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) { testGateway(t, loops) })
	}
}

func testGateway(t *testing.T, loops int) {
	server, manager, monitor := fakeServer(t), freeAddr(t), freeAddr(t)
	log := &testlog.Buffer{}
	up := make(chan []string, 1)
	run(t, func(ctx context.Context) error {
		return Run(ctx, Config{
			Managers: []string{manager}, Text: []string{"127.0.0.1:0"}, Binary: []string{"127.0.0.1:0"}, HTTP: monitor,
			Loops: loops, Version: "0.1.0", Log: slog.New(slog.NewTextHandler(log, nil)),
			Listening: func(addrs []string) { up <- addrs },
		})
	})
	addrs := <-up
	if len(addrs) != 2 || !strings.Contains(log.String(), "protocol=any") || !strings.Contains(log.String(), "protocol=binary") {
		t.Errorf("%v, %s", addrs, log)
	}
	log.Says(t, "waiting for a manager")
	if code, body := status(t, "http://"+monitor+"/healthz"); code != 503 || !strings.Contains(body, "no cluster map") {
		t.Errorf("healthz %d %q", code, body)
	}

	c := memcache.New(addrs[0])
	c.Timeout = 10 * time.Second
	early := make(chan error, 1)
	go func() { early <- c.Set(&memcache.Item{Key: "a", Value: []byte("1")}) }()
	time.Sleep(50 * time.Millisecond)
	manage(t, manager, routertest.Map(1, 64, 1, []*routertest.Server{server}, func(int) *routertest.Server { return server }))
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	log.Says(t, "connect success")
	if it, err := c.Get("a"); err != nil || string(it.Value) != "1" {
		t.Errorf("%+v %v", it, err)
	}
	if _, err := c.Get("b"); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Error(err)
	}
	// The other port takes binary alone.
	other, err := net.Dial("tcp", addrs[1])
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_ = other.SetDeadline(time.Now().Add(10 * time.Second))
	noop := [24]byte{0x80, 0x0a}
	if _, err := other.Write(noop[:]); err != nil {
		t.Fatal(err)
	}
	var answer [24]byte
	if _, err := io.ReadFull(other, answer[:]); err != nil || answer != [24]byte{0x81, 0x0a} {
		t.Errorf("binary noop: %x %v", answer, err)
	}
	if code, body := status(t, "http://"+monitor+"/healthz"); code != 200 {
		t.Errorf("healthz %d %q", code, body)
	}
	_, body := status(t, "http://"+monitor+"/metrics")
	for _, line := range []string{"get_hits_total 1", "get_misses_total 1", "commands_set_total 1", "map_version 1", "manager_connected 1", "connections_total 2", fmt.Sprint("loops ", loops)} {
		if !strings.Contains(body, "kumofs_gateway_"+line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, body)
		}
	}
}

func TestPortTaken(t *testing.T) {
	li, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer li.Close()
	err = Run(t.Context(), Config{Managers: []string{freeAddr(t)}, Text: []string{li.Addr().String()}})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
}
