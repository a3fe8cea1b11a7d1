package frontend_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/kumofs/kumofs/internal/frontend"
	"github.com/kumofs/kumofs/internal/router"
)

// A client that is in use, as it is.
func TestGomemcache(t *testing.T) {
	g := newRig(t, router.Options{}, frontend.Options{AllowFlushAll: true})
	g.shuffle()
	c := memcache.New(g.addr)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.Ping())
	check(c.Set(&memcache.Item{Key: "a", Value: []byte("1"), Flags: 7}))
	it, err := c.Get("a")
	check(err)
	if string(it.Value) != "1" || it.Flags != 7 {
		t.Errorf("%+v", it)
	}
	it.Value = []byte("2")
	check(c.CompareAndSwap(it))
	if err := c.CompareAndSwap(it); !errors.Is(err, memcache.ErrCASConflict) {
		t.Errorf("second cas: %v", err)
	}
	if n, err := c.Increment("a", 40); err != nil || n != 42 {
		t.Errorf("%d %v", n, err)
	}
	if err := c.Add(&memcache.Item{Key: "a"}); !errors.Is(err, memcache.ErrNotStored) {
		t.Errorf("add: %v", err)
	}
	check(c.Append(&memcache.Item{Key: "a", Value: []byte("x")}))
	check(c.Touch("a", 100))
	if it, err = c.GetAndTouch("a", 0); err != nil || string(it.Value) != "42x" {
		t.Errorf("%+v %v", it, err)
	}
	if _, err := c.Increment("a", 1); err == nil {
		t.Error("incr of text worked")
	}
	var keys []string
	for i := range 1000 {
		key := fmt.Sprintf("k%d", i)
		keys = append(keys, key)
		if i%2 == 0 {
			check(c.Set(&memcache.Item{Key: key, Value: bytes.Repeat([]byte{byte(i)}, i)}))
		}
	}
	got, err := c.GetMulti(keys)
	check(err)
	if len(got) != 500 {
		t.Errorf("%d of 500 found", len(got))
	}
	for i, key := range keys {
		if it := got[key]; it != nil && !bytes.Equal(it.Value, bytes.Repeat([]byte{byte(i)}, i)) {
			t.Errorf("%s has another's value", key)
		}
	}
	check(c.Delete("a"))
	if err := c.Delete("a"); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("delete: %v", err)
	}
	check(c.FlushAll())
	if _, err := c.Get("k0"); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("get after flush_all: %v", err)
	}
}
