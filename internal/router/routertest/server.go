// Package routertest has a kumo-server for tests: item.Execute on a map behind
// the wire protocol, which can be told to refuse, be silent, hang up or move.
package routertest

import (
	"bytes"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/loop"
	"github.com/kumofs/kumofs/internal/wire"
)

// Store is what servers hold; several may share one, as replicas do.
type Store struct {
	Items   map[string]*item.Item
	Version uint64
	Now     int64
	Log     []string // keys of the writes done, in order
	// Sessions are replicated as the items are.
	Sessions map[uint64]*Session
	// OnExecute, if set, is told of every request of a session that is executed.
	OnExecute func(r *wire.Request)
}

// Session is one session's results (R8).
type Session struct {
	Partition uint16
	Lowest    uint32
	Results   map[uint32]item.Result
}

// NewStore is an empty one.
func NewStore() *Store {
	return &Store{Items: map[string]*item.Item{}, Version: 1 << 40, Now: 1000, Sessions: map[uint64]*Session{}}
}

// Do does one request exactly once. False: its session is unknown.
func (s *Store) Do(r *wire.Request) (item.Result, bool) {
	if r.Op == item.OpOpenSession {
		s.Version++
		s.Sessions[s.Version] = &Session{Partition: r.Partition, Results: map[uint32]item.Result{}}
		return item.Result{Status: item.OK, Item: item.Item{Version: s.Version}}, true
	}
	if r.Session == 0 {
		return s.Execute(&r.Request), true
	}
	se := s.Sessions[r.Session]
	if se == nil || se.Partition != r.Partition {
		return item.Result{}, false
	}
	if r.Number < max(se.Lowest, r.Lowest) || r.Number-r.Lowest >= wire.MaxOutstanding {
		return item.Result{Status: item.FateUnknown}, true
	}
	if res, ok := se.Results[r.Number]; ok {
		return res, true
	}
	if s.OnExecute != nil {
		s.OnExecute(r)
	}
	res := s.Execute(&r.Request)
	if res.Status == item.OK || r.Retry {
		res.Item.Value = bytes.Clone(res.Item.Value)
		se.Results[r.Number] = res
		for ; se.Lowest < r.Lowest; se.Lowest++ {
			delete(se.Results, se.Lowest)
		}
	}
	return res, true
}

// Execute does one request.
func (s *Store) Execute(r *item.Request) item.Result {
	if r.Op == item.OpFlush {
		clear(s.Items)
		return item.Result{Status: item.OK}
	}
	cur := s.Items[string(r.Key)]
	if cur != nil && cur.Expired(s.Now) {
		cur = nil
	}
	s.Version++
	out := item.Execute(r, cur, s.Now, s.Version)
	switch out.Effect {
	case item.Put:
		it := out.New
		it.Value = bytes.Clone(it.Value)
		s.Items[string(r.Key)] = &it
		s.Log = append(s.Log, string(r.Key))
	case item.Remove:
		delete(s.Items, string(r.Key))
		s.Log = append(s.Log, string(r.Key))
	}
	return out.Result
}

// Server is a fake server. All of it belongs to its loop.
type Server struct {
	ID    clustermap.ServerID
	Addr  string
	Store *Store
	// Script, if set, sees every request first; true: it has dealt with it, or
	// will. Openings of sessions only if ScriptOpens.
	Script      func(t *Try) bool
	ScriptOpens bool
	// Partitions is their number, for scans. ScanScript is for those what Script is
	// for requests; reply appends to the connection. Scans counts them.
	Partitions int
	ScanScript func(q *wire.Scan, reply func(func([]byte) []byte)) bool
	Scans      int
	// Tries counts the requests that came, openings of sessions apart.
	Tries int
	Opens int
	// Peers are those that it is asked to relay to, Relays how often it was.
	Peers  map[clustermap.ServerID]*Server
	Relays int

	listener loop.Listener
	conns    map[*conn]bool
}

// Try is one request at a server.
type Try struct {
	Server *Server
	Req    wire.Request // a copy
	conn   *conn
}

// Execute does it and answers.
func (t *Try) Execute() {
	res, ok := t.Do()
	if !ok {
		t.Nak(wire.NakUnknownSession, clustermap.Partition{})
		return
	}
	rep := wire.Reply{ID: t.Req.ID, Result: res}
	t.conn.c.Append(func(dst []byte) []byte { return wire.AppendReply(dst, &rep) })
}

// Do does it without an answer. False: its session is unknown.
func (t *Try) Do() (item.Result, bool) { return t.Server.Store.Do(&t.Req) }

// Answer answers without doing anything.
func (t *Try) Answer(res item.Result) {
	t.conn.c.Append(func(dst []byte) []byte { return wire.AppendReply(dst, &wire.Reply{ID: t.Req.ID, Result: res}) })
}

// Nak refuses it.
func (t *Try) Nak(reason wire.NakReason, p clustermap.Partition) {
	n := wire.Nak{ID: t.Req.ID, Index: t.Req.Partition, Reason: reason, Partition: p}
	t.conn.c.Append(func(dst []byte) []byte { return wire.AppendNak(dst, &n) })
}

// HangUp closes the connection it came on.
func (t *Try) HangUp() { t.conn.c.Close() }

// Start begins to listen; on the loop, or before it runs.
func (s *Server) Start(l loop.Loop) error {
	s.conns = map[*conn]bool{}
	li, err := l.Listen(s.Addr, func(c loop.Conn) loop.Handler {
		h := &conn{s: s, c: c}
		s.conns[h] = true
		return h
	})
	if err == nil {
		s.listener, s.Addr = li, li.Addr()
	}
	return err
}

// Crash stops listening and closes all connections.
func (s *Server) Crash() {
	s.listener.Close()
	for c := range s.conns {
		c.c.Close()
	}
}

type conn struct {
	s     *Server
	c     loop.Conn
	begun bool
}

func (h *conn) OnOpen(loop.Conn)         {}
func (h *conn) OnClose(loop.Conn, error) { delete(h.s.conns, h) }
func (h *conn) OnData(c loop.Conn, b []byte) int {
	used := 0
	if id, n := wire.RelayTarget(b); !h.begun && n > 0 {
		h.s.Relays++
		h.s = h.s.Peers[id]
		return n + h.OnData(c, b[n:])
	}
	if !h.begun {
		if len(b) < len(wire.Magic) {
			return 0
		}
		if string(b[:len(wire.Magic)]) != wire.Magic {
			panic("routertest: the connection does not open with the magic")
		}
		h.begun, used = true, len(wire.Magic)
	}
	for {
		kind, body, n, err := wire.Frame(b[used:])
		if err != nil {
			panic(err)
		}
		if n == 0 {
			return used
		}
		used += n
		switch kind {
		case wire.KindRequest:
			h.request(body)
		case wire.KindScan:
			h.scan(body)
		}
	}
}

func (h *conn) request(body []byte) {
	t := &Try{Server: h.s, conn: h}
	if err := wire.DecodeRequest(bytes.Clone(body), &t.Req); err != nil {
		panic(err)
	}
	opens := t.Req.Op == item.OpOpenSession
	if opens {
		h.s.Opens++
	} else {
		h.s.Tries++
	}
	if h.s.Script == nil || opens && !h.s.ScriptOpens || !h.s.Script(t) {
		t.Execute()
	}
}

// Map makes a map: every partition has the epoch and, as primary, the server
// that place gives (nil: none).
func Map(version uint64, partitions int, epoch uint32, servers []*Server, place func(p int) *Server) *clustermap.Map {
	m := &clustermap.Map{ClusterID: 7, Version: version, Replication: 3, Partitions: make([]clustermap.Partition, partitions)}
	for _, s := range servers {
		m.Servers = append(m.Servers, clustermap.Server{ID: s.ID, Addr: s.Addr, Incarnation: 1})
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		p.Epoch = epoch
		if s := place(i); s != nil {
			p.Replicas = []clustermap.ServerID{s.ID}
			p.Active, p.LastKnown = true, p.Replicas
			p.LastPrimary, p.LastPrimaryIncarnation = s.ID, 1
		}
	}
	return m
}
