package server

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

var copySeeds = flag.Int("copy.seeds", 20, "seeds of TestCopyUnderWrites")

// A copy by digests makes any store equal to the primary's, whatever it held
// before, while operations go on of which each may come before, with or after
// the snapshot that has it (R6, R7).
func TestCopyUnderWrites(t *testing.T) {
	for seed := range *copySeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { copyUnderWrites(t, rand.New(rand.NewPCG(uint64(seed), 0))) })
	}
}

const joinEpoch, joinID = 2, 9

// join makes it the joiner of a copy by digests, of which the test is the primary,
// and runs its loop and its committer until the test ends.
func (g *glue) join(ctx context.Context) (base uint64) {
	next := *g.cmap
	next.Version++
	next.Partitions = []clustermap.Partition{{Epoch: joinEpoch, Replicas: []clustermap.ServerID{other}, Joining: []clustermap.ServerID{g.self},
		Active: true, LastKnown: []clustermap.ServerID{other}, LastPrimary: other, LastPrimaryIncarnation: 1}}
	base = uint64(joinEpoch)<<40 | 1<<30
	g.adopt(&next)
	g.step(wire.Message{Kind: wire.KindJoinHello, Epoch: joinEpoch, JoinID: joinID, Config: &next.Partitions[0]})
	g.step(wire.Message{Kind: wire.KindJoinStart, Epoch: joinEpoch, JoinID: joinID, Version: base, Committed: base, Mode: wire.JoinDigest})
	g.turn()
	var wg sync.WaitGroup
	wg.Go(g.commit.run)
	g.loop.OnTurnEnd(g.endTurn)
	ctx, endLoop := context.WithCancel(ctx)
	loopEnded := make(chan struct{})
	go func() { _ = g.loop.Run(ctx); close(loopEnded) }()
	g.t.Cleanup(func() {
		endLoop()
		<-loopEnded
		close(g.commit.jobs)
		wg.Wait()
	})
	return base
}

// copyFrom sends it a snapshot, as the primary does.
func (g *glue) copyFrom(ctx context.Context, to *stream, sn *store.Snapshot, c *copier) error {
	if _, err := to.w.WriteString(streamMagic); err != nil {
		return err
	}
	return c.sendOn(&chunker{c: c, ctx: ctx, s: to}, sn, &copyJob{epoch: joinEpoch, c: replica.Copy{
		Replica: replica.New(0, g.rn, replica.Stored{}), To: g.self, JoinID: joinID, Mode: wire.JoinDigest,
	}})
}

func copyUnderWrites(t *testing.T, rnd *rand.Rand) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g := newGlue(t) // the joiner; the test is the primary, of this store
	s, err := store.Open("/primary", store.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	keys := 1 + rnd.IntN(1000)
	if rnd.IntN(20) == 0 {
		keys = 2 * rangeKeys * maxRanges // several frames of digests
	}
	key := func() string { return fmt.Sprintf("key%05d", rnd.IntN(keys)) }
	ours, theirs := s.NewBatch(), g.store.NewBatch()
	for i := range keys {
		k := fmt.Appendf(nil, "key%05d", i)
		if kind := rnd.IntN(8); kind > 0 { // 0: neither has it
			if kind != 1 {
				ours.PutItem(0, k, &item.Item{Version: 1<<40 | uint64(i), Value: k})
			}
			if kind == 2 {
				theirs.PutItem(0, k, &item.Item{Version: 1<<40 | uint64(i+keys), Value: []byte("other")})
			} else if kind != 3 {
				theirs.PutItem(0, k, &item.Item{Version: 1<<40 | uint64(i), Value: k})
			}
		}
	}
	for st, b := range map[*store.Store]*store.Batch{s: ours, g.store: theirs} {
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
	}

	base := g.join(ctx)
	// Operations go to the joiner up to lag before or after they are in our store.
	ops := rnd.IntN(600)
	begin, lag := rnd.IntN(ops+1), rnd.IntN(41)-20
	type op struct {
		key string
		it  *item.Item
	}
	list := make([]op, ops)
	for i := range list {
		if list[i].key = key(); rnd.IntN(2) == 0 {
			list[i].it = &item.Item{Version: base + uint64(i) + 1, Value: fmt.Append(nil, "live", i)}
		}
	}
	pause := make([]bool, ops)
	for i := range pause {
		pause[i] = rnd.IntN(10) == 0
	}
	send := func(i int) {
		if i >= 0 && i < ops {
			v := base + uint64(i) + 1
			m := wire.Message{Kind: wire.KindAppend, Epoch: joinEpoch, JoinID: joinID, Version: v, Prev: v - 1, Committed: base,
				Key: list[i].key, Item: list[i].it, Effect: wire.EffectRemove}
			if m.Item != nil {
				m.Effect = wire.EffectPut
			}
			g.loop.Post(func() { g.step(m) })
		}
	}
	at := make(chan struct{})
	var writes sync.WaitGroup
	defer writes.Wait()
	writes.Go(func() {
		for i := min(0, -lag); i <= max(ops, ops-lag); i++ {
			if i == begin {
				close(at)
			}
			if i >= 0 && i < ops {
				b := s.NewBatch()
				if list[i].it != nil {
					b.PutItem(0, []byte(list[i].key), list[i].it)
				} else {
					b.Delete(0, []byte(list[i].key))
				}
				if err := s.Commit(b); err != nil {
					t.Error(err)
				}
				if pause[i] {
					time.Sleep(time.Millisecond)
				}
			}
			send(i + lag)
		}
	})
	<-at
	sn := s.Snapshot()
	defer sn.Close()
	upTo := base + uint64(ops)
	sender, receiver := net.Pipe()
	defer sender.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.receive(ctx, newStream(receiver)) })
	if err := g.copyFrom(ctx, newStream(sender), sn, newCopier(&node{self: other}, 0)); err != nil {
		t.Fatal(err)
	}
	sender.Close()
	for { // as a primary does: an operation after the other, then the end
		done := make(chan bool, 1)
		g.loop.Post(func() {
			if g.replicas[0].Last() == upTo {
				g.step(wire.Message{Kind: wire.KindJoinEnd, Epoch: joinEpoch, JoinID: joinID, Version: upTo})
				done <- true
			} else {
				done <- false
			}
		})
		if <-done {
			break
		}
		time.Sleep(time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("the joiner did not take all operations")
		}
	}
	for {
		pos, err := g.store.Position(0)
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		if pos == (store.Position{Version: upTo}) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	writes.Wait()
	n, sum, err := s.Checksum(t.Context(), 0)
	n2, sum2, err2 := g.store.Checksum(t.Context(), 0)
	if n != n2 || sum != sum2 || err != nil || err2 != nil {
		t.Errorf("%d keys, %d operations, snapshot at %d, lag %d: the joiner has %d pairs, the primary %d; sums %x and %x (%v, %v)",
			keys, ops, begin, lag, n2, n, sum2, sum, err2, err)
	}
}
