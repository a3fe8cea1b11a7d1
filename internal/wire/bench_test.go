package wire

import (
	"testing"

	"github.com/kumofs/kumofs/internal/item"
)

// What goes over the connections for a get and a set of 100 B: encoded, found in the
// stream, decoded.

func BenchmarkRequest(b *testing.B) {
	b.Run("get", func(b *testing.B) {
		benchmarkRequest(b, Request{ID: 1, Partition: 7, Epoch: 3, Request: item.Request{Op: item.OpGet, Key: []byte("bench:0000000042")}})
	})
	b.Run("set", func(b *testing.B) {
		benchmarkRequest(b, Request{ID: 1, Partition: 7, Epoch: 3, Session: 5, Number: 9, Lowest: 8, Request: item.Request{Op: item.OpSet, Key: []byte("bench:0000000042"), Value: make([]byte, 100)}})
	})
}

func benchmarkRequest(b *testing.B, r Request) {
	var buf []byte
	var got Request
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRequest(buf[:0], &r)
		if err := DecodeRequest(only(b, buf, KindRequest), &got); err != nil || got.ID != r.ID {
			b.Fatal(err)
		}
	}
}

func BenchmarkReply(b *testing.B) {
	b.Run("get", func(b *testing.B) {
		benchmarkReply(b, Reply{ID: 1, Result: item.Result{Status: item.OK, Item: item.Item{Version: 5, Value: make([]byte, 100)}}})
	})
	b.Run("set", func(b *testing.B) {
		benchmarkReply(b, Reply{ID: 1, Result: item.Result{Status: item.OK, Item: item.Item{Version: 5}}})
	})
}

func benchmarkReply(b *testing.B, r Reply) {
	var buf []byte
	var got Reply
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendReply(buf[:0], &r)
		if err := DecodeReply(only(b, buf, KindReply), &got); err != nil || got.ID != r.ID {
			b.Fatal(err)
		}
	}
}

// BenchmarkMessage is an operation from a primary to a backup, and its acknowledgement.
func BenchmarkMessage(b *testing.B) {
	for name, m := range map[string]Message{
		"append": {Kind: KindAppend, Partition: 7, Epoch: 3, Prev: 4, Version: 5, Committed: 4, Effect: EffectPut, Session: 5, Number: 9, Lowest: 8,
			Key: "bench:0000000042", Item: &item.Item{Version: 5, Value: make([]byte, 100)}},
		"ack": {Kind: KindAppendAck, Partition: 7, Epoch: 3, Version: 5},
	} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var got Message
				buf = AppendMessage(buf[:0], &m)
				if err := DecodeMessage(m.Kind, only(b, buf, m.Kind), &got); err != nil || got.Version != m.Version {
					b.Fatal(err)
				}
			}
		})
	}
}

// only is the body of the one frame in buf.
func only(b *testing.B, buf []byte, want Kind) []byte {
	kind, body, n, err := Frame(buf)
	if kind != want || n != len(buf) || err != nil {
		b.Fatal(kind, n, err)
	}
	return body
}
