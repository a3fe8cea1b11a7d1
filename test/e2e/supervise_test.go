package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// watchdog is the WATCHDOG_USEC of TestServiceManager: pings come four times as often.
const watchdog = 400 * time.Millisecond

// notified takes what a daemon tells its service manager.
type notified struct {
	t    *testing.T
	name string
	conn *net.UnixConn
}

// lines are those of the messages that come within wait, or until one begins with want, which is
// the last then.
func (n *notified) lines(wait time.Duration, want string) (all []string, found bool) {
	n.t.Helper()
	n.conn.SetReadDeadline(time.Now().Add(wait))
	var b [4096]byte
	for {
		k, err := n.conn.Read(b[:])
		if err != nil {
			return all, false
		}
		for line := range strings.SplitSeq(string(b[:k]), "\n") {
			all = append(all, line)
			if want != "" && strings.HasPrefix(line, want) {
				return all, true
			}
		}
	}
}

func (n *notified) until(want string) {
	n.t.Helper()
	if all, found := n.lines(30*time.Second, want); !found {
		n.t.Fatalf("%s never said %q, but %q", n.name, want, all)
	}
}

// TestServiceManager is systemd's side of each daemon of Type=notify with WatchdogSec: it hears when
// they are up, how they are, that their loops turn, that files are read again, and that they stop. One
// that is stopped (SIGSTOP) gives no sign of life.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := options(1)
	opt.Host = func(name string) (string, []string) {
		return "127.0.0.1", []string{"env", "NOTIFY_SOCKET=" + filepath.Join(dir, name), "WATCHDOG_USEC=400000"}
	}
	c := harness.New(t, opt)
	hears := map[*harness.Process]*notified{}
	for _, p := range c.All() {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, p.Name), Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		hears[p] = &notified{t, p.Name, conn}
	}
	// A server and a gateway are up without a manager: they wait for one.
	server, gateway := c.Servers[0], c.Gateway
	server.Start()
	gateway.Start()
	for _, p := range []*harness.Process{server, gateway} {
		hears[p].until("READY=1")
	}
	hears[server].until("STATUS=waits to be attached, or for a manager")
	hears[gateway].until("STATUS=0 clients; waits for a cluster map with a server in it")
	c.Manager.Start()
	hears[c.Manager].until("READY=1")
	hears[c.Manager].until("STATUS=leads; 0 of 0 attached servers are active")
	c.WaitNotAttached(1)
	c.Ctl("attach", "--wait")
	hears[c.Manager].until("STATUS=leads; 1 of 1 attached servers are active")
	hears[server].until("STATUS=ready; primary of 4096 partitions, replica of 4096, joins 0")
	hears[gateway].until("STATUS=0 clients; 1 servers")
	for _, p := range c.All() {
		p.HangUp()
		hears[p].until("RELOADING=1")
		hears[p].until("READY=1")
	}
	for _, p := range c.All() {
		p.Stop()
	}
	for _, p := range c.All() {
		hears[p].lines(10*time.Millisecond, "") // what it said before
	}
	time.Sleep(2 * watchdog)
	for _, p := range c.All() {
		if all, _ := hears[p].lines(10*time.Millisecond, ""); len(all) > 0 {
			t.Errorf("%s is stopped, and said %q", p.Name, all)
		}
		p.Cont()
	}
	for _, p := range c.All() {
		hears[p].until("WATCHDOG=1")
		stopping := make(chan bool, 1)
		go func() {
			_, found := hears[p].lines(30*time.Second, "STOPPING=1")
			stopping <- found
			// A socket has room for ten messages; who hands its work over sends more, and would wait.
			hears[p].lines(30*time.Second, "")
		}()
		p.Terminate(10 * time.Second)
		if !<-stopping {
			t.Errorf("%s never said that it stops", p.Name)
		}
	}
}
