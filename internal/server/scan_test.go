package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/replica"
	"github.com/kumofs/kumofs/internal/wire"
)

func TestScanPages(t *testing.T) {
	s := newScanRig(t)
	if p := s.page(wire.Scan{}); shown(p) != "" || len(s.scans.queue) > 0 {
		t.Errorf("an empty partition has %q", shown(p))
	}
	for _, k := range []string{"c", "a", "b2", "b1", "b"} {
		s.put(k, "value of "+k, 0)
	}
	s.put("d", strings.Repeat("x", 200), 0)
	s.acked()
	one := (&wire.PageItem{Key: []byte("a"), Value: []byte("value of a")}).Size()
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		q    wire.Scan
		want string
	}{
		{wire.Scan{}, "a=value of a b=value of b b1=value of b1 b2=value of b2 c=value of c d=" + long},
		{wire.Scan{KeysOnly: true}, "a= b= b1= b2= c= d="},
		{wire.Scan{Prefix: []byte("b"), KeysOnly: true}, "b= b1= b2="},
		{wire.Scan{Prefix: []byte("b"), From: []byte("b\x00"), KeysOnly: true}, "b1= b2="},
		{wire.Scan{Prefix: []byte("b"), From: []byte("a"), KeysOnly: true, MaxItems: 2}, "b= b1= next b2"},
		{wire.Scan{Prefix: []byte("b"), From: []byte("c")}, ""},
		{wire.Scan{Prefix: []byte("e")}, ""},
		{wire.Scan{MaxBytes: uint32(one)}, "a=value of a next b"},
		{wire.Scan{MaxBytes: uint32(2*one - 1)}, "a=value of a next b"},
		{wire.Scan{MaxBytes: uint32(2 * one)}, "a=value of a b=value of b next b1"},
		{wire.Scan{From: []byte("d"), MaxBytes: 100}, "d=omitted"},
		{wire.Scan{From: []byte("c"), MaxBytes: 100}, "c=value of c next d"},
		{wire.Scan{From: []byte("c"), MaxBytes: 1}, "c=omitted next d"},
		{wire.Scan{From: []byte("d"), MaxBytes: 1, KeysOnly: true}, "d="},
	} {
		if got := shown(s.page(c.q)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	for _, q := range []wire.Scan{{From: []byte("d")}, {From: []byte("d"), KeysOnly: true}, {From: []byte("d"), MaxBytes: 1}} {
		if p := s.page(q); len(p.Items) != 1 || p.Items[0].Length != 200 {
			t.Errorf("%+v: %+v does not tell the value's length", q, p.Items)
		}
	}
	// Followed to the end, pages of any size show everything once.
	for size := uint32(1); size < 400; size += 7 {
		var keys []string
		q := wire.Scan{MaxBytes: size}
		for {
			p := s.page(q)
			for _, it := range p.Items {
				keys = append(keys, string(it.Key))
			}
			if !p.More {
				break
			}
			q.From = p.Next
		}
		if want := []string{"a", "b", "b1", "b2", "c", "d"}; !slices.Equal(keys, want) {
			t.Fatalf("in pages of %d bytes: %q", size, keys)
		}
	}
}

// R11: what has expired or was flushed is not shown, and a scan deletes nothing.
func TestScanLeavesOutWhatIsGone(t *testing.T) {
	s := newScanRig(t)
	s.put("a", "1", 0)
	s.put("b", "1", -1)
	s.put("c", "1", time.Now().Unix()+1000)
	s.acked()
	last := s.replicas[0].Last()
	p := s.page(wire.Scan{})
	if got := shown(p); got != "a=1 c=1" || p.Items[1].Exptime == 0 || p.Items[0].CAS == 0 {
		t.Errorf("page %q: %+v", got, p.Items)
	}
	if s.replicas[0].Last() != last {
		t.Error("a scan has written")
	}
	flush := func(delay int64) {
		req := wire.Request{Epoch: 1, Request: item.Request{Op: item.OpFlush, Exptime: delay}}
		s.request(&req, &answers{})
		s.turn()
		s.acked()
	}
	flush(0)
	s.put("d", "1", 0)
	s.acked()
	if got := shown(s.page(wire.Scan{})); got != "d=1" {
		t.Errorf("after a flush: %q", got)
	}
	flush(1)
	if got := shown(s.page(wire.Scan{})); got != "d=1" {
		t.Errorf("before a delayed flush: %q", got)
	}
	// The flush is due: the scan orders it, and its page is as after it, so it waits.
	time.Sleep(1100 * time.Millisecond)
	s.touchClock()
	s.ask(wire.Scan{Epoch: 1})
	s.work()
	if p, other := s.answer(); p != nil || other != "" {
		t.Fatalf("shown before the flush is committed: %v %q", p, other)
	}
	s.acked()
	if p, _ := s.answer(); p == nil || shown(p) != "" {
		t.Errorf("after a delayed flush: %v", p)
	}
}

// R2: a page may hold what is not committed yet, and is not shown until it is. R5:
// nor without a lease that is held after the page was read.
func TestScanWaits(t *testing.T) {
	s := newScanRig(t)
	s.put("a", "1", 0)
	s.acked()
	s.put("a", "2", 0)
	s.ask(wire.Scan{Epoch: 1})
	s.work()
	if p, other := s.answer(); p != nil || other != "" {
		t.Fatalf("shown before it was committed: %v %q", p, other)
	}
	// What comes after the snapshot is not waited for.
	upTo := s.replicas[0].Last()
	s.put("b", "1", 0)
	s.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: upTo})
	s.turn()
	if p, _ := s.answer(); p == nil || shown(p) != "a=2" {
		t.Fatalf("when it was committed: %v", p)
	}
	s.acked()
	// The lease ends while the page is read.
	s.ask(wire.Scan{Epoch: 1})
	s.time += int64(replica.LeaseLength)
	s.work()
	if p, other := s.answer(); p != nil || other != "" {
		t.Fatalf("shown without a lease: %v %q", p, other)
	}
	if s.scans.held == 0 {
		t.Error("a page that waits counts for nothing")
	}
	s.lease()
	s.turn()
	if p, _ := s.answer(); p == nil || shown(p) != "a=2 b=1" {
		t.Fatalf("with a lease: %v", p)
	}
}

func TestScanIsRefused(t *testing.T) {
	refused := func(s *scanRig, q wire.Scan, want wire.NakReason) {
		s.t.Helper()
		s.ask(q)
		s.work()
		if p, other := s.answer(); p != nil || other != fmt.Sprint("nak ", want) {
			s.t.Errorf("%+v: %v %q, want reason %d", q, p, other, want)
		}
	}
	s := newScanRig(t)
	s.put("a", "1", 0)
	s.acked()
	refused(s, wire.Scan{Epoch: 2}, wire.NakNotReady)
	refused(s, wire.Scan{Epoch: 1, Partition: 1}, wire.NakNotReady)
	s.scans.held = maxScanBytes + 1
	refused(s, wire.Scan{Epoch: 1}, wire.NakNotReady)
	s.scans.held = 0
	for range maxScans {
		s.scans.queue = append(s.scans.queue, nil)
	}
	s.ask(wire.Scan{Epoch: 1})
	s.scans.queue = nil
	if _, other := s.answer(); other != fmt.Sprint("nak ", wire.NakNotReady) {
		t.Errorf("too many: %q", other)
	}

	// A page that cannot be read: another member is to take over (R9).
	s.ask(wire.Scan{Epoch: 1})
	j := s.scans.take()
	j.err = errors.New("disk on fire")
	j.readDone()
	if len(s.report.unreadable) != 1 {
		t.Error("nobody is told of a disk that cannot be read")
	}
	s.report.unreadable, s.report.send = nil, func(*control.Report) {}
	s.turn()
	if _, other := s.answer(); other != fmt.Sprint("nak ", wire.NakNotReady) {
		t.Errorf("cannot be read: %q", other)
	}

	// The partition moves while a page is read, and while one waits.
	for _, before := range []bool{true, false} {
		s := newScanRig(t)
		s.put("a", "1", 0) // never committed
		s.ask(wire.Scan{Epoch: 1})
		if !before {
			s.work()
		}
		m := *s.cmap
		m.Version++
		m.Partitions = slices.Clone(m.Partitions)
		m.Partitions[0].Epoch, m.Partitions[0].Active = 2, false
		m.Partitions[0].Replicas = []clustermap.ServerID{other, s.self}
		s.adopt(&m)
		s.work()
		if p, why := s.answer(); p != nil || why != fmt.Sprint("nak ", wire.NakWrongEpoch) {
			t.Errorf("before %v: %v %q", before, p, why)
		}
		refused(s, wire.Scan{Epoch: 2}, wire.NakWrongEpoch)
	}
}
