package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/store"
)

// Comparing the copies of a partition. Equal positions are equal data (R7), so the primary and each
// backup take snapshots until these have one position; then what they hold is compared range by range, values too:
//
//	primary                       backup
//	compare(position)        ->
//	                         <-   ready(its position)
//	ranges                   ->   digests of ranges of the primary's keys
//	                         <-   differ          which are others there
//	want                     ->   of a few that differ
//	                         <-   versions        what there is in them
//	mend                     ->   the spans that the backup is to get again
//	end                      ->
//
// Of two copies that differ the primary's is right: nobody can tell, and it is what clients see. Of three that of
// two is, be it that of the backups. What differs is compared once more before anybody acts on it.

const (
	// compareKeys is how many keys a range has, compareRanges and compareBytes bound what is
	// compared before the rate is looked at.
	compareKeys   = 64
	compareRanges = 64
	compareBytes  = 1 << 20
	// compareTries is how often snapshots are taken until they have one position, compareWait
	// is between two of them. A partition that is written to all the time is left out. compareErrors is how
	// often it may fail: each may be half a minute of silence.
	compareTries  = 8
	compareErrors = 2
	compareWait   = 50 * time.Millisecond
	// comparePause is between two partitions, where nobody waits for the round.
	comparePause = 2 * time.Millisecond
	// maxDiffer bounds the ranges that are told apart; beyond them all between is one.
	maxDiffer = 256
	// shownKeys is how many keys that differ the log names.
	shownKeys = 10
)

// compareHeader opens a comparison.
type compareHeader struct {
	Cluster   clustermap.ClusterID
	From, To  clustermap.ServerID
	Partition uint16
	Version   uint64
}

// compareReady answers it. Version is the position of the snapshot; it is compared only if Equal.
type compareReady struct {
	Version uint64
	Equal   bool
}

// rangeDiffers is range number I, as the backup has it.
type rangeDiffers struct {
	I     int
	Count int64
	Hash  uint64
}

// keyContent is one of a copy's items.
type keyContent struct {
	K    []byte
	V, H uint64
}

// keySpan is a range of keys in a partition; To nil is its end.
type keySpan struct{ From, To []byte }

// copyPeer is a backup while its copy is compared.
type copyPeer struct {
	id     clustermap.ServerID
	addr   string // of its stream port
	name   string
	s      *stream
	stop   func() bool // s is no more closed when ctx ends; false: it was
	differ []keySpan
	keys   []string // some that differ, with what is there
}

var errNotEqual = errors.New("the copies were never at one position")

// compare compares a partition's copies, if this server leads it, and has what differs mended. ok is false
// if they could not be compared. The error is that of ctx.
func (s *scrubber) compare(ctx context.Context, part uint16) (ok bool, err error) {
	c, err := s.compareOnce(ctx, part)
	differs := err == nil && c.any()
	c.close(s, err)
	if differs {
		// Once more, with other snapshots.
		if c, err = s.compareOnce(ctx, part); err == nil && c.any() {
			err = s.act(ctx, c)
		}
		c.close(s, err)
	}
	if err != nil && !errors.Is(err, errNotEqual) && ctx.Err() == nil {
		s.n.log.Info("the copies of a partition were not compared", "partition", part, "err", err)
	}
	return err == nil, ctx.Err()
}

// likePosition is a store's position of a partition as other stores may say it: that it never held anything may be
// written down or not.
func likePosition(part uint16, version uint64) uint64 { return max(version, uint64(part)<<20) }

// comparison is what was found of one partition.
type comparison struct {
	part  uint16
	peers []*copyPeer
	own   []keySpan // where this server's copy is the odd one
	keys  []string
}

func (c *comparison) any() bool {
	if c == nil {
		return false
	}
	if len(c.own) > 0 {
		return true
	}
	for _, p := range c.peers {
		if len(p.differ) > 0 {
			return true
		}
	}
	return false
}

// close ends it at the backups. After an error their connections are not used again.
func (c *comparison) close(s *scrubber, err error) {
	if c == nil {
		return
	}
	for _, p := range c.peers {
		if p.s == nil {
			continue
		}
		if err == nil {
			err = p.s.write(streamEnd, nil)
		}
		if err == nil {
			err = p.s.flush()
		}
		if !p.stop() || err != nil {
			p.s.c.Close()
		} else {
			s.n.copies.release(p.addr, p.s)
		}
		p.s = nil
	}
}

// compareOnce compares; nil: this server does not lead the partition, or has its only copy.
func (s *scrubber) compareOnce(ctx context.Context, part uint16) (*comparison, error) {
	n := s.n
	c := &comparison{part: part}
	var cluster clustermap.ClusterID
	err := n.onLoop(ctx, func() {
		x := n.replicas[part]
		if !x.Serving() {
			return
		}
		cluster = n.cluster
		for _, id := range x.Config().Replicas[1:] {
			if srv := n.cmap.Server(id); srv != nil {
				c.peers = append(c.peers, &copyPeer{id: id, addr: srv.StreamAddr, name: srv.Addr})
			}
		}
	})
	if err != nil || len(c.peers) == 0 {
		return nil, err
	}
	s.mu.Lock()
	pause := comparePause
	if s.hurry {
		pause = 0
	}
	s.mu.Unlock()
	failed := 0
	for range compareTries {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = compareWait
		sn := n.store.Snapshot()
		equal, cerr := s.open(ctx, sn, c, cluster, failed > 0)
		if cerr == nil && equal {
			cerr = s.compareRanges(ctx, sn, c)
		}
		_ = sn.Close() // it has been read
		switch {
		case ctx.Err() != nil:
			c.close(s, ctx.Err())
			return nil, ctx.Err()
		case cerr == nil && equal:
			return c, nil
		case cerr != nil:
			err = cerr
			failed++
		default:
			err = errNotEqual
		}
		c.close(s, cerr)
		c.own, c.keys = nil, nil
		for _, p := range c.peers {
			p.differ, p.keys = nil, nil
		}
		if failed == compareErrors {
			break
		}
	}
	return nil, err
}

// open tells each backup of the comparison; equal: all have the position of sn. anew: on new connections, for those
// that were kept may have died.
func (s *scrubber) open(ctx context.Context, sn *store.Snapshot, c *comparison, cluster clustermap.ClusterID, anew bool) (equal bool, err error) {
	b, err := sn.Bookkeeping(c.part)
	if err != nil {
		s.suspect(c.part)
		return false, err
	}
	for _, p := range c.peers {
		fresh := anew
		if anew {
			p.s, err = s.n.copies.dial(ctx, p.addr)
		} else {
			p.s, fresh, err = s.n.copies.connect(ctx, p.addr)
		}
		if err != nil {
			return false, err
		}
		conn := p.s.c
		p.stop = context.AfterFunc(ctx, func() { conn.Close() })
		if fresh {
			if _, err := p.s.w.WriteString(streamMagic); err != nil {
				return false, err
			}
		}
		h := compareHeader{Cluster: cluster, From: s.n.self, To: p.id, Partition: c.part, Version: likePosition(c.part, b.Position.Version)}
		if err := p.s.writeJSON(streamCompare, h); err != nil {
			return false, err
		}
		if err := p.s.flush(); err != nil {
			return false, err
		}
	}
	equal = !b.Position.Unfinished
	for _, p := range c.peers {
		var r compareReady
		if err := p.s.expectJSON(streamReady, &r); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
		equal = equal && r.Equal
	}
	return equal, nil
}

// compareRanges compares what all have at one position.
func (s *scrubber) compareRanges(ctx context.Context, sn *store.Snapshot, c *comparison) error {
	var batch []rangeDigest
	read := 0
	alive := func() error {
		for _, p := range c.peers {
			if err := p.s.alive(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		return nil
	}
	ship := func() error {
		for _, p := range c.peers {
			if err := p.s.writeJSON(streamRanges, batch); err != nil {
				return err
			}
			if err := p.s.flush(); err != nil {
				return err
			}
		}
		differ := make([]map[int]rangeDiffers, len(c.peers))
		for i, p := range c.peers {
			var list []rangeDiffers
			if err := p.s.expectJSON(streamDiffer, &list); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			differ[i] = map[int]rangeDiffers{}
			for _, d := range list {
				if d.I >= 0 && d.I < len(batch) {
					differ[i][d.I] = d
				}
			}
		}
		for i := range batch {
			if err := s.judge(sn, c, &batch[i], i, differ); err != nil {
				return err
			}
		}
		// Each copy was read, at the cost of its server: a server is asked by as many others as it asks.
		// At a low rate that takes longer than a backup waits for a word.
		err := s.waitAlive(ctx, read*(1+len(c.peers)), alive)
		batch, read = batch[:0], 0
		return err
	}
	err := sn.Content(c.part, compareKeys, func(d store.RangeDigest, bytesRead int) error {
		batch = append(batch, rangeDigest{Start: bytes.Clone(d.Start), End: bytes.Clone(d.End), Last: d.End == nil, Count: d.Count, Hash: d.Hash})
		read += bytesRead
		if d.End == nil || len(batch) == compareRanges || read >= compareBytes {
			return ship()
		}
		return alive() // the disk may be slow
	})
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrIO) {
		s.suspect(c.part)
	}
	return err
}

// judge decides whose copy of range number i is the odd one, if any differs.
func (s *scrubber) judge(sn *store.Snapshot, c *comparison, g *rangeDigest, i int, differ []map[int]rangeDiffers) error {
	count := 0
	same := true // all that differ from ours are the same
	var one rangeDiffers
	for k := range c.peers {
		d, is := differ[k][i]
		if !is {
			continue
		}
		if count++; count == 1 {
			one = d
		}
		same = same && d == one
	}
	if count == 0 {
		return nil
	}
	span := keySpan{g.Start, g.end()}
	if count == len(c.peers) && count >= 2 && same {
		c.own = addSpan(c.own, span)
	} else {
		for k, p := range c.peers {
			if _, is := differ[k][i]; is {
				p.differ = addSpan(p.differ, span)
			}
		}
	}
	for k, p := range c.peers {
		if _, is := differ[k][i]; is && len(p.keys) < shownKeys {
			if err := s.nameKeys(sn, c, p, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSpan adds a span behind the others; those that touch become one.
func addSpan(list []keySpan, sp keySpan) []keySpan {
	if n := len(list); n > 0 && (bytes.Equal(list[n-1].To, sp.From) || n >= maxDiffer) {
		list[n-1].To = sp.To
		return list
	}
	return append(list, sp)
}

// around is one span for all of a list, which is in the order of keys: a partition leaves and joins once, be there
// one range that differs or many, and what lies between is sent again.
func around(list []keySpan) []keySpan {
	if len(list) == 0 {
		return nil
	}
	return []keySpan{{list[0].From, list[len(list)-1].To}}
}

// nameKeys finds out which keys of a range differ.
func (s *scrubber) nameKeys(sn *store.Snapshot, c *comparison, p *copyPeer, g *rangeDigest) error {
	if err := p.s.writeJSON(streamWant, g); err != nil {
		return err
	}
	if err := p.s.flush(); err != nil {
		return err
	}
	var theirs []keyContent
	if err := p.s.expectJSON(streamVersions, &theirs); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	say := func(format string, a ...any) {
		if len(p.keys) < shownKeys {
			p.keys = append(p.keys, fmt.Sprintf(format, a...))
		}
	}
	err := sn.Contents(c.part, g.Start, g.end(), func(key []byte, version, hash uint64) error {
		for len(theirs) > 0 && bytes.Compare(theirs[0].K, key) < 0 {
			say("%s there alone (%s)", keyText(theirs[0].K), versionText(theirs[0].V))
			theirs = theirs[1:]
		}
		switch {
		case len(theirs) == 0 || !bytes.Equal(theirs[0].K, key):
			say("%s not there (%s)", keyText(key), versionText(version))
			return nil
		case theirs[0].V != version:
			say("%s is %s there, and %s here", keyText(key), versionText(theirs[0].V), versionText(version))
		case theirs[0].H != hash:
			say("%s has another value there (%s)", keyText(key), versionText(version))
		}
		theirs = theirs[1:]
		return nil
	})
	for _, t := range theirs {
		say("%s there alone (%s)", keyText(t.K), versionText(t.V))
	}
	return err
}

// act has those mend their copies that are not as they should be.
func (s *scrubber) act(ctx context.Context, c *comparison) error {
	differ := func(odd, compared string, ranges int, keys []string) {
		s.n.log.Error("two copies of a partition differ: one of them is compared and filled again", "partition", c.part,
			"odd", odd, "compared", compared, "ranges", ranges, "keys", strings.Join(keys, "; "))
	}
	own := serverName(s.n.shown.Load(), s.n.self)
	for _, p := range c.peers {
		switch {
		case len(p.differ) > 0:
			differ(p.name, own, len(p.differ), p.keys)
			if err := p.s.writeJSON(streamMend, around(p.differ)); err != nil {
				return err
			}
			if err := p.s.flush(); err != nil {
				return err
			}
			if _, err := p.s.expect(streamDone); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		case len(c.own) > 0:
			differ(own, p.name, len(c.own), p.keys)
		}
	}
	for _, sp := range around(c.own) {
		s.differs(store.PartitionSpan(c.part, sp.From, sp.To))
	}
	return ctx.Err()
}

// receiveCompare is the backup's side. After an error the connection is closed.
func (n *node) receiveCompare(ctx context.Context, s *stream, body []byte) error {
	fail := func(err error) error {
		if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrIO) {
			var h compareHeader
			if json.Unmarshal(body, &h) == nil {
				n.scrub.suspect(h.Partition)
			}
		}
		_ = s.write(streamFail, []byte(err.Error()))
		_ = s.flush()
		return err
	}
	body = bytes.Clone(body)
	var h compareHeader
	if err := json.Unmarshal(body, &h); err != nil {
		return err
	}
	if h.To != n.self {
		return fail(fmt.Errorf("this is server %v, not %v", n.self, h.To))
	}
	sn := n.store.Snapshot()
	defer sn.Close()
	b, err := sn.Bookkeeping(h.Partition)
	if err != nil {
		return fail(err)
	}
	v := likePosition(h.Partition, b.Position.Version)
	r := compareReady{Version: v, Equal: v == h.Version && !b.Position.Unfinished}
	if err := s.writeJSON(streamReady, r); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	for {
		kind, b, err := s.read()
		if err != nil {
			return err
		}
		switch kind {
		case streamEnd:
			return nil
		case streamRanges:
			err = n.compareWith(s, sn, h.Partition, b)
		case streamWant:
			err = n.showRange(s, sn, h.Partition, b)
		case streamMend:
			var list []keySpan
			if err = json.Unmarshal(b, &list); err == nil {
				for _, sp := range around(list) {
					n.scrub.differs(store.PartitionSpan(h.Partition, sp.From, sp.To))
				}
				err = s.write(streamDone, nil)
			}
		default:
			err = fmt.Errorf("%w: frame %d", errStream, kind)
		}
		if err == nil {
			err = s.flush()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fail(err)
		}
	}
}

// compareWith answers which of the primary's ranges are others here.
func (n *node) compareWith(s *stream, sn *store.Snapshot, part uint16, body []byte) error {
	var ranges []rangeDigest
	if err := json.Unmarshal(body, &ranges); err != nil {
		return err
	}
	if len(ranges) > maxRanges {
		return errStream
	}
	differ := []rangeDiffers{}
	for i := range ranges {
		count, hash, err := sn.ContentRange(part, ranges[i].Start, ranges[i].end())
		if err != nil {
			return err
		}
		if count != ranges[i].Count || hash != ranges[i].Hash {
			differ = append(differ, rangeDiffers{i, count, hash})
		}
		if err := s.alive(); err != nil {
			return err
		}
	}
	return s.writeJSON(streamDiffer, differ)
}

// maxShown bounds the keys of a range that are shown: one of the primary's has compareKeys, and here there may be more.
const maxShown = 4 * compareKeys

// showRange answers what there is in a range.
func (n *node) showRange(s *stream, sn *store.Snapshot, part uint16, body []byte) error {
	var g rangeDigest
	if err := json.Unmarshal(body, &g); err != nil {
		return err
	}
	list := []keyContent{}
	err := sn.Contents(part, g.Start, g.end(), func(key []byte, version, hash uint64) error {
		if len(list) == maxShown {
			return errEnough
		}
		list = append(list, keyContent{bytes.Clone(key), version, hash})
		return s.alive()
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return s.writeJSON(streamVersions, list)
}

var errEnough = errors.New("enough")
