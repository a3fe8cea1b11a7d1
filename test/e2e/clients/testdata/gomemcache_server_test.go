// This file is put beside gomemcache's own tests, in a copy of its package; see
// ../clients.go.

package memcache

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// TestServer is what gomemcache tests a server with, against ours; its TestLocalhost
// knows one port only and does not wait for its flush_all.
func TestServer(t *testing.T) {
	c := New(os.Getenv("SERVER"))
	c.Timeout = 30 * time.Second
	if err := c.DeleteAll(); err != nil {
		t.Fatal(err)
	}
	testWithClient(t, c)
}

// TestServerMore is what that leaves out.
func TestServerMore(t *testing.T) {
	c := New(os.Getenv("SERVER"))
	c.Timeout = 30 * time.Second
	if err := c.FlushAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetAndTouch("gat", 100); err != ErrCacheMiss {
		t.Errorf("GetAndTouch of nothing: %v", err)
	}
	mustSet := mustSetF(t, c)
	mustSet(&Item{Key: "gat", Value: []byte("x"), Flags: 0xffffffff, Expiration: 100})
	it, err := c.GetAndTouch("gat", 0)
	if err != nil || string(it.Value) != "x" || it.Flags != 0xffffffff {
		t.Fatalf("GetAndTouch: %+v, %v", it, err)
	}
	// It sends gat, which gives no token.
	if err := c.CompareAndSwap(it); err != ErrCASConflict {
		t.Errorf("CompareAndSwap without a token: %v", err)
	}
	if err := c.CompareAndSwap(&Item{Key: "none", CasID: 1}); err != ErrCacheMiss {
		t.Errorf("CompareAndSwap of nothing: %v", err)
	}
	if err := c.Touch("none", 1); err != ErrCacheMiss {
		t.Errorf("Touch of nothing: %v", err)
	}
	if err := c.Delete("none"); err != ErrCacheMiss {
		t.Errorf("Delete of nothing: %v", err)
	}
	if n, err := c.Increment("none", 1); err != ErrCacheMiss {
		t.Errorf("Increment of nothing: %d, %v", n, err)
	}
	large := bytes.Repeat([]byte("0123456789\r\n"), 80000)
	var keys []string
	for i := range 100 {
		key := fmt.Sprintf("many%d", i)
		keys = append(keys, key, "no"+key)
		mustSet(&Item{Key: key, Value: large[:i*1000], Flags: uint32(i)})
	}
	items, err := c.GetMulti(keys)
	if err != nil || len(items) != 100 {
		t.Fatalf("GetMulti: %d items, %v", len(items), err)
	}
	for i := range 100 {
		if it := items[fmt.Sprintf("many%d", i)]; it == nil || !bytes.Equal(it.Value, large[:i*1000]) || it.Flags != uint32(i) {
			t.Errorf("GetMulti: item %d is not what was set", i)
		}
	}
	mustSet(&Item{Key: "large", Value: large})
	if it, err := c.Get("large"); err != nil || !bytes.Equal(it.Value, large) {
		t.Errorf("a value of %d bytes: %v", len(large), err)
	}
	if err := c.Set(&Item{Key: "large", Value: make([]byte, 1<<20+1)}); err == nil {
		t.Error("a value of more than 1 MiB was stored")
	}
	if err := c.Ping(); err != nil {
		t.Error(err)
	}
}
