package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kumofs/kumofs/client"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

func TestOpenFails(t *testing.T) {
	ctx := t.Context()
	for _, opt := range []client.Options{
		{}, {Managers: []string{""}}, {Managers: []string{":1"}}, {Managers: []string{"a:b"}}, {Managers: []string{"a:0"}},
		{Managers: []string{"a:1:2]"}, Timeout: time.Millisecond}, {Managers: []string{"a"}, MaxItemSize: client.MaxItemSize + 1},
	} {
		if c, err := client.Open(ctx, opt); err == nil {
			c.Close()
			t.Errorf("%+v is taken", opt)
		}
	}
	begin := time.Now()
	_, err := client.Open(ctx, client.Options{Managers: []string{"127.0.0.1:1"}, Timeout: 200 * time.Millisecond})
	if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = client.Open(short, client.Options{Managers: []string{"127.0.0.1:1"}})
	if !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
	addr := manage(t, func(s *control.Session) { s.Refuse(control.Refuse{Reason: "not you", Fatal: true}) })
	_, err = client.Open(ctx, client.Options{Managers: []string{addr}})
	if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "not you") {
		t.Errorf("refused: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	noneLeft(t)
}

// A context that ends ends its call at once, and a write is told apart from what was
// surely not done.
func TestCancel(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}, AllowFlushAll: true})
	ctx := t.Context()
	if err := c.Set(ctx, &client.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	calls := map[string]func(ctx context.Context) error{
		"get":       func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err },
		"get multi": func(ctx context.Context) error { _, err := c.GetMulti(ctx, []string{"k", "l", "m"}); return err },
		"set":       func(ctx context.Context) error { return c.Set(ctx, &client.Item{Key: "k"}) },
		"gat":       func(ctx context.Context) error { _, err := c.GetAndTouch(ctx, "k", time.Time{}); return err },
		"incr":      func(ctx context.Context) error { _, err := c.Incr(ctx, "k", 1); return err },
		"flush":     func(ctx context.Context) error { return c.FlushAll(ctx, 0) },
		"scan":      func(ctx context.Context) error { return scanErr(c, ctx, client.ScanOptions{}) },
		"unordered": func(ctx context.Context) error { return scanErr(c, ctx, client.ScanOptions{Unordered: true}) },
	}
	for name, call := range calls {
		if err := call(dead); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("%s under a context that is done: %v", name, err)
		}
	}
	g.on(func() {
		g.server.Script = func(*routertest.Try) bool { return true } // no answer
		g.server.ScanScript = func(*wire.Scan, func(func([]byte) []byte)) bool { return true }
	})
	for name, call := range calls {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		begin := time.Now()
		err := call(short)
		took := time.Since(begin)
		cancel()
		write := name == "set" || name == "gat" || name == "incr" || name == "flush"
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOutcomeUnknown) != write {
			t.Errorf("%s without an answer: %v", name, err)
		}
		if took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	// What the calls left behind does not disturb others.
	g.on(func() { g.server.Script, g.server.ScanScript = nil, nil })
	if _, err := c.Get(ctx, "k"); err != nil && !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	if err := scanErr(c, ctx, client.ScanOptions{}); err != nil {
		t.Error(err)
	}
}

func scanErr(c *client.Client, ctx context.Context, opt client.ScanOptions) error {
	for _, err := range c.Scan(ctx, nil, opt) {
		if err != nil {
			return err
		}
	}
	return nil
}

// A call that no server answers ends with Options.Timeout.
func TestTimeout(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}, Timeout: 200 * time.Millisecond})
	ctx := t.Context()
	g.on(func() {
		g.server.Script = func(*routertest.Try) bool { return true }
		g.server.ScanScript = func(*wire.Scan, func(func([]byte) []byte)) bool { return true }
	})
	if _, err := c.Get(ctx, "k"); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if err := c.Delete(ctx, "k"); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("delete: %v", err)
	}
	if err := scanErr(c, ctx, client.ScanOptions{}); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("scan: %v", err)
	}
	g.on(func() {
		g.server.Script = func(try *routertest.Try) bool {
			try.Answer(item.Result{Status: item.Failed, Message: "disk full"})
			return true
		}
	})
	if err := c.Delete(ctx, "k"); !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a server that cannot: %v", err)
	}
}

// A client that is closed ends the calls under way, and leaves nothing.
func TestClose(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}, AllowFlushAll: true})
	ctx := context.Background()
	if err := c.Set(ctx, &client.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	g.on(func() {
		g.server.Script = func(*routertest.Try) bool { return true }
		g.server.ScanScript = func(*wire.Scan, func(func([]byte) []byte)) bool { return true }
	})
	var wg sync.WaitGroup
	call := func(name string, unknown bool, fn func() error) {
		wg.Go(func() {
			if err := fn(); !errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrOutcomeUnknown) != unknown {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	call("get", false, func() error { _, err := c.Get(ctx, "k"); return err })
	call("get multi", false, func() error { _, err := c.GetMulti(ctx, []string{"k", "l"}); return err })
	call("set", true, func() error { return c.Set(ctx, &client.Item{Key: "k"}) })
	call("flush", true, func() error { return c.FlushAll(ctx, 0) })
	call("scan", false, func() error { return scanErr(c, ctx, client.ScanOptions{}) })
	time.Sleep(50 * time.Millisecond)
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	call("late get", false, func() error { _, err := c.Get(ctx, "k"); return err })
	call("late set", false, func() error { return c.Set(ctx, &client.Item{Key: "k"}) })
	call("late scan", false, func() error { return scanErr(c, ctx, client.ScanOptions{}) })
	wg.Wait()
	noneLeft(t)
}

// More than MaxInFlight waits: at the server is never more than that.
func TestBounds(t *testing.T) {
	g := newRig(t)
	const bound = 20 << 10
	c := open(t, client.Options{Managers: []string{g.addr}, MaxInFlight: bound, MaxItemSize: 64 << 10})
	ctx := t.Context()
	// The session of the key's partition is opened.
	if err := c.Set(ctx, &client.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	var held []*routertest.Try
	bytes := 0
	g.on(func() {
		g.server.Script = func(try *routertest.Try) bool {
			held = append(held, try)
			bytes += len(try.Req.Value)
			return true
		}
	})
	const calls = 50
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if err := c.Set(ctx, &client.Item{Key: "k", Value: make([]byte, 5<<10)}); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	// One that waits for room was surely not done.
	if err := c.Set(short, &client.Item{Key: "k"}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("a call that waits for room: %v", err)
	}
	g.on(func() {
		if bytes == 0 || bytes > bound {
			t.Errorf("%d bytes are at the server, the bound is %d", bytes, bound)
		}
		g.server.Script = nil
		for _, try := range held {
			try.Execute()
		}
	})
	wg.Wait()
	// One that is larger than the bound goes alone.
	if err := c.Set(ctx, &client.Item{Key: "k", Value: make([]byte, 60<<10)}); err != nil {
		t.Error(err)
	}
}

// A server that answers nothing while calls are given up is not sent more and more:
// calls wait until it has answered or its connection is given up.
func TestOverload(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}, MaxInFlight: 128 << 20})
	ctx := t.Context()
	if err := c.Set(ctx, &client.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	var held []*routertest.Try
	g.on(func() {
		g.server.Script = func(try *routertest.Try) bool { held = append(held, try); return true }
	})
	var wg sync.WaitGroup
	get := func() {
		wg.Go(func() {
			if _, err := c.Get(ctx, "k"); err != nil {
				t.Error(err)
			}
		})
	}
	get() // as long as it waits the connection is not given up
	began := time.Now()
	short, cancel := context.WithCancel(ctx)
	var given sync.WaitGroup
	for range 70 { // more than the router sends to one server
		given.Go(func() {
			if err := c.Set(short, &client.Item{Key: "k", Value: make([]byte, client.DefaultMaxItemSize)}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	var sent int
	for sent < 65 && time.Since(began) < 10*time.Second {
		time.Sleep(10 * time.Millisecond)
		g.on(func() { sent = len(held) })
	}
	cancel()
	given.Wait()
	g.on(func() { sent = len(held) })
	get()
	short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := c.Set(short, &client.Item{Key: "k"})
	// On a machine so slow the server counts as silent, and its connection is given up.
	slow := time.Since(began) > 2*time.Second
	if !slow && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOutcomeUnknown)) {
		t.Errorf("a write that waits for room: %v", err)
	}
	g.on(func() {
		if !slow && len(held) != sent {
			t.Errorf("%d calls were sent to a server that has %d open", len(held)-sent, sent)
		}
		g.server.Script = nil
		for _, try := range held {
			try.Answer(item.Result{Status: item.OK})
		}
	})
	wg.Wait()
}

// What is returned is the caller's, and what was given is not kept.
func TestOwnership(t *testing.T) {
	g := newRig(t)
	c := open(t, client.Options{Managers: []string{g.addr}})
	ctx := t.Context()
	v := []byte("value")
	if err := c.Set(ctx, &client.Item{Key: "k", Value: v}); err != nil {
		t.Fatal(err)
	}
	clear(v)
	var items []*client.Item
	for range 3 {
		it, err := c.Get(ctx, "k")
		if err != nil || string(it.Value) != "value" {
			t.Fatalf("%v %v", it, err)
		}
		items = append(items, it)
		for it, err := range c.Scan(ctx, nil, client.ScanOptions{}) {
			if err != nil || string(it.Value) != "value" {
				t.Fatalf("%v %v", it, err)
			}
			items = append(items, &it)
		}
	}
	for i, it := range items {
		if string(it.Value) != "value" {
			t.Errorf("item %d is %q", i, it.Value)
		}
		it.Value = append(it.Value[:0], fmt.Sprint("mine", i)...)
	}
}
