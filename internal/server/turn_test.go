package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// glue is a server without goroutines and sockets: the test makes its turns. It
// is primary of one partition with a second server, which the test plays.
type glue struct {
	*node
	t    testing.TB
	time int64
}

const other = ^clustermap.ServerID(0) // the map has servers in the order of IDs

func newGlue(t testing.TB) *glue { return newGlueOn(t, store.Options{FS: vfs.NewMem()}) }

// newGlueOn has its store, "/s", opened as opt says.
func newGlueOn(t testing.TB, opt store.Options) *glue { return newGlueAt(t, "/s", opt) }

func newGlueAt(t testing.TB, path string, opt store.Options) *glue {
	s, err := store.Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	cache := store.NewCache(8 << 20)
	g := &glue{t: t, time: 1e12}
	n := &node{
		log: slog.New(slog.DiscardHandler), ctx: context.Background(), loop: loop.NewMemory(loop.NewMemNetwork()), store: s,
		clock: func() int64 { return g.time }, self: s.Identity().ID, incarnation: 1, runID: 1,
		peers: map[clustermap.ServerID]*peer{}, inbound: map[clustermap.ServerID]*dataConn{},
		joins: map[replica.JoinWanted]struct{}{}, leasing: map[*replica.Replica]struct{}{}, fatal: func(err error) { t.Error(err) },
	}
	g.node = n
	n.rn = &replica.Node{Self: n.self, Leases: replica.NewLeases(g.time), Values: &values{c: cache}}
	n.commit.init(n)
	n.commit.aside = time.Now().Add(24 * time.Hour) // commits are the test's to make
	n.reads, n.copies, n.scans = newReaders(n, 1), newCopier(n, 0), newScanner(n)
	n.scrub = newScrubber(n, 0, 0)
	if n.stored, err = s.Partitions(); err != nil {
		t.Fatal(err)
	}
	n.adopt(&clustermap.Map{
		ClusterID: 7, Version: 1, Replication: 2,
		Servers: []clustermap.Server{
			{ID: n.self, Addr: "a:1", Incarnation: 1, RunID: 1, State: clustermap.Active},
			{ID: other, Addr: "b:1", Incarnation: 1, RunID: 1, State: clustermap.Active},
		},
		Partitions: []clustermap.Partition{{
			Epoch: 1, Replicas: []clustermap.ServerID{n.self, other}, Active: true,
			LastKnown: []clustermap.ServerID{n.self, other}, LastPrimary: n.self, LastPrimaryIncarnation: 1,
		}},
	})
	g.step(wire.Message{Kind: wire.KindRing, Epoch: 1, Version: g.replicas[0].Last()})
	g.turn()
	if !g.replicas[0].Serving() {
		t.Fatal("the primary does not serve")
	}
	return g
}

// step is a message of the other server.
func (g *glue) step(m wire.Message) { g.replicas[0].Step(other, &m, &g.fx) }

// turn ends a turn, stores what it wrote and reads what it asked for.
func (g *glue) turn() {
	g.endTurn()
	for _, rd := range g.reads.queue[g.reads.head:] {
		items, err := g.reads.read(&rd.Read, &g.reads.began[0])
		rd.Replica.ReadDone(&rd.Read, items, err, &g.fx)
	}
	g.reads.queue, g.reads.head = nil, 0
	g.endTurn()
	for g.commit.busy {
		b := <-g.commit.jobs
		g.commit.done(g.store.Commit(b))
		g.endTurn()
	}
}

// answers counts what was answered.
type answers struct{ replies, naks int }

func (a *answers) Reply(*wire.Reply) { a.replies++ }
func (a *answers) Nak(*wire.Nak)     { a.naks++ }

func (g *glue) ask(a *answers, op item.Op, key, value string) {
	req := wire.Request{Epoch: 1, Request: item.Request{Op: op, Key: []byte(key), Value: []byte(value)}}
	g.request(&req, a)
}

// Gets that wait for a lease are looked at once a turn, however many turns they
// have come in: what a lost lease costs must not grow with the time that it is lost.
func TestWaitingForALeaseCostsNoMoreWithTime(t *testing.T) {
	g := newGlue(t)
	var a answers
	const gets = 1000
	for range gets {
		g.ask(&a, item.OpGet, "k", "")
		g.turn()
	}
	if a.replies > 0 {
		t.Fatalf("%d answers without a lease", a.replies)
	}
	if n := len(g.leasing); n != 1 {
		t.Errorf("one partition is looked at %d times", n)
	}
	g.rn.Leases.Granted(other, g.time, 1, g.time)
	g.granted = true
	g.turn()
	if a.replies != gets || a.naks > 0 || len(g.leasing) > 0 {
		t.Errorf("%d answers and %d refusals with the lease; %d still looked at", a.replies, a.naks, len(g.leasing))
	}
}

// What waits for a server or a manager that stays away must not take all memory:
// clients and gateways go on asking meanwhile.
func TestWhatWaitsIsBounded(t *testing.T) {
	for _, op := range []item.Op{item.OpGet, item.OpSet} {
		g := newGlue(t)
		g.heldLimit = 4 << 20
		store := func() { // as the other server
			g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
			g.turn()
			g.tick()
		}
		var a answers
		value := strings.Repeat("v", 64<<10)
		g.ask(&a, item.OpSet, "k", value)
		g.turn()
		store()
		if a.replies != 1 || g.held != 0 {
			t.Fatalf("%d answers, %d bytes held", a.replies, g.held)
		}
		a = answers{}
		const asked = 200
		for range asked {
			g.ask(&a, op, "k", value)
			g.turn()
			g.tick()
		}
		if g.held > g.heldLimit+128<<10 || a.naks == 0 || a.naks == asked {
			t.Errorf("operation %d: %d bytes are held, %d of %d requests refused", op, g.held, a.naks, asked)
		}
		g.rn.Leases.Granted(other, g.time, 1, g.time)
		g.granted = true
		store()
		if a.replies+a.naks != asked || g.held != 0 {
			t.Errorf("operation %d: %d answered, %d refused; %d bytes are held", op, a.replies, a.naks, g.held)
		}
	}
}

// What waits for the store to be read is bounded likewise.
func TestWhatWaitsForAReadIsBounded(t *testing.T) {
	g := newGlue(t)
	g.heldLimit = 4 << 20
	g.rn.Leases.Granted(other, g.time, 1, g.time)
	var a answers
	g.ask(&a, item.OpSet, "k", "v") // a partition that is empty is not read
	g.turn()
	g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
	g.turn()
	a = answers{}
	const asked = 200
	value := strings.Repeat("v", 64<<10)
	for range asked {
		g.ask(&a, item.OpAppend, "cold", value)
		g.endTurn() // nobody reads
		g.tick()
	}
	if g.held > g.heldLimit+128<<10 || a.naks == 0 || a.naks == asked {
		t.Errorf("%d bytes are held, %d of %d requests refused", g.held, a.naks, asked)
	}
	g.turn()
	g.tick()
	if a.replies+a.naks != asked || g.held != 0 {
		t.Errorf("%d answered, %d refused; %d bytes are held", a.replies, a.naks, g.held)
	}
}

// What other servers send while the disk is slow is not held back by anyone: it
// must not make one batch that the store refuses for its size.
func TestBatchIsCutWhileTheDiskIsSlow(t *testing.T) {
	g := newGlue(t)
	g.commit.cutAt = 10 << 10
	var a answers
	value := strings.Repeat("v", 1<<10)
	const asked = 100
	for i := range asked {
		g.ask(&a, item.OpSet, fmt.Sprint("k", i), value)
		g.endTurn() // the first commit does not end
	}
	if left := g.commit.bytes(); left < asked<<10-2<<10 {
		t.Errorf("%d bytes are said to wait", left)
	}
	batches := 0
	for g.commit.busy {
		b := <-g.commit.jobs
		if b.Bytes() > 12<<10 {
			t.Errorf("a batch of %d bytes", b.Bytes())
		}
		batches++
		g.commit.done(g.store.Commit(b))
		g.endTurn()
	}
	if batches < asked/12 || g.commit.bytes() > 100 {
		t.Errorf("%d batches; %d bytes left", batches, g.commit.bytes())
	}
	g.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: g.replicas[0].Last()})
	g.turn()
	if a.replies != asked {
		t.Errorf("%d of %d answered", a.replies, asked)
	}
	for i := range asked {
		if _, found, err := g.store.Get(0, fmt.Append(nil, "k", i), nil); !found || err != nil {
			t.Fatalf("k%d: %v, %v", i, found, err)
		}
	}
}

// passing makes a function that lets time pass, tick by tick, and counts the
// reports of a disk that hangs.
func (g *glue) passing() func(time.Duration) int {
	said := 0
	g.report.send = func(r *control.Report) {
		if r.Hangs {
			said++
		}
	}
	return func(d time.Duration) int {
		said = 0
		for ; d > 0; d -= tickInterval {
			g.time += int64(tickInterval)
			g.tick()
			g.endTurn()
		}
		return said
	}
}

// R9: a server whose disk hangs without an error says so, until commits have been
// quick again for a while; one that stood still itself does not.
func TestDiskThatHangsIsReported(t *testing.T) {
	g := newGlue(t)
	pass := g.passing()
	var a answers
	g.ask(&a, item.OpSet, "k", "v")
	g.endTurn() // its commit is under way
	if n := pass(1800 * time.Millisecond); n > 0 {
		t.Error("said of a commit of two seconds")
	}
	g.time += int64(time.Minute) // this process was stopped
	if n := pass(300 * time.Millisecond); n > 0 {
		t.Error("said by a server that stood still")
	}
	pass(500 * time.Millisecond)
	if n := pass(10 * time.Second); n < 15 {
		t.Errorf("said %d times in ten seconds", n)
	}
	b := <-g.commit.jobs
	g.commit.done(g.store.Commit(b))
	g.endTurn()
	if n := pass(2 * time.Second); n == 0 {
		t.Error("not said any more as soon as one commit went through")
	}
	pass(1200 * time.Millisecond)
	if n := pass(5 * time.Second); n > 0 || g.commit.hangs {
		t.Errorf("said %d times of a disk that works", n)
	}
}

// slowReads is a disk whose reads of tables wait, once it is told to. The store on
// it has the keys cold0 to cold5.
type slowReads struct {
	on    atomic.Bool
	began chan struct{} // a read waits
	step  chan struct{} // lets one go on; closed: all
	over  chan struct{} // closed: those go on that nobody has seen to wait
}

func newSlowReads(t *testing.T) (*slowReads, store.Options) {
	d := &slowReads{began: make(chan struct{}), step: make(chan struct{}), over: make(chan struct{})}
	opt := store.Options{CacheSize: 1, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.on.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			select {
			case d.began <- struct{}{}:
				<-d.step
			case <-d.over: // pebble itself has read too, for its statistics
			}
		}
		return nil
	}))}
	s, err := store.Open("/s", opt)
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for i := range 6 {
		b.PutItem(0, fmt.Append(nil, "cold", i), &item.Item{Version: 1<<40 | uint64(i+1), Value: make([]byte, 20_000)})
	}
	b.SetPosition(0, store.Position{Version: 1<<40 | 6})
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // what was in the log is in a table when it is opened again
		t.Fatal(err)
	}
	return d, opt
}

// untilReading waits until reads that were asked for are under way. That the disk is
// read does not tell: pebble does that for its statistics too.
func (g *glue) untilReading() {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); g.reads.oldest(g.rn.Awake()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatal("no read has begun")
		}
	}
}

// A disk of which only reads hang is one that hangs: without --fsync commits go on
// in the kernel's memory.
func TestDiskWhoseReadsHangIsReported(t *testing.T) {
	d, opt := newSlowReads(t)
	g := newGlueOn(t, opt)
	var wg sync.WaitGroup
	wg.Go(func() { g.reads.run(0) })
	pass := g.passing()
	pass(time.Second)

	d.on.Store(true)
	var a answers
	g.ask(&a, item.OpGet, "cold0", "")
	g.endTurn()
	g.untilReading()
	if n := pass(1800 * time.Millisecond); n > 0 {
		t.Error("said of a read of two seconds")
	}
	g.time += int64(time.Minute) // this process was stopped
	if n := pass(200 * time.Millisecond); n > 0 {
		t.Error("said by a server that stood still")
	}
	pass(time.Second)
	for range 20 { // commits do not hang
		g.ask(&a, item.OpSet, "k", "v")
		g.endTurn()
		g.commit.done(g.store.Commit(<-g.commit.jobs))
		if n := pass(600 * time.Millisecond); n == 0 {
			t.Error("not said any more while the read hangs")
		}
	}
	d.on.Store(false)
	close(d.over)
	close(d.step)
	g.reads.stop()
	wg.Wait()
	if n := pass(2 * time.Second); n == 0 {
		t.Error("not said any more as soon as the read ended")
	}
	pass(1200 * time.Millisecond)
	if n := pass(5 * time.Second); n > 0 || g.commit.hangs {
		t.Errorf("said %d times of a disk that works", n)
	}
}

// A disk that answers, slowly, does not hang, however many reads wait for it.
func TestSlowReadsDoNotHang(t *testing.T) {
	d, opt := newSlowReads(t)
	g := newGlueOn(t, opt)
	ended := make(chan struct{})
	go func() { g.reads.run(0); close(ended) }()
	pass := g.passing()
	pass(time.Second)

	d.on.Store(true)
	var a answers
	for i := range 6 {
		g.ask(&a, item.OpGet, fmt.Sprint("cold", i), "")
	}
	g.endTurn()
	g.untilReading()
	waits := 0
	for going := true; going; {
		select {
		case <-d.began:
			waits++
			if n := pass(400 * time.Millisecond); n > 0 {
				t.Errorf("said after %d reads", waits)
			}
			g.reads.stop() // after the six
			d.step <- struct{}{}
		case <-ended:
			going = false
		}
	}
	if waits < 6 {
		t.Errorf("only %d reads", waits)
	}
	d.on.Store(false)
}
