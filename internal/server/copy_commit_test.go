package server

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// syncFS is a disk whose syncs of the log take their time by the bytes that they write.
type syncFS struct {
	vfs.FS
	rate  int // bytes a second; 0 takes no time
	syncs atomic.Int64
	most  atomic.Int64 // bytes of one sync
}

type syncFile struct {
	vfs.File
	fs    *syncFS
	bytes atomic.Int64
}

func (fs *syncFS) wrap(f vfs.File, err error, name string) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &syncFile{File: f, fs: fs}, nil
}

func (fs *syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return fs.wrap(f, err, name)
}

func (fs *syncFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, c)
	return fs.wrap(f, err, newname)
}

func (f *syncFile) Write(p []byte) (int, error) {
	f.bytes.Add(int64(len(p)))
	return f.File.Write(p)
}

func (f *syncFile) Sync() error     { f.sync(); return f.File.Sync() }
func (f *syncFile) SyncData() error { f.sync(); return f.File.SyncData() }

func (f *syncFile) SyncTo(length int64) (bool, error) { f.sync(); return f.File.SyncTo(length) }

func (f *syncFile) sync() {
	n := f.bytes.Swap(0)
	f.fs.syncs.Add(1)
	if n > f.fs.most.Load() { // syncs come one after the other
		f.fs.most.Store(n)
	}
	if f.fs.rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(f.fs.rate))
	}
}

// copyAll sends count values of size bytes to a joiner over several connections at a
// time, while live operations go to it. It returns how long that took, and how long
// the slowest of the operations took to be stored.
func (g *glue) copyAll(ctx context.Context, connections, count, size int) (took, worst time.Duration) {
	base := g.join(ctx)
	s, err := store.Open("/primary", store.Options{FS: vfs.NewMem()})
	if err != nil {
		g.t.Fatal(err)
	}
	defer s.Close()
	keys := make([][]string, connections)
	b := s.NewBatch()
	for i := range count {
		k := fmt.Sprintf("key%06d", i)
		keys[i%connections] = append(keys[i%connections], k)
		b.PutItem(0, []byte(k), &item.Item{Version: 1<<40 | uint64(i+1), Value: make([]byte, size)})
		if b.Bytes() > 1<<20 || i == count-1 {
			if err := s.Commit(b); err != nil {
				g.t.Fatal(err)
			}
			b.Reset()
		}
	}
	sn := s.Snapshot()
	defer sn.Close()
	started := time.Now()
	var copies sync.WaitGroup
	for _, list := range keys {
		a, b := net.Pipe()
		copies.Go(func() { g.receive(ctx, newStream(b)); b.Close() })
		copies.Go(func() {
			defer a.Close()
			to := newStream(a)
			_, err := to.w.WriteString(streamMagic)
			if err == nil {
				c := newCopier(&node{self: other}, 0)
				err = c.sendOn(&chunker{c: c, ctx: ctx, s: to}, sn, &copyJob{epoch: joinEpoch, c: replica.Copy{
					Replica: replica.New(0, &replica.Node{Self: other}, replica.Stored{}), To: g.self, JoinID: joinID, Mode: wire.JoinTail, Keys: list,
				}})
			}
			if err != nil {
				g.t.Error(err)
			}
		})
	}
	over := make(chan struct{})
	go func() { copies.Wait(); close(over) }()
	for v := base + 1; ; v++ {
		began, stored := time.Now(), make(chan struct{})
		g.loop.Post(func() {
			g.step(wire.Message{Kind: wire.KindAppend, Epoch: joinEpoch, JoinID: joinID, Version: v, Prev: v - 1, Committed: base,
				Key: "live", Item: &item.Item{Version: v, Value: []byte("v")}, Effect: wire.EffectPut})
			g.commit.after = append(g.commit.after, func() { close(stored) })
		})
		<-stored
		worst = max(worst, time.Since(began))
		select {
		case <-over:
			return time.Since(started), worst
		case <-time.After(time.Millisecond):
		}
	}
}

// Copies go through the same commits as live operations, for which clients wait: how
// much of them one commit has is bounded, however many connections bring them.
func TestCopiesInOneCommitAreBounded(t *testing.T) {
	disk := &syncFS{FS: vfs.NewMem(), rate: 20 << 20}
	g := newGlueOn(t, store.Options{FS: disk, Fsync: true})
	const connections, count, size = 6, 1600, 10_000 // three primaries, with copyWorkers each
	took, worst := g.copyAll(t.Context(), connections, count, size)
	t.Logf("%v; the slowest live operation took %v; %d syncs, the largest of %d bytes", took, worst, disk.syncs.Load(), disk.most.Load())
	if most := disk.most.Load(); most > copyBytes*5/4 {
		t.Errorf("a commit of %d bytes", most)
	}
}

func BenchmarkCopies(b *testing.B) {
	for _, fsync := range []bool{false, true} {
		for _, size := range []int{100, 10_000} {
			for _, connections := range []int{2, 6} {
				b.Run(fmt.Sprintf("fsync=%v/size=%d/connections=%d", fsync, size, connections), func(b *testing.B) {
					const total = 128 << 20
					var took, worst time.Duration
					for range b.N {
						g := newGlueAt(b, filepath.Join(b.TempDir(), "s"), store.Options{Fsync: fsync})
						t, w := g.copyAll(b.Context(), connections, total/(size+50), size)
						took += t
						worst = max(worst, w)
					}
					b.ReportMetric(float64(b.N)*total/(1<<20)/took.Seconds(), "MiB/s")
					b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
				})
			}
		}
	}
}

// A chunk of which live operations have overwritten everything, and one that comes when
// its join is over, have nothing stored: those behind them go on all the same.
func TestChunksThatStoreNothing(t *testing.T) {
	g := newGlue(t)
	const size = copyBytes
	taken, freed := 0, 0
	add := func(take func()) { g.commit.chunks = append(g.commit.chunks, chunk{size, func() { taken++; take() }}) }
	nothing := func() { g.commit.after = append(g.commit.after, func() { freed++ }) }
	write := func() {
		g.fx.Writes = append(g.fx.Writes, replica.Write{Key: fmt.Sprint("k", taken), Item: &item.Item{Version: 1}})
		nothing()
	}
	for _, take := range []func(){nothing, func() {}, nothing, write, nothing, write, write, nothing} {
		add(take)
	}
	g.endTurn()
	if taken != 4 || freed != 0 || !g.commit.busy { // the first that has something is all that this batch may have
		t.Errorf("%d taken, %d done", taken, freed)
	}
	g.turn()
	if taken != 8 || freed != 7 || len(g.commit.chunks) > 0 {
		t.Errorf("%d taken, %d done, %d left", taken, freed, len(g.commit.chunks))
	}
}
