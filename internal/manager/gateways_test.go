package manager

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// gateway is a link to the manager that says hello, which may be one of another version.
func gateway(t *testing.T, manager, hello string) net.Conn {
	nc, err := net.Dial("tcp", manager)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := nc.Write(append([]byte(control.Magic), control.AppendFrame(nil, control.KindHello, []byte(hello))...)); err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestGateways(t *testing.T) {
	x := newFixture(t, Config{})
	if s := x.status(); s.Gateways == nil || len(s.Gateways) != 0 {
		t.Errorf("%+v", s.Gateways)
	}
	began := time.Now()
	for _, hello := range []string{
		`{"Role":"gateway","Version":"0.1.0","HTTP":"[::]:8080"}`,
		`{"Role":"gateway","Version":"0.2.0","HTTP":"127.0.0.1:8081","Client":false,"Later":{"a":1}}`, // newer than this manager
		`{"Role":"gateway"}`, // older
		`{"Role":"gateway","Client":true,"Version":"` + strings.Repeat("v", 1000) + `"}`,
		`{"Role":"gateway","HTTP":"\u001b[2J:1"}`,
	} {
		gateway(t, x.addr, hello)
	}
	x.eventually("all are listed", func() bool { return len(x.status().Gateways) == 5 })
	again := gateway(t, x.addr, `{"Role":"gateway","Version":"0.3.0","HTTP":"127.0.0.1:8081"}`)
	var got []control.GatewayStatus
	x.eventually("the newer of two is listed", func() bool {
		got = x.status().Gateways
		last := ""
		for _, g := range got {
			if g.HTTP == "127.0.0.1:8081" {
				last = g.Version
			}
		}
		return len(got) == 5 && last == "0.3.0"
	})
	https, clients := map[string]int{}, 0
	for _, g := range got {
		https[g.HTTP]++
		if g.Client {
			clients++
			if len(g.Version) != maxVersion {
				t.Errorf("version %q", g.Version)
			}
		}
		if host, _, err := net.SplitHostPort(g.Addr); err != nil || host != "127.0.0.1" || g.Connected.Before(began.Add(-time.Second)) || time.Since(g.Connected) > time.Minute {
			t.Errorf("%+v", g)
		}
	}
	if clients != 1 || https["127.0.0.1:8080"] != 1 || https["127.0.0.1:8081"] != 1 || https[""] != 3 {
		t.Errorf("%+v", got)
	}
	again.Close()
	x.eventually("the older link is the only one", func() bool {
		for _, g := range x.status().Gateways {
			if g.HTTP == "127.0.0.1:8081" {
				return g.Version == "0.2.0"
			}
		}
		return false
	})
}

// A gateway that an older manager takes is as it was: what that does not know it passes over.
func TestOlderManager(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		s, err := control.Accept(nc)
		if err != nil || s.Hello.Role != control.RoleGateway || s.Hello.MapVersion != 3 || s.Hello.ClusterID != clustermap.ClusterID(7) {
			t.Errorf("%v", err)
		}
	})
	gateway(t, l.Addr().String(), `{"Role":"gateway","MapVersion":3,"ClusterID":7,"HTTP":"1.2.3.4:5","Client":true,"Whatever":[1]}`)
}

func TestMonitoringAddr(t *testing.T) {
	for _, c := range []struct{ told, remote, want string }{
		{"", "10.0.0.1:5", ""},
		{"10.0.0.2:80", "10.0.0.1:5", "10.0.0.2:80"},
		{"0.0.0.0:80", "10.0.0.1:5", "10.0.0.1:80"},
		{"[::]:80", "10.0.0.1:5", "10.0.0.1:80"},
		{"[::]:80", "[fe80::1]:5", "[fe80::1]:80"},
		{"[::]:80", "[::ffff:10.0.0.1]:5", "10.0.0.1:80"},
		{"[::]:80", "pipe", ""},
		{"10.0.0.2:0", "10.0.0.1:5", ""},
		{"host:80", "10.0.0.1:5", ""},
		{"10.0.0.2", "10.0.0.1:5", ""},
		{"127.0.0.1:80", "127.0.0.1:5", "127.0.0.1:80"},
		{"127.0.0.1:80", "10.0.0.1:5", ""}, // that machine's own
		{"[::1]:80", "10.0.0.1:5", ""},
		{"[fe80::1%eth0]:80", "10.0.0.1:5", "[fe80::1%eth0]:80"},
		{"[fe80::1%\x1b[2J]:80", "10.0.0.1:5", ""},
	} {
		if got := monitoringAddr(c.told, c.remote); got != c.want {
			t.Errorf("%q from %q: %q, want %q", c.told, c.remote, got, c.want)
		}
	}
}
