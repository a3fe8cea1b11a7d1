// Package consensus keeps the cluster map agreed among managers: hashicorp/raft
// with the map as its state machine and deltas as its log (DESIGN.md §5).
package consensus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// ErrNotLeader: another manager decides, or none does yet.
var ErrNotLeader = errors.New("this manager does not lead")

// Config of a Node.
type Config struct {
	// Dir is the state directory; it is created. Its contents are always really
	// synced, and hold the node's own ID.
	Dir string
	// Address is where the others reach this node.
	Address string
	// Transport to the others; nil for a node that is alone.
	Transport raft.Transport
	// Bootstrap makes a blank node the single voter of a new cluster.
	Bootstrap bool
	// Timeout is that of heartbeats and elections (default 1 s).
	Timeout time.Duration
	Logger  *slog.Logger
	// OnApply is called, in order and on one goroutine, with each map that was
	// committed. The delta is nil where a snapshot was installed. It must not block.
	OnApply func(*clustermap.Map, *clustermap.Delta)
}

// Node is one voter.
type Node struct {
	id    string
	raft  *raft.Raft
	fsm   *machine
	store *raftboltdb.BoltStore
	close func() error
}

const (
	snapshotsKept = 2
	snapshotAfter = 512 // log entries
	trailingLogs  = 128
)

// Open starts a node from its directory, or makes a new one there.
func Open(cfg Config) (n *Node, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
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
			return nil, fmt.Errorf("state directory %s is in use by another kumo-manager", cfg.Dir)
		}
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	defer func() {
		if err != nil {
			store.Close()
		}
	}()
	id, err := nodeID(cfg.Dir)
	if err != nil {
		return nil, err
	}
	log := raftLogger(cfg.Logger)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, log)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	if cfg.Address == "" {
		cfg.Address = id
	}
	trans, closeTrans := cfg.Transport, func() error { return nil }
	if trans == nil {
		_, mem := raft.NewInmemTransport(raft.ServerAddress(cfg.Address))
		trans, closeTrans = mem, mem.Close
	} else if c, ok := trans.(raft.WithClose); ok {
		closeTrans = c.Close
	}
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout/2
	rc.CommitTimeout = 20 * time.Millisecond
	rc.SnapshotThreshold, rc.TrailingLogs = snapshotAfter, trailingLogs
	rc.SnapshotInterval = 30 * time.Second
	rc.Logger = log
	fsm := &machine{onApply: cfg.OnApply}
	fsm.now.Store(&clustermap.Map{})
	if cfg.Bootstrap {
		had, err := raft.HasExistingState(store, store, snapshots)
		if err != nil {
			return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
		}
		if !had {
			one := raft.Configuration{Servers: []raft.Server{{ID: rc.LocalID, Address: trans.LocalAddr()}}}
			if err := raft.BootstrapCluster(rc, store, store, snapshots, trans, one); err != nil {
				return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
			}
		}
	}
	r, err := raft.NewRaft(rc, fsm, store, store, snapshots, trans)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", cfg.Dir, err)
	}
	return &Node{id: id, raft: r, fsm: fsm, store: store, close: closeTrans}, nil
}

// ID is the node's own, made at random with its directory.
func (n *Node) ID() string { return n.id }

// Raft is for what concerns members: adding, removing, handing over.
func (n *Node) Raft() *raft.Raft { return n.raft }

// Leading reports each gain and loss of the leadership.
func (n *Node) Leading() <-chan bool { return n.raft.LeaderCh() }

// IsLeader tells whether this node leads.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

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

func leaderError(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrAbortedByRestore) {
		return fmt.Errorf("%w (%v)", ErrNotLeader, err)
	}
	return err
}

// Close stops the node, waiting for what it writes.
func (n *Node) Close() error {
	err := n.raft.Shutdown().Error()
	return errors.Join(err, n.close(), n.store.Close())
}

// WaitLeader waits until some node leads, and returns its address and ID.
func (n *Node) WaitLeader(ctx context.Context) (addr, id string, err error) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if a, i := n.raft.LeaderWithID(); i != "" {
			return string(a), string(i), nil
		}
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-t.C:
		}
	}
}

// nodeID is the ID kept in dir, made now if there is none.
func nodeID(dir string) (string, error) {
	path := filepath.Join(dir, "id")
	b, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if len(id) != 16 {
			return "", fmt.Errorf("%s is damaged: it must hold 16 hexadecimal digits", path)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	var r [8]byte
	rand.Read(r[:])
	id := hex.EncodeToString(r[:])
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

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
