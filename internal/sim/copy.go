package sim

import (
	"errors"
	"maps"
	"slices"

	"github.com/kumofs/kumofs/internal/planted"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

var errCopy = errors.New("the copy's connection broke")

// bulk is one copy under way, on a connection of its own: it may overtake live
// operations and be overtaken by them.
type bulk struct {
	w        *World
	from, to *Server
	toRun    uint64
	c        replica.Copy
	epoch    uint32
	upTo     uint64
	source   *partStore
	values   []wire.Value
}

// startCopy takes the snapshot some time after it was asked for.
func (s *Server) startCopy(c replica.Copy) {
	w := s.w
	b := &bulk{w: w, from: s, to: w.server(c.To), c: c, epoch: c.Replica.Config().Epoch}
	b.toRun = b.to.run
	s.after(w.often(0, 2*millisecond, 200*millisecond, 0.1), func() {
		if s.disk.failsUntil > w.now {
			b.done(errDisk)
			return
		}
		b.source = s.disk.snapshot(c.Replica.Part())
		s.after(w.often(0, millisecond, 20*millisecond, 0.1), func() {
			b.upTo = c.Replica.Last()
			b.compare()
		})
	})
}

// over delivers something to the joiner, or ends the copy with an error.
func (b *bulk) over(do func()) {
	if b.w.apart(b.from.place, b.to.place) || !b.to.up || b.to.run != b.toRun {
		b.w.after(b.w.between(millisecond, 500*millisecond), func() { b.done(errCopy) })
		return
	}
	b.to.after(b.w.often(100*microsecond, 2*millisecond, 100*millisecond, 0.15)+b.w.slowCopy, do)
}

func (b *bulk) done(err error) {
	if b.from.up {
		b.from.after(b.w.between(0, 2*millisecond), func() {
			b.from.turn(func() { b.c.Replica.CopyDone(&b.c, b.upTo, err, &b.from.fx) })
		})
	}
}

// compare finds what is to be sent (R7).
func (b *bulk) compare() {
	if b.c.Mode == wire.JoinTail {
		for _, k := range b.c.Keys {
			b.values = append(b.values, wire.Value{Key: k, Item: b.source.item(k)})
		}
		b.next()
		return
	}
	if b.c.Mode == wire.JoinWhole {
		for _, k := range slices.Sorted(maps.Keys(b.source.records)) {
			b.values = append(b.values, wire.Value{Key: k, Item: b.source.item(k)})
		}
		b.next()
		return
	}
	b.over(func() {
		theirs := b.to.disk.snapshot(b.c.Replica.Part())
		keys := map[string]struct{}{}
		for k := range b.source.records {
			keys[k] = struct{}{}
		}
		for k := range theirs.records {
			keys[k] = struct{}{}
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			ours := b.source.item(k)
			if have := theirs.item(k); ours == nil && have == nil || ours != nil && have != nil && ours.Version == have.Version {
				continue
			}
			if have := theirs.item(k); ours != nil && have != nil && have.Version > ours.Version && planted.Is(planted.NewerVersionStays) {
				continue
			}
			b.values = append(b.values, wire.Value{Key: k, Item: ours})
		}
		b.next()
	})
}

// next sends the next few values.
func (b *bulk) next() {
	if len(b.values) == 0 {
		b.over(func() { b.done(nil) })
		return
	}
	n := min(len(b.values), int(b.w.between(1, 4)))
	chunk := b.values[:n]
	b.values = b.values[n:]
	encoded := wire.AppendValues(nil, chunk)
	b.over(func() {
		values, err := wire.DecodeValues(encoded)
		if err != nil {
			b.w.fail(codec, "chunk: %v", err)
		}
		p := b.c.Replica.Part()
		taken := false
		if int(p) < len(b.to.replicas) {
			b.to.turn(func() { taken = b.to.replicas[p].Chunk(b.epoch, b.c.JoinID, values, &b.to.fx) })
		}
		b.w.tracef("    %s>%s p%d e%d chunk of join %d: %d values, taken %v", b.from.name, b.to.name, p, b.epoch, b.c.JoinID, n, taken)
		if !taken {
			b.done(errCopy)
			return
		}
		b.next()
	})
}
