package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/test/e2e/harness"
)

// garbler makes what a stranger sends on one connection: pieces of all of
// memcached's protocols, cut, damaged and put together at random.
type garbler struct{ *rand.Rand }

func (g garbler) bytes() (b []byte) {
	pieces := []string{
		"get k\r\n", "gets a b c\r\n", "set k 0 0 5\r\nhello\r\n", "set k 0 0 1000000\r\n", "ms k 5\r\nhello\r\n", "ms k 900000 q T5\r\n", "mg k v t f k Oabc q\r\n",
		"ma n N0 J5 v\r\n", "md k q I\r\n", "mn\r\n", "me k\r\n", "incr n 1\r\n", "touch k 1\r\n", "stats\r\n", "version\r\n", "bogus\r\n", "get " + strings.Repeat("k", 300) + "\r\n",
		"mg /w== b k\r\n", "cas k 0 0 1 5\r\nx\r\n", "verbosity 1\r\n", "quit\r\n", "\r\n", "GET / HTTP/1.1\r\n\r\n",
		"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01opaq\x00\x00\x00\x00\x00\x00\x00\x00k",
		"\x80\x01\x00\x01\x08\x00\x00\x00\x00\x00\x00\x0eopaq\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00khello",
		"\x80\x01\x00\x01\x08\x00\x00\x00\x00\x0f\x00\x00opaq\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00k",
		"\x80\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00opaq\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x80\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00opaq\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x80\x21\x00\x05\x00\x00\x00\x00\x00\x00\x00\x10opaq\x00\x00\x00\x00\x00\x00\x00\x00PLAIN\x00app\x00secret",
	}
	for range 1 + g.IntN(6) {
		b = append(b, pieces[g.IntN(len(pieces))]...)
	}
	switch g.IntN(4) {
	case 0: // damaged
		for range 1 + g.IntN(5) {
			b[g.IntN(len(b))] = byte(g.Uint32())
		}
	case 1: // cut
		b = b[:1+g.IntN(len(b))]
	case 2: // nothing but noise
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		if g.IntN(2) == 0 {
			b[0] = 0x80
		}
	}
	return b
}

// TestGarbageLeavesNothing: a crowd of strangers comes and goes at a gateway and at a
// server's own port, with garbage in all protocols, with values that they do not finish,
// without reading; memory and goroutines are then where they were. A million in all
// -e2e.long.
func TestGarbageLeavesNothing(t *testing.T) {
	t.Parallel()
	opt := options(1)
	opt.Text = true
	monitor := loopback(t)
	opt.GatewayArgs = []string{"--http", monitor}
	c := harness.Start(t, opt)
	l := fill(t, c, 1000)
	count := size(5000, 500_000)
	for _, port := range []struct {
		addr, metrics string
		p             *harness.Process
	}{{c.Gateway.Addr, monitor, c.Gateway}, {c.Text(c.Servers[0]), c.Servers[0].Addr, c.Servers[0]}} {
		crowd := func(n int) {
			var wg sync.WaitGroup
			for w := range 32 {
				wg.Go(func() {
					g := garbler{rand.New(rand.NewPCG(*seed, uint64(w)))}
					for range n / 32 {
						nc, err := net.DialTimeout("tcp", port.addr, 5*time.Second)
						if err != nil {
							t.Errorf("%s: %v", port.p.Name, err)
							return
						}
						_ = nc.SetDeadline(time.Now().Add(20 * time.Millisecond))
						_, _ = nc.Write(g.bytes()) // the other side may close at any time
						switch g.IntN(4) {
						case 0: // gone without a word, a reset if there are answers
							_ = nc.(*net.TCPConn).SetLinger(0)
						case 1:
							_, _ = nc.Read(make([]byte, 100))
						case 2:
							_ = nc.(*net.TCPConn).CloseWrite()
							_, _ = io.Copy(io.Discard, nc)
						}
						nc.Close()
					}
				})
			}
			wg.Wait()
		}
		crowd(2000) // pools and buffers are filled by the first
		before, goroutines := usageOf(t, port.p.PID()), goroutinesOf(t, port.metrics)
		began := time.Now()
		crowd(count)
		t.Logf("%s: %d connections in %v", port.p.Name, count, time.Since(began).Round(time.Millisecond))
		served(t, l, l.Ops()+100)
		harness.Until(t, 30*time.Second, "the strangers have left nothing", func() error {
			now, n := usageOf(t, port.p.PID()), goroutinesOf(t, port.metrics)
			if now.fds > before.fds+3 || now.threads > before.threads+8 || now.rss > before.rss+64<<20 || n > goroutines+8 {
				return fmt.Errorf("%v and %d goroutines, before %v and %d", now, n, before, goroutines)
			}
			return nil
		})
		t.Logf("%s: before %v, after %v; %d and %d goroutines", port.p.Name, before, usageOf(t, port.p.PID()), goroutines, goroutinesOf(t, port.metrics))
	}
	finish(t, l, 0, besideBar())
}

// goroutinesOf is how many goroutines a daemon has, by its metrics.
func goroutinesOf(t *testing.T, addr string) int {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, n, _ := strings.Cut(line, " "); strings.HasSuffix(name, "_goroutines") && !strings.HasPrefix(line, "#") {
			if v, err := strconv.Atoi(n); err == nil {
				return v
			}
		}
	}
	t.Fatalf("%s tells no goroutines: %.500s", addr, text)
	return 0
}
