package hotkeys

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/kumofs/kumofs/internal/item"
)

const (
	// counters is how many keys a sketch follows.
	counters = 256
	buckets  = 2 * counters
	// forgotten is the weight below which a key is given up: a sample is then older
	// than four times Window.
	forgotten = 1.0 / 64
)

// counter follows one key.
type counter struct {
	hash uint64
	part uint16
	size uint8  // of key
	next uint16 // of the chain: a slot and 1; 0: none
	key  [item.MaxKey]byte
	// excess is the weight of the key whose place it took: it has been seen no less than that
	// much less than its weight.
	excess float64
}

// node is one of the heap: a slot, and its weight, which is at least what its key has been seen.
type node struct {
	weight float64
	slot   uint16
}

// sketch is Metwally's Space-Saving: a key that is not followed takes the place of the
// one seen least, and its weight. So each key that is more than 1/counters of all is followed.
// Weights shrink together with age, which leaves their order, and with it the heap, as it is.
// The zero value has seen nothing.
type sketch struct {
	slots [counters]counter
	used  int
	total float64 // weight of all that was added
	// heads are the chains of slots by hash: a slot and 1; 0: none.
	heads [buckets]uint16
	// heap has the slots that are used, the least weight first; at is where a slot is in it.
	heap [counters]node
	at   [counters]uint16
}

// add counts a key seen once. A key longer than item.MaxKey is nobody's and not counted.
func (s *sketch) add(part uint16, key []byte) {
	if len(key) > item.MaxKey {
		return
	}
	s.total++
	h := xxhash.Sum64(key)
	for i := s.heads[h%buckets]; i != 0; i = s.slots[i-1].next {
		if c := &s.slots[i-1]; c.hash == h && c.part == part && bytes.Equal(c.key[:c.size], key) {
			s.heap[s.at[i-1]].weight++
			s.down(s.at[i-1])
			return
		}
	}
	slot := uint16(s.used)
	if s.used < counters {
		s.used++
		s.put(slot, node{weight: 0, slot: slot}) // the least of all
		s.up(slot)
	} else {
		slot = s.heap[0].slot
		s.unlink(slot)
	}
	at := s.at[slot]
	c := &s.slots[slot]
	c.hash, c.part, c.size, c.excess = h, part, uint8(len(key)), s.heap[at].weight
	copy(c.key[:], key)
	s.link(slot)
	s.heap[at].weight++
	s.down(at)
}

// sure is what the key of a slot has surely been seen.
func (s *sketch) sure(slot int) float64 { return s.heap[s.at[slot]].weight - s.slots[slot].excess }

// link puts a slot into the chain of its hash.
func (s *sketch) link(slot uint16) {
	c := &s.slots[slot]
	c.next, s.heads[c.hash%buckets] = s.heads[c.hash%buckets], slot+1
}

// unlink takes a slot out of its chain.
func (s *sketch) unlink(slot uint16) {
	c := &s.slots[slot]
	p := &s.heads[c.hash%buckets]
	for *p != slot+1 {
		p = &s.slots[*p-1].next
	}
	*p = c.next
}

// put sets what is at a place of the heap.
func (s *sketch) put(at uint16, n node) {
	s.heap[at] = n
	s.at[n.slot] = at
}

// up and down move what is at a place of the heap to where it belongs.
func (s *sketch) up(at uint16) {
	n := s.heap[at]
	for at > 0 && n.weight < s.heap[(at-1)/2].weight {
		s.put(at, s.heap[(at-1)/2])
		at = (at - 1) / 2
	}
	s.put(at, n)
}

func (s *sketch) down(at uint16) {
	n := s.heap[at]
	for {
		child := 2*at + 1
		if int(child) >= s.used {
			break
		}
		if int(child+1) < s.used && s.heap[child+1].weight < s.heap[child].weight {
			child++
		}
		if n.weight <= s.heap[child].weight {
			break
		}
		s.put(at, s.heap[child])
		at = child
	}
	s.put(at, n)
}

// shrink multiplies all weights, and gives up the keys of which next to nothing is left.
func (s *sketch) shrink(by float64) {
	s.total *= by
	for i := range s.used {
		s.heap[i].weight *= by
		s.slots[i].excess *= by
	}
	for s.used > 0 && s.heap[0].weight < forgotten {
		s.drop()
	}
	if s.used == 0 {
		s.total = 0
	}
}

// drop gives up the key of the least weight. The last slot takes its number, so that
// those used are the first ones.
func (s *sketch) drop() {
	gone := s.heap[0].slot
	s.unlink(gone)
	s.used--
	if s.used == 0 {
		return
	}
	last := uint16(s.used)
	s.put(0, s.heap[last])
	s.down(0)
	if gone == last {
		return
	}
	s.unlink(last)
	s.slots[gone] = s.slots[last]
	s.link(gone)
	s.put(s.at[last], node{s.heap[s.at[last]].weight, gone})
}

// top gives up to n keys that were surely seen at least least times, the most seen first.
func (s *sketch) top(n int, least, scale float64) []Key {
	keys := []Key{}
	for i := range s.used {
		if c, sure := &s.slots[i], s.sure(i); sure >= least {
			keys = append(keys, Key{Partition: c.part, Key: bytes.Clone(c.key[:c.size]), PerSecond: sure * scale, Share: sure / s.total})
		}
	}
	slices.SortFunc(keys, compare)
	return keys[:min(n, len(keys))]
}
