package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kumofs/kumofs/internal/secret"
)

// fakes are servers whose counters grow by rate a second; slow ones do not answer.
type fakes struct {
	mu    sync.Mutex
	begin time.Time
	rate  float64
	slow  map[string]bool
	bad   map[string]bool
	asks  atomic.Int64
}

func (f *fakes) ask(ctx context.Context, addr string) (map[string]any, error) {
	f.asks.Add(1)
	f.mu.Lock()
	slow, bad := f.slow[addr], f.bad[addr]
	f.mu.Unlock()
	switch {
	case slow:
		<-ctx.Done()
		return nil, ctx.Err()
	case bad:
		return nil, errors.New("not now")
	}
	n := json.Number(fmt.Sprint(int64(f.rate * time.Since(f.begin).Seconds())))
	return map[string]any{"cmd_get": n, "cmd_set": n, "cmd_delete": json.Number("0"), "items": json.Number("30"), "uptime": json.Number("5"),
		"version": "1", "get_p50_us": json.Number("100"), "get_p99_us": json.Number("900"), "store": "ok"}, nil
}

func newFakes(servers int) (*sampler, *fakes) {
	f := &fakes{begin: time.Now(), rate: 1000, slow: map[string]bool{}, bad: map[string]bool{}}
	s := newSampler(func(context.Context) (State, error) { return cluster(servers, 8), nil }, (*secret.Secret)(nil))
	s.ask = f.ask
	return s, f
}

// Servers are asked while somebody looks, and not any more 15 s later.
func TestSamplesWhileLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakes(4)
		rested := make(chan struct{}, 1)
		s.onRest = func() { rested <- struct{}{} }
		time.Sleep(time.Minute)
		if n := f.asks.Load(); n != 0 {
			t.Fatalf("asked %d times while nobody looked", n)
		}
		begin := time.Now()
		s.look()
		time.Sleep(9 * time.Second)
		s.look()
		synctest.Wait()
		if n := f.asks.Load(); n != 5*4 {
			t.Errorf("asked %d times in 9 s", n)
		}
		got := s.since(0)
		if len(got.T) != 5 || !math.IsNaN(got.Get[0]) || math.Abs(got.Get[4]-4000) > 10 || got.Answered[4] != 4 || got.GetP50[4] != 100 || got.GetP99[4] != 900 || !math.IsNaN(got.SetP99[4]) {
			t.Errorf("%+v", got)
		}
		if late := s.since(got.T[3]); len(late.T) != 1 || late.Get[0] != got.Get[4] {
			t.Errorf("after the fourth: %+v", late)
		}
		if l := s.live()[0]; l.Get == nil || *l.Get < 990 || *l.Items != 30 || l.Version != "1" || l.SetP50 != nil || l.Error != "" {
			t.Errorf("%+v", l)
		}
		if h := s.history(s.live()[2].ID); h == nil || len(h.T) != 5 {
			t.Errorf("history: %+v", h)
		}
		<-rested
		if d := time.Since(begin); d < 24*time.Second || d > 27*time.Second {
			t.Errorf("rested after %v", d)
		}
		n := f.asks.Load()
		time.Sleep(time.Minute)
		if f.asks.Load() != n {
			t.Error("asked while it rests")
		}
		// Who looks again sees what was, and a gap; the rate does not span it.
		s.look()
		synctest.Wait()
		if got := s.since(0); len(got.T) < 6 || !math.IsNaN(got.Get[len(got.T)-1]) {
			t.Errorf("after the rest: %+v", got)
		}
		s.close()
		s.look()
		time.Sleep(time.Minute)
		if after := f.asks.Load(); after != n+4 {
			t.Errorf("asked %d times after it was closed", after-n-4)
		}
	})
}

// Ten minutes are kept.
func TestKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newFakes(3)
		for range 120 {
			s.look()
			time.Sleep(10 * time.Second)
		}
		got := s.since(0)
		if n := len(got.T); n < 299 || n > 302 || len(got.Set) != n || len(got.CopyIn) != n || got.T[n-1]-got.T[0] > keepFor.Milliseconds() {
			t.Errorf("%d samples", n)
		}
		s.close()
	})
}

// Servers that hang hold up no other, not even the first time.
func TestSlowServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakes(100)
		for i := range 30 {
			f.slow[fmt.Sprintf("10.0.0.%d:19800", 3*i+1)] = true
		}
		f.bad["10.0.0.2:19800"] = true
		answered := func() (n int) {
			for _, l := range s.live() {
				if l.Time != 0 {
					n++
				} else if l.Error == "" {
					t.Errorf("%+v", l)
				}
			}
			return n
		}
		s.look()
		time.Sleep(1900 * time.Millisecond)
		if n := answered(); n != 69 {
			t.Errorf("the first round had %d answers", n)
		}
		s.look()
		time.Sleep(2 * time.Second)
		if n := answered(); n != 69 {
			t.Errorf("the second round had %d answers", n)
		}
		got := s.since(0)
		if n := len(got.T); n != 2 || got.Answered[1] != 69 {
			t.Errorf("%+v", got)
		}
		// They come back.
		f.mu.Lock()
		clear(f.slow)
		f.mu.Unlock()
		s.look()
		time.Sleep(2 * time.Second)
		if n := answered(); n != 99 {
			t.Errorf("the third round had %d answers", n)
		}
		s.close()
	})
}

// A server that starts again counts from nothing: its rate is not known then.
func TestCounterGoesBack(t *testing.T) {
	s, _ := newFakes(1)
	defer s.close()
	w := &watched{live: Live{ID: "1"}}
	s.heard(w, map[string]any{"cmd_get": json.Number("1000")}, nil)
	s.heard(w, map[string]any{"cmd_get": json.Number("10")}, nil)
	if w.live.Get != nil {
		t.Errorf("a rate of %v", *w.live.Get)
	}
	s.heard(w, map[string]any{"cmd_get": json.Number("20"), "items": "junk", "uptime": []any{}}, nil)
	if w.live.Get == nil || w.live.Items != nil {
		t.Errorf("%+v", w.live)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(200, []byte(`{"values":{"cmd_get":12,"items":"7","version":"x","get_p50_us":1e400}}`))
	f.Add(500, []byte(`{"error":"why"}`))
	f.Add(200, []byte(`{"values":null}`))
	f.Add(404, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		values, err := parseStat(status, body)
		if err == nil && status != 200 {
			t.Fatal("no error")
		}
		s, _ := newFakes(1)
		defer s.close()
		w := &watched{}
		s.heard(w, values, err)
		s.sum([]*watched{w})
		if _, err := json.Marshal([]any{s.live(), w.live, s.since(0)}); err != nil {
			t.Fatal(err)
		}
	})
}
