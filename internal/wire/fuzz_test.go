package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// FuzzFrame: whatever arrives, decoding ends with a value or an error; and a
// value that was decoded is the same after another round trip.
func FuzzFrame(f *testing.F) {
	m := maker{rand.New(rand.NewPCG(7, 8))}
	for k := KindAppend; k <= KindAppendGap; k++ {
		for range 4 {
			msg := m.message(k)
			f.Add(AppendMessage(nil, &msg))
		}
	}
	f.Add(AppendRequest(nil, &Request{}))
	f.Add(AppendReply(nil, &Reply{}))
	f.Add(AppendNak(nil, &Nak{Partition: m.partition()}))
	f.Add(AppendPeerHello(nil, &PeerHello{}))
	f.Add(AppendLease(nil, Lease{}))
	f.Add(AppendScan(nil, &Scan{From: []byte("a"), Prefix: []byte("b"), KeysOnly: true, MaxItems: 3, MaxBytes: 4}))
	f.Add(AppendPage(nil, &Page{More: true, Next: []byte("c"), Items: []PageItem{{Key: []byte("a"), Value: []byte("v")}, {Key: []byte("b"), Omitted: true}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, frame, n, err := Frame(b)
		if err != nil || n == 0 {
			return
		}
		first, ok := decodeAny(kind, frame)
		if !ok {
			return
		}
		again := encodeAny(kind, first)
		_, frame, n, err = Frame(again)
		if err != nil || n != len(again) {
			t.Fatalf("what was decoded encodes to garbage: %v", err)
		}
		second, ok := decodeAny(kind, frame)
		if !ok || !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v", first, second)
		}
		if !bytes.Equal(again, encodeAny(kind, second)) {
			t.Fatal("encoding is not canonical")
		}
	})
}

func decodeAny(kind Kind, b []byte) (any, bool) {
	switch kind {
	case KindRequest:
		var v Request
		err := DecodeRequest(b, &v)
		return v, err == nil
	case KindReply:
		var v Reply
		err := DecodeReply(b, &v)
		return v, err == nil
	case KindNak:
		var v Nak
		err := DecodeNak(b, &v)
		return v, err == nil
	case KindPeerHello:
		v, err := DecodePeerHello(b)
		return v, err == nil
	case KindLease:
		v, err := DecodeLease(b)
		return v, err == nil
	case KindScan:
		var v Scan
		err := DecodeScan(b, &v)
		return v, err == nil
	case KindPage:
		var v Page
		err := DecodePage(b, &v)
		return v, err == nil
	}
	var v Message
	err := DecodeMessage(kind, b, &v)
	return v, err == nil
}

func encodeAny(kind Kind, v any) []byte {
	switch v := v.(type) {
	case Request:
		return AppendRequest(nil, &v)
	case Reply:
		return AppendReply(nil, &v)
	case Nak:
		return AppendNak(nil, &v)
	case PeerHello:
		return AppendPeerHello(nil, &v)
	case Lease:
		return AppendLease(nil, v)
	case Scan:
		return AppendScan(nil, &v)
	case Page:
		return AppendPage(nil, &v)
	case Message:
		return AppendMessage(nil, &v)
	}
	return nil
}
