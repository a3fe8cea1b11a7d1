package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// ErrCorrupt is what every decoder returns, wrapped, for bytes that are not a frame of ours.
var ErrCorrupt = errors.New("wire: corrupt frame")

const headerBytes = 5

var le = binary.LittleEndian

// Frame takes the first frame off b. n is how many bytes it used; 0 with a nil
// error means that more must arrive first. body aliases b.
func Frame(b []byte) (kind Kind, body []byte, n int, err error) {
	if len(b) < headerBytes {
		return 0, nil, 0, nil
	}
	size := le.Uint32(b)
	if size < 1 || size > MaxFrame {
		return 0, nil, 0, fmt.Errorf("%w: length %d", ErrCorrupt, size)
	}
	kind = Kind(b[4])
	if kind == KindNone || kind >= kindEnd {
		return 0, nil, 0, fmt.Errorf("%w: kind %d", ErrCorrupt, kind)
	}
	if uint64(len(b)) < 4+uint64(size) {
		return 0, nil, 0, nil
	}
	return kind, b[headerBytes : 4+size], int(4 + size), nil
}

// AppendRelay appends what opens a connection that is to be joined to server id.
func AppendRelay(dst []byte, id clustermap.ServerID) []byte {
	return le.AppendUint64(append(dst, RelayMagic...), uint64(id))
}

// RelayTarget is the server that a connection which begins with b is to be joined
// to. n is how many bytes told it; 0: b does not begin with all of RelayMagic and
// an ID.
func RelayTarget(b []byte) (id clustermap.ServerID, n int) {
	if len(b) < len(RelayMagic)+8 || string(b[:len(RelayMagic)]) != RelayMagic {
		return 0, 0
	}
	return clustermap.ServerID(le.Uint64(b[len(RelayMagic):])), len(RelayMagic) + 8
}

// begin starts a frame; end fixes its length. at is what begin returned as offset.
func begin(dst []byte, k Kind) ([]byte, int) {
	at := len(dst)
	return append(dst, 0, 0, 0, 0, byte(k)), at
}

func end(dst []byte, at int) []byte {
	le.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

const requestFixed = 4 + 2 + 4 + 1 + 1 + 2 + 4 + 8 + 8 + 4 + 8 + 4 + 4 + 2

func arithmetic(op item.Op) bool { return op == item.OpIncr || op == item.OpDecr }

// AppendRequest appends r as a frame.
func AppendRequest(dst []byte, r *Request) []byte {
	dst, at := begin(dst, KindRequest)
	dst = le.AppendUint32(dst, r.ID)
	dst = le.AppendUint16(dst, r.Partition)
	dst = le.AppendUint32(dst, r.Epoch)
	dst = append(dst, byte(r.Op), bit(r.Retry))
	dst = le.AppendUint16(dst, uint16(len(r.Key)))
	dst = le.AppendUint32(dst, r.Flags)
	dst = le.AppendUint64(dst, uint64(r.Exptime))
	arg := r.CAS
	if arithmetic(r.Op) {
		arg = r.Delta
	}
	dst = le.AppendUint64(dst, arg)
	dst = le.AppendUint32(dst, r.MaxItemSize)
	dst = le.AppendUint64(dst, r.Session)
	dst = le.AppendUint32(dst, r.Number)
	dst = le.AppendUint32(dst, r.Lowest)
	dst = le.AppendUint16(dst, uint16(r.Options))
	if r.Options != 0 {
		dst = appendOptions(dst, &r.Request)
	}
	dst = append(dst, r.Key...)
	dst = append(dst, r.Value...)
	return end(dst, at)
}

// appendOptions appends the fields that only options give a meaning to.
func appendOptions(dst []byte, r *item.Request) []byte {
	if r.Has(item.Explicit) {
		dst = le.AppendUint64(dst, r.Unique)
	}
	if r.Has(item.Compare) && arithmetic(r.Op) {
		dst = le.AppendUint64(dst, r.CAS)
	}
	if r.Has(item.Vivify) {
		dst = le.AppendUint64(dst, uint64(r.VivifyExptime))
		dst = le.AppendUint64(dst, r.Initial)
	}
	if r.Has(item.Recache) {
		dst = le.AppendUint64(dst, uint64(r.RecacheExptime))
	}
	return dst
}

func (d *decoder) options(r *item.Request) {
	if r.Has(item.Explicit) {
		r.Unique = d.u64()
	}
	if r.Has(item.Compare) && arithmetic(r.Op) {
		r.CAS = d.u64()
	}
	if r.Has(item.Vivify) {
		r.VivifyExptime = int64(d.u64())
		r.Initial = d.u64()
	}
	if r.Has(item.Recache) {
		r.RecacheExptime = int64(d.u64())
	}
}

// PeekRequest tells whose key a frame's body is about, without checking it. The key
// aliases it. False: it is not known.
func PeekRequest(b []byte) (partition uint16, key []byte, op item.Op, ok bool) {
	if len(b) < requestFixed || le.Uint16(b[requestFixed-2:]) != 0 { // with options the key is behind them
		return 0, nil, 0, false
	}
	n := int(le.Uint16(b[12:]))
	if len(b)-requestFixed < n {
		return 0, nil, 0, false
	}
	return le.Uint16(b[4:]), b[requestFixed : requestFixed+n], item.Op(b[10]), true
}

// PeekPartition tells which partition the body of a Message is about.
func PeekPartition(b []byte) (partition uint16, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	return le.Uint16(b), true
}

// DecodeRequest reads a frame's body. r's Key and Value alias it.
func DecodeRequest(b []byte, r *Request) error {
	if len(b) < requestFixed {
		return fmt.Errorf("%w: request of %d bytes", ErrCorrupt, len(b))
	}
	op := item.Op(b[10])
	if !op.Valid() {
		return fmt.Errorf("%w: operation %d", ErrCorrupt, b[10])
	}
	*r = Request{
		ID:        le.Uint32(b),
		Partition: le.Uint16(b[4:]),
		Epoch:     le.Uint32(b[6:]),
		Retry:     b[11] != 0,
		Session:   le.Uint64(b[38:]),
		Number:    le.Uint32(b[46:]),
		Lowest:    le.Uint32(b[50:]),
		Request: item.Request{
			Op:          op,
			Options:     item.Option(le.Uint16(b[54:])),
			Flags:       le.Uint32(b[14:]),
			Exptime:     int64(le.Uint64(b[18:])),
			MaxItemSize: le.Uint32(b[34:]),
		},
	}
	if arg := le.Uint64(b[26:]); arithmetic(op) {
		r.Delta = arg
	} else {
		r.CAS = arg
	}
	keyLen := int(le.Uint16(b[12:]))
	rest := b[requestFixed:]
	if r.Options != 0 {
		d := decoder{b: rest}
		if d.options(&r.Request); d.err != nil {
			return d.err
		}
		rest = d.b
	}
	if len(rest) < keyLen {
		return fmt.Errorf("%w: request's key is cut off", ErrCorrupt)
	}
	r.Key, r.Value = rest[:keyLen:keyLen], rest[keyLen:]
	return nil
}

const replyFixed = 4 + 1 + 1 + 4 + 8 + 8 + 8 + 8 + 8 + 4 + 4

// Bits of a reply.
const (
	replyStale = 1 << iota
	replyTokenSent
	replyFetched
	replyWon
	replyLarge
)

// AppendReply appends r as a frame. The tail is the message when Status is
// Failed, the value otherwise.
func AppendReply(dst []byte, r *Reply) []byte {
	it := &r.Item
	dst, at := begin(dst, KindReply)
	dst = le.AppendUint32(dst, r.ID)
	dst = append(dst, byte(r.Status), bit(it.Stale)*replyStale|bit(it.TokenSent)*replyTokenSent|bit(it.Fetched)*replyFetched|bit(r.Won)*replyWon|bit(it.Large)*replyLarge)
	dst = le.AppendUint32(dst, it.Flags)
	dst = le.AppendUint64(dst, uint64(it.Exptime))
	dst = le.AppendUint64(dst, it.Version)
	dst = le.AppendUint64(dst, it.Unique)
	dst = le.AppendUint64(dst, r.Number)
	dst = le.AppendUint64(dst, uint64(r.Now))
	dst = le.AppendUint32(dst, r.Size)
	dst = le.AppendUint32(dst, it.Accessed)
	if r.Status == item.Failed {
		dst = append(dst, r.Message...)
	} else {
		dst = append(dst, it.Value...)
	}
	return end(dst, at)
}

// DecodeReply reads a frame's body. r's value aliases it.
func DecodeReply(b []byte, r *Reply) error {
	if len(b) < replyFixed {
		return fmt.Errorf("%w: reply of %d bytes", ErrCorrupt, len(b))
	}
	bits := b[5]
	*r = Reply{ID: le.Uint32(b), Result: item.Result{
		Status: item.Status(b[4]),
		Item: item.Item{
			Flags:     le.Uint32(b[6:]),
			Exptime:   int64(le.Uint64(b[10:])),
			Version:   le.Uint64(b[18:]),
			Unique:    le.Uint64(b[26:]),
			Stale:     bits&replyStale != 0,
			TokenSent: bits&replyTokenSent != 0,
			Fetched:   bits&replyFetched != 0,
			Large:     bits&replyLarge != 0,
			Accessed:  le.Uint32(b[54:]),
		},
		Number: le.Uint64(b[34:]),
		Now:    int64(le.Uint64(b[42:])),
		Size:   le.Uint32(b[50:]),
		Won:    bits&replyWon != 0,
	}}
	if r.Status == item.Failed {
		r.Message = string(b[replyFixed:])
	} else {
		r.Item.Value = b[replyFixed:]
	}
	return nil
}

// AppendNak appends n as a frame.
func AppendNak(dst []byte, n *Nak) []byte {
	dst, at := begin(dst, KindNak)
	dst = le.AppendUint32(dst, n.ID)
	dst = le.AppendUint16(dst, n.Index)
	dst = append(dst, byte(n.Reason))
	dst = clustermap.AppendPartition(dst, &n.Partition)
	return end(dst, at)
}

// DecodeNak reads a frame's body.
func DecodeNak(b []byte, n *Nak) error {
	if len(b) < 7 {
		return fmt.Errorf("%w: refusal of %d bytes", ErrCorrupt, len(b))
	}
	p, _, err := clustermap.DecodePartition(b[7:])
	if err != nil {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	*n = Nak{ID: le.Uint32(b), Index: le.Uint16(b[4:]), Reason: NakReason(b[6]), Partition: p}
	return nil
}

// AppendPeerHello appends h as a frame.
func AppendPeerHello(dst []byte, h *PeerHello) []byte {
	dst, at := begin(dst, KindPeerHello)
	dst = le.AppendUint64(dst, uint64(h.Cluster))
	dst = le.AppendUint64(dst, uint64(h.From))
	dst = le.AppendUint64(dst, uint64(h.To))
	dst = le.AppendUint64(dst, h.Incarnation)
	dst = le.AppendUint64(dst, h.ToIncarnation)
	return end(dst, at)
}

// DecodePeerHello reads a frame's body.
func DecodePeerHello(b []byte) (PeerHello, error) {
	if len(b) != 40 {
		return PeerHello{}, fmt.Errorf("%w: hello of %d bytes", ErrCorrupt, len(b))
	}
	return PeerHello{
		Cluster:     clustermap.ClusterID(le.Uint64(b)),
		From:        clustermap.ServerID(le.Uint64(b[8:])),
		To:          clustermap.ServerID(le.Uint64(b[16:])),
		Incarnation: le.Uint64(b[24:]),

		ToIncarnation: le.Uint64(b[32:]),
	}, nil
}

// AppendLease appends a frame of KindLease.
func AppendLease(dst []byte, l Lease) []byte {
	dst, at := begin(dst, KindLease)
	dst = le.AppendUint64(dst, uint64(l.Sent))
	dst = le.AppendUint64(dst, uint64(l.Granted))
	dst = le.AppendUint64(dst, l.MapVersion)
	dst = append(dst, bit(l.Urgent))
	return end(dst, at)
}

// DecodeLease reads a frame's body.
func DecodeLease(b []byte) (Lease, error) {
	if len(b) != 25 || b[24] > 1 {
		return Lease{}, fmt.Errorf("%w: lease of %d bytes", ErrCorrupt, len(b))
	}
	return Lease{Sent: int64(le.Uint64(b)), Granted: int64(le.Uint64(b[8:])), MapVersion: le.Uint64(b[16:]), Urgent: b[24] == 1}, nil
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}
