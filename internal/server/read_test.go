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
	r := newReaders(nil, 1)
	next := uint32(0)
	submit := func(n int) {
		list := make([]replica.Read, n)
		for i := range list {
			list[i].Epoch = next
			next++
		}
		r.submit(list, 1)
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

// Reads that wait are shared out, so that none waits for others while a goroutine has nothing
// to do.
func TestReadsAreShared(t *testing.T) {
	const threads = 4
	r := newReaders(nil, threads)
	r.submit(make([]replica.Read, 2*threads), 1)
	if n := len(r.take()); n != 2 {
		t.Errorf("one of %d goroutines takes %d of %d reads, want 2", threads, n, 2*threads)
	}
	r.submit(make([]replica.Read, 2*threads*readBatch), 1)
	if n := len(r.take()); n != readBatch {
		t.Errorf("takes %d reads at once, want %d at most", n, readBatch)
	}
}
