package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router/routertest"
)

// largeValue has bytes that tell where they are, and which value they are of.
func largeValue(n, which int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d:%d,", which, b.Len())
	}
	return b.Bytes()[:n]
}

// Large values are items like others, by every way to read them.
func TestLargeValues(t *testing.T) {
	c := open(t, client.Options{Managers: managers, MaxItemSize: 6 << 20})
	ctx := t.Context()
	want := map[string][]byte{"large/small": []byte("v"), "large/empty": {}}
	for i := range 4 {
		want[fmt.Sprint("large/", i)] = largeValue(item.MaxWhole+i*(1<<20), i) // 0 is whole
	}
	for key, v := range want {
		if err := c.Set(ctx, &client.Item{Key: key, Value: v, Flags: uint32(len(v))}); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	if err := c.Append(ctx, "large/3", want["large/1"]); err != nil {
		t.Fatal(err)
	}
	want["large/3"] = append(want["large/3"], want["large/1"]...)
	if err := c.Prepend(ctx, "large/0", []byte("before")); err != nil {
		t.Fatal(err)
	}
	want["large/0"] = append([]byte("before"), want["large/0"]...)
	if err := c.Append(ctx, "large/3", make([]byte, 1<<20)); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	keys := []string{"large/none"}
	check := func(how string, it *client.Item) {
		t.Helper()
		if v, ok := want[it.Key]; !ok || !bytes.Equal(it.Value, v) || it.CAS == 0 {
			t.Errorf("%s: %.300q has %d bytes, want %d", how, it.Key, len(it.Value), len(v))
		}
	}
	for key := range want {
		keys = append(keys, key)
		it, err := c.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		check("get", it)
		before := it.CAS
		if it, err = c.GetAndTouch(ctx, key, time.Now().Add(time.Hour)); err != nil || it.CAS != before {
			t.Fatal(it, err)
		}
		check("get and touch", it)
	}
	all, err := c.GetMulti(ctx, keys)
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d items, %v", len(all), err)
	}
	for _, it := range all {
		check("get many", it)
	}
	slices.Sort(keys)
	for _, opt := range []client.ScanOptions{{}, {Unordered: true}, {KeysOnly: true}, {Unordered: true, KeysOnly: true}} {
		for _, prefix := range []string{"", "\xff"} {
			var found []string
			for it, err := range c.Scan(ctx, []byte(prefix), opt) {
				if err != nil {
					t.Fatal(err)
				}
				if item.IsChunk([]byte(it.Key)) {
					t.Fatalf("a scan shows %q", it.Key)
				}
				if !strings.HasPrefix(it.Key, "large/") {
					continue
				}
				found = append(found, it.Key)
				if !opt.KeysOnly {
					check("scan", &it)
				}
			}
			slices.Sort(found)
			if prefix != "\xff" && !slices.Equal(found, slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "large/none" })) {
				t.Errorf("%+v of %q: %q", opt, prefix, found)
			}
		}
	}
	it := all["large/2"]
	it.Value = largeValue(3<<20, 9)
	if err := c.CompareAndSwap(ctx, it); err != nil {
		t.Fatal(err)
	}
	want[it.Key] = it.Value
	if it, err = c.Get(ctx, it.Key); err != nil {
		t.Fatal(err)
	}
	check("cas", it)
	it.CAS--
	if err := c.CompareAndSwap(ctx, it); !errors.Is(err, client.ErrExists) {
		t.Error(err)
	}
	if _, err := c.Incr(ctx, it.Key, 1); !errors.Is(err, client.ErrNotNumber) {
		t.Error(err)
	}
	for key := range want {
		if err := c.Delete(ctx, key); err != nil {
			t.Error(err)
		}
	}
}

// A context that ends in the middle of large values: a value is always one that was
// set, and what is said not to have been done was not.
func TestCancelledInTheMiddleOfLargeValues(t *testing.T) {
	c := open(t, client.Options{Managers: managers, MaxItemSize: 4 << 20})
	r := rand.New(rand.NewPCG(1, 2))
	may := map[string]bool{}
	set := func(ctx context.Context, i int) error {
		v := largeValue(item.MaxWhole+1+r.IntN(2<<20), i)
		before := may
		err := c.Set(ctx, &client.Item{Key: "cut", Value: v})
		switch {
		case err == nil:
			may = map[string]bool{string(v): true}
		case errors.Is(err, client.ErrOutcomeUnknown):
			may = map[string]bool{string(v): true}
			for b := range before {
				may[b] = true
			}
		case !errors.Is(err, context.DeadlineExceeded):
			t.Fatal(err)
		}
		return err
	}
	if err := set(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	cut := 0
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(30_000))*time.Microsecond)
		if set(ctx, i) != nil {
			cut++
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), time.Duration(r.IntN(20_000))*time.Microsecond)
		all, err := c.GetMulti(ctx, []string{"cut", "cut", "cut none"})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err != nil {
			cut++
		}
		for _, it := range all {
			if !may[string(it.Value)] {
				t.Fatalf("a value that nobody can have set: %d bytes, %.20q", len(it.Value), it.Value)
			}
		}
		cancel()
	}
	if cut == 0 {
		t.Error("nothing was cut short")
	}
	if it, err := c.Get(t.Context(), "cut"); err != nil || !may[string(it.Value)] {
		t.Errorf("%v", err)
	}
}

// A client that is closed in the middle of large values ends.
func TestClosedInTheMiddleOfLargeValues(t *testing.T) {
	for i := range 10 {
		c, err := client.Open(t.Context(), client.Options{Managers: managers, MaxItemSize: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		v := largeValue(8<<20, i)
		ended := make(chan error, 8)
		for j := range cap(ended) {
			go func() {
				key := fmt.Sprint("closed", j%4)
				err := c.Set(context.Background(), &client.Item{Key: key, Value: v})
				if err == nil {
					_, err = c.GetMulti(context.Background(), []string{key, "closed0"})
				}
				ended <- err
			}()
		}
		time.Sleep(time.Duration(i) * 15 * time.Millisecond)
		c.Close()
		for range cap(ended) {
			if err := <-ended; err != nil && !errors.Is(err, client.ErrClosed) && !errors.Is(err, client.ErrOutcomeUnknown) {
				t.Error(err)
			}
		}
	}
	noneLeft(t)
}

// What a chunk comes to is what the command comes to.
func TestLargeValueThatFails(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}, MaxItemSize: 4 << 20, Timeout: 2 * time.Second})
	ctx := t.Context()
	v := largeValue(2<<20, 1)
	fail := func(which func(r *item.Request) bool) {
		g.on(func() {
			g.server.Script = func(try *routertest.Try) bool {
				if !which(&try.Req.Request) {
					return false
				}
				try.Answer(item.Result{Status: item.Failed, Message: "no"})
				return true
			}
		})
	}
	chunk := func(n int, op item.Op) func(r *item.Request) bool {
		return func(r *item.Request) bool {
			_, _, i, ok := item.ParseChunkKey(r.Key)
			return ok && i == n && r.Op == op
		}
	}
	for n := -1; n < 32; n += 11 { // -1: the marker
		fail(chunk(n, item.OpSet))
		err := c.Set(ctx, &client.Item{Key: "k", Value: v})
		if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "no") {
			t.Errorf("part %d: %v", n, err)
		}
		if _, err = c.Get(ctx, "k"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("part %d: %v", n, err)
		}
	}
	fail(func(*item.Request) bool { return false })
	if err := c.Set(ctx, &client.Item{Key: "k", Value: v}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 5, 31} {
		fail(chunk(n, item.OpGet))
		if it, err := c.Get(ctx, "k"); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("%v, %v", it, err)
		}
		// It was touched, though.
		if it, err := c.GetAndTouch(ctx, "k", time.Time{}); !errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("%v, %v", it, err)
		}
		if _, err := c.GetMulti(ctx, []string{"none", "k"}); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
}
