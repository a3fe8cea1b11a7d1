package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/consensus"
	"github.com/kumofs/kumofs/internal/control"
)

// witnessRetry is how long a witness that has failed stays away.
var witnessRetry = 10 * time.Second

const (
	// handOverEvery is how often one that leads looks for a manager to lead,
	// handOverTimeout how long a manager may take to answer, and handOverMost how
	// long it may try with one that answers before it begins anew.
	handOverEvery   = 200 * time.Millisecond
	handOverTimeout = 500 * time.Millisecond
	handOverMost    = 10 * time.Second
	voterBytes      = 64 << 10
)

// witness is this server's vote among the managers (§5), where they are an even
// number: a node of their consensus that keeps their log and decides nothing. It
// has goroutines and a directory of its own, `<store>.raft`; what goes wrong
// with it is nothing to the data path.
type witness struct {
	n    *node
	dir  string
	addr string

	// For any goroutine: the node that runs, and where its connections go.
	node atomic.Pointer[consensus.Node]
	port atomic.Pointer[connListener]

	mu    sync.Mutex // begin and end one at a time
	stop  context.CancelFunc
	ended chan struct{} // nil: none is wanted
}

func newWitness(n *node, addr string) *witness {
	return &witness{n: n, dir: filepath.Clean(n.cfg.Store) + ".raft", addr: addr}
}

// resume begins the witness of the run before, without being told: the managers
// may need its vote to find a leader. If it cannot begin now (the disk is full) it
// tries again: there may be nobody to tell it.
func (w *witness) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stat(filepath.Join(w.dir, "id")); err != nil {
		return
	}
	node, err := w.open()
	w.run(node, err)
}

// begin starts it, if it does not run, and gives its ID. One that is none of
// members has the log of other managers: it begins anew.
func (w *witness) begin(members []string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if node := w.node.Load(); node != nil && !slices.Contains(members, node.ID()) {
		if err := w.clear(); err != nil {
			return "", err
		}
	}
	if w.ended == nil {
		if err := w.start(); err != nil {
			return "", err
		}
	}
	if node := w.node.Load(); node != nil {
		return node.ID(), nil
	}
	return "", errors.New("its witness has failed and is not back yet; its log says why")
}

// end stops it and removes its directory.
func (w *witness) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clear()
}

func (w *witness) start() error {
	node, err := w.open()
	if err == nil {
		w.run(node, nil)
	}
	return err
}

// run keeps it from now on; node is nil where err kept it from beginning.
func (w *witness) run(node *consensus.Node, err error) {
	ctx, stop := context.WithCancel(w.n.ctx)
	ended := make(chan struct{})
	w.stop, w.ended = stop, ended
	w.n.wg.Go(func() { defer close(ended); w.keep(ctx, node, err) })
}

func (w *witness) clear() error {
	if w.ended != nil {
		w.stop()
		<-w.ended
		w.stop, w.ended = nil, nil
	}
	w.n.log.Info("no witness for the managers any more", "path", w.dir)
	return os.RemoveAll(w.dir)
}

func (w *witness) open() (*consensus.Node, error) {
	port := newConnListener(w.addr)
	node, err := consensus.Open(consensus.Config{Dir: w.dir, Listener: port, Advertise: w.addr, Witness: w.n.self, Secret: w.n.cfg.Secret, Logger: w.n.log})
	if err != nil {
		_ = port.Close() // never fails
		return nil, err
	}
	w.port.Store(port)
	w.node.Store(node)
	w.n.log.Info("witness for the managers", "id", node.ID(), "path", w.dir)
	return node, nil
}

// keep runs it until ctx ends, again after a failure.
func (w *witness) keep(ctx context.Context, node *consensus.Node, err error) {
	for {
		if node != nil {
			err = w.vote(ctx, node)
			w.node.Store(nil)
			w.port.Store(nil)
			if cerr := node.Close(); err == nil {
				err = cerr
			}
		}
		for ctx.Err() == nil {
			w.n.log.Warn(fmt.Sprintf("the managers' witness of this server in %s pauses for %v; pairs are not concerned", w.dir, witnessRetry), "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(witnessRetry):
			}
			if node, err = w.open(); err == nil {
				break
			}
		}
		if ctx.Err() != nil {
			if running := w.node.Swap(nil); running != nil {
				w.port.Store(nil)
				_ = running.Close() // it has written nothing
			}
			return
		}
	}
}

// vote returns why the node cannot go on, nil when ctx ends.
func (w *witness) vote(ctx context.Context, node *consensus.Node) error {
	client := &http.Client{Timeout: handOverTimeout, Transport: &http.Transport{DialContext: w.n.cfg.Secret.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	t := time.NewTicker(handOverEvery)
	defer t.Stop()
	var since time.Time // when a manager answered first while this node led
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-node.Failed():
			return err
		case <-t.C:
		}
		if !node.IsLeader() {
			since = time.Time{}
			continue
		}
		for _, m := range node.Members() {
			if _, is := consensus.WitnessOf(m.ID); is || !m.Voter || !lives(ctx, client, m) {
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			if err := node.HandOver(m); err == nil {
				w.n.log.Info("the lead goes to a manager", "addr", m.Addr)
				break
			} else if time.Since(since) > handOverMost {
				return fmt.Errorf("it leads, and cannot hand over to %s: %w", m.Addr, err)
			}
		}
	}
}

// lives tells whether a manager lives.
func lives(ctx context.Context, client *http.Client, m consensus.Member) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Addr+control.PathVoter, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var v control.Voter
	return json.NewDecoder(http.MaxBytesReader(nil, resp.Body, voterBytes)).Decode(&v) == nil && v.ID == m.ID
}

// id is that of the witness that runs, or "".
func (w *witness) id() string {
	if node := w.node.Load(); node != nil {
		return node.ID()
	}
	return ""
}

// serve tells managers how it is.
func (w *witness) serve(rw http.ResponseWriter, _ *http.Request) {
	v := control.Voter{Addr: w.addr}
	if node := w.node.Load(); node != nil {
		v.ID, v.Index, v.Leads = node.ID(), node.LastIndex(), node.IsLeader()
		if c := node.Map().ClusterID; c != clustermap.ClusterID(0) {
			v.Cluster = c.String()
		}
		for _, m := range node.Members() {
			v.Members = append(v.Members, control.VoterMember(m))
		}
	}
	writeJSON(rw, http.StatusOK, v)
}

// command carries out a manager's order.
func (w *witness) command(arg string) (text string, err error) {
	var o control.WitnessOrder
	switch err := json.Unmarshal([]byte(arg), &o); {
	case err != nil:
		return "", fmt.Errorf("an order to a witness that is not understood: %w", err)
	case o.Begin:
		return w.begin(o.Members)
	}
	return "", w.end()
}
