package gateway

import (
	"context"
	"encoding/json"
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

// manage is a manager that only hands out m, to gateways whose port for monitoring is http.
func manage(t *testing.T, addr, http string, m *clustermap.Map) {
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
			if s.Hello.Role != control.RoleGateway || s.Hello.HTTP != http || s.Hello.Version != "0.1.0" || s.Hello.Client {
				t.Errorf("hello %+v, want HTTP %q", s.Hello, http)
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
			Loops: loops, Version: "0.1.0", LogLevel: aLevel{}, Log: slog.New(slog.NewTextHandler(log, nil)),
			Listening: func(addrs []string) { up <- addrs },
		})
	})
	addrs := <-up
	if len(addrs) != 2 || !strings.Contains(log.String(), "protocol=any") || !strings.Contains(log.String(), "protocol=binary") {
		t.Errorf("%v, %s", addrs, log)
	}
	log.Says(t, "waiting for a manager")
	if code, body := status(t, "http://"+monitor+"/healthz"); code != 200 || body != "{\"status\":\"ok\"}\n" {
		t.Errorf("healthz %d %q", code, body)
	}
	if code, body := status(t, "http://"+monitor+"/readyz"); code != 503 || !strings.Contains(body, "no cluster map with a server in it, and no manager is connected") {
		t.Errorf("readyz %d %q", code, body)
	}

	c := memcache.New(addrs[0])
	c.Timeout = 10 * time.Second
	early := make(chan error, 1)
	go func() { early <- c.Set(&memcache.Item{Key: "a", Value: []byte("1")}) }()
	time.Sleep(50 * time.Millisecond)
	manage(t, manager, monitor, routertest.Map(1, 64, 1, []*routertest.Server{server}, func(int) *routertest.Server { return server }))
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
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := status(t, "http://"+monitor+path); code != 200 {
			t.Errorf("%s %d %q", path, code, body)
		}
	}
	_, body := status(t, "http://"+monitor+"/metrics")
	for _, line := range []string{"get_hits_total 1", "get_misses_total 1", `commands_total{command="set"} 1`, "map_version 1", "manager_connected 1", "clients_total 2",
		`command_duration_seconds_count{command="get"} 2`, `command_duration_seconds_count{command="set"} 1`, fmt.Sprint("loops ", loops)} {
		if !strings.Contains(body, "kumo_gateway_"+line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, body)
		}
	}
	if code, body := status(t, "http://"+monitor+"/v1/log-level"); code != 200 || body != "{\"level\":\"info\",\"start\":\"warn\"}\n" {
		t.Errorf("log-level %d %q", code, body)
	}
	code, body := status(t, "http://"+monitor+"/v1/stat?key=stats")
	var stat control.StatResponse
	if err := json.Unmarshal([]byte(body), &stat); err != nil || code != 200 {
		t.Fatalf("stat %d %q: %v", code, body, err)
	}
	for key, want := range map[string]any{"cmd_get": 2.0, "cmd_set": 1.0, "cmd_delete": 0.0, "version": "0.1.0", "clock": 1.0, "total_connections": 2.0, "manager_connected": true} {
		if stat.Values[key] != want {
			t.Errorf("%s is %v, not %v", key, stat.Values[key], want)
		}
	}
	p50, _ := stat.Values["get_p50_us"].(float64)
	p99, _ := stat.Values["get_p99_us"].(float64)
	if p50 < 1 || p99 < p50 || p99 > 5e6 || stat.Values["set_p99_us"] == 0.0 {
		t.Errorf("get took %v and %v us, set %v", p50, p99, stat.Values["set_p99_us"])
	}
	if code, body := status(t, "http://"+monitor+"/v1/stat?key=cmd_set"); code != 200 || body != "{\"values\":{\"cmd_set\":1}}\n" {
		t.Errorf("cmd_set %d %q", code, body)
	}
	if code, _ := status(t, "http://"+monitor+"/v1/stat?key=items"); code != 404 {
		t.Errorf("items %d", code)
	}
}

// aLevel is a control.LogLevel that nobody changes.
type aLevel struct{}

func (aLevel) String() string   { return "info" }
func (aLevel) Start() string    { return "warn" }
func (aLevel) Set(string) error { return nil }

func TestIdleConnectionsToTheMonitoringPortEnd(t *testing.T) {
	if s := webServer(nil); s.IdleTimeout <= 0 || s.ReadHeaderTimeout <= 0 {
		t.Errorf("idle for %v, headers for %v", s.IdleTimeout, s.ReadHeaderTimeout)
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
