package wire

import (
	"encoding/binary"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// statusWon is the bit of a session's status that says that the token was won.
const statusWon = 1 << 7

func (d *decoder) status() (s item.Status, won bool) {
	b := d.byte()
	return item.Status(b &^ statusWon), b&statusWon != 0
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
		dst = append(dst, byte(m.Effect), byte(m.Status)|bit(m.Won)*statusWon)
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
	case KindAppendAck, KindAppendQuery, KindAppendGap, KindJoinEnd, KindJoinStarted, KindJoinDone:
		dst = binary.AppendUvarint(dst, m.JoinID)
	case KindActivate, KindEpochQuery:
		dst = clustermap.AppendPartition(dst, m.Config)
	case KindJoinHello:
		dst = binary.AppendUvarint(dst, m.JoinID)
		dst = clustermap.AppendPartition(dst, m.Config)
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
		m.Effect = Effect(d.byte())
		m.Status, m.Won = d.status()
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
	case KindAppendAck, KindAppendQuery, KindAppendGap, KindJoinEnd, KindJoinStarted, KindJoinDone:
		m.JoinID = d.uvarint()
	case KindActivate, KindEpochQuery:
		c := d.partition()
		m.Config = &c
	case KindJoinHello:
		m.JoinID = d.uvarint()
		c := d.partition()
		m.Config = &c
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
