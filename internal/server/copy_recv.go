package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// maxStreams bounds the connections on the stream port.
const maxStreams = 256

// errJoinOver: the join that a copy belongs to is not under way (any more).
var errJoinOver = errors.New("the join is not under way any more")

// serveStreams takes copies until ctx is done.
func (n *node) serveStreams(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxStreams)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			n.log.Warn("cannot accept on the stream port", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			defer c.Close()
			closed := context.AfterFunc(ctx, func() { c.Close() })
			defer closed()
			n.receive(ctx, newStream(c))
		}()
	}
}

// receive takes one copy after the other from a connection.
func (n *node) receive(ctx context.Context, s *stream) {
	first, proven, err := n.cfg.Secret.Opening(s.c)
	if err == nil && !proven && n.cfg.Secret.Known() {
		err = secret.ErrMissing
	}
	if n.refused(s.c.RemoteAddr().String(), err) || err != nil || string(first) != streamMagic {
		return
	}
	for {
		// Between copies it may be idle, but not for ever: each primary keeps some, and there
		// is room for maxStreams. Who sends on one that has been closed takes another.
		_ = s.c.SetReadDeadline(time.Now().Add(s.timeout))
		kind, b, err := s.readFrame()
		if err == nil && kind == streamCompare {
			if n.receiveCompare(ctx, s, b) != nil {
				return
			}
			continue
		}
		if err != nil || kind != streamHeader {
			return
		}
		var h copyHeader
		if err := json.Unmarshal(b, &h); err != nil {
			return
		}
		if err := n.receiveCopy(ctx, s, &h); err != nil {
			if !errors.Is(err, errJoinOver) && ctx.Err() == nil {
				n.log.Info("copy to this server failed; it will be tried again", "partition", h.Partition, "err", err)
			}
			_ = s.write(streamFail, []byte(err.Error()))
			_ = s.flush()
			return
		}
	}
}

func (n *node) receiveCopy(ctx context.Context, s *stream, h *copyHeader) error {
	if h.To != n.self {
		return fmt.Errorf("this is server %v, not %v", n.self, h.To)
	}
	in := &incoming{n: n, ctx: ctx, h: h, slots: make(chan struct{}, 4)}
	if h.Mode == wire.JoinDigest {
		if err := in.digests(s); err != nil {
			return err
		}
	}
	if err := in.values(s, streamEnd); err != nil {
		return err
	}
	if err := in.stored(); err != nil {
		return err
	}
	if err := s.write(streamDone, nil); err != nil {
		return err
	}
	return s.flush()
}

// incoming is one copy being received.
type incoming struct {
	n     *node
	ctx   context.Context
	h     *copyHeader
	slots chan struct{} // chunks on their way into the store
	mu    sync.Mutex
	err   error
}

// values takes chunks until a frame of kind until.
func (in *incoming) values(s *stream, until streamKind) error {
	for {
		kind, b, err := s.read()
		switch {
		case err != nil:
			return err
		case kind == until:
			return nil
		case kind != streamValues:
			return fmt.Errorf("%w: frame %d", errStream, kind)
		}
		in.n.counters.copyReceived.Add(uint64(len(b)))
		values, err := wire.DecodeValues(b)
		if err != nil {
			return err
		}
		if err := in.store(values, len(b)); err != nil {
			return err
		}
	}
}

// store has a chunk of so many bytes stored, but for what live operations touched. It
// blocks while four chunks wait for that.
func (in *incoming) store(values []wire.Value, bytes int) error {
	select {
	case in.slots <- struct{}{}:
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
	c := &in.n.commit
	in.n.loop.Post(func() { c.chunks = append(c.chunks, chunk{bytes, func() { in.take(values) }}) })
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// take hands a chunk to the partition's replica.
func (in *incoming) take(values []wire.Value) {
	n := in.n
	if int(in.h.Partition) >= len(n.replicas) || !n.replicas[in.h.Partition].Chunk(in.h.Epoch, in.h.JoinID, values, &n.fx) {
		in.mu.Lock()
		in.err = errJoinOver
		in.mu.Unlock()
		<-in.slots
		return
	}
	n.commit.after = append(n.commit.after, func() { <-in.slots })
}

// stored waits until every chunk is in the store.
func (in *incoming) stored() error {
	for i := 0; i < cap(in.slots); i++ {
		select {
		case in.slots <- struct{}{}:
		case <-in.ctx.Done():
			return in.ctx.Err()
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// digests tells the sender what this store has, range by range (R7).
func (in *incoming) digests(s *stream) error {
	sn := in.n.store.Snapshot()
	defer sn.Close()
	part := in.h.Partition
	var batch []rangeDigest
	ship := func() error {
		if err := s.writeJSON(streamRanges, batch); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		var want []int
		if err := s.expectJSON(streamWant, &want); err != nil {
			return err
		}
		for _, i := range want {
			if i < 0 || i >= len(batch) {
				return errStream
			}
			var have []keyVersion
			err := sn.Versions(part, batch[i].Start, batch[i].end(), func(key []byte, version uint64, _ int) error {
				have = append(have, keyVersion{append([]byte(nil), key...), version})
				return s.alive()
			})
			if err != nil {
				return err
			}
			if err := s.writeJSON(streamVersions, have); err != nil {
				return err
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
		if batch[len(batch)-1].Last {
			return nil // the end follows, and is read by the caller
		}
		batch = batch[:0]
		return in.values(s, streamNext)
	}
	return sn.Digest(part, rangeKeys, func(d store.RangeDigest) error {
		batch = append(batch, rangeDigest{
			Start: append([]byte(nil), d.Start...), End: append([]byte(nil), d.End...),
			Last: d.End == nil, Count: d.Count, Hash: d.Hash,
		})
		if d.End == nil || len(batch) == maxRanges {
			return ship()
		}
		return s.alive()
	})
}
