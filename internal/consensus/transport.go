package consensus

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// connsKept is how many idle connections are kept to each other node.
const connsKept = 3

// errPatient is what a witness's candidacy meets while a manager may still win.
var errPatient = errors.New("a manager goes first")

// transport is raft's, over a Layer. A witness's keeps its own candidacy back
// until nobody has led for patience: it takes a silent leader for gone sooner
// than managers do, so that it votes for the first of them that stands.
type transport struct {
	*raft.NetworkTransport
	layer    *Layer
	patience time.Duration
	silence  func() time.Duration
}

func newTransport(layer *Layer, log hclog.Logger) *transport {
	return &transport{layer: layer, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: connsKept, Timeout: rpcTimeout, Logger: log,
	})}
}

// RequestPreVote is raft.WithPreVote's.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.patience > 0 && t.silence() < t.patience {
		return errPatient
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// Close ends the transport with all its connections.
func (t *transport) Close() error {
	t.CloseStreams()
	return errors.Join(t.NetworkTransport.Close(), t.layer.Close())
}
