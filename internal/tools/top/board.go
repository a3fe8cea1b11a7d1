package top

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/tools"
)

// Row is one server.
type Row struct {
	Addr string `json:"addr"`
	// State is what managers say of it; without them what it says itself. Status is the word
	// of both: ready, WAIT, Copying, Deleting, inactive, fault, no-answer.
	State  string `json:"state"`
	Status string `json:"status"`
	Figures
	Items *int64 `json:"items"`
	Time  *int64 `json:"time"`  // Unix seconds, there
	Clock *int64 `json:"clock"` // the version of its map
	// CopiesLeft is how many copies are still to be made there; known to managers.
	CopiesLeft *int   `json:"copies_left"`
	Error      string `json:"error,omitempty"`

	trend trend
}

// Gateway is one gateway, or an application with the Go client.
type Gateway struct {
	control.GatewayStatus
	// Status: up, no-answer, no-http (it has no port to be asked at), client.
	Status string `json:"status"`
	Figures
	Error string `json:"error,omitempty"`

	trend trend
}

// name is where it can be asked, or else where it comes from.
func (g *Gateway) name() string {
	if g.HTTP != "" {
		return g.HTTP
	}
	return g.Addr
}

// HotKey is one that is asked for often, by all servers.
type HotKey struct {
	// Key is the key quoted; Bytes is the key itself.
	Key       string `json:"key"`
	Bytes     []byte `json:"key_base64"`
	Partition uint16 `json:"partition"`
	Server    string `json:"server"` // that is asked for it
	// Reads and Writes are a second, at least, as far as samples tell.
	Reads  float64 `json:"reads_per_s"`
	Writes float64 `json:"writes_per_s"`
}

// The words of Status that are not a server's own.
const (
	statusAsking   = "asking" // it has not answered yet
	statusNoAnswer = "no-answer"
	statusFault    = "fault"
	statusUp       = "up"
	statusNoHTTP   = "no-http"
	statusClient   = "client"
)

// board is what is known of the cluster. Answers are put in, rows come out; it asks
// nobody and reads no clock.
type board struct {
	addrs     []string        // of the servers, where no manager is asked
	managed   bool            // managers are
	status    *control.Status // theirs, the last one; nil: none yet
	statusErr error           // of the last try
	servers   map[string]*daemon
	gateways  map[string]*daemon // by HTTP address
	hot       map[string]*control.HotKeys
	total     trend
}

func newBoard(addrs []string, managed bool) *board {
	b := &board{managed: managed, servers: map[string]*daemon{}, gateways: map[string]*daemon{}, hot: map[string]*control.HotKeys{}}
	if !managed {
		b.addrs = addrs
	}
	return b
}

// takeStatus takes the managers' answer. While none answers, what they said last is shown.
func (b *board) takeStatus(st *control.Status, err error) {
	if b.statusErr = err; err != nil {
		return
	}
	b.status = st
	slices.SortFunc(st.Attached, func(x, y control.NodeStatus) int { return tools.CompareAddrs(x.Addr, y.Addr) })
	listed := map[string]bool{}
	for _, n := range st.Attached {
		listed[n.Addr] = true
	}
	for addr := range b.servers {
		if !listed[addr] {
			delete(b.servers, addr)
			delete(b.hot, addr)
		}
	}
	clear(listed)
	for _, g := range st.Gateways {
		listed[g.HTTP] = true
	}
	for addr := range b.gateways {
		if !listed[addr] {
			delete(b.gateways, addr)
		}
	}
}

// serverAddrs are those to be asked.
func (b *board) serverAddrs() []string {
	if !b.managed {
		return b.addrs
	}
	var addrs []string
	if b.status != nil {
		for _, n := range b.status.Attached {
			addrs = append(addrs, n.Addr)
		}
	}
	return addrs
}

// gatewayAddrs are those to be asked.
func (b *board) gatewayAddrs() []string {
	var addrs []string
	if b.status != nil {
		for _, g := range b.status.Gateways {
			if g.HTTP != "" {
				addrs = append(addrs, g.HTTP)
			}
		}
	}
	return addrs
}

// of is the daemon at an address.
func of(all map[string]*daemon, addr string) *daemon {
	d := all[addr]
	if d == nil {
		d = new(daemon)
		all[addr] = d
	}
	return d
}

// beat is called once for each look: the sparklines go on by one.
func (b *board) beat() {
	for _, all := range []map[string]*daemon{b.servers, b.gateways} {
		for _, d := range all {
			d.trend.push(d.QPS)
		}
	}
	total := b.sum(b.rows())
	b.total.push(total.QPS)
}

// rows are the servers, in the order of their addresses, or as they were asked for.
func (b *board) rows() []Row {
	rows := []Row{}
	if !b.managed {
		for _, addr := range b.addrs {
			rows = append(rows, b.row(control.NodeStatus{Addr: addr}))
		}
	} else if b.status != nil {
		for _, n := range b.status.Attached {
			rows = append(rows, b.row(n))
		}
	}
	return rows
}

func (b *board) row(n control.NodeStatus) Row {
	d := of(b.servers, n.Addr)
	r := Row{Addr: n.Addr, State: n.State, Figures: d.Figures, trend: d.trend}
	if b.managed {
		r.CopiesLeft = &n.CopiesLeft
	}
	said, _ := d.values["replstat"].(string)
	switch {
	case d.err != nil:
		r.Error, r.Status = d.err.Error(), statusNoAnswer
	case d.values == nil:
		r.Status = statusAsking
	default:
		r.Items, r.Time, r.Clock = number(d.values["items"]), number(d.values["time"]), number(d.values["clock"])
		if r.Status = statusUp; said != "" {
			r.Status = word(said)
		}
	}
	if n.State == statusFault {
		r.Status = statusFault
	}
	if r.State == "" {
		r.State = r.Status
	}
	return r
}

// sum is the line below the servers.
func (b *board) sum(rows []Row) Row {
	t := Row{Addr: "total", trend: b.total}
	up := 0
	for i := range rows {
		r := &rows[i]
		t.add(&r.Figures)
		t.Items, t.CopiesLeft = sum(t.Items, r.Items), sum(t.CopiesLeft, r.CopiesLeft)
		if r.Error == "" && r.Status != statusFault && r.Status != statusAsking {
			up++
		}
	}
	t.Connections = nil
	t.Status = strconv.Itoa(up) + "/" + strconv.Itoa(len(rows))
	return t
}

// gatewayRows are the gateways, in the order of their names.
func (b *board) gatewayRows() []Gateway {
	rows := []Gateway{}
	if b.status == nil {
		return rows
	}
	for _, s := range b.status.Gateways {
		g := Gateway{GatewayStatus: s}
		switch {
		case s.HTTP != "":
			d := of(b.gateways, s.HTTP)
			g.Figures, g.trend = d.Figures, d.trend
			switch {
			case d.err != nil:
				g.Error, g.Status = d.err.Error(), statusNoAnswer
			case d.values == nil:
				g.Status = statusAsking
			default:
				g.Status = statusUp
			}
		case s.Client:
			g.Status = statusClient
		default:
			g.Status = statusNoHTTP
		}
		rows = append(rows, g)
	}
	slices.SortStableFunc(rows, func(x, y Gateway) int { return tools.CompareAddrs(x.name(), y.name()) })
	return rows
}

// hotKeys are those of all servers, n at most, the hottest first. A key has one server; right
// after that was another one both tell of it, and the one that is asked more is named.
func (b *board) hotKeys(n int) []HotKey {
	type id struct {
		part uint16
		key  string
	}
	found := map[id]*HotKey{}
	most := map[id]float64{} // of one server
	for _, addr := range b.serverAddrs() {
		hot := b.hot[addr]
		if hot == nil {
			continue
		}
		here := map[id]float64{}
		add := func(keys []control.HotKey, into func(*HotKey) *float64) {
			for _, k := range keys {
				at := id{k.Partition, string(k.Bytes)}
				h := found[at]
				if h == nil {
					h = &HotKey{Key: strconv.Quote(string(k.Bytes)), Bytes: k.Bytes, Partition: k.Partition}
					found[at] = h
				}
				*into(h) += k.PerSecond
				here[at] += k.PerSecond
			}
		}
		add(hot.Reads, func(h *HotKey) *float64 { return &h.Reads })
		add(hot.Writes, func(h *HotKey) *float64 { return &h.Writes })
		for at, rate := range here {
			if rate > most[at] || found[at].Server == "" {
				most[at], found[at].Server = rate, addr
			}
		}
	}
	list := []HotKey{}
	for _, h := range found {
		list = append(list, *h)
	}
	slices.SortFunc(list, func(x, y HotKey) int {
		switch a, b := x.Reads+x.Writes, y.Reads+y.Writes; {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return strings.Compare(string(x.Bytes), string(y.Bytes))
	})
	return list[:min(n, len(list))]
}

// Sample is one look at the cluster, for --json.
type Sample struct {
	Time     time.Time `json:"time"`
	Rows     []Row     `json:"servers"`
	Gateways []Gateway `json:"gateways"`
	HotKeys  []HotKey  `json:"hot_keys"`
}

// takeHotKeys takes a server's answer in. One that does not answer is asked for nothing.
func (b *board) takeHotKeys(addr string, hot *control.HotKeys, err error) {
	if err != nil {
		delete(b.hot, addr)
		return
	}
	b.hot[addr] = hot
}
