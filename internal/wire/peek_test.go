package wire

import (
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// What is peeked is what is decoded.
func TestPeek(t *testing.T) {
	for _, r := range []Request{
		{Partition: 4095, Request: item.Request{Op: item.OpGet, Key: []byte("key")}},
		{Partition: 7, Request: item.Request{Op: item.OpSet, Key: []byte("another"), Value: []byte("value")}},
		{Partition: 7, Request: item.Request{Op: item.OpFlush}},
		{Partition: 7, Request: item.Request{Op: item.OpMetaGet, Options: item.Vivify, Key: []byte("key")}},
	} {
		_, body, _, err := Frame(AppendRequest(nil, &r))
		if err != nil {
			t.Fatal(err)
		}
		part, key, op, ok := PeekRequest(body)
		if ok != (r.Options == 0) {
			t.Fatalf("%+v: %v", r, ok)
		}
		if ok && (part != r.Partition || string(key) != string(r.Key) || op != r.Op) {
			t.Errorf("%+v: partition %d, key %q, operation %d", r, part, key, op)
		}
		for n := range body {
			PeekRequest(body[:n]) // must not panic
		}
	}
	_, body, _, _ := Frame(AppendMessage(nil, &Message{Kind: KindAppendAck, Partition: 300}))
	if part, ok := PeekPartition(body); !ok || part != 300 {
		t.Error(part, ok)
	}
	if _, ok := PeekPartition(body[:1]); ok {
		t.Error("there is no partition in one byte")
	}
}
