package server

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/replica"
)

// Reads are taken in the order in which they came, and taking some costs no more
// when many wait: the loop waits meanwhile.
func TestLongQueueOfReads(t *testing.T) {
	const reads = 300_000
	r := newReaders(nil, 0)
	next := uint32(0)
	submit := func(n int) {
		list := make([]replica.Read, n)
		for i := range list {
			list[i].Epoch = next
			next++
		}
		r.submit(list)
	}
	submit(reads)
	began := time.Now()
	for want := uint32(0); want < next; {
		if next < 2*reads {
			submit(readBatch / 2)
		}
		list := r.take()
		if len(list) == 0 {
			t.Fatalf("nothing is left after %d of %d reads", want, next)
		}
		for i := range list {
			if list[i].read.Epoch != want {
				t.Fatalf("read %d instead of %d", list[i].read.Epoch, want)
			}
			want++
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d reads were taken in %v", next, took)
	}
}
