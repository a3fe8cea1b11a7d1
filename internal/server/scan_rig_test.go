package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/wire"
)

// sinkConn is a client's connection of which only what is written matters.
type sinkConn struct {
	loop.Conn
	out []byte
}

func (c *sinkConn) Append(fn func([]byte) []byte) { c.out = fn(c.out) }
func (c *sinkConn) Buffered() int                 { return 0 }

// scanRig is a primary with a client that scans.
type scanRig struct {
	*glue
	out  *sinkConn
	conn *dataConn
	id   uint32
}

func newScanRig(t *testing.T) *scanRig {
	s := &scanRig{glue: newGlue(t), out: &sinkConn{}}
	s.heldLimit = maxHeld
	s.conn = newDataConn(s.node)
	s.conn.conn = s.out
	s.lease()
	return s
}

func (s *scanRig) lease() {
	s.rn.Leases.Granted(other, s.time, s.cmap.Version, s.time)
	s.granted = true
}

// put orders a write; its other replica has it when acked is called.
func (s *scanRig) put(key, value string, exptime int64) {
	s.t.Helper()
	req := wire.Request{Epoch: 1, Request: item.Request{Op: item.OpSet, Key: []byte(key), Value: []byte(value), Exptime: exptime}}
	s.request(&req, &answers{})
	s.turn()
}

func (s *scanRig) acked() {
	s.step(wire.Message{Kind: wire.KindAppendAck, Epoch: 1, Version: s.replicas[0].Last()})
	s.turn()
}

// ask sends a scan as far as the workers' queue.
func (s *scanRig) ask(q wire.Scan) {
	s.t.Helper()
	s.id++
	q.ID = s.id
	_, body, _, _ := wire.Frame(wire.AppendScan(nil, &q))
	if err := s.conn.scan(body); err != nil {
		s.t.Fatal(err)
	}
	clear(body) // it was only borrowed
	s.turn()
}

// work does what the workers have to do.
func (s *scanRig) work() {
	for len(s.scans.queue) > 0 {
		j := s.scans.take()
		s.scans.read(j)
		j.readDone()
	}
	s.turn()
}

// answer is the answer to the last scan: a page, or why not; nil, "": none yet.
func (s *scanRig) answer() (p *wire.Page, other string) {
	s.t.Helper()
	for len(s.out.out) > 0 {
		kind, body, n, err := wire.Frame(s.out.out)
		if err != nil || p != nil || other != "" {
			s.t.Fatalf("more than an answer: %v", err)
		}
		switch kind {
		case wire.KindPage:
			p = &wire.Page{}
			if err := wire.DecodePage(body, p); err != nil || p.ID != s.id {
				s.t.Fatalf("page %+v: %v", p, err)
			}
		case wire.KindNak:
			var k wire.Nak
			if err := wire.DecodeNak(body, &k); err != nil || k.ID != s.id {
				s.t.Fatalf("nak %+v: %v", k, err)
			}
			other = fmt.Sprint("nak ", k.Reason)
		default:
			other = fmt.Sprint("kind ", kind)
		}
		s.out.out = s.out.out[n:]
	}
	return p, other
}

// page scans and is answered at once.
func (s *scanRig) page(q wire.Scan) *wire.Page {
	s.t.Helper()
	if q.Epoch == 0 {
		q.Epoch = 1
	}
	s.ask(q)
	s.work()
	p, other := s.answer()
	if p == nil {
		s.t.Fatalf("no page but %q", other)
	}
	if s.scans.held != 0 {
		s.t.Errorf("%d bytes are held", s.scans.held)
	}
	return p
}

// shown is a page in words: its items, then what follows.
func shown(p *wire.Page) string {
	var b strings.Builder
	for _, it := range p.Items {
		fmt.Fprintf(&b, "%s=%s", it.Key, it.Value)
		if it.Omitted {
			b.WriteString("omitted")
		}
		b.WriteByte(' ')
	}
	if p.More {
		fmt.Fprintf(&b, "next %s", p.Next)
	}
	return strings.TrimSpace(b.String())
}
