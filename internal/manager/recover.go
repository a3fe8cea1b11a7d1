package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/council"
)

const (
	// recoverMost is how long recover waits for servers, recoverSettle for one
	// more after the last.
	recoverMost   = 5 * time.Second
	recoverSettle = time.Second
	recoverLook   = 50 * time.Millisecond
	mapTimeout    = 700 * time.Millisecond
	mapMost       = 64 << 20 // bytes
)

// runRecover collects the servers that a blank manager refused and the maps that
// they hold, and has the council rebuild the cluster's map from them. Where the
// manager is not blank, the council answers.
func (m *Manager) runRecover(ctx context.Context, req control.CommandRequest) (*control.CommandResponse, error) {
	blank := false
	if err := m.ask(ctx, func() { blank = m.council.Leading() && m.council.Map().ClusterID == 0 }); err != nil {
		return nil, err
	}
	if !blank || req.AcceptLoss != "" {
		return m.runCommand(ctx, req)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	found, err := m.findServers(ctx)
	if err != nil {
		return nil, err
	}
	return m.await(ctx, func(id uint64) { m.council.Recover(m.now(), id, found) })
}

// findServers waits until no server has come for a while, and reads their maps.
func (m *Manager) findServers(ctx context.Context) ([]council.Found, error) {
	begin := time.Now()
	found := map[clustermap.ServerID]council.Found{}
	failed := map[clustermap.ServerID]error{}
	for {
		var list []council.Registration
		var last int64
		var now int64
		var err error
		if aerr := m.ask(ctx, func() { now = m.now(); list, last, err = m.council.Strangers(now) }); aerr != nil {
			return nil, aerr
		}
		if err != nil {
			return nil, err
		}
		m.readMaps(ctx, list, found, failed)
		waited := time.Since(begin)
		if waited >= recoverMost || len(list) > 0 && now-last >= recoverSettle.Milliseconds() {
			return there(list, found, failed)
		}
		select {
		case <-ctx.Done():
			return nil, errBusy
		case <-time.After(recoverLook):
		}
	}
}

// readMaps adds to found those of list that are not there in this run, or to
// failed why not.
func (m *Manager) readMaps(ctx context.Context, list []council.Registration, found map[clustermap.ServerID]council.Found, failed map[clustermap.ServerID]error) {
	type result struct {
		f   council.Found
		err error
	}
	results := make(chan result)
	asked := 0
	for _, r := range list {
		if f, ok := found[r.ID]; ok && f.RunID == r.RunID {
			f.Registration = r // with newer positions
			found[r.ID] = f
			continue
		}
		asked++
		go func() {
			n, err := m.readMap(ctx, &r.Hello)
			results <- result{council.Found{Registration: r, Map: n}, err}
		}()
	}
	for range asked {
		r := <-results
		if r.err != nil {
			failed[r.f.ID] = r.err
			continue
		}
		delete(failed, r.f.ID)
		found[r.f.ID] = r.f
	}
}

// there are those found that still come; it fails where the map of one that
// comes cannot be read, for then less would be recovered than could be.
func there(list []council.Registration, found map[clustermap.ServerID]council.Found, failed map[clustermap.ServerID]error) ([]council.Found, error) {
	var out []council.Found
	for _, r := range list {
		if err := failed[r.ID]; err != nil {
			return nil, fmt.Errorf("the cluster map of %s cannot be read: %w; stop that server to recover without it, or give recover again", r.Addr, err)
		}
		out = append(out, found[r.ID])
	}
	return out, nil
}

// readMap asks a server for the newest map that it holds; nil: it holds none.
func (m *Manager) readMap(ctx context.Context, h *control.Hello) (*clustermap.Map, error) {
	ctx, cancel := context.WithTimeout(ctx, mapTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Addr+control.PathMap, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: m.cfg.Secret.DialContext(new(net.Dialer)), DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, mapMost))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	n, err := clustermap.DecodeMap(b)
	if err == nil {
		err = n.Validate()
	}
	switch {
	case err != nil:
		return nil, err
	case n.ClusterID != h.ClusterID:
		return nil, errors.New("it is another cluster's than the store is")
	}
	return n, nil
}

// learn reads the map of a server that was refused because partitions wait for
// what it knows; it comes again.
func (m *Manager) learn(h control.Hello) {
	n, err := m.readMap(m.ctx, &h)
	if err != nil {
		m.log.Warn("cannot read the cluster map of a server that is awaited", "addr", h.Addr, "error", err)
		return
	}
	m.post(func() { m.council.Learn(h.ID, h.RunID, n) })
}
