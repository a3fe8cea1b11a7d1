package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// DefaultScanMemory is ScanOptions.MaxMemory where that is 0, in bytes.
const DefaultScanMemory = 32 << 20

// ScanOptions are what a scan is asked for beside its prefix. The zero value is the
// ordered scan of all items with their values.
type ScanOptions struct {
	// After has the scan begin after this key instead of at its beginning: the last
	// one that an earlier scan with the same prefix and Unordered gave. It need not
	// exist any more.
	After string
	// Unordered gives the items partition by partition, in each in the order of keys.
	// It begins at once, holds little, and reads in large pages: the way to go through
	// much.
	Unordered bool
	// KeysOnly leaves the values out.
	KeysOnly bool
	// MaxMemory is about how much the scan may hold of what it has read ahead, in
	// bytes. An ordered scan holds a page of every partition (there are 4096), of 1 KiB
	// at least.
	MaxMemory int
}

// Scan gives the items whose keys begin with prefix (an empty one: all), in the
// order of their keys' bytes, or as opt says. It ends early when the loop over it
// does, when ctx is done, or with an error, which is the last pair that it gives.
//
//	for it, err := range c.Scan(ctx, []byte("user:"), client.ScanOptions{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(it.Key, len(it.Value))
//	}
//
// # What a scan promises
//
// It reads pages: a piece of the keys of one partition, as they all were at one
// instant between the page's request and its answer. A page shows everything that was
// committed before its request and nothing that could still be undone; items that
// have expired or were flushed are left out. Pages are not one snapshot: what is
// written while a scan runs may or may not be seen, and of two writes the later one
// may be seen and the earlier not. So an item that exists, unchanged, from before
// Scan to its end is given exactly once, and no key is given twice. An item that is
// too large for its page is read by itself, at an instant of its own. (A server whose
// clock is behind may, after a failover, still answer a get for an item that had
// expired for the scan: that deletes nothing.)
//
// A page is tried again, at another server if need be, for as long as
// Options.Timeout; after a failover a scan goes on where it was. After an error it
// can be gone on with by ScanOptions.After, as long as one likes: nothing is kept for
// a scan on any server.
//
// # What it costs
//
// Keys are spread over the partitions by their hash, so a prefix is in all of them.
// The ordered scan merges them: before the first item it asks for the first page of
// every partition (4096 small requests, 64 at a time: about a tenth of a second on a
// quiet local network), then for the following pages shortly before they are needed.
// Values larger than a page (MaxMemory/16384, 2 KiB unless it is set) cost a get each:
// for those, or for a look at a few items, Unordered or KeysOnly is the better choice.
// The unordered scan asks for 32 partitions at a time, in pages of up to 256 KiB.
//
// A scan may be ranged over again, from its beginning. It belongs to one goroutine at
// a time.
func (c *Client) Scan(ctx context.Context, prefix []byte, opt ScanOptions) iter.Seq2[Item, error] {
	prefix = own(prefix)
	return func(yield func(Item, error) bool) {
		if len(prefix) > MaxKey || len(opt.After) > MaxKey {
			yield(Item{}, fmt.Errorf("%w: a prefix or After of more than %d bytes", ErrBadKey, MaxKey))
			return
		}
		if opt.MaxMemory <= 0 {
			opt.MaxMemory = DefaultScanMemory
		}
		s := newScan(c, ctx, prefix, opt)
		defer s.stop()
		err := s.ctx.Err()
		if err == nil {
			scan := s.ordered
			if opt.Unordered {
				scan = s.unordered
			}
			err = scan(func(it Item) bool { return yield(it, nil) })
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(Item{}, err)
		}
	}
}

// errEnough ends a scan whose reader wants no more.
var errEnough = errors.New("enough")

const (
	// orderedWindow and unorderedWindow are how many pages are asked for at a time.
	orderedWindow   = 64
	unorderedWindow = 32
	minPage         = 1 << 10
	maxPage         = 256 << 10
)

// unordered goes through the partitions in the order of their numbers, so that a
// key says how far it has come.
func (s *scan) unordered(give func(Item) bool) error {
	first := 0
	if s.opt.After != "" {
		first = partitionOf(s.opt.After, len(s.cursors))
	}
	next := first
	for i := first; i < len(s.cursors); i++ {
		for ; next < len(s.cursors) && next < i+unorderedWindow; next++ {
			s.ask(&s.cursors[next])
		}
		for cur := &s.cursors[i]; cur.asked || cur.more || len(cur.items) > 0; {
			if len(cur.items) == 0 {
				if !cur.asked {
					s.ask(cur)
				}
				if _, err := s.wait(); err != nil {
					return err
				}
				continue
			}
			f := cur.pop()
			if cur.wants() {
				s.ask(cur)
			}
			if err := s.give(&f, give); err != nil {
				return err
			}
		}
		s.cursors[i] = cursor{}
	}
	return nil
}

// ordered merges all partitions. heap has those cursors that have items; waiting
// counts those that have none but may get some: until it is 0 nobody knows which
// key is the next.
func (s *scan) ordered(give func(Item) bool) error {
	waiting := len(s.cursors)
	next := 0
	// take looks at a cursor whose answer has come.
	take := func(cur *cursor, had bool) {
		switch {
		case had:
		case len(cur.items) > 0:
			waiting--
			s.heap.push(cur)
		case cur.more:
			s.ask(cur)
		default:
			waiting--
		}
	}
	for {
		for {
			a := s.poll()
			if a == nil {
				break
			}
			had := len(a.cursor.items) > 0
			if err := s.fill(a); err != nil {
				return err
			}
			take(a.cursor, had)
		}
		// After poll, so that something is under way when it is waited for: every
		// cursor that waits is asked, or is yet to be.
		for ; next < len(s.cursors) && len(s.under) < orderedWindow; next++ {
			s.ask(&s.cursors[next])
		}
		if waiting > 0 {
			a, err := s.wait()
			if err != nil {
				return err
			}
			take(a.cursor, a.had)
			continue
		}
		if len(s.heap) == 0 {
			return nil
		}
		cur := s.heap[0]
		f := cur.pop()
		switch {
		case len(cur.items) > 0:
			s.heap.fix()
			// One place is left for whoever must be asked before anything can go on.
			if cur.wants() && len(s.under) < orderedWindow-1 {
				s.ask(cur)
			}
		default:
			s.heap.pop()
			if cur.more || cur.asked {
				waiting++
			}
			if cur.more && !cur.asked {
				s.ask(cur)
			}
		}
		if err := s.give(&f, give); err != nil {
			return err
		}
	}
}

// give gives an item to the reader, after it has got a value that was left out.
func (s *scan) give(f *found, give func(Item) bool) error {
	it := f.item
	if f.omitted {
		got, err := s.c.Get(s.ctx, it.Key)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil // it was deleted meanwhile
		case err != nil:
			return err
		}
		it = *got
	}
	if !give(it) {
		return errEnough
	}
	return s.ctx.Err()
}

// heap has cursors by their first key.
type heap []*cursor

func (h heap) less(i, j int) bool {
	return strings.Compare(h[i].items[0].item.Key, h[j].items[0].item.Key) < 0
}

func (h *heap) push(c *cursor) {
	*h = append(*h, c)
	for i := len(*h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			return
		}
		(*h)[i], (*h)[up] = (*h)[up], (*h)[i]
		i = up
	}
}

// pop takes the first out.
func (h *heap) pop() {
	n := len(*h) - 1
	(*h)[0], (*h)[n] = (*h)[n], nil
	*h = (*h)[:n]
	h.fix()
}

// fix puts the first where it belongs.
func (h heap) fix() {
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h) {
			return
		}
		if down+1 < len(h) && h.less(down+1, down) {
			down++
		}
		if !h.less(down, i) {
			return
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}

// partitionOf is the partition of a key.
func partitionOf(key string, partitions int) int {
	return int(clustermap.PartitionOf([]byte(key), partitions))
}

// status is the result of a page's request that brought none.
func status(message string) item.Result {
	return item.Result{Status: item.Failed, Message: message}
}
