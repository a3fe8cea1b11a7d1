package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/tools"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// front is an address that stays, as that of a Service of Kubernetes: what connects to it is passed on to
// where the daemon behind it is now.
type front struct {
	addr   string
	behind atomic.Pointer[string]
}

func newFront(t *testing.T, behind string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &front{addr: l.Addr().String()}
	f.behind.Store(&behind)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go f.pass(in)
		}
	}()
	return f
}

func (f *front) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", *f.behind.Load())
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		io.Copy(out, in)
		out.Close()
	}()
	io.Copy(in, out)
}

// got fails the test where a key has not that value.
func got(t *testing.T, addr, key, value string) {
	t.Helper()
	c, err := load.Dial(addr, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Do(&load.Op{Kind: load.Get, Key: key}); err != nil || r.Value != value {
		t.Errorf("%s is %v %v, not %q", key, r, err, value)
	}
}

// TestAddressesChange is what becomes of a cluster whose pods get other addresses. Servers return at others
// with their stores, also at one that another had. Managers, each behind an address that stays (--advertise), are all
// started again elsewhere.
func TestAddressesChange(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.Managers = 3
	c := harness.New(t, opt)
	var fronts []*front
	var managers []string
	for _, m := range c.Managers {
		f := newFront(t, m.Addr)
		fronts, managers = append(fronts, f), append(managers, f.addr)
	}
	all := strings.Join(managers, ",")
	for i, m := range c.Managers {
		m.AddArgs("--advertise", managers[i], "-s", fmt.Sprintf("./state%d", i+1), "-p", all, "-a", "-Rs", "0.5", "--detach-delay", "600")
	}
	for _, p := range append(c.Servers, c.Gateway) {
		p.AddArgs("-m", all)
	}
	c.StartAll()
	client := tools.NewClient("manager", managers...)
	defer client.Close()
	// active: exactly these servers are attached, and have all copies.
	active := func(addrs ...string) {
		t.Helper()
		harness.Until(t, 60*time.Second, fmt.Sprintf("%q are active and whole", addrs), func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			s, err := client.Status(ctx)
			if err != nil {
				return err
			}
			at := map[string]bool{}
			for _, n := range s.Attached {
				at[n.Addr] = n.State == "active" && n.Reachable
			}
			for _, a := range addrs {
				if !at[a] {
					err = errors.Join(err, fmt.Errorf("%s is not active", a))
				}
			}
			if len(s.Attached) != len(addrs) || s.Short+s.Moving+s.Unavailable > 0 {
				err = errors.Join(err, fmt.Errorf("%+v", s))
			}
			return err
		})
	}
	move := func(p *harness.Process, addr string) {
		p.Addr = addr
		p.AddArgs("-l", addr)
	}
	at := func(ip string) string { return fmt.Sprintf("%s:%d", ip, harness.FreePort(t)) }
	s1, s2, s3 := c.Servers[0], c.Servers[1], c.Servers[2]
	active(s1.Addr, s2.Addr, s3.Addr)
	set(t, c.Gateway.Addr, "before", "1")

	// One, which is at fault by then.
	s2.Kill9()
	harness.Until(t, 30*time.Second, "fault", func() error {
		s, err := client.Status(context.Background())
		for _, n := range s.Attached {
			if n.State == "fault" {
				return nil
			}
		}
		return errors.Join(err, errors.New("no server is at fault"))
	})
	set(t, c.Gateway.Addr, "meanwhile", "2")
	move(s2, at("127.0.0.2"))
	s2.Start()
	active(s1.Addr, s2.Addr, s3.Addr)

	// All, and everything else with them; two have each other's address.
	for _, p := range c.All() {
		p.Kill9()
	}
	one, three := s1.Addr, s3.Addr
	move(s1, three)
	move(s2, at("127.0.0.3"))
	move(s3, one)
	for i, m := range c.Managers {
		move(m, at(fmt.Sprintf("127.0.0.%d", 11+i)))
		fronts[i].behind.Store(&m.Addr)
	}
	c.StartAll()
	active(s1.Addr, s2.Addr, s3.Addr)
	for key, value := range map[string]string{"before": "1", "meanwhile": "2"} {
		got(t, c.Gateway.Addr, key, value)
	}
	set(t, c.Gateway.Addr, "after", "3")
}
