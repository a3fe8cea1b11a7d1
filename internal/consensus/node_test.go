package consensus

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kumofs/kumofs/internal/clustermap"
)

func create() *clustermap.Delta {
	return &clustermap.Delta{Create: &clustermap.Creation{ClusterID: 7, Partitions: 16, Replication: 3},
		SetServers: []clustermap.Server{{ID: 1, Addr: "10.0.0.1:19800", Incarnation: 1}}}
}

func setAuto(base uint64, on bool) *clustermap.Delta {
	return &clustermap.Delta{Base: base, AutoReplace: &on}
}

func leads(t *testing.T, n *Node) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !n.IsLeader(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("does not lead")
		}
	}
}

func TestSingleVoterKeepsItsState(t *testing.T) {
	dir := t.TempDir()
	var applied []uint64
	again := func() *Node {
		applied = nil
		n := open(t, Config{Dir: dir, OnApply: func(m *clustermap.Map, d *clustermap.Delta) { applied = append(applied, m.Version) }})
		if len(n.Members()) == 0 {
			if err := n.Bootstrap(); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		if err := n.LeadIfAlone(); err != nil {
			t.Fatal(err)
		}
		leads(t, n)
		if took := time.Since(begin); took > ManagerTimeout/2 {
			t.Errorf("a single voter led after %v", took)
		}
		return n
	}
	n := again()
	id := n.ID()
	m, err := n.Propose(create(), time.Second)
	if err != nil || m.Version != 1 {
		t.Fatal(m, err)
	}
	if _, err := n.Propose(setAuto(5, true), time.Second); !errors.Is(err, clustermap.ErrBase) {
		t.Errorf("a delta for another version: %v", err)
	}
	if n.Map().Version != 1 {
		t.Error("a refused delta changed the map")
	}
	if _, err := n.Propose(setAuto(1, true), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if len(applied) != 2 {
		t.Errorf("applied %v", applied)
	}

	n = again()
	m, err = n.Catch(5 * time.Second)
	if err != nil || m.Version != 2 || m.ClusterID != 7 || !m.AutoReplace || n.ID() != id {
		t.Fatalf("after a restart: %+v %v, node %s", m, err, n.ID())
	}
	// From a snapshot too.
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Propose(setAuto(2, false), time.Second); err != nil {
		t.Fatal(err)
	}
	n.Close()
	n = again()
	if m, err = n.Catch(5 * time.Second); err != nil || m.Version != 3 || m.Server(1) == nil || m.AutoReplace {
		t.Fatalf("from a snapshot: %+v %v", m, err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second manager in the directory: %v", err)
	}
	n.Close()
	if _, err := n.Propose(setAuto(3, true), time.Second); !errors.Is(err, ErrUnknown) {
		t.Errorf("after the end: %v", err)
	}
}

// open opens a node on a port of its own; it is closed with the test.
func open(t *testing.T, cfg Config) *Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener, cfg.Advertise = l, l.Addr().String()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 15 s: ", what)
		}
	}
}

// TestTwoManagersAndWitnesses: five voters go on without the leader and a witness,
// a manager takes over and not a witness, and none of them leaves anything running.
func TestTwoManagersAndWitnesses(t *testing.T) {
	before := runtime.NumGoroutine()
	var nodes []*Node
	for i := range 5 {
		var server clustermap.ServerID
		if i >= 2 {
			server = clustermap.ServerID(i)
		}
		nodes = append(nodes, open(t, Config{Witness: server}))
	}
	if s, ok := WitnessOf(nodes[2].ID()); !ok || s != 2 {
		t.Fatalf("witness ID %s", nodes[2].ID())
	}
	if _, ok := WitnessOf(nodes[0].ID()); ok {
		t.Fatalf("manager ID %s", nodes[0].ID())
	}
	first := nodes[0]
	if err := errors.Join(first.Bootstrap(), first.LeadIfAlone()); err != nil {
		t.Fatal(err)
	}
	leads(t, first)
	if _, err := first.Propose(create(), time.Second); err != nil {
		t.Fatal(err)
	}
	var prev uint64
	for _, kind := range []Kind{Add, Promote} {
		for _, n := range nodes[1:] {
			var err error
			if prev, err = first.Change(Step{Kind: kind, ID: n.ID(), Addr: n.addr}, prev, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			until(t, "it follows", func() bool { return n.LastIndex() >= prev })
		}
	}
	if _, err := first.Change(Step{Kind: Remove, ID: nodes[4].ID()}, prev-1, time.Second); err == nil {
		t.Error("a change that follows another than the last was made")
	}
	m, err := first.Propose(setAuto(1, true), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		until(t, "every voter has the map", func() bool { return n.Map().Version == m.Version })
	}
	begin := time.Now()
	nodes[2].Close()
	first.Close()
	leads(t, nodes[1])
	t.Logf("the other manager led after %v", time.Since(begin))
	if m, err := nodes[1].Catch(5 * time.Second); err != nil || m.Version != 2 {
		t.Fatal(m, err)
	}
	if _, err := nodes[1].Propose(setAuto(2, false), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{nodes[1], nodes[3], nodes[4]} {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestWitnessHandsOver: a witness that must lead, since it alone has the newest
// log, brings the manager up to date and hands over.
func TestWitnessHandsOver(t *testing.T) {
	dir := t.TempDir()
	a, b, w := open(t, Config{}), open(t, Config{Dir: dir}), open(t, Config{Witness: 7})
	defer w.Close()
	if err := errors.Join(a.Bootstrap(), a.LeadIfAlone()); err != nil {
		t.Fatal(err)
	}
	leads(t, a)
	for _, n := range []*Node{b, w} {
		if _, err := a.Change(Step{Kind: Promote, ID: n.ID(), Addr: n.addr}, 0, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both follow", func() bool { return b.LastIndex() == a.LastIndex() && w.LastIndex() == a.LastIndex() })
	// b misses a step that the others commit.
	addr := b.addr
	b.Close()
	if _, err := a.Propose(create(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	a.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = Open(Config{Dir: dir, Listener: l, Advertise: addr}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	leads(t, w)
	until(t, "the witness hands over", func() bool {
		if b.IsLeader() {
			return true
		}
		if w.IsLeader() {
			_ = w.HandOver(Member{ID: b.ID(), Addr: b.addr}) // it may not have caught up yet
		}
		return false
	})
	if m, err := b.Catch(5 * time.Second); err != nil || m.Version != 1 {
		t.Fatal(m, err)
	}
}

// TestDiskFailure: a node whose file takes nothing any more is cut off and says
// so; nothing panics, and with its old state it comes back.
func TestDiskFailure(t *testing.T) {
	n := open(t, Config{Witness: 9})
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	n.store.Close() // every write fails from now on
	_ = n.LeadIfAlone()
	select {
	case err := <-n.Failed():
		if !strings.Contains(err.Error(), "cannot be written") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not say that it failed")
	}
	if c, err := net.DialTimeout("tcp", n.addr, time.Second); err == nil {
		c.Close()
		t.Error("it still listens")
	}
	n.Close()
}

// TestDamagedLog: a log that cannot be read is an error, not the end of the process.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	n := open(t, Config{Dir: dir})
	if err := errors.Join(n.Bootstrap(), n.LeadIfAlone()); err != nil {
		t.Fatal(err)
	}
	leads(t, n)
	if _, err := n.Propose(create(), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := n.store.DeleteRange(2, 2); err != nil {
		t.Fatal(err)
	}
	n.Close()
	for range 2 { // what was opened is closed
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n, err := Open(Config{Dir: dir, Listener: l, Advertise: l.Addr().String()})
		if n != nil || err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Fatal(n, err)
		}
		if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
			c.Close()
			t.Error("it still listens")
		}
	}
}

// hanging lets every write wait while it is shut.
type hanging struct {
	stores
	gate sync.RWMutex
}

func (h *hanging) StoreLogs(l []*raft.Log) error {
	h.gate.RLock()
	defer h.gate.RUnlock()
	return h.stores.StoreLogs(l)
}

// TestLeaderWhoseDiskHangs: it still could send heartbeats, but another takes over.
func TestLeaderWhoseDiskHangs(t *testing.T) {
	h := &hanging{}
	a := open(t, Config{wrap: func(s stores) stores { h.stores = s; return h }})
	b, c := open(t, Config{}), open(t, Config{})
	defer b.Close()
	defer c.Close()
	if err := errors.Join(a.Bootstrap(), a.LeadIfAlone()); err != nil {
		t.Fatal(err)
	}
	leads(t, a)
	if _, err := a.Propose(create(), time.Second); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{b, c} {
		if _, err := a.Change(Step{Kind: Promote, ID: n.ID(), Addr: n.addr}, 0, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both follow", func() bool { return b.LastIndex() == a.LastIndex() && c.LastIndex() == a.LastIndex() })
	h.gate.Lock()
	proposed := make(chan error, 1)
	go func() {
		_, err := a.Propose(setAuto(1, true), time.Second)
		proposed <- err
	}()
	begin := time.Now()
	until(t, "another leads", func() bool { return b.IsLeader() || c.IsLeader() })
	t.Logf("another led after %v", time.Since(begin))
	select {
	case err := <-a.Failed():
		if !strings.Contains(err.Error(), "has not answered") {
			t.Error(err)
		}
	default:
		t.Error("it does not say that it failed")
	}
	h.gate.Unlock()
	a.Close()
	if err := <-proposed; err == nil {
		t.Error("a change was made by a leader whose disk hung")
	}
}

func TestHandshakeRefusesTheWrongOnes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layer := NewLayer(l, l.Addr().String(), Names{Self: "b", Cluster: func() string { return "7" }, Peer: func(string) string { return "" }})
	defer layer.Close()
	addr := l.Addr().String()
	dial := func(cluster, to string) error {
		d := &Layer{conns: map[net.Conn]struct{}{}, names: Names{Self: "a", Cluster: func() string { return cluster }, Peer: func(string) string { return to }}}
		c, err := d.Dial(raft.ServerAddress(addr), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial("7", "b"); err != nil {
		t.Error(err)
	}
	if err := dial("8", "b"); err == nil || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("another cluster: %v", err)
	}
	if err := dial("7", "c"); err == nil || !strings.Contains(err.Error(), "manager c") {
		t.Errorf("another receiver: %v", err)
	}
}
