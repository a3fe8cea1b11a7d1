package replica

import (
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/item"
)

// R11: a primary that finds an item expired deletes it in the stream, and
// answers after that has committed, without a lease.
func TestExpiryIsADelete(t *testing.T) {
	r := newRig(t, A, B).active()
	q := set("k", "1")
	q.Exptime = 10
	r.do(A, q)
	r.expect(A, "k", "1")
	r.pass(11 * time.Second)
	r.hosts[B].slowDisk = true
	id := r.ask(A, get("k"))
	r.run()
	r.unanswered(A, id)
	r.hosts[B].slowDisk = false
	r.run()
	if res := r.answered(A, id); res.Status != item.NotFound {
		t.Errorf("answered %+v", res)
	}
	if len(r.hosts[B].store) != 0 {
		t.Error("the backup still has it")
	}
	// A clock that goes back does not bring it back.
	r.unix -= 100
	r.leases()
	r.expect(A, "k", "")
}

func flush(delay int64) item.Request { return item.Request{Op: item.OpFlush, Exptime: delay} }

// R11: a flush is a write of one record, at every replica.
func TestFlush(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	if res := r.do(A, flush(0)); res.Status != item.OK {
		t.Fatalf("flush is answered %+v", res)
	}
	r.leases()
	r.expect(A, "k", "")
	r.do(A, set("l", "1"))
	r.expect(A, "l", "1")
	r.equal(A, B)
	if r.hosts[B].stored.Flush.Version == 0 {
		t.Error("the backup has no flush record")
	}
}

// R2: a miss because of a flush that is not committed waits until it is.
func TestAnswersUnderAFlushInFlightWait(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.do(A, set("l", "1"))
	r.hosts[B].slowDisk = true
	r.ask(A, flush(0))
	id, failing := r.ask(A, get("k")), r.ask(A, remove("l"))
	r.run()
	r.unanswered(A, id)
	r.unanswered(A, failing)
	r.hosts[B].slowDisk = false
	r.run()
	if r.answered(A, id).Status != item.NotFound || r.answered(A, failing).Status != item.NotFound {
		t.Error("the flush did not do it")
	}
}

// R11: a delayed flush is started by the primary of its moment.
func TestDelayedFlush(t *testing.T) {
	r := newRig(t, A, B).active()
	r.do(A, set("k", "1"))
	r.do(A, flush(5))
	r.leases()
	r.expect(A, "k", "1")
	r.crash(A)
	r.lead(ids{B}, B)
	r.pass(2 * time.Second)
	r.tick(300 * time.Millisecond)
	r.record()
	r.expect(B, "k", "1")
	r.do(B, set("l", "1"))
	r.pass(4 * time.Second)
	r.expect(B, "k", "")
	r.expect(B, "l", "")
	if f := r.hosts[B].r.Flush(); f.At != 0 || f.Version == 0 {
		t.Errorf("the flush record is %+v", f)
	}
	r.do(B, set("k", "2"))
	r.expect(B, "k", "2")
}
