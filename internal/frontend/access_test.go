package frontend_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/certs/certstest"
	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// Over TLS a client is as any; a handshake that failed is counted.
func TestOverTLS(t *testing.T) {
	ca := certstest.New(t, "authority")
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}
	g := newRig(t, router.Options{}, frontend.Options{TLS: func() *tls.Config { return config }})
	c, err := tls.Dial("tcp", g.addr, &tls.Config{RootCAs: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	for i := range 100 {
		fmt.Fprintf(c, "set k%d 0 0 2\r\nok\r\nget k%d\r\n", i, i)
		for _, want := range []string{"STORED\r\n", fmt.Sprintf("VALUE k%d 0 2\r\n", i), "ok\r\n", "END\r\n"} {
			if got, err := r.ReadString('\n'); got != want || err != nil {
				t.Fatalf("%q, not %q: %v", got, want, err)
			}
		}
	}
	plain := g.dial()
	fmt.Fprint(plain, "get k\r\n")
	if got, err := plain.r.ReadString('\n'); err == nil {
		t.Errorf("without TLS: %q", got)
	}
	g.settled("the failure is not counted", func() bool { return g.f.Counters().TLSFailed == 1 })
	g.on(func() {
		if n := g.f.Counters(); n.TotalConnections != 1 {
			t.Errorf("%d clients", n.TotalConnections)
		}
	})
}
