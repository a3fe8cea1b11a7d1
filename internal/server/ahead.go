package server

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/store"
	"github.com/kumofs/kumofs/internal/wire"
)

// ahead is what a number of requests are about. They come for any partition and any
// key, and most of what they cost in memory is to wait for it, again and again for
// each. So it is first read for many of them at once, for a processor waits at the
// same time for as many reads as do not depend on each other.
type ahead struct {
	keys   [maxAhead][]byte
	nkeys  int
	parts  [maxAhead]*replica.Replica
	writes [maxAhead]bool
	nparts int
}

// maxAhead is for how many requests at a time memory is read ahead.
const maxAhead = store.MaxTouch

// add is for no more than maxAhead. A nil key is none.
func (a *ahead) add(n *node, part uint16, key []byte, write bool) {
	if int(part) >= len(n.replicas) {
		return
	}
	a.parts[a.nparts], a.writes[a.nparts] = n.replicas[part], write
	a.nparts++
	if key != nil {
		a.keys[a.nkeys] = key
		a.nkeys++
	}
}

func (a *ahead) read(n *node) {
	if a.nparts < 2 {
		return
	}
	for i, r := range a.parts[:a.nparts] {
		n.ahead += r.Touch(a.writes[i])
	}
	n.ahead += n.rn.Values.(*values).c.Touch(a.keys[:a.nkeys])
}

// readFramesAhead is for the frames at the start of b, and returns how many, at least 1.
func (n *node) readFramesAhead(b []byte) (frames int) {
	if _, _, size, _ := wire.Frame(b); size == 0 || size == len(b) {
		return 1
	}
	var a ahead
	for frames < maxAhead {
		kind, body, size, err := wire.Frame(b)
		if err != nil || size == 0 {
			break
		}
		b = b[size:]
		frames++
		switch kind {
		case wire.KindRequest:
			if part, key, op, ok := wire.PeekRequest(body); ok {
				a.add(n, part, key, op != item.OpGet)
			}
		case wire.KindAppend, wire.KindAppendAck:
			if part, ok := wire.PeekPartition(body); ok {
				a.add(n, part, nil, true)
			}
		}
	}
	a.read(n)
	return max(frames, 1)
}
