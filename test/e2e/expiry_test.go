package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/kumofs/kumofs/test/e2e/harness"
)

// What expired gives its space back although nobody asks for it, on every copy,
// and what has no expiry time stays.
func TestExpiredItemsAreSwept(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, options(3))
	mc := memcache.New(c.Gateway.Addr)
	mc.Timeout = 10 * time.Second
	const keys = 1000
	for i := range keys {
		it := &memcache.Item{Key: fmt.Sprint("key", i), Value: []byte("value")}
		if i%2 == 0 {
			it.Expiration = 1
		}
		if err := mc.Set(it); err != nil {
			t.Fatal(err)
		}
	}
	took := harness.Until(t, 90*time.Second, "expired items are gone from all copies", func() error {
		if n := c.Sum("items"); n != 3*keys/2 {
			return fmt.Errorf("%d items on three servers, want %d", n, 3*keys/2)
		}
		return nil
	})
	for i := range keys {
		_, err := mc.Get(fmt.Sprint("key", i))
		if want := i%2 == 0; (err == memcache.ErrCacheMiss) != want {
			t.Fatalf("key%d: %v, a miss is wanted: %v", i, err, want)
		}
	}
	t.Logf("%d expired items gone from three copies after %v", keys/2, took.Round(time.Millisecond))
}
