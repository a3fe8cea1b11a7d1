package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// The comparison that tests end with is not misled by what is swept meanwhile,
// and finds a single pair that one copy has and the others do not: what it is,
// and where.
func TestCompareCopies(t *testing.T) {
	t.Parallel()
	opt := options(3)
	opt.GatewayArgs = []string{"--allow-flush-all"}
	c := harness.Start(t, opt)
	mc := memcache.New(c.Gateway.Addr)
	mc.Timeout = 10 * time.Second
	const keys = 3000
	set := func() {
		for i := range keys {
			if err := mc.Set(&memcache.Item{Key: fmt.Sprint("key", i), Value: []byte("value")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set()
	if n := c.CheckCopies(); n != keys {
		t.Fatalf("%d pairs, want %d", n, keys)
	}
	if err := mc.FlushAll(); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, 30*time.Second, "flushed pairs are swept", func() error {
		if n := c.Sum("items"); n == 3*keys {
			return fmt.Errorf("all %d are there", n)
		}
		return nil
	})
	c.CheckCopies()
	harness.Until(t, 30*time.Second, "all flushed pairs are gone", func() error {
		if n := c.Sum("items"); n != 0 {
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})

	p := c.Servers[0]
	p.Terminate(10 * time.Second)
	s, err := store.Open(p.StoreDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	// Of a version that no flush covers: else its server, should it lead, sweeps it.
	b.PutItem(7, []byte("forged"), &item.Item{Version: 900<<40 | 7<<20 | 1, Value: []byte("x")})
	if err := s.Commit(b); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p.Start()
	c.WaitReady(30 * time.Second)
	_, err = c.CompareCopies()
	for _, want := range []string{"partition 7: ", fmt.Sprintf(`[%s]: "forged": epoch 900 seq %d `, p.Addr, 7<<20+1), "\n1 partitions are not"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("one copy was forged: %v; does not say %q", err, want)
		}
	}
}
