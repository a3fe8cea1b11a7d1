package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// A commit for which the store promises no wait is done within the turn: a backup
// acknowledges an operation in the turn in which it came, and a primary has stored it.
func TestPromptCommitIsDoneInItsTurn(t *testing.T) {
	g := newGlue(t)
	g.commit.aside = time.Time{}
	var a answers
	for i := range 100 {
		g.ask(&a, item.OpSet, fmt.Sprint("k", i), "v")
		g.endTurn()
		if g.commit.busy || g.commit.bytes() > 100 {
			t.Fatalf("after set %d: under way: %v, %d bytes wait", i, g.commit.busy, g.commit.bytes())
		}
		if rec, found, err := g.store.Get(0, fmt.Append(nil, "k", i), nil); !found || err != nil {
			t.Fatalf("k%d: %q, %v, %v", i, rec, found, err)
		}
	}
	if a.replies > 0 {
		t.Error("answered without the other member")
	}
	g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
	g.endTurn()
	if a.replies != 100 {
		t.Errorf("%d of 100 answered", a.replies)
	}
}

// All chunks of copies are taken, although each commit has room for one.
func TestPromptCommitsTakeAllChunks(t *testing.T) {
	g := newGlue(t)
	g.commit.aside = time.Time{}
	taken := 0
	for i := range 10 {
		g.commit.chunks = append(g.commit.chunks, chunk{copyBytes, func() {
			taken++
			g.fx.Writes = append(g.fx.Writes, replica.Write{Key: fmt.Sprint("k", i), Item: &item.Item{Version: 1}})
		}})
	}
	g.endTurn()
	if taken != 10 || len(g.commit.chunks) > 0 || g.commit.busy {
		t.Errorf("%d of 10 taken, %d left, busy %v", taken, len(g.commit.chunks), g.commit.busy)
	}
}

// A batch that is not prompt goes through the committer's goroutine.
func TestLargeCommitGoesAside(t *testing.T) {
	g := newGlue(t)
	g.commit.aside = time.Time{}
	var a answers
	g.ask(&a, item.OpSet, "k", strings.Repeat("v", 200<<10))
	g.endTurn()
	if !g.commit.busy || len(g.commit.jobs) != 1 {
		t.Errorf("busy %v, %d jobs", g.commit.busy, len(g.commit.jobs))
	}
}

// slowLog is a disk on which writes of the log wait, once it is told to.
func slowLog() (opt store.Options, hang *atomic.Pointer[chan struct{}]) {
	hang = &atomic.Pointer[chan struct{}]{}
	opt = store.Options{FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if c := hang.Load(); c != nil && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
			<-*c
		}
		return nil
	}))}
	return opt, hang
}

// A commit that has the loop hang is reported all the same, and when it is over the
// server says so for a while (R9); the next commits do not hold up the loop.
func TestCommitThatHoldsUpTheLoopIsReported(t *testing.T) {
	opt, hang := slowLog()
	g := newGlueOn(t, opt)
	g.commit.aside = time.Time{}
	reports := make(chan bool, 64)
	g.report.send = func(r *control.Report) { reports <- r.Hangs }
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { g.commit.watchInline(ctx); close(watched) }()
	gate := make(chan struct{})
	hang.Store(&gate)
	turn := make(chan struct{})
	var a answers
	g.ask(&a, item.OpSet, "k", "v")
	go func() { g.endTurn(); close(turn) }()
	select {
	case hangs := <-reports:
		if !hangs {
			t.Error("a report of something else")
		}
	case <-turn:
		t.Fatal("the turn ended: the test tests nothing")
	case <-time.After(20 * time.Second):
		t.Error("nothing was reported")
	}
	hang.Store(nil)
	close(gate)
	<-turn
	cancel()
	<-watched
	for len(reports) > 0 {
		<-reports
	}
	pass := g.passing()
	if n := pass(time.Second); n == 0 || !g.commit.hangs {
		t.Errorf("said %d times in the second after", n)
	}
	g.ask(&a, item.OpSet, "k", "v")
	g.endTurn()
	if !g.commit.busy {
		t.Error("the next commit was on the loop too")
	}
	g.commit.done(g.store.Commit(<-g.commit.jobs))
	g.endTurn()
	pass(3 * time.Second)
	if n := pass(2 * time.Second); n > 0 || g.commit.hangs {
		t.Errorf("said %d times of a disk that works", n)
	}
}
