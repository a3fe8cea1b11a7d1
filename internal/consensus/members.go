package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Member is one node of raft's configuration.
type Member struct {
	ID    string
	Addr  string
	Voter bool
}

// Members is raft's newest configuration as this node has it; none: it is blank.
func (n *Node) Members() []Member {
	if !n.started.Load() {
		return nil
	}
	var out []Member
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		out = append(out, Member{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// Votes tells whether this node is a voter, as far as it knows.
func (n *Node) Votes() bool {
	for _, m := range n.Members() {
		if m.ID == n.id {
			return m.Voter
		}
	}
	return false
}

// Managers are the addresses of the managers among Members.
func (n *Node) Managers() []string {
	var out []string
	for _, m := range n.Members() {
		if _, witness := WitnessOf(m.ID); !witness {
			out = append(out, m.Addr)
		}
	}
	return out
}

// clusterName is what a handshake names.
func (n *Node) clusterName() string {
	if c := n.Map().ClusterID; c != 0 {
		return c.String()
	}
	return ""
}

// idAt is the ID of the member at an address, or "".
func (n *Node) idAt(addr string) string {
	if addr == n.addr {
		return n.id
	}
	for _, m := range n.Members() {
		if m.Addr == addr {
			return m.ID
		}
	}
	return ""
}

// Bootstrap makes a blank node the single voter of a new cluster.
func (n *Node) Bootstrap() error {
	err := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(n.id), Address: raft.ServerAddress(n.addr)}}}).Error()
	if err != nil {
		return fmt.Errorf("cannot begin a cluster: %w", err)
	}
	return nil
}

// LeadIfAlone has the only voter of a configuration lead at once: nobody else
// could, so there is no timeout to be waited out. The listener must be served.
func (n *Node) LeadIfAlone() error {
	if !n.Votes() {
		return nil
	}
	for _, m := range n.Members() {
		if m.Voter && m.ID != n.id {
			return nil
		}
	}
	return n.trans.TimeoutNow(raft.ServerID(n.id), raft.ServerAddress(n.addr), &raft.TimeoutNowRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.id), Addr: []byte(n.addr)},
	}, &raft.TimeoutNowResponse{})
}

// Leader is the ID and address of who leads as far as this node knows, or "".
func (n *Node) Leader() (id, addr string) {
	a, i := n.raft.LeaderWithID()
	return string(i), string(a)
}

// Silence is how long no leader was heard, since the start at most; 0 on the leader.
func (n *Node) Silence() time.Duration {
	if !n.started.Load() || n.IsLeader() {
		return 0
	}
	return min(time.Since(n.raft.LastContact()), time.Since(n.opened))
}

// LastIndex is that of the last entry in the log here, CommitIndex that of the
// last one known committed.
func (n *Node) LastIndex() uint64 { return n.raft.LastIndex() }

// CommitIndex see LastIndex.
func (n *Node) CommitIndex() uint64 { return n.raft.CommitIndex() }

// AppliedIndex is the index up to which Map has what was agreed upon.
func (n *Node) AppliedIndex() uint64 { return n.raft.AppliedIndex() }

// Change makes one step on the configuration, as the leader, and waits until it
// is committed. prev, if not 0, is the index of the change that it follows: the
// step is refused if there was another since. It returns the step's index.
func (n *Node) Change(s Step, prev uint64, timeout time.Duration) (uint64, error) {
	id, addr := raft.ServerID(s.ID), raft.ServerAddress(s.Addr)
	var f raft.IndexFuture
	switch s.Kind {
	case Add:
		f = n.raft.AddNonvoter(id, addr, prev, timeout)
	case Promote, Move:
		f = n.raft.AddVoter(id, addr, prev, timeout)
	case Remove:
		f = n.raft.RemoveServer(id, prev, timeout)
	default:
		return 0, fmt.Errorf("consensus: %v is no change of the configuration", s.Kind)
	}
	if err := f.Error(); err != nil {
		return 0, leaderError(err)
	}
	return f.Index(), nil
}

// HandOver passes the leadership to another voter.
func (n *Node) HandOver(to Member) error {
	return n.raft.LeadershipTransferToServer(raft.ServerID(to.ID), raft.ServerAddress(to.Addr)).Error()
}

// Snapshot writes the map down and shortens the log.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
