package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// goClient opens the Go client on a cluster.
func goClient(t *testing.T, c *harness.Cluster) *client.Client {
	t.Helper()
	var managers []string
	for _, m := range c.Managers {
		managers = append(managers, m.Addr)
	}
	cl, err := client.Open(t.Context(), client.Options{Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// storeAll stores n items whose keys are in order, and returns the keys.
func storeAll(t *testing.T, cl *client.Client, prefix string, n int) (keys []string) {
	t.Helper()
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%06d", prefix, i))
	}
	const workers = 64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := cl.Set(t.Context(), &client.Item{Key: keys[i], Value: []byte(value(keys[i]))}); err != nil {
					t.Errorf("set %s: %v", keys[i], err)
					return
				}
			}
		})
	}
	wg.Wait()
	return keys
}

// value is what storeAll stores under a key.
func value(key string) string { return key + strings.Repeat(" and so on", 30) }

// counters are goroutines that each add 1 to a key of its own, over and over. As
// nobody else writes it, each sum must be one more than the last: a write that was
// lost or done twice shows at once.
type counters struct {
	stop  context.CancelFunc
	wg    sync.WaitGroup
	sums  atomic.Uint64
	stall atomic.Int64 // the longest call, in ns
}

func count(t *testing.T, cl *client.Client, workers int) *counters {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	n := &counters{stop: stop}
	for w := range workers {
		key := fmt.Sprintf("counter-%d", w)
		if err := cl.Set(ctx, &client.Item{Key: key, Value: []byte("0")}); err != nil {
			t.Fatal(err)
		}
		n.wg.Go(func() {
			for sum := uint64(1); ctx.Err() == nil; sum++ {
				begin := time.Now()
				got, err := cl.Incr(t.Context(), key, 1)
				if err != nil || got != sum {
					t.Errorf("%s: %d, %v; want %d", key, got, err, sum)
					return
				}
				n.sums.Add(1)
				if took := int64(time.Since(begin)); took > n.stall.Load() {
					n.stall.Store(took)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return n
}

// end stops the counters and tells the longest wait.
func (n *counters) end(t *testing.T) {
	t.Helper()
	n.stop()
	n.wg.Wait()
	stall := time.Duration(n.stall.Load())
	t.Logf("%d times 1 was added; the longest call took %v", n.sums.Load(), stall.Round(time.Millisecond))
	if stall > besideBar() {
		t.Errorf("a call took %v", stall)
	}
}

// faults are those of one server; the second part mends it.
var faults = []struct {
	name       string
	fall, rise func(p *harness.Process)
}{
	{"killed", (*harness.Process).Kill9, (*harness.Process).Start},
	{"stopped", (*harness.Process).Stop, (*harness.Process).Cont},
}

// Through the loss of a primary each write of the Go client is done, once.
func TestGoClientWrites(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, options(3))
			n := count(t, goClient(t, c), clients)
			time.Sleep(500 * time.Millisecond)
			p := c.MostPrimaries()
			fault.fall(p)
			time.Sleep(size(5*time.Second, 15*time.Second))
			fault.rise(p)
			time.Sleep(size(time.Second, 10*time.Second))
			n.end(t)
		})
	}
}

// Scans go on through the loss of a primary, while others write: each item that was
// there is given once, in order.
func TestGoClientScan(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, options(3))
			cl := goClient(t, c)
			keys := storeAll(t, cl, "item-", size(30_000, 300_000))
			n := count(t, cl, 4)
			// scan calls do when a third of the items is given. Small pages: the
			// rest must then be asked for yet.
			scan := func(opt client.ScanOptions, do func()) {
				begin := time.Now()
				opt.MaxMemory = 1
				var given []string
				for it, err := range cl.Scan(t.Context(), []byte("item-"), opt) {
					if err != nil || string(it.Value) != value(it.Key) {
						t.Errorf("%+v: after %d items: %s, value of %d bytes, %v", opt, len(given), it.Key, len(it.Value), err)
						return
					}
					if given = append(given, it.Key); len(given) == len(keys)/3 {
						do()
					}
				}
				t.Logf("%+v: %d items in %v", opt, len(given), time.Since(begin).Round(time.Millisecond))
				if opt.Unordered {
					slices.Sort(given)
				}
				if !slices.Equal(given, keys) {
					t.Errorf("%+v: %d items, want %d, each once and in order", opt, len(given), len(keys))
				}
			}
			both := func(do func()) {
				var ready, scans sync.WaitGroup
				ready.Add(2)
				fallen := make(chan struct{})
				for _, unordered := range []bool{false, true} {
					scans.Go(func() {
						there := sync.OnceFunc(ready.Done)
						defer there() // it may have failed before
						scan(client.ScanOptions{Unordered: unordered}, func() { there(); <-fallen })
					})
				}
				ready.Wait()
				do()
				close(fallen)
				scans.Wait()
			}
			p := c.MostPrimaries()
			both(func() { fault.fall(p) })
			both(func() { // partitions move to it while they are read
				fault.rise(p)
				harness.Until(t, 20*time.Second, p.Name+" is active again", func() error {
					_, _ = c.TryCtl("attach") // needed if it has become fault, when it is heard
					s, err := c.TryStatus()
					if n := harness.Node(s, p); err == nil && (n == nil || n.State != "active" || !n.Reachable) {
						err = fmt.Errorf("it is %+v", n)
					}
					return err
				})
			})
			n.end(t)
		})
	}
}

// The Go client in a cluster with a secret: with its file it is as any, with another's
// or none it is told that no manager takes it.
func TestGoClientSecret(t *testing.T) {
	t.Parallel()
	opt := options(1)
	opt.Secret = secretFile(t, "the secret of this cluster")
	c := harness.Start(t, opt)
	open := func(file string) (*client.Client, error) {
		return client.Open(t.Context(), client.Options{Managers: []string{c.Managers[0].Addr}, ClusterSecretFile: file, Timeout: 3 * time.Second})
	}
	for _, file := range []string{"", secretFile(t, "the secret of another cluster")} {
		if cl, err := open(file); err == nil {
			cl.Close()
			t.Errorf("with the file %q it is let in", file)
		} else if !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("with the file %q: %v", file, err)
		}
	}
	cl, err := open(opt.Secret)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Set(t.Context(), &client.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	for it, err := range cl.Scan(t.Context(), nil, client.ScanOptions{}) {
		if err != nil || it.Key != "k" {
			t.Errorf("a scan finds %+v, %v", it, err)
		}
	}
}
