package consensus

import (
	"context"
	"errors"
	"net"
	"strings"
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
	open := func() *Node {
		applied = nil
		n, err := Open(Config{Dir: dir, Address: "127.0.0.1:1", Bootstrap: true, Timeout: 50 * time.Millisecond,
			OnApply: func(m *clustermap.Map, d *clustermap.Delta) { applied = append(applied, m.Version) }})
		if err != nil {
			t.Fatal(err)
		}
		leads(t, n)
		return n
	}
	n := open()
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

	n = open()
	m, err = n.Catch(5 * time.Second)
	if err != nil || m.Version != 2 || m.ClusterID != 7 || !m.AutoReplace || n.ID() != id {
		t.Fatalf("after a restart: %+v %v, node %s", m, err, n.ID())
	}
	// From a snapshot too.
	if err := n.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Propose(setAuto(2, false), time.Second); err != nil {
		t.Fatal(err)
	}
	n.Close()
	n = open()
	if m, err = n.Catch(5 * time.Second); err != nil || m.Version != 3 || m.Server(1) == nil || m.AutoReplace {
		t.Fatalf("from a snapshot: %+v %v", m, err)
	}
	if _, err := Open(Config{Dir: dir, Bootstrap: true}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second manager in the directory: %v", err)
	}
	n.Close()
	if _, err := n.Propose(setAuto(3, true), time.Second); !errors.Is(err, ErrNotLeader) {
		t.Errorf("after the end: %v", err)
	}
}

// TestThreeVotersOverStreams is the transport of managers that are more than one.
func TestThreeVotersOverStreams(t *testing.T) {
	ids := map[string]string{}
	var nodes []*Node
	var layers []*Layer
	for i := range 3 {
		dir := t.TempDir()
		id, err := nodeID(dir)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ids[l.Addr().String()] = id
		layer := NewLayer(l, l.Addr(), Names{Self: id, Cluster: func() string { return "7" }, Peer: func(a string) string { return ids[a] }})
		layers = append(layers, layer)
		n, err := Open(Config{Dir: dir, Address: l.Addr().String(), Bootstrap: i == 0, Timeout: 300 * time.Millisecond,
			Transport: raft.NewNetworkTransport(layer, 3, time.Second, nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	leads(t, nodes[0])
	if _, err := nodes[0].Propose(create(), time.Second); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		if err := nodes[0].Raft().AddVoter(raft.ServerID(nodes[i].ID()), raft.ServerAddress(layers[i].Addr().String()), 0, 5*time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	m, err := nodes[0].Propose(setAuto(1, true), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		for end := time.Now().Add(5 * time.Second); n.Map().Version != m.Version; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a voter does not follow")
			}
		}
	}
	// The others go on without the leader.
	nodes[0].Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var next *Node
	for next == nil && ctx.Err() == nil {
		for _, n := range nodes[1:] {
			if n.IsLeader() {
				next = n
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if next == nil {
		t.Fatal("nobody leads")
	}
	if m, err := next.Catch(5 * time.Second); err != nil || m.Version != 2 {
		t.Fatal(m, err)
	}
	if _, err := next.Propose(setAuto(2, false), 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestHandshakeRefusesTheWrongOnes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layer := NewLayer(l, l.Addr(), Names{Self: "b", Cluster: func() string { return "7" }, Peer: func(string) string { return "" }})
	defer layer.Close()
	addr := raft.ServerAddress(l.Addr().String())
	dial := func(cluster, to string) error {
		d := &Layer{names: Names{Self: "a", Cluster: func() string { return cluster }, Peer: func(string) string { return to }}}
		c, err := d.Dial(addr, time.Second)
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
