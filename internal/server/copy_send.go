package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
	"golang.org/x/time/rate"
)

// copyWorkers is how many copies are sent at a time, unless the map says it. Their rate
// together is bounded by --replace-rate, or by the map's.
const copyWorkers = 4

// copier sends copies. start is called on the loop; the rest is its workers'.
type copier struct {
	n     *node
	limit *rate.Limiter

	mu    sync.Mutex
	cond  *sync.Cond
	queue []copyJob
	done  bool
	// atOnce is how many copies may be sent at a time; sending is how many are, workers how
	// many goroutines there are for it.
	atOnce, sending, workers int
	paused                   bool // none is begun
	ownRate                  int64
	idle                     map[string][]*stream
	pace                     pacer
}

type copyJob struct {
	c       replica.Copy
	epoch   uint32
	addr    string
	moving  bool // the partition has all its copies
	cluster clustermap.ClusterID
}

func newCopier(n *node, bytesPerSecond int64) *copier {
	c := &copier{n: n, idle: map[string][]*stream{}, limit: rate.NewLimiter(rate.Inf, 0), pace: pacer{processors: processors}, ownRate: bytesPerSecond}
	c.cond = sync.NewCond(&c.mu)
	c.tune(clustermap.Copying{})
	return c
}

// tune has copies made as the map says. Those that are being sent go on.
func (c *copier) tune(how clustermap.Copying) {
	bytesPerSecond := how.Rate
	if bytesPerSecond == 0 {
		bytesPerSecond = c.ownRate
	}
	limit := rate.Inf
	if bytesPerSecond > 0 {
		limit = rate.Limit(bytesPerSecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit.Limit() != limit {
		// Whoever waits asks for what the limit allows in one piece: the burst is never too small for it.
		burst := int(max(bytesPerSecond, 4*chunkBytes))
		c.limit.SetBurst(max(burst, c.limit.Burst()))
		c.limit.SetLimit(limit)
		c.limit.SetBurst(burst)
	}
	c.paused, c.atOnce = how.Paused, how.AtOnce
	if c.atOnce == 0 {
		c.atOnce = copyWorkers
	}
	c.cond.Broadcast()
}

// grow is staff for a copier that has some already.
func (c *copier) grow(ctx context.Context) {
	c.mu.Lock()
	runs := c.workers > 0
	c.mu.Unlock()
	if runs {
		c.staff(ctx)
	}
}

// staff starts the goroutines that are missing; they end with stop. On the loop, or
// before it runs.
func (c *copier) staff(ctx context.Context) {
	c.mu.Lock()
	missing := c.atOnce - c.workers
	c.workers = max(c.workers, c.atOnce)
	c.mu.Unlock()
	for range missing {
		c.n.wg.Go(func() { c.run(ctx) })
	}
}

func (c *copier) start(job replica.Copy) {
	config := job.Replica.Config()
	j := copyJob{c: job, epoch: config.Epoch, cluster: c.n.cluster, moving: len(config.Replicas) >= len(config.Assigned)}
	if s := c.n.cmap.Server(job.To); s != nil {
		j.addr = s.StreamAddr
	}
	c.mu.Lock()
	c.queue = append(c.queue, j)
	c.mu.Unlock()
	c.cond.Signal()
}

func (c *copier) stop() {
	c.mu.Lock()
	c.done = true
	for _, list := range c.idle {
		for _, s := range list {
			s.c.Close()
		}
	}
	c.idle = nil
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *copier) run(ctx context.Context) {
	out := &chunker{c: c}
	for {
		c.mu.Lock()
		for (len(c.queue) == 0 || c.paused || c.sending >= c.atOnce) && !c.done {
			c.cond.Wait()
		}
		if c.done {
			c.mu.Unlock()
			return
		}
		job := c.queue[0]
		c.queue = append(c.queue[:0], c.queue[1:]...)
		c.sending++
		c.mu.Unlock()
		upTo, err := c.send(ctx, &job, out)
		c.mu.Lock()
		c.sending--
		c.mu.Unlock()
		c.cond.Signal() // where fewer may be sent than there are goroutines
		if err == errJoinOver {
			continue
		}
		if err != nil && ctx.Err() == nil {
			c.n.log.Info("copy failed; it will be tried again", "partition", job.c.Replica.Part(), "to", job.addr, "err", err)
		}
		if err == nil {
			c.n.counters.copiesDone.Add(1)
		}
		c.n.loop.Post(func() {
			c.n.touchClock()
			job.c.Replica.CopyDone(&job.c, upTo, err, &c.n.fx)
		})
		if job.moving && c.limit.Limit() != rate.Inf {
			c.rest(ctx)
		}
	}
}

// rest is after a copy that is in no hurry.
func (c *copier) rest(ctx context.Context) {
	n := &c.n.counters
	c.mu.Lock()
	d := c.pace.rest(time.Now(), n.gets.Load()+n.sets.Load()+n.deletes.Load())
	c.mu.Unlock()
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// last asks the loop for the replica's last version: whatever a snapshot taken before
// holds is not newer. A join that ended while its copy waited for a worker is not sent.
func (c *copier) last(ctx context.Context, job *copyJob) (upTo uint64, err error) {
	r, ch := job.c.Replica, make(chan uint64, 1)
	if !c.n.loop.Post(func() {
		if !r.Copying(&job.c) {
			close(ch)
			return
		}
		ch <- r.Last()
	}) {
		return 0, context.Canceled
	}
	select {
	case v, ok := <-ch:
		if !ok {
			return 0, errJoinOver
		}
		return v, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *copier) connect(ctx context.Context, addr string) (s *stream, fresh bool, err error) {
	if addr == "" {
		return nil, false, errors.New("the map has no stream address for it")
	}
	c.mu.Lock()
	if list := c.idle[addr]; len(list) > 0 {
		s = list[len(list)-1]
		c.idle[addr] = list[:len(list)-1]
		c.mu.Unlock()
		s.flushed = time.Now()
		return s, false, nil
	}
	c.mu.Unlock()
	s, err = c.dial(ctx, addr)
	return s, true, err
}

// dial makes a new connection, whatever is kept.
func (c *copier) dial(ctx context.Context, addr string) (*stream, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := c.n.cfg.Secret.Dial(ctx, &d, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newStream(nc), nil
}

func (c *copier) release(addr string, s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Who receives has closed those that were idle for so long.
	for a, list := range c.idle {
		list = slices.DeleteFunc(list, func(s *stream) bool {
			old := time.Since(s.flushed) > s.timeout
			if old {
				s.c.Close()
			}
			return old
		})
		if c.idle[a] = list; len(list) == 0 {
			delete(c.idle, a)
		}
	}
	if c.done || len(c.idle[addr]) >= c.atOnce {
		s.c.Close()
		return
	}
	c.idle[addr] = append(c.idle[addr], s)
}

// send sends one copy and returns what CopyDone wants to know.
func (c *copier) send(ctx context.Context, job *copyJob, out *chunker) (upTo uint64, err error) {
	sn := c.n.store.Snapshot()
	defer sn.Close()
	if upTo, err = c.last(ctx, job); err != nil {
		return 0, err
	}
	for {
		s, fresh, err := c.connect(ctx, job.addr)
		if err != nil {
			return 0, err
		}
		if fresh {
			_, err = s.w.WriteString(streamMagic)
		}
		if err == nil {
			stop := context.AfterFunc(ctx, func() { s.c.Close() })
			out.reset(ctx, s)
			err = c.sendOn(out, sn, job)
			stop()
		}
		if err == nil {
			c.release(job.addr, s)
			return upTo, nil
		}
		s.c.Close()
		if fresh || ctx.Err() != nil {
			return 0, err
		}
		// A kept connection may have died meanwhile: once more on a new one.
	}
}

func (c *copier) sendOn(out *chunker, sn *store.Snapshot, job *copyJob) error {
	part, s := job.c.Replica.Part(), out.s
	err := s.writeJSON(streamHeader, copyHeader{
		Cluster: job.cluster, From: c.n.self, To: job.c.To, Partition: part,
		Epoch: job.epoch, JoinID: job.c.JoinID, Mode: job.c.Mode,
	})
	if err != nil {
		return err
	}
	switch job.c.Mode {
	case wire.JoinTail:
		err = sendKeys(out, sn, part, job.c.Keys)
	case wire.JoinWhole:
		if err = sendRange(out, sn, part, &rangeDigest{Last: true}, nil); err == nil {
			err = out.flush()
		}
	default:
		err = sendDifferences(out, sn, part)
	}
	if err != nil {
		return err
	}
	if err := s.write(streamEnd, nil); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	_, err = s.expect(streamDone)
	return err
}

// addRecord adds what the iterator is at.
func (k *chunker) addRecord(key []byte, it *store.Iter) error {
	rec, err := it.Record()
	if err != nil {
		return err
	}
	if k.item, err = item.ParseRecord(rec); err != nil {
		return err
	}
	return k.add(key, &k.item)
}

// sendKeys sends the present values of keys, in their order: they lie close together, so most
// are in the block that was read for the one before.
func sendKeys(out *chunker, sn *store.Snapshot, part uint16, keys []string) error {
	keys = slices.Sorted(slices.Values(keys))
	it := sn.Iter(part, nil)
	defer it.Close()
	for _, key := range keys {
		if err := out.s.alive(); err != nil {
			return err
		}
		k, found := []byte(key), false
		if it.Seek(k) && bytes.Equal(it.Key(), k) {
			if err := out.addRecord(k, it); err != nil {
				return err
			}
			found = true
		}
		if err := it.Err(); err != nil { // what could not be read must not be taken for what is not there
			return err
		}
		if !found {
			if err := out.add(k, nil); err != nil {
				return err
			}
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	return out.flush()
}

// sendDifferences compares digests of the receiver's ranges with ours and sends
// what differs (R7).
func sendDifferences(out *chunker, sn *store.Snapshot, part uint16) error {
	s := out.s
	if err := s.flush(); err != nil {
		return err
	}
	for {
		var ranges []rangeDigest
		if err := s.expectJSON(streamRanges, &ranges); err != nil {
			return err
		}
		if len(ranges) == 0 {
			return errStream
		}
		var want []int
		for i, g := range ranges {
			if err := s.alive(); err != nil {
				return err
			}
			if g.Count == 0 { // nothing is there to compare with, and all of ours may be in it
				want = append(want, i)
				continue
			}
			count, hash, err := sn.DigestRange(part, g.Start, g.end())
			if err != nil {
				return err
			}
			if count != g.Count || hash != g.Hash {
				want = append(want, i)
			}
		}
		if err := s.writeJSON(streamWant, want); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		// All is read before anything is sent: were both sides to write at the
		// same time, each could wait for the other to read.
		theirs := make([][]keyVersion, len(want))
		for j := range want {
			if err := s.expectJSON(streamVersions, &theirs[j]); err != nil {
				return err
			}
		}
		for j, i := range want {
			if err := sendRange(out, sn, part, &ranges[i], theirs[j]); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		if ranges[len(ranges)-1].Last {
			return nil
		}
		if err := s.write(streamNext, nil); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
}

func (g *rangeDigest) end() []byte {
	if g.Last {
		return nil
	}
	return g.End
}

// sendRange sends what differs in one range; both sides are in the order of keys.
func sendRange(out *chunker, sn *store.Snapshot, part uint16, g *rangeDigest, theirs []keyVersion) error {
	it := sn.Iter(part, g.Start)
	defer it.Close()
	for it.Next() {
		if err := out.s.alive(); err != nil {
			return err
		}
		key := it.Key()
		if !g.Last && bytes.Compare(key, g.End) >= 0 {
			break
		}
		for len(theirs) > 0 && bytes.Compare(theirs[0].K, key) < 0 {
			if err := out.add(theirs[0].K, nil); err != nil { // we do not have it
				return err
			}
			theirs = theirs[1:]
		}
		rec, err := it.Record()
		if err != nil {
			return err
		}
		if out.item, err = item.ParseRecord(rec); err != nil {
			return err
		}
		if len(theirs) > 0 && bytes.Equal(theirs[0].K, key) {
			same := theirs[0].V == out.item.Version
			theirs = theirs[1:]
			if same {
				continue
			}
		}
		if err := out.add(key, &out.item); err != nil {
			return err
		}
	}
	// What could not be read must not be taken for what is not there.
	if err := it.Close(); err != nil {
		return err
	}
	for _, t := range theirs {
		if err := out.add(t.K, nil); err != nil {
			return err
		}
	}
	return nil
}

// chunker collects values into frames and keeps to the rate. A worker has one for all its copies.
type chunker struct {
	c      *copier
	ctx    context.Context
	s      *stream
	values wire.ValueList
	bytes  int
	buf    []byte
	item   item.Item // the one that is looked at
}

// reset begins a copy on s.
func (k *chunker) reset(ctx context.Context, s *stream) {
	k.ctx, k.s, k.bytes = ctx, s, 0
	k.values.Reset()
}

// add puts a value in a frame; nil: the key is to be removed. Nothing of either is kept.
func (k *chunker) add(key []byte, it *item.Item) error {
	size := len(key) + 32
	if it != nil {
		size += len(it.Value)
	}
	// A large value goes alone: with others it could be more than a frame may hold.
	if k.bytes > 0 && k.bytes+size > chunkBytes {
		if err := k.flush(); err != nil {
			return err
		}
	}
	k.values.Add(key, it)
	k.bytes += size
	if k.bytes >= chunkBytes {
		return k.flush()
	}
	return nil
}

func (k *chunker) flush() error {
	if n := k.values.Len(); n > 0 {
		k.buf = k.values.Append(k.buf[:0])
		if err := k.wait(len(k.buf)); err != nil {
			return err
		}
		if err := k.s.write(streamValues, k.buf); err != nil {
			return err
		}
		k.c.n.counters.copyBytes.Add(uint64(len(k.buf)))
		k.c.n.counters.copyItems.Add(uint64(n))
		k.values.Reset()
		k.bytes = 0
	}
	return k.s.flush()
}

// wait waits until n bytes more may be sent, a tenth of a second's at a time.
func (k *chunker) wait(n int) error {
	limit := k.c.limit
	for n > 0 && limit.Limit() != rate.Inf {
		step := min(n, max(1, int(limit.Limit()/10)))
		if err := limit.WaitN(k.ctx, step); err != nil {
			return err
		}
		if err := k.s.alive(); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
