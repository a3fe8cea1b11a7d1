package replica

import (
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
)

// A Scan is a page of the partition's items on its way from the store to a
// client. The daemon reads the page from a snapshot that it takes after
// BeginScan, and gives it to Done.
//
// So a page is the partition as it was at one instant between request and answer.
// What was committed before the request is in this primary's store, hence in the
// snapshot. What the snapshot has beyond that is ordered, and the answer waits
// until it is committed (R2): it shows nothing that could be undone. And it is
// given only under a lease held after the snapshot was read (R5).
type Scan struct {
	Replica *Replica
	// Empty: nothing was ever written here; there is no need to read.
	Empty bool
	// Unix is the clock by which items have expired, in seconds. A scan leaves such
	// items out and does not delete them, as a get does (R11).
	Unix int64

	token Token
	last  uint64
	gen   uint32
}

// BeginScan takes a request for a page, at the epoch of whoever asks: as with a
// get, an older one will do (R10). False: it was refused, and t has its Nak.
func (r *Replica) BeginScan(epoch uint32, t Token, fx *Effects) (s Scan, ok bool) {
	q := r.pri
	switch {
	case epoch > r.cfg.Epoch:
		r.refuse(t, wire.NakNotReady, fx)
		return s, false
	case q == nil, epoch < r.cfg.Epoch && !q.active:
		r.refuse(t, wire.NakWrongEpoch, fx)
		return s, false
	case !q.active:
		r.refuse(t, wire.NakNotReady, fx)
		return s, false
	}
	r.startDueFlush(fx)
	return Scan{
		Replica: r, Unix: r.node.Unix, token: t, last: r.last, gen: r.gen,
		Empty: r.last == uint64(r.part)<<20,
	}, true
}

// Flushed tells whether an item of this version is a miss (R11), by the flush
// record f of the snapshot. A flush that was due when the scan began was ordered
// then, if it had not been: the page is as it is after that.
func (s *Scan) Flushed(version uint64, f wire.Flush) bool { return version < f.Version || s.due(f) }

func (s *Scan) due(f wire.Flush) bool { return f.At != 0 && f.At <= s.Unix }

// Done answers with the page, which is kept until it is given. position and f are
// the partition's in the snapshot; err is why that could not be read.
func (s *Scan) Done(page []byte, position uint64, f wire.Flush, err error, fx *Effects) {
	r := s.Replica
	if s.due(f) {
		position = s.last // the flush is one of these
	}
	switch {
	case r.pri == nil || s.gen != r.gen:
		r.refuse(s.token, wire.NakWrongEpoch, fx) // others may have written since
	case err == nil:
		r.answer(s.token, &item.Result{Status: item.OK, Item: item.Item{Value: page}}, position, true, fx)
	case len(r.cfg.Replicas) > 1:
		r.refuse(s.token, wire.NakNotReady, fx) // another member takes over, as with ReadDone
	default:
		r.answer(s.token, &item.Result{Status: item.Failed, Message: "cannot read the store: " + err.Error()}, 0, true, fx)
	}
}
