package router_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/router"
	"github.com/kumofs/kumofs/internal/router/routertest"
	"github.com/kumofs/kumofs/internal/wire"
)

// scanning is a scan's request.
type scanning struct {
	pending
	page *wire.Page // with keys alone
}

func (s *scanning) Page(p *wire.Page) {
	s.page = &wire.Page{More: p.More, Next: slices.Clone(p.Next)}
	for _, it := range p.Items {
		s.page.Items = append(s.page.Items, wire.PageItem{Key: slices.Clone(it.Key)})
	}
}

func (g *rig) scan(q wire.Scan) (s *scanning, o router.Ongoing) {
	s = &scanning{pending: pending{ch: make(chan item.Result, 2)}}
	g.on(func() {
		from, prefix := slices.Clone(q.From), slices.Clone(q.Prefix)
		q.From, q.Prefix = from, prefix
		o = g.r.Scan(&q, s)
		clear(from) // they were only borrowed
		clear(prefix)
	})
	return s, o
}

// keys waits for the page.
func (s *scanning) keys(t *testing.T) (keys []string, next string) {
	t.Helper()
	s.want(t, item.OK, "")
	if s.page == nil {
		t.Fatal("done without a page")
	}
	for _, it := range s.page.Items {
		keys = append(keys, string(it.Key))
	}
	if s.page.More {
		next = string(s.page.Next)
	}
	return keys, next
}

// keysIn are n keys of a partition, in order.
func keysIn(part uint16, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprintf("k%06d", i); clustermap.PartitionOf([]byte(k), parts) == part {
			keys = append(keys, k)
		}
	}
	return keys
}

// scanRig has five keys in partition 3.
func scanRig(t *testing.T, opt router.Options) (g *rig, keys []string) {
	g = newRig(t, opt)
	g.a.Partitions, g.b.Partitions = parts, parts
	keys = keysIn(3, 5)
	g.setMap(1, 1, g.a)
	for _, k := range keys {
		g.begin(0, item.OpSet, k, "v").want(t, item.OK, "")
	}
	return g, keys
}

func TestScan(t *testing.T) {
	g, keys := scanRig(t, router.Options{})
	s, _ := g.scan(wire.Scan{Partition: 3, MaxItems: 2, Prefix: []byte("k")})
	if got, next := s.keys(t); !slices.Equal(got, keys[:2]) || next != keys[2] {
		t.Errorf("page %q, next %q", got, next)
	}
	s, _ = g.scan(wire.Scan{Partition: 3, From: []byte(keys[2])})
	if got, next := s.keys(t); !slices.Equal(got, keys[2:]) || next != "" {
		t.Errorf("page %q, next %q", got, next)
	}
	s, _ = g.scan(wire.Scan{Partition: parts})
	if r := s.wait(t); r.Status != item.Failed {
		t.Errorf("a partition that does not exist: %+v", r)
	}
}

// A page is asked for again as a get is: after a refusal, a connection that breaks, a
// server that steps down; and elsewhere when the partition has moved.
func TestScanIsRetried(t *testing.T) {
	g, keys := scanRig(t, router.Options{})
	type reply = func(func([]byte) []byte)
	moved := g.mapTo(2, 2, g.b).Partitions[3]
	for name, answer := range map[string]func(q *wire.Scan, r reply){
		"not ready": func(q *wire.Scan, r reply) {
			r(func(b []byte) []byte {
				return wire.AppendNak(b, &wire.Nak{ID: q.ID, Index: 3, Reason: wire.NakNotReady})
			})
		},
		"fate unknown": func(q *wire.Scan, r reply) {
			r(func(b []byte) []byte {
				return wire.AppendReply(b, &wire.Reply{ID: q.ID, Result: item.Result{Status: item.FateUnknown}})
			})
		},
		"crash": func(*wire.Scan, reply) { g.a.Crash(); _ = g.a.Start(g.l) },
		"moved": func(q *wire.Scan, r reply) {
			r(func(b []byte) []byte {
				return wire.AppendNak(b, &wire.Nak{ID: q.ID, Index: 3, Reason: wire.NakWrongEpoch, Partition: moved})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			g.on(func() {
				g.a.ScanScript = func(q *wire.Scan, r func(func([]byte) []byte)) bool {
					tries++
					if tries == 1 {
						answer(q, r)
					}
					return tries == 1
				}
			})
			s, _ := g.scan(wire.Scan{Partition: 3})
			if got, _ := s.keys(t); !slices.Equal(got, keys) {
				t.Errorf("page %q", got)
			}
			g.on(func() { g.a.ScanScript = nil })
		})
	}
}

func TestScanOfNonsense(t *testing.T) {
	g, keys := scanRig(t, router.Options{})
	answerOnce := func(answer func(id uint32, b []byte) []byte) {
		g.on(func() {
			g.a.Script = func(try *routertest.Try) bool {
				try.Append(func(b []byte) []byte { return answer(try.Req.ID, b) })
				g.a.Script = nil
				return true
			}
		})
	}
	// A page where a reply is due closes the connection, and the get is sent again.
	answerOnce(func(id uint32, b []byte) []byte { return wire.AppendPage(b, &wire.Page{ID: id}) })
	g.begin(0, item.OpGet, keys[0], "").want(t, item.OK, "v")
	// A page that nobody waits for is nobody's.
	answerOnce(func(id uint32, b []byte) []byte {
		b = wire.AppendPage(b, &wire.Page{ID: id + 1})
		return wire.AppendReply(b, &wire.Reply{ID: id, Result: item.Result{Status: item.NotFound}})
	})
	g.begin(0, item.OpGet, keys[0], "").want(t, item.NotFound, "")
	s, _ := g.scan(wire.Scan{Partition: 3})
	if got, _ := s.keys(t); !slices.Equal(got, keys) {
		t.Errorf("page %q", got)
	}
	var st router.Stats
	g.on(func() { st = g.r.Stats() })
	if st.Connects != 2 {
		t.Errorf("%d connections", st.Connects)
	}
}

func TestCancel(t *testing.T) {
	g, keys := scanRig(t, router.Options{Timeout: time.Minute})
	begin := func(op item.Op, key string) (p *pending, o router.Ongoing) {
		p = &pending{ch: make(chan item.Result, 2)}
		g.on(func() { o = g.r.Begin(&item.Request{Op: op, Key: []byte(key), Value: []byte("w")}, p) })
		return p, o
	}
	cancel := func(p *pending, o router.Ongoing, want item.Status) {
		t.Helper()
		p.unanswered(t)
		g.on(func() { g.r.Cancel(o) })
		if r := p.wait(t); r.Status != want {
			t.Errorf("cancelled: %+v, want status %d", r, want)
		}
	}
	key := keys[0]
	for range 3 { // whatever is left over must not disturb what follows
		// Sent and unanswered: a write may be done, a read does not matter.
		silent := true
		g.on(func() { g.a.Script = func(*routertest.Try) bool { return silent } })
		p, o := begin(item.OpSet, key)
		q, qo := begin(item.OpGet, key)
		g.on(func() { g.a.ScanScript = func(*wire.Scan, func(func([]byte) []byte)) bool { return silent } })
		s, so := g.scan(wire.Scan{Partition: 3})
		cancel(p, o, item.FateUnknown)
		cancel(q, qo, item.Failed)
		cancel(&s.pending, so, item.Failed)
		g.on(func() { silent = false })
		g.begin(0, item.OpSet, key, "v").want(t, item.OK, "")
		g.begin(0, item.OpGet, key, "").want(t, item.OK, "v")
	}
	// Parked: it was never sent.
	g.on(func() { g.r.SetMap(g.mapTo(2, 2, nil)) })
	p, o := begin(item.OpSet, key)
	cancel(p, o, item.Failed)
	g.setMap(3, 3, g.b)
	g.begin(0, item.OpGet, key, "").want(t, item.OK, "v")
	var st router.Stats
	g.on(func() { st = g.r.Stats() })
	if st.Outstanding != 0 || st.Bytes != 0 {
		t.Errorf("left over: %+v", st)
	}
}
