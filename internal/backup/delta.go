package backup

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrRewound says that a partition has not gone on from where the base left it: pairs that
// the base does not have are there under versions that it should have. So it is after
// data was given up (--accept-loss). All of the partition is to be asked for.
var ErrRewound = errors.New("the partition has not gone on from where the base left it")

// Delta makes the entries of an incremental section of what a server answers to Known.Request.
type Delta struct {
	k      *Known
	req    *Request
	begins []int
	emit   func(*Entry) error
	digest Digest // of the partition as it is now

	next    int // range from which on nothing was told of
	pos     int // in k, of the range that is being told of
	limit   int
	inRange bool
}

// NewDelta begins. emit is given Pair, Large, Part and Deleted entries, in order.
func NewDelta(k *Known, req *Request, begins []int, emit func(*Entry) error) *Delta {
	return &Delta{k: k, req: req, begins: begins, emit: emit}
}

// begin is where range i begins in k.
func (d *Delta) begin(i int) int {
	if i < len(d.begins) {
		return d.begins[i]
	}
	return len(d.k.Keys)
}

// Take takes the next entry of the answer.
func (d *Delta) Take(e *Entry) error {
	switch e.Kind {
	case Range:
		return d.enter(e)
	case Part:
		return d.emit(e)
	case Deleted:
		return fmt.Errorf("%w: an entry of kind %d", errEntry, e.Kind)
	}
	if !d.inRange {
		return fmt.Errorf("%w: key %q is in no range", errEntry, e.Key)
	}
	if err := d.gone(e.Key); err != nil {
		return err
	}
	known := d.pos < d.limit && bytes.Equal(d.k.Keys[d.pos], e.Key)
	if e.Kind == Same {
		if !known || d.k.Versions[d.pos] != e.Version {
			return ErrRewound
		}
		d.pos++
		d.digest.Add(e.Key, e.Version)
		return nil
	}
	if known {
		d.pos++
	}
	d.digest.Add(e.Key, e.Version)
	return d.emit(e)
}

// enter begins a range that differs; those before it are as they were.
func (d *Delta) enter(e *Entry) error {
	if err := d.leave(); err != nil {
		return err
	}
	for d.next < len(d.req.Ranges) && !bytes.Equal(d.req.Ranges[d.next].Start, e.Key) {
		d.unchanged()
	}
	if d.next == len(d.req.Ranges) || !bytes.Equal(d.req.end(d.next), e.End) {
		return fmt.Errorf("%w: there is no range that begins with %q", errEntry, e.Key)
	}
	d.inRange, d.pos, d.limit = true, d.begin(d.next), d.begin(d.next+1)
	d.next++
	return nil
}

// unchanged passes a range.
func (d *Delta) unchanged() {
	for i := d.begin(d.next); i < d.begin(d.next+1); i++ {
		d.digest.Add(d.k.Keys[i], d.k.Versions[i])
	}
	d.next++
}

// gone emits deletions of those keys of the range that were passed over before key.
func (d *Delta) gone(key []byte) error {
	for d.pos < d.limit && (key == nil || bytes.Compare(d.k.Keys[d.pos], key) < 0) {
		if err := d.emit(&Entry{Kind: Deleted, Key: d.k.Keys[d.pos]}); err != nil {
			return err
		}
		d.pos++
	}
	return nil
}

func (d *Delta) leave() error {
	if !d.inRange {
		return nil
	}
	d.inRange = false
	return d.gone(nil)
}

// End ends the answer. s is what the server says of the partition: ErrRewound, if that is
// not what came of it.
func (d *Delta) End(s *Sums) error {
	if err := d.leave(); err != nil {
		return err
	}
	for d.next < len(d.req.Ranges) {
		d.unchanged()
	}
	if pairs, digest := d.digest.Sum(); pairs != s.Pairs || digest != s.Digest {
		return ErrRewound
	}
	return nil
}

// Entries gives fn each entry of the payload of a BlockEntries; what it points to is lent for the call.
func Entries(payload []byte, fn func(*Entry) error) error {
	d := decoder{b: payload}
	var e Entry
	for len(d.b) > 0 {
		if err := d.entry(&e); err != nil {
			return err
		}
		if err := fn(&e); err != nil {
			return err
		}
	}
	return nil
}

// Known reads the keys and versions of a partition, as this backup and those on which it
// stands have them: some 50 bytes and its length for each key.
func (r *Reader) Known(part uint16) (*Known, error) {
	p, err := r.Pairs(part)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	k := &Known{}
	var e Entry
	for {
		if err := p.Next(&e); err != nil {
			if isEnd(err) {
				return k, nil
			}
			return nil, err
		}
		if e.Kind != Part {
			k.Keys, k.Versions = append(k.Keys, bytes.Clone(e.Key)), append(k.Versions, e.Version)
		}
	}
}
