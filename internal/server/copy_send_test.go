package server

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
	"golang.org/x/time/rate"
)

// A sender whose disk cannot be read tells the receiver of no key that it does
// not have it: the receiver would remove what may be the last copy.
func TestSendRangeOnBadDisk(t *testing.T) {
	var bad atomic.Bool
	var hits atomic.Int64 // pebble reads in goroutines of its own as well
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if bad.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			hits.Add(1)
			return syscall.EIO
		}
		return nil
	}))
	opt := store.Options{FS: disk, CacheSize: 1}
	fill := func() (theirs []keyVersion) {
		s, err := store.Open("/s", opt)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		b := s.NewBatch()
		for i := range 100 {
			key := fmt.Appendf(nil, "key%03d", i)
			b.PutItem(1, key, &item.Item{Version: uint64(i + 1), Value: make([]byte, 1000)})
			theirs = append(theirs, keyVersion{key, uint64(i + 1)})
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		return theirs
	}
	theirs := fill()
	s, err := store.Open("/s", opt) // what was in the log is in a table now
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sn := s.Snapshot()
	defer sn.Close()
	var sent bytes.Buffer
	out := &chunker{c: newCopier(&node{}, 0), ctx: context.Background(), s: newStream(nil)}
	out.s.w.Reset(&sent)
	bad.Store(true)
	err = sendRange(out, sn, 1, &rangeDigest{Last: true}, theirs)
	bad.Store(false)
	if err == nil || hits.Load() == 0 {
		t.Errorf("no error after %d reads that failed", hits.Load())
	}
	values, err := wire.DecodeValues(out.values.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if v.Item == nil {
			t.Fatalf("%s is to be removed at the receiver", v.Key)
		}
	}
	if sent.Len() > 0 {
		t.Errorf("%d bytes were sent", sent.Len())
	}
}

// A value of the largest size and the values before it are more than one frame may hold.
func TestLargeValuesAreSentAlone(t *testing.T) {
	var sent bytes.Buffer
	c, other := net.Pipe()
	defer c.Close()
	defer other.Close()
	out := &chunker{c: newCopier(&node{}, 0), ctx: context.Background(), s: newStream(c)}
	out.s.w.Reset(&sent)
	for _, size := range []int{chunkBytes / 2, chunkBytes - 100, 10, 3 * chunkBytes, 10} {
		if err := out.add([]byte("k"), &item.Item{Version: 1, Value: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.flush(); err != nil {
		t.Fatal(err)
	}
	in := newStream(c)
	in.r.Reset(&sent)
	total := 0
	for total < 5 {
		_, b, err := in.read()
		if err != nil {
			t.Fatal(err)
		}
		values, err := wire.DecodeValues(b)
		if err != nil {
			t.Fatal(err)
		}
		if total += len(values); len(values) > 1 && len(b) > chunkBytes {
			t.Errorf("%d values in a frame of %d bytes", len(values), len(b))
		}
	}
}

// A copy that goes on slowly is not given up for silence: neither one within a low
// rate, nor one between disks that are slow to read.
func TestSlowCopy(t *testing.T) {
	const timeout = time.Second
	for _, test := range []struct {
		name        string
		keys, bytes int
		theirs      int // keys of the receiver
		rate        rate.Limit
		read        time.Duration // a block of either disk
	}{
		{"a low rate", 1, 60_000, 1, 20_000, 0},
		{"slow disks", 4 * rangeKeys, 10_000, 4 * rangeKeys, rate.Inf, 5 * time.Millisecond},
		{"slow disks, an empty receiver", 4 * rangeKeys, 10_000, 0, rate.Inf, 5 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			disk := func(version uint64, keys int) store.Options {
				opt := store.Options{CacheSize: 1, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
						time.Sleep(test.read)
					}
					return nil
				}))}
				s, err := store.Open("/s", opt)
				if err != nil {
					t.Fatal(err)
				}
				b := s.NewBatch()
				for i := range keys {
					b.PutItem(0, fmt.Appendf(nil, "key%05d", i), &item.Item{Version: version, Value: make([]byte, test.bytes)})
				}
				if err := s.Commit(b); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil { // what was in the log is in a table when it is opened again
					t.Fatal(err)
				}
				return opt
			}
			g := newGlueOn(t, disk(1, test.theirs))
			g.join(ctx)
			s, err := store.Open("/s", disk(2, test.keys))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			sn := s.Snapshot()
			defer sn.Close()
			a, b := net.Pipe()
			sender, receiver := newStream(a), newStream(b)
			sender.timeout, receiver.timeout = timeout, timeout
			var wg sync.WaitGroup
			defer wg.Wait()
			defer a.Close()
			wg.Go(func() { g.receive(ctx, receiver); b.Close() })
			c := newCopier(&node{self: other}, 0)
			c.limit = rate.NewLimiter(test.rate, 20_000)
			began := time.Now()
			err = g.copyFrom(ctx, sender, sn, c)
			if took := time.Since(began); err != nil || took < timeout {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}

// A connection on which no copy comes any more is closed: those of many primaries, each
// kept for the next copy, must not keep new ones out for good (maxStreams).
func TestIdleStreamsEnd(t *testing.T) {
	g := newGlue(t)
	a, b := net.Pipe()
	defer a.Close()
	s, over := newStream(b), make(chan struct{})
	s.timeout = 50 * time.Millisecond
	go func() { g.receive(t.Context(), s); close(over) }()
	if _, err := a.Write([]byte(streamMagic)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-over:
	case <-time.After(5 * time.Second):
		t.Error("open although nothing comes")
	}
}

// Nor does a sender keep what its receiver has closed: a server may have another stream port
// each time that it starts.
func TestIdleStreamsAreNotKept(t *testing.T) {
	c := newCopier(&node{}, 0)
	a, b := net.Pipe()
	old, next := newStream(a), newStream(nil)
	c.release("a:1", old)
	old.flushed = old.flushed.Add(-2 * streamTimeout)
	c.release("a:2", next)
	if _, err := b.Write([]byte("x")); err == nil || len(c.idle) != 1 {
		t.Errorf("open although it was idle for long; connections to %d addresses", len(c.idle))
	}
}

// A copy that nobody wants any more is not begun: where the joiner is gone each would take as long as
// a dial does, and those to others wait behind it.
func TestCopyOfAJoinThatIsOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			c.Close()
		}
	}()
	defer l.Close()
	for _, over := range []bool{false, true} {
		g := newGlue(t)
		next := *g.cmap
		next.Version++
		next.Servers = slices.Clone(next.Servers)
		next.Servers[1].StreamAddr = l.Addr().String()
		next.Partitions = []clustermap.Partition{{Epoch: 2, Replicas: []clustermap.ServerID{g.self}, Joining: []clustermap.ServerID{other},
			Active: true, LastKnown: []clustermap.ServerID{g.self}, LastPrimary: g.self, LastPrimaryIncarnation: 1}}
		g.adopt(&next)
		g.turn()
		var a answers
		req := wire.Request{Epoch: 2, Request: item.Request{Op: item.OpSet, Key: []byte("k"), Value: []byte("v")}}
		g.request(&req, &a)
		g.turn()
		id := uint64(1)
		g.step(wire.Message{Kind: wire.KindJoinState, Epoch: 2, JoinID: id, Version: 0})
		g.step(wire.Message{Kind: wire.KindJoinStarted, Epoch: 2, JoinID: id})
		g.turn()
		if len(g.copies.queue) != 1 {
			t.Fatalf("%d copies are to be made", len(g.copies.queue))
		}
		if over {
			later := next
			later.Version++
			later.Partitions = slices.Clone(next.Partitions)
			later.Partitions[0].Epoch, later.Partitions[0].Joining = 3, nil
			g.adopt(&later)
			g.turn()
		}
		ctx, end := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = g.loop.Run(ctx) })
		before := accepted.Load()
		_, err := g.copies.send(ctx, &g.copies.queue[0], &chunker{c: g.copies})
		end()
		wg.Wait()
		if dialed := accepted.Load() > before; err == nil || dialed == over {
			t.Errorf("over %v: dialed %v, %v", over, dialed, err)
		}
	}
}
