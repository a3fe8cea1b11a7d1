package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// maker makes random contents of frames.
type maker struct{ *rand.Rand }

func (m maker) bytes(limit int) []byte {
	b := make([]byte, m.IntN(limit))
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

func (m maker) item() *item.Item {
	it := &item.Item{Version: m.Uint64(), Flags: m.Uint32(), Exptime: m.Int64(), Value: m.bytes(40)}
	if m.IntN(2) == 0 {
		it.Unique = 1 + m.Uint64N(1<<60)
	}
	return it
}

func (m maker) flush() Flush { return Flush{Version: m.Uint64(), At: m.Int64()} }

func (m maker) servers() (list []clustermap.ServerID) {
	for range m.IntN(4) {
		list = append(list, clustermap.ServerID(m.Uint64()))
	}
	return list
}

func (m maker) partition() clustermap.Partition {
	return clustermap.Partition{
		Epoch: m.Uint32N(clustermap.MaxEpoch), Replicas: m.servers(), Joining: m.servers(), Active: m.IntN(2) == 0,
		LastKnown: m.servers(), LastPrimary: clustermap.ServerID(m.Uint64()), LastPrimaryIncarnation: m.Uint64(), Assigned: m.servers(),
	}
}

func (m maker) ring() (ring []RingEntry) {
	for range m.IntN(4) {
		ring = append(ring, RingEntry{Version: m.Uint64(), Session: m.Uint64(), Effect: Effect(m.IntN(6)), Key: string(m.bytes(20))})
	}
	return ring
}

func (m maker) values() (values []Value) {
	for range m.IntN(4) {
		v := Value{Key: string(m.bytes(20))}
		if m.IntN(3) > 0 {
			v.Item = m.item()
		}
		values = append(values, v)
	}
	return values
}

func (m maker) sessions() (list []Session) {
	for range m.IntN(4) {
		s := Session{ID: m.Uint64(), Gone: m.IntN(4) == 0, Lowest: m.Uint32()}
		for range m.IntN(4) {
			s.Results = append(s.Results, SessionResult{
				Version: m.Uint64(), Answer: m.Uint64(), Exptime: m.Int64(),
				Flags: m.Uint32(), Number: m.Uint32(), Status: item.Status(m.IntN(9)),
			})
		}
		list = append(list, s)
	}
	return list
}

// message is one of kind k with every field that the kind has.
func (m maker) message(k Kind) Message {
	out := Message{Kind: k, Partition: uint16(m.Uint32()), Epoch: m.Uint32(), Version: m.Uint64()}
	switch k {
	case KindAppend, KindAppendAck, KindAppendQuery, KindAppendGap, KindJoinHello, KindJoinState, KindJoinStart, KindJoinStarted, KindJoinEnd, KindJoinDone:
		out.JoinID = m.Uint64() >> m.IntN(64)
	}
	switch k {
	case KindAppend:
		out.Prev, out.Committed = m.Uint64(), m.Uint64()
		out.Status, out.Session, out.Number, out.Lowest = item.Status(m.IntN(9)), m.Uint64(), m.Uint32(), m.Uint32()
		out.Answer = m.Uint64() >> m.IntN(64)
		out.Key = string(m.bytes(300))
		switch out.Effect = Effect(m.IntN(6)); out.Effect {
		case EffectPut:
			out.Item = m.item()
		case EffectFlush:
			out.Flush = m.flush()
		}
	case KindActivate, KindEpochQuery, KindJoinHello:
		c := m.partition()
		out.Config = &c
	case KindRing:
		out.Committed, out.Ring = m.Uint64(), m.ring()
	case KindReconcile:
		out.Committed, out.Flush, out.Ring, out.Values = m.Uint64(), m.flush(), m.ring(), m.values()
		out.Sessions = m.sessions()
	case KindJoinState:
		out.Unfinished = m.IntN(2) == 0
	case KindJoinStart:
		out.Committed, out.Mode, out.Flush, out.Ring = m.Uint64(), JoinMode(m.IntN(4)), m.flush(), m.ring()
		out.Sessions = m.sessions()
	}
	return out
}

// body takes the one frame that b must be.
func body(t *testing.T, b []byte, kind Kind) []byte {
	t.Helper()
	k, frame, n, err := Frame(b)
	if err != nil || k != kind || n != len(b) {
		t.Fatalf("the frame reads as kind %d, %d of %d bytes, %v", k, n, len(b), err)
	}
	return frame
}

func TestMessagesRoundTrip(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(1, 2))}
	for k := KindAppend; k <= KindAppendGap; k++ {
		for range 200 {
			want := m.message(k)
			b := body(t, AppendMessage(nil, &want), k)
			var got Message
			if err := DecodeMessage(k, b, &got); err != nil {
				t.Fatalf("kind %d: %v", k, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("kind %d:\n%+v, was\n%+v", k, got, want)
			}
			// Of a frame cut short nothing may be believed, or the whole of it decoded as before.
			cut := m.IntN(len(b))
			if err := DecodeMessage(k, b[:cut], &got); err == nil && k != KindAppend {
				t.Fatalf("kind %d: cut to %d of %d bytes, it is taken", k, cut, len(b))
			}
			if err := DecodeMessage(k, append(bytes.Clone(b), 0), &got); err == nil && k != KindAppend {
				t.Fatalf("kind %d: with a byte too many, it is taken", k)
			}
		}
	}
}

func TestRequestsRoundTrip(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(3, 4))}
	for op := item.OpGet; op.Valid(); op++ {
		for range 100 {
			want := Request{
				ID: m.Uint32(), Partition: uint16(m.Uint32()), Epoch: m.Uint32(), Retry: m.IntN(2) == 0,
				Session: m.Uint64(), Number: m.Uint32(), Lowest: m.Uint32(),
				Request: item.Request{Op: op, Key: m.bytes(251), Value: m.bytes(1000), Flags: m.Uint32(), Exptime: m.Int64(), MaxItemSize: m.Uint32()},
			}
			if op == item.OpIncr || op == item.OpDecr {
				want.Delta = m.Uint64()
			} else {
				want.CAS = m.Uint64()
			}
			b := body(t, AppendRequest(nil, &want), KindRequest)
			var got Request
			if err := DecodeRequest(b, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%v:\n%+v, was\n%+v", err, got, want)
			}
		}
	}
	var r Request
	bad := body(t, AppendRequest(nil, &Request{Request: item.Request{Op: item.OpGet}}), KindRequest)
	bad[10] = 0
	if err := DecodeRequest(bad, &r); !errors.Is(err, ErrCorrupt) {
		t.Errorf("operation 0 is taken: %v", err)
	}
}

func TestRepliesRoundTrip(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(5, 6))}
	for range 500 {
		want := Reply{ID: m.Uint32(), Result: item.Result{Status: item.Status(1 + m.IntN(8)), Item: *m.item(), Number: m.Uint64()}}
		if want.Status == item.Failed {
			want.Message, want.Item.Value = string(m.bytes(50)), nil
		}
		var got Reply
		if err := DecodeReply(body(t, AppendReply(nil, &want), KindReply), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v:\n%+v, was\n%+v", err, got, want)
		}
		nak := Nak{ID: m.Uint32(), Index: uint16(m.Uint32()), Reason: NakReason(m.IntN(4)), Partition: m.partition()}
		var gotNak Nak
		if err := DecodeNak(body(t, AppendNak(nil, &nak), KindNak), &gotNak); err != nil || !reflect.DeepEqual(gotNak, nak) {
			t.Fatalf("%v:\n%+v, was\n%+v", err, gotNak, nak)
		}
		hello := PeerHello{clustermap.ClusterID(m.Uint64()), clustermap.ServerID(m.Uint64()), clustermap.ServerID(m.Uint64()), m.Uint64(), m.Uint64()}
		if got, err := DecodePeerHello(body(t, AppendPeerHello(nil, &hello), KindPeerHello)); err != nil || got != hello {
			t.Fatalf("%v: %+v, was %+v", err, got, hello)
		}
		lease := Lease{m.Int64(), m.Int64(), m.Uint64(), m.IntN(2) == 1}
		if got, err := DecodeLease(body(t, AppendLease(nil, lease), KindLease)); err != nil || got != lease {
			t.Fatalf("%v: %+v, was %+v", err, got, lease)
		}
	}
}

// Frames come in pieces, several at a time.
func TestFrame(t *testing.T) {
	two := AppendLease(AppendLease(nil, Lease{Sent: 1}), Lease{Sent: 2})
	one := len(two) / 2
	for n := range two {
		_, _, used, err := Frame(two[:n])
		if err != nil || used != 0 && used != one || (used == one) != (n >= one) {
			t.Errorf("of %d bytes %d are used: %v", n, used, err)
		}
	}
	for _, bad := range [][]byte{
		{0, 0, 0, 0, byte(KindReply)},
		{1, 0, 0, 0, byte(KindNone)},
		{1, 0, 0, 0, byte(kindEnd)},
		{0xff, 0xff, 0xff, 0xff, byte(KindReply)},
	} {
		if _, _, _, err := Frame(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v is taken: %v", bad, err)
		}
	}
}

// A count in a corrupt frame must not make the decoder allocate for it.
func TestHugeCountsAreRefused(t *testing.T) {
	var m Message
	for kind, fixed := range map[Kind]int{KindRing: 14 + 8, KindReconcile: 14 + 8 + 16 + 1} {
		b := make([]byte, fixed) // Reconcile: an empty ring, then the sessions
		b = binary.AppendUvarint(b, 1<<40)
		allocs := testing.AllocsPerRun(10, func() {
			if err := DecodeMessage(kind, b, &m); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("taken: %v", err)
			}
		})
		if allocs > 10 {
			t.Errorf("kind %d: %v allocations", kind, allocs)
		}
	}
}
