package server

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/control"
)

// Who gave up waiting for the loop has what it gave the loop to write for itself.
func TestOnLoopGivesUp(t *testing.T) {
	g := newGlue(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	written := 0
	if err := g.onLoop(ctx, func() { written++ }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := g.loop.Run(ctx); err != nil || written != 0 { // it runs what was posted
		t.Errorf("run %d times, although its caller has an error: %v", written, err)
	}
	if err := g.onLoop(t.Context(), func() {}); err == nil {
		t.Error("no error although the loop has ended")
	}
}

// What the loop has begun is waited for.
func TestOnLoopWaitsForWhatHasBegun(t *testing.T) {
	g := newGlue(t)
	end, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.loop.Run(end) }()
	ctx, cancel := context.WithCancel(t.Context())
	done := false
	err := g.onLoop(ctx, func() {
		cancel()
		time.Sleep(20 * time.Millisecond)
		done = true
	})
	if err != nil || !done {
		t.Errorf("%v, done: %v", err, done)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A site cannot have the browser of somebody who reaches a server do something to it.
func TestBrowsersChangeNothing(t *testing.T) {
	g := newGlue(t)
	g.backups = &backups{n: g.node}
	h := g.handler()
	ask := func(method, path string, header ...string) int {
		r := httptest.NewRequest(method, path, nil)
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	delay := control.PathStat + "?key=set_delay"
	for _, browser := range [][]string{{"Origin", "http://site.example"}, {"Sec-Fetch-Site", "cross-site"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"}} {
		for _, c := range [][2]string{{"POST", control.PathScrub}, {"POST", control.PathBackup}, {"GET", delay}, {"HEAD", delay}, {"GET", control.PathStat + "?key=unset_delay"}} {
			if code := ask(c[0], c[1], browser...); code != 403 {
				t.Errorf("%s: %s is answered %d", browser, c, code)
			}
		}
		if code := ask("GET", control.PathStat+"?key=pid", browser...); code != 200 {
			t.Errorf("%s: what changes nothing is answered %d", browser, code)
		}
	}
	if g.counters.delay.Load() {
		t.Error("a browser has set the delay")
	}
	if code := ask("POST", control.PathScrub); code != 409 {
		t.Errorf("a tool's POST %s is answered %d", control.PathScrub, code)
	}
	if code := ask("POST", control.PathBackup); code != 400 {
		t.Errorf("a tool's POST %s is answered %d", control.PathBackup, code)
	}
	if code := ask("GET", delay); code != 200 || !g.counters.delay.Load() {
		t.Errorf("a tool's GET %s is answered %d", delay, code)
	}
}
