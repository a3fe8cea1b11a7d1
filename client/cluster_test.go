package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
)

// Every command, against real servers.
func TestCommands(t *testing.T) {
	c := open(t, client.Options{Managers: managers, MaxItemSize: 1000, AllowFlushAll: true})
	ctx := t.Context()
	want := func(err, kind error) {
		t.Helper()
		if !errors.Is(err, kind) {
			t.Errorf("error %v, want %v", err, kind)
		}
	}
	holds := func(key, value string) *client.Item {
		t.Helper()
		it, err := c.Get(ctx, key)
		if err != nil || it.Key != key || string(it.Value) != value {
			t.Fatalf("%q is %+v, %v; want %q", key, it, err, value)
		}
		return it
	}
	_, err := c.Get(ctx, "cmd")
	want(err, client.ErrNotFound)
	want(c.Replace(ctx, &client.Item{Key: "cmd"}), client.ErrNotStored)
	want(c.Append(ctx, "cmd", []byte("x")), client.ErrNotStored)
	want(c.CompareAndSwap(ctx, &client.Item{Key: "cmd", CAS: 1}), client.ErrNotFound)
	want(c.Touch(ctx, "cmd", time.Time{}), client.ErrNotFound)
	want(c.Delete(ctx, "cmd"), client.ErrNotFound)
	_, err = c.Incr(ctx, "cmd", 1)
	want(err, client.ErrNotFound)
	_, err = c.GetAndTouch(ctx, "cmd", time.Time{})
	want(err, client.ErrNotFound)

	later := time.Unix(time.Now().Unix()+1000, 0)
	it := &client.Item{Key: "cmd", Value: []byte("b"), Flags: 7, Expires: later.Add(-time.Nanosecond)}
	want(c.Add(ctx, it), nil)
	want(c.Add(ctx, it), client.ErrNotStored)
	got := holds("cmd", "b")
	if got.Flags != 7 || !got.Expires.Equal(later) || got.CAS != it.CAS || got.CAS == 0 {
		t.Errorf("%+v, stored %+v", got, it)
	}
	want(c.Append(ctx, "cmd", []byte("c")), nil)
	want(c.Prepend(ctx, "cmd", []byte("a")), nil)
	if got = holds("cmd", "abc"); got.Flags != 7 || !got.Expires.Equal(later) {
		t.Errorf("%+v", got)
	}
	want(c.CompareAndSwap(ctx, it), client.ErrExists)
	it.CAS, it.Value = got.CAS, nil
	want(c.CompareAndSwap(ctx, it), nil)
	if got = holds("cmd", ""); got.Value == nil || got.CAS != it.CAS {
		t.Errorf("%+v, stored %+v", got, it)
	}
	want(c.Replace(ctx, &client.Item{Key: "cmd", Value: []byte("10")}), nil)
	for _, s := range []struct {
		do   func() (uint64, error)
		want uint64
	}{
		{func() (uint64, error) { return c.Incr(ctx, "cmd", 5) }, 15},
		{func() (uint64, error) { return c.Decr(ctx, "cmd", 1) }, 14},
		{func() (uint64, error) { return c.Decr(ctx, "cmd", 100) }, 0},
		{func() (uint64, error) { return c.Incr(ctx, "cmd", 1<<64-1) }, 1<<64 - 1},
	} {
		if n, err := s.do(); n != s.want || err != nil {
			t.Errorf("%d, %v; want %d", n, err, s.want)
		}
	}
	if got = holds("cmd", "18446744073709551615"); !got.Expires.IsZero() {
		t.Errorf("%+v", got)
	}
	want(c.Touch(ctx, "cmd", later), nil)
	if got, err = c.GetAndTouch(ctx, "cmd", later.Add(time.Second)); err != nil || !got.Expires.Equal(later.Add(time.Second)) || got.Value == nil {
		t.Errorf("%+v, %v", got, err)
	}
	want(c.Touch(ctx, "cmd", time.Unix(5, 0)), nil) // long ago
	_, err = c.Get(ctx, "cmd")
	want(err, client.ErrNotFound)
	want(c.Set(ctx, &client.Item{Key: "cmd", Value: []byte("x")}), nil)
	_, err = c.Incr(ctx, "cmd", 1)
	want(err, client.ErrNotNumber)
	want(c.Delete(ctx, "cmd"), nil)
	want(c.Delete(ctx, "cmd"), client.ErrNotFound)

	odd := "with space\r\n\x00\xff"
	want(c.Set(ctx, &client.Item{Key: odd, Value: []byte("odd")}), nil)
	holds(odd, "odd")
	for _, key := range []string{"", strings.Repeat("k", client.MaxKey+1)} {
		want(c.Set(ctx, &client.Item{Key: key}), client.ErrBadKey)
		_, err = c.GetMulti(ctx, []string{"a", key})
		want(err, client.ErrBadKey)
	}
	big := make([]byte, 1001)
	want(c.Set(ctx, &client.Item{Key: "big", Value: big}), client.ErrTooLarge)
	want(c.Append(ctx, odd, big), client.ErrTooLarge)
	want(c.Set(ctx, &client.Item{Key: "big", Value: big[1:]}), nil)
	want(c.Prepend(ctx, "big", []byte("x")), client.ErrTooLarge)

	want(c.FlushAll(ctx, time.Hour), nil)
	holds(odd, "odd")
	want(c.FlushAll(ctx, 0), nil)
	_, err = c.Get(ctx, odd)
	want(err, client.ErrNotFound)
	if n := count(t, c, client.ScanOptions{}); n != 0 {
		t.Errorf("%d items after a flush", n)
	}
	want(open(t, client.Options{Managers: managers}).FlushAll(ctx, 0), client.ErrNotAllowed)
}

func count(t *testing.T, c *client.Client, opt client.ScanOptions) (n int) {
	t.Helper()
	for _, err := range c.Scan(t.Context(), nil, opt) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// Many goroutines on one client: each write is done once.
func TestManyGoroutines(t *testing.T) {
	c := open(t, client.Options{Managers: managers, MaxInFlight: 20_000})
	ctx := t.Context()
	if err := c.Set(ctx, &client.Item{Key: "many:sum", Value: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	const workers, each = 50, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("many:%d:%d", w, i)
				if err := c.Set(ctx, &client.Item{Key: key, Value: []byte(key)}); err != nil {
					t.Error(err)
					return
				}
				if it, err := c.Get(ctx, key); err != nil || string(it.Value) != key {
					t.Errorf("%q: %+v %v", key, it, err)
				}
				if _, err := c.Incr(ctx, "many:sum", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if it, err := c.Get(ctx, "many:sum"); err != nil || string(it.Value) != fmt.Sprint(workers*each) {
		t.Errorf("the sum is %+v, %v", it, err)
	}
	var keys []string
	for w := range workers {
		for i := range each {
			keys = append(keys, fmt.Sprintf("many:%d:%d", w, i))
		}
	}
	found, err := c.GetMulti(ctx, append(keys, "many:missing"))
	if err != nil || len(found) != len(keys) {
		t.Errorf("%d of %d found, %v", len(found), len(keys), err)
	}
	for k, it := range found {
		if string(it.Value) != k || it.Key != k {
			t.Errorf("%q: %+v", k, it)
		}
	}
	slices.Sort(keys)
	var scanned []string
	for it, err := range c.Scan(ctx, []byte("many:"), client.ScanOptions{After: "many:", MaxMemory: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if it.Key != "many:sum" {
			scanned = append(scanned, it.Key)
		}
	}
	if !slices.Equal(scanned, keys) {
		t.Errorf("a scan finds %d of %d", len(scanned), len(keys))
	}
}
