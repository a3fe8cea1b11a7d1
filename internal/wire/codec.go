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

// begin starts a frame; end fixes its length. at is what begin returned as offset.
func begin(dst []byte, k Kind) ([]byte, int) {
	at := len(dst)
	return append(dst, 0, 0, 0, 0, byte(k)), at
}

func end(dst []byte, at int) []byte {
	le.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

const requestFixed = 4 + 2 + 4 + 1 + 1 + 2 + 4 + 8 + 8 + 4 + 8 + 4 + 4

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
	if r.Op == item.OpIncr || r.Op == item.OpDecr {
		arg = r.Delta
	}
	dst = le.AppendUint64(dst, arg)
	dst = le.AppendUint32(dst, r.MaxItemSize)
	dst = le.AppendUint64(dst, r.Session)
	dst = le.AppendUint32(dst, r.Number)
	dst = le.AppendUint32(dst, r.Lowest)
	dst = append(dst, r.Key...)
	dst = append(dst, r.Value...)
	return end(dst, at)
}

// DecodeRequest reads a frame's body. r's Key and Value alias it.
func DecodeRequest(b []byte, r *Request) error {
	if len(b) < requestFixed {
		return fmt.Errorf("%w: request of %d bytes", ErrCorrupt, len(b))
	}
	keyLen := int(le.Uint16(b[12:]))
	if len(b) < requestFixed+keyLen {
		return fmt.Errorf("%w: request's key is cut off", ErrCorrupt)
	}
	op := item.Op(b[10])
	if !op.Valid() {
		return fmt.Errorf("%w: operation %d", ErrCorrupt, b[10])
	}
	arg := le.Uint64(b[26:])
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
			Flags:       le.Uint32(b[14:]),
			Exptime:     int64(le.Uint64(b[18:])),
			MaxItemSize: le.Uint32(b[34:]),
			Key:         b[requestFixed : requestFixed+keyLen],
			Value:       b[requestFixed+keyLen:],
		},
	}
	if op == item.OpIncr || op == item.OpDecr {
		r.Delta = arg
	} else {
		r.CAS = arg
	}
	return nil
}

const replyFixed = 4 + 1 + 4 + 8 + 8 + 8 + 8

// AppendReply appends r as a frame. The tail is the message when Status is
// Failed, the value otherwise.
func AppendReply(dst []byte, r *Reply) []byte {
	dst, at := begin(dst, KindReply)
	dst = le.AppendUint32(dst, r.ID)
	dst = append(dst, byte(r.Status))
	dst = le.AppendUint32(dst, r.Item.Flags)
	dst = le.AppendUint64(dst, uint64(r.Item.Exptime))
	dst = le.AppendUint64(dst, r.Item.Version)
	dst = le.AppendUint64(dst, r.Item.Unique)
	dst = le.AppendUint64(dst, r.Number)
	if r.Status == item.Failed {
		dst = append(dst, r.Message...)
	} else {
		dst = append(dst, r.Item.Value...)
	}
	return end(dst, at)
}

// DecodeReply reads a frame's body. r's value aliases it.
func DecodeReply(b []byte, r *Reply) error {
	if len(b) < replyFixed {
		return fmt.Errorf("%w: reply of %d bytes", ErrCorrupt, len(b))
	}
	*r = Reply{ID: le.Uint32(b), Result: item.Result{
		Status: item.Status(b[4]),
		Item: item.Item{
			Flags:   le.Uint32(b[5:]),
			Exptime: int64(le.Uint64(b[9:])),
			Version: le.Uint64(b[17:]),
			Unique:  le.Uint64(b[25:]),
		},
		Number: le.Uint64(b[33:]),
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

// AppendLease appends a lease request or grant as a frame of kind k.
func AppendLease(dst []byte, k Kind, l Lease) []byte {
	dst, at := begin(dst, k)
	dst = le.AppendUint64(dst, uint64(l.Sent))
	dst = le.AppendUint64(dst, l.MapVersion)
	return end(dst, at)
}

// DecodeLease reads a frame's body.
func DecodeLease(b []byte) (Lease, error) {
	if len(b) != 16 {
		return Lease{}, fmt.Errorf("%w: lease of %d bytes", ErrCorrupt, len(b))
	}
	return Lease{Sent: int64(le.Uint64(b)), MapVersion: le.Uint64(b[8:])}, nil
}

// AppendMessage appends m as a frame.
func AppendMessage(dst []byte, m *Message) []byte {
	dst, at := begin(dst, m.Kind)
	dst = le.AppendUint16(dst, m.Partition)
	dst = le.AppendUint32(dst, m.Epoch)
	dst = le.AppendUint64(dst, m.Version)
	switch m.Kind {
	case KindAppend:
		dst = binary.AppendUvarint(dst, m.JoinID)
		dst = le.AppendUint64(dst, m.Prev)
		dst = le.AppendUint64(dst, m.Committed)
		dst = append(dst, byte(m.Effect), byte(m.Status))
		dst = binary.AppendUvarint(dst, m.Session)
		dst = binary.AppendUvarint(dst, uint64(m.Number))
		dst = binary.AppendUvarint(dst, uint64(m.Lowest))
		dst = binary.AppendUvarint(dst, m.Answer)
		dst = appendString(dst, m.Key)
		if m.Effect == EffectPut {
			dst = item.AppendRecord(dst, m.Item) // to the end of the frame
		} else if m.Effect == EffectFlush {
			dst = appendFlush(dst, m.Flush)
		}
	case KindAppendAck, KindJoinEnd, KindJoinStarted, KindJoinDone:
		dst = binary.AppendUvarint(dst, m.JoinID)
	case KindActivate, KindEpochQuery:
		dst = clustermap.AppendPartition(dst, &m.Config)
	case KindJoinHello:
		dst = binary.AppendUvarint(dst, m.JoinID)
		dst = clustermap.AppendPartition(dst, &m.Config)
	case KindRing:
		dst = le.AppendUint64(dst, m.Committed)
		dst = appendRing(dst, m.Ring)
	case KindReconcile:
		dst = le.AppendUint64(dst, m.Committed)
		dst = appendFlush(dst, m.Flush)
		dst = appendRing(dst, m.Ring)
		dst = appendSessions(dst, m.Sessions)
		dst = appendValues(dst, m.Values)
	case KindJoinState:
		dst = binary.AppendUvarint(dst, m.JoinID)
		dst = append(dst, bit(m.Unfinished))
	case KindJoinStart:
		dst = binary.AppendUvarint(dst, m.JoinID)
		dst = le.AppendUint64(dst, m.Committed)
		dst = append(dst, byte(m.Mode))
		dst = appendFlush(dst, m.Flush)
		dst = appendRing(dst, m.Ring)
		dst = appendSessions(dst, m.Sessions)
	}
	return end(dst, at)
}

// DecodeMessage reads the body of a frame of kind k. Nothing in m aliases b.
func DecodeMessage(k Kind, b []byte, m *Message) error {
	d := decoder{b: b}
	*m = Message{Kind: k, Partition: d.u16(), Epoch: d.u32(), Version: d.u64()}
	switch k {
	case KindAppend:
		m.JoinID = d.uvarint()
		m.Prev, m.Committed = d.u64(), d.u64()
		m.Effect, m.Status = Effect(d.byte()), item.Status(d.byte())
		m.Session, m.Number, m.Lowest, m.Answer = d.uvarint(), uint32(d.uvarint()), uint32(d.uvarint()), d.uvarint()
		m.Key = d.str()
		switch m.Effect {
		case EffectPut:
			m.Item = d.record(d.b)
			d.b = nil
		case EffectFlush:
			m.Flush = d.flush()
		case EffectNone, EffectRemove, EffectOpen, EffectEnd:
		default:
			d.fail("effect")
		}
	case KindAppendAck, KindJoinEnd, KindJoinStarted, KindJoinDone:
		m.JoinID = d.uvarint()
	case KindActivate, KindEpochQuery:
		m.Config = d.partition()
	case KindJoinHello:
		m.JoinID = d.uvarint()
		m.Config = d.partition()
	case KindRing:
		m.Committed = d.u64()
		m.Ring = d.ring()
	case KindReconcile:
		m.Committed = d.u64()
		m.Flush = d.flush()
		m.Ring = d.ring()
		m.Sessions = d.sessions()
		m.Values = d.values()
	case KindJoinState:
		m.JoinID = d.uvarint()
		m.Unfinished = d.byte() != 0
	case KindJoinStart:
		m.JoinID = d.uvarint()
		m.Committed = d.u64()
		m.Mode = JoinMode(d.byte())
		m.Flush = d.flush()
		m.Ring = d.ring()
		m.Sessions = d.sessions()
	case KindReconcileAck, KindEpochAck:
	default:
		d.fail("kind")
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("length")
	}
	return d.err
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendFlush(dst []byte, f Flush) []byte {
	dst = le.AppendUint64(dst, f.Version)
	return le.AppendUint64(dst, uint64(f.At))
}

func appendRing(dst []byte, ring []RingEntry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ring)))
	for i := range ring {
		e := &ring[i]
		dst = le.AppendUint64(dst, e.Version)
		dst = binary.AppendUvarint(dst, e.Session)
		dst = append(dst, byte(e.Effect))
		dst = appendString(dst, e.Key)
	}
	return dst
}

func appendValues(dst []byte, values []Value) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for i := range values {
		v := &values[i]
		dst = appendString(dst, v.Key)
		dst = append(dst, bit(v.Item != nil))
		if v.Item != nil {
			at := len(dst)
			dst = le.AppendUint32(dst, 0)
			dst = item.AppendRecord(dst, v.Item)
			le.PutUint32(dst[at:], uint32(len(dst)-at-4))
		}
	}
	return dst
}

// decoder reads fields off b; after the first error everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail("cut off")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return le.Uint16(v)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return le.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return le.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is a length that at least unit bytes each must follow: it bounds what a
// corrupt frame can make us allocate.
func (d *decoder) count(unit int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/unit) {
		d.fail("count")
		return 0
	}
	return int(n)
}

func (d *decoder) str() string {
	return string(d.take(d.count(1)))
}

func (d *decoder) flush() Flush {
	return Flush{Version: d.u64(), At: int64(d.u64())}
}

func (d *decoder) record(b []byte) *item.Item {
	if d.err != nil {
		return nil
	}
	it, err := item.ParseRecord(append([]byte(nil), b...))
	if err != nil {
		d.fail(err.Error())
		return nil
	}
	return &it
}

func (d *decoder) partition() clustermap.Partition {
	if d.err != nil {
		return clustermap.Partition{}
	}
	p, rest, err := clustermap.DecodePartition(d.b)
	if err != nil {
		d.fail(err.Error())
		return clustermap.Partition{}
	}
	d.b = rest
	return p
}

func (d *decoder) ring() []RingEntry {
	n := d.count(11)
	if n == 0 {
		return nil
	}
	ring := make([]RingEntry, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		ring = append(ring, RingEntry{Version: d.u64(), Session: d.uvarint(), Effect: Effect(d.byte()), Key: d.str()})
	}
	return ring
}

func (d *decoder) values() []Value {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	values := make([]Value, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		v := Value{Key: d.str()}
		if d.byte() != 0 {
			v.Item = d.record(d.take(int(d.u32())))
		}
		values = append(values, v)
	}
	return values
}

// AppendValues appends values as bulk copies send them, without a frame.
func AppendValues(dst []byte, values []Value) []byte { return appendValues(dst, values) }

// DecodeValues reads what AppendValues wrote. Nothing in it aliases b.
func DecodeValues(b []byte) ([]Value, error) {
	d := decoder{b: b}
	v := d.values()
	if d.err == nil && len(d.b) != 0 {
		d.fail("length")
	}
	return v, d.err
}
