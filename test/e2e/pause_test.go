package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/wire"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

// A paused server is replaced like a dead one. When it goes on it still believes
// to be primary: it must not answer a read from its own store nor acknowledge a
// write, not even one that has waited in its sockets.
func TestPausedServer(t *testing.T) {
	opt := options(3)
	opt.Text = true
	c := harness.Start(t, opt)
	l := fill(t, c, size(20_000, 100_000))
	p := c.MostPrimaries()
	m := c.Map()
	id := m.ServerByAddr(p.Addr).ID

	// Keys of which p is primary: the first half is asked for through its own
	// memcached port, the second over the gateways' protocol with the epochs
	// that it still holds.
	const n = 200
	var keys []string
	for i := 0; len(keys) < n; i++ {
		k := fmt.Sprintf("pause-%d", i)
		if part := &m.Partitions[m.PartitionOf([]byte(k))]; part.Primary() == id {
			keys = append(keys, k)
		}
	}
	viaText, viaWire := keys[:n/2], keys[n/2:]
	write := func(tag string) {
		ops := make([]load.Op, n)
		for i, k := range keys {
			ops[i] = load.Op{Kind: load.Set, Key: k, Value: tag + "-" + k}
		}
		call := l.Now()
		err := load.Pipeline(c.Gateway.Addr, ops, 30*time.Second, func(i int, r load.Result) {
			l.Observe(ops[i], r, call, l.Now())
			if r.Status != load.Done && (tag == "old" || r.Status != load.Unknown) {
				t.Errorf("set %s: %v %s", ops[i].Key, r.Status, r.Error)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	write("old")
	text, err := load.Dial(c.Text(p), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	raw, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte(wire.Magic))
	if r := ask(t, raw, 1, m, viaWire[0], item.OpGet); r != "hit" {
		t.Fatalf("before the pause %s says %q for %s", p.Name, r, viaWire[0])
	}

	pause := size(6*time.Second, 20*time.Second)
	l.Mark("SIGSTOP %s (%d primaries) for %v", p.Name, harness.Node(c.Status(), p).Primaries, pause)
	began := time.Now()
	p.Stop()
	write("first") // these wait for the failover
	write("new")   // these are done elsewhere: what p has is old from here on
	l.Mark("written elsewhere")
	l.Run(pause - time.Since(began))

	// In its sockets when it goes on: reads and writes of before-last epochs.
	var ops []load.Op
	for i, k := range viaText {
		op := load.Op{Kind: load.Get, Key: k}
		if i%2 == 1 {
			op = load.Op{Kind: load.Set, Key: k, Value: "direct-" + k}
		}
		ops = append(ops, op)
	}
	call := l.Now()
	var b []byte
	for i := range ops {
		b = load.AppendOp(b, &ops[i])
	}
	if err := text.Send(b); err != nil {
		t.Fatal(err)
	}
	send(t, raw, m, viaWire)
	// Others go on writing what it is asked for when it wakes up.
	woken, others := make(chan struct{}), make(chan int)
	go func() { others <- writeUntil(t, c.Gateway.Addr, l, viaText, woken) }()
	l.Mark("SIGCONT")
	p.Cont()
	for i := range ops {
		r, err := text.Read(&ops[i])
		if err != nil {
			t.Errorf("the memcached port of %s broke: %v", p.Name, err)
			break
		}
		l.Observe(ops[i], r, call, l.Now()) // judged with the histories: "old" would be stale
	}
	close(woken)
	t.Logf("meanwhile others wrote %d times", <-others)
	answers := map[string]int{}
	raw.SetReadDeadline(time.Now().Add(20 * time.Second))
	rd := bufio.NewReader(raw)
	for range viaWire {
		kind, r := answer(t, rd)
		answers[kind]++
		if kind != "refused" {
			t.Errorf("%s answered a request of an epoch that was over: %s %s", p.Name, kind, r)
			break
		}
	}
	t.Logf("answers of the resumed server to %d requests of old epochs: %v", len(viaWire), answers)

	harness.Until(t, 10*time.Second, "the resumed server is fault and listed as not attached", func() error {
		s := c.Status()
		if n := harness.Node(s, p); n == nil || n.State != "fault" || !harness.NotAttached(s, p) {
			return fmt.Errorf("it is %+v, not attached: %+v", n, s.NotAttached)
		}
		return nil
	})
	// A client that has only this server sees what all others see.
	for i := range 400 {
		k := keys[i%n]
		op := load.Op{Kind: load.Get, Key: k}
		if i%5 == 0 {
			op = load.Op{Kind: load.Set, Key: k, Value: fmt.Sprintf("through-%d", i)}
		}
		call := l.Now()
		r, err := text.Do(&op)
		if err != nil {
			t.Fatal(err)
		}
		l.Observe(op, r, call, l.Now())
		if r.Status >= load.Unknown {
			t.Errorf("%v %s through the resumed server: %s", op.Kind, k, r.Error)
		}
	}
	l.Mark("attach")
	c.Ctl("attach", "--wait")
	c.WaitReady(20 * time.Second)
	l.Mark("ready")
	l.Run(time.Second)
	finish(t, l, clients, stallBar)
	c.CheckCopies()
}

// writeUntil writes keys one after another, each time another value, until stop is closed.
func writeUntil(t *testing.T, addr string, l *load.Load, keys []string, stop <-chan struct{}) (n int) {
	conn, err := load.Dial(addr, 20*time.Second)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	for ; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		op := load.Op{Kind: load.Set, Key: keys[n%len(keys)], Value: fmt.Sprintf("awake-%d", n)}
		call := l.Now()
		r, err := conn.Do(&op)
		if err != nil {
			t.Error(err)
			return n
		}
		l.Observe(op, r, call, l.Now())
		if r.Status >= load.Unknown {
			t.Errorf("set %s while the paused server wakes up: %s", op.Key, r.Error)
		}
	}
}

// send asks for keys, every second one to be written, with the epochs of m.
func send(t *testing.T, w io.Writer, m *clustermap.Map, keys []string) {
	t.Helper()
	var b []byte
	for i, k := range keys {
		req := wire.Request{ID: uint32(100 + i), Request: item.Request{Op: item.OpGet, Key: []byte(k)}}
		if i%2 == 1 {
			req.Op, req.Value = item.OpSet, []byte("stale-"+k)
		}
		req.Partition = m.PartitionOf(req.Key)
		req.Epoch = m.Partitions[req.Partition].Epoch
		b = wire.AppendRequest(b, &req)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// ask sends one request and reads its answer.
func ask(t *testing.T, c net.Conn, id uint32, m *clustermap.Map, key string, op item.Op) string {
	t.Helper()
	req := wire.Request{ID: id, Request: item.Request{Op: op, Key: []byte(key)}}
	req.Partition = m.PartitionOf(req.Key)
	req.Epoch = m.Partitions[req.Partition].Epoch
	if _, err := c.Write(wire.AppendRequest(nil, &req)); err != nil {
		t.Fatal(err)
	}
	kind, _ := answer(t, c)
	return kind
}

// answer reads one frame: hit, stored, refused, fate unknown.
func answer(t *testing.T, r io.Reader) (kind, detail string) {
	t.Helper()
	if c, ok := r.(net.Conn); ok {
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil {
		return "closed", err.Error()
	}
	b = append(b, make([]byte, binary.LittleEndian.Uint32(b))...)
	if _, err := io.ReadFull(r, b[4:]); err != nil {
		return "closed", err.Error()
	}
	k, body, _, err := wire.Frame(b)
	if err != nil {
		t.Fatal(err)
	}
	if k == wire.KindNak {
		return "refused", ""
	}
	var rep wire.Reply
	if err := wire.DecodeReply(body, &rep); err != nil {
		t.Fatal(err)
	}
	switch {
	case rep.Status == item.FateUnknown:
		return "fate unknown", ""
	case rep.Status == item.OK && rep.Item.Value != nil:
		return "hit", string(rep.Item.Value)
	case rep.Status == item.OK:
		return "stored", ""
	}
	return fmt.Sprintf("status %d", rep.Status), rep.Message
}
