// Package consensus keeps the cluster map agreed among managers: hashicorp/raft
// with the map as its state machine and deltas as its log (docs/protocol.md, Managers).
package consensus

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/secret"
)

// ErrNotLeader: another manager decides, or none does yet.
var ErrNotLeader = errors.New("this manager does not lead")

// ErrUnknown: the leadership was lost before the change was known to be
// committed; it may be yet.
var ErrUnknown = errors.New("the leadership was lost meanwhile; whether the change was made is unknown")

// Config of a Node.
type Config struct {
	// Dir is the state directory; it is created. Its contents are always really
	// synced, and hold the node's own ID.
	Dir string
	// Listener has the connections that begin with StreamMagic; the node closes it.
	Listener net.Listener
	// Advertise is where the others reach this node, "ip:port".
	Advertise string
	// Witness is the server whose witness this is; 0: it is a manager.
	Witness clustermap.ServerID
	// Timeout is that of heartbeats and elections (default: ManagerTimeout, or
	// WitnessTimeout).
	Timeout time.Duration
	Logger  *slog.Logger
	// Secret is the cluster's, with which other nodes are dialed; nil: there is none.
	Secret *secret.Secret
	// OnApply is called, in order and on one goroutine, with each map that was
	// committed. The delta is nil where a snapshot was installed. It must not block.
	OnApply func(*clustermap.Map, *clustermap.Delta)

	// wrap stands before the stores; for tests.
	wrap func(stores) stores
}

const (
	// ManagerTimeout is how long a leader may be silent before a manager stands for
	// election; half of it is the lease of a leader that is cut off.
	ManagerTimeout = time.Second
	// WitnessTimeout is how long a leader may be silent before a witness takes
	// it for gone and votes for another. It stands itself only after patience.
	WitnessTimeout = ManagerTimeout / 2
	patience       = 3 * ManagerTimeout

	snapshotsKept = 2
	snapshotAfter = 512 // log entries
	trailingLogs  = 128
	// rpcTimeout bounds one exchange with another node.
	rpcTimeout = 2 * time.Second
)

// Node is one voter, or one that is about to become one.
type Node struct {
	id     string
	addr   string
	opened time.Time
	raft   *raft.Raft
	fsm    *machine
	store  *raftboltdb.BoltStore
	trans  *transport
	guard  *guard
	// started: raft may be asked; its own start calls back before.
	started atomic.Bool
}

// Open starts a node from its directory, or makes a new one there, which is
// blank: it belongs to no cluster until Bootstrap or until a leader adds it.
func Open(cfg Config) (n *Node, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	defer func() {
		// Raft and bbolt panic at a damaged file; a witness's is no reason for its server to end.
		if r := recover(); r != nil {
			n, err = nil, fmt.Errorf("state directory %s cannot be read: %v", cfg.Dir, r)
		}
	}()
	role := "kumo-manager"
	if cfg.Timeout == 0 {
		cfg.Timeout = ManagerTimeout
		if cfg.Witness != 0 {
			cfg.Timeout = WitnessTimeout
		}
	}
	if cfg.Witness != 0 {
		role = "kumo-server"
	}
	// Not those above it: with a file system that is not mounted this would be
	// a blank manager.
	if err := os.Mkdir(cfg.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(cfg.Dir, "raft.db"),
		BoltOptions: &bbolt.Options{Timeout: 2 * time.Second, NoFreelistSync: true},
	})
	if err != nil {
		if errors.Is(err, bbolt.ErrTimeout) {
			return nil, fmt.Errorf("state directory %s is in use by another %s", cfg.Dir, role)
		}
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	opened := false
	defer func() {
		if !opened {
			store.Close()
		}
	}()
	id, err := nodeID(cfg.Dir, cfg.Witness)
	if err != nil {
		return nil, err
	}
	log := raftLogger(cfg.Logger)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, log)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = cfg.Timeout, cfg.Timeout, min(cfg.Timeout, ManagerTimeout/2)
	rc.CommitTimeout = 20 * time.Millisecond
	rc.SnapshotThreshold, rc.TrailingLogs = snapshotAfter, trailingLogs
	rc.SnapshotInterval = 30 * time.Second
	rc.Logger = log
	fsm := &machine{onApply: cfg.OnApply}
	fsm.now.Store(&clustermap.Map{})
	n = &Node{id: id, addr: cfg.Advertise, opened: time.Now(), fsm: fsm, store: store}
	layer := NewLayer(cfg.Listener, cfg.Advertise, Names{Self: id, Cluster: n.clusterName, Peer: n.idAt, Secret: cfg.Secret})
	trans := newTransport(layer, log)
	n.trans = trans
	defer func() {
		if !opened {
			trans.Close()
		}
	}()
	n.guard = &guard{stores: store, failed: make(chan error, 1), cut: layer.Close, leads: n.leadsOthers}
	if cfg.wrap != nil {
		n.guard.stores = cfg.wrap(store)
	}
	if cfg.Witness != 0 {
		n.trans.patience, n.trans.silence = patience, n.Silence
	}
	r, err := raft.NewRaft(rc, fsm, n.guard, n.guard, snapshots, n.trans)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	opened = true
	n.raft = r
	n.started.Store(true)
	return n, nil
}

// ID is the node's own, made at random with its directory.
func (n *Node) ID() string { return n.id }

// Failed gives the error after which the node cannot go on: its disk is full or
// broken. Others hear nothing of it from then on; it is to be closed.
func (n *Node) Failed() <-chan error { return n.guard.failed }

// Leading reports each gain and loss of the leadership.
func (n *Node) Leading() <-chan bool { return n.raft.LeaderCh() }

// IsLeader tells whether this node leads.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// leadsOthers: it leads, and others could lead in its place.
func (n *Node) leadsOthers() bool {
	voters := 0
	for _, m := range n.Members() {
		if m.Voter {
			voters++
		}
	}
	return voters > 1 && n.IsLeader()
}

// Map is the latest map that is known committed here.
func (n *Node) Map() *clustermap.Map { return n.fsm.now.Load() }

// Catch waits until all that was committed before is applied here; a new leader
// needs it before it decides.
func (n *Node) Catch(timeout time.Duration) (*clustermap.Map, error) {
	if err := n.raft.Barrier(timeout).Error(); err != nil {
		return nil, leaderError(err)
	}
	return n.Map(), nil
}

// Propose commits d and returns the map that it made. A delta that the map does
// not allow is refused with the reason of clustermap.Apply, and changes nothing.
func (n *Node) Propose(d *clustermap.Delta, timeout time.Duration) (*clustermap.Map, error) {
	f := n.raft.Apply(clustermap.AppendDelta(nil, d), timeout)
	if err := f.Error(); err != nil {
		return nil, leaderError(err)
	}
	switch r := f.Response().(type) {
	case *clustermap.Map:
		return r, nil
	case error:
		return nil, r
	}
	return nil, errors.New("consensus: unexpected answer of the state machine")
}

// leaderError tells what surely was not done from what may have been.
func leaderError(err error) error {
	switch {
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w (%v)", ErrUnknown, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w (%v)", ErrNotLeader, err)
	}
	return err
}

// Close stops the node, waiting for what it writes.
func (n *Node) Close() error {
	n.trans.Close() // first: what hangs on the network ends
	err := n.raft.Shutdown().Error()
	return errors.Join(err, n.store.Close())
}

// nodeID is the ID kept in dir, made now if there is none.
func nodeID(dir string, witness clustermap.ServerID) (string, error) {
	path := filepath.Join(dir, "id")
	b, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(b))
		server, is := WitnessOf(id)
		switch {
		case !is && len(id) != 16:
			return "", fmt.Errorf("%s is damaged: it must hold 16 hexadecimal digits", path)
		case server != witness && is:
			return "", fmt.Errorf("%s is the witness's of server %s", dir, server)
		case server != witness:
			return "", fmt.Errorf("%s is a manager's state directory", dir)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	var r [8]byte
	rand.Read(r[:])
	id := hex.EncodeToString(r[:])
	if witness != 0 {
		id = fmt.Sprintf("w-%s-%x", witness, r[:4])
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(id + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return id, err
}

// WitnessOf tells whose witness an ID is; false: it is a manager's.
func WitnessOf(id string) (clustermap.ServerID, bool) {
	rest, is := strings.CutPrefix(id, "w-")
	server, _, _ := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(server, 16, 64)
	if !is || err != nil {
		return 0, false
	}
	return clustermap.ServerID(n), true
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
