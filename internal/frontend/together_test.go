package frontend_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
)

// newTeam is three frontends that serve as one, over one store; stop ends the last one's loop.
func newTeam(t *testing.T, opt frontend.Options) (dial func() *socket, stop func()) {
	t.Helper()
	g := newRig(t, router.Options{}, frontend.Options{})
	var loops []loop.Loop
	var all []*frontend.Frontend
	for range 3 {
		l, err := loop.New()
		if err != nil {
			t.Fatal(err)
		}
		loops = append(loops, l)
		opt.Router = router.New(l, router.Options{})
		opt.Router.SetMap(routertest.Map(1, parts, 1, g.servers, func(p int) *routertest.Server { return g.servers[p%2] }))
		all = append(all, frontend.New(l, opt))
	}
	frontend.Together(all...)
	li, err := all[0].Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); l.Run(ctx) }()
		stop = func() { cancel(); <-done }
		t.Cleanup(stop)
	}
	return func() *socket { return dialAddr(t, li.Addr()) }, stop
}

// Whichever loop a client is on, stats tells of all of them.
func TestStatsOfAllLoops(t *testing.T) {
	dial, stop := newTeam(t, frontend.Options{MaxConnections: 7})
	var clients []*socket
	for i := range 6 {
		c := dial()
		c.send(set("k", "v"))
		c.want(stored)
		c.send("get k\r\nget none\r\n")
		c.want(hit("k", "v") + end + end)
		clients = append(clients, c)
		if i == 2 {
			c.Close()
		}
	}
	check := func(c *socket, want map[string]string) {
		t.Helper()
		all := c.stats("")
		for name, v := range want {
			if all[name] != v {
				t.Errorf("%s %s, want %s", name, all[name], v)
			}
		}
	}
	for _, i := range []int{0, 1, 3, 4, 5} {
		c := clients[i]
		check(c, map[string]string{"cmd_set": "6", "get_hits": "6", "get_misses": "6", "total_connections": "6", "curr_connections": "5",
			"threads": "3", "kumofs_map_version": "1", "kumofs_outstanding": "0", "max_connections": "7"})
		if n := c.stats("settings")["num_threads"]; n != "3" {
			t.Errorf("num_threads %s", n)
		}
		addrs := map[string]bool{}
		for name, v := range c.stats("conns") { // stats wants each name once
			if strings.HasSuffix(name, ":addr") {
				addrs[v] = true
			}
		}
		for _, j := range []int{0, 1, 3, 4, 5} {
			if !addrs["tcp:"+clients[j].LocalAddr().String()] || len(addrs) != 5 {
				t.Errorf("conns shows %v", addrs)
			}
		}
	}
	// What a client asks behind it is answered behind it.
	clients[1].send("stats reset\r\nget k\r\nversion\r\n")
	clients[1].want("RESET\r\n" + hit("k", "v") + end + "VERSION 1.6.45\r\n")
	check(clients[0], map[string]string{"cmd_set": "0", "get_hits": "1", "curr_connections": "5"})

	stop() // connections went to the second loop first: of these the last has the 2nd and the 5th
	clients[1].wantEnd()
	clients[4].wantEnd()
	check(clients[0], map[string]string{"curr_connections": "3", "kumofs_map_version": "1"})
}

// MaxConnections is of all loops.
func TestMaxConnectionsOfAllLoops(t *testing.T) {
	dial, _ := newTeam(t, frontend.Options{MaxConnections: 4})
	var clients []*socket
	for range 4 {
		c := dial()
		c.send("version\r\n")
		c.want("VERSION 1.6.45\r\n")
		clients = append(clients, c)
	}
	for range 3 { // wherever it comes to
		c := dial()
		c.want("ERROR Too many open connections\r\n")
		c.wantEnd()
	}
	clients[2].Close()
	for i := 0; ; i++ {
		c := dial()
		c.send("version\r\n")
		if line, _ := c.r.ReadString('\n'); line == "VERSION 1.6.45\r\n" {
			break
		}
		if i > 1000 {
			t.Fatal("no room after one left")
		}
	}
	if n, err := strconv.Atoi(clients[0].stats("")["rejected_connections"]); err != nil || n < 3 {
		t.Errorf("%d rejected, %v", n, err)
	}
}

// A client that leaves while the loops are asked leaves nothing behind.
func TestStatsForNobody(t *testing.T) {
	dial, _ := newTeam(t, frontend.Options{})
	for range 50 {
		c := dial()
		c.send("stats\r\nstats conns\r\nstats\r\n")
		c.Close()
	}
	c := dial()
	for i := 0; c.stats("")["curr_connections"] != "1"; i++ {
		if i > 1000 {
			t.Fatal("clients that left are still counted")
		}
	}
}
