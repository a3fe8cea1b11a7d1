package console

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kumofs/kumofs/internal/cli"
	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

const (
	// tokenHeader has what session told: other sites cannot know it, nor send it.
	tokenHeader = "Kumofs-Console-Token"
	// Expect is a header of a command: the servers that it is meant for, as Nodes tells
	// them, with commas. Where it would be about others it is not carried out.
	Expect       = "Kumofs-Expect"
	commandBytes = 64 << 10
)

// allowed are the commands that the page may give, as the managers have them.
var allowed = map[string]control.CommandRequest{
	"attach": {Command: "attach"}, "detach": {Command: "detach"}, "replace": {Command: "replace"}, "cancel": {Command: "cancel"},
	"pause": {Command: "copying", Args: []string{"pause"}}, "resume": {Command: "copying", Args: []string{"resume"}},
}

// Asked is the body of a command.
type Asked struct {
	Command string `json:"command"`
	// Nodes are the addresses that the plan named.
	Nodes []string `json:"nodes"`
}

// session tells the page what it may do here.
func (c *Console) session(w http.ResponseWriter, r *http.Request) {
	s := struct {
		Manager  string `json:"manager"`
		Version  string `json:"version"`
		Commands bool   `json:"commands"`
		Token    string `json:"token,omitempty"`
		Why      string `json:"why,omitempty"` // commands are not for this page
	}{Manager: c.cfg.Addr, Version: cli.Version}
	switch {
	case !c.cfg.Commands:
		s.Why = errReadOnly.Error()
	case !ownHost(r.Host):
		s.Why = errHost.Error()
	default:
		s.Commands, s.Token = true, c.token
	}
	answer(w, r, s)
}

var (
	errReadOnly = errors.New("read-only: a manager started with --console-commands takes commands from here")
	errHost     = errors.New("commands are taken only where the page is opened by an IP address, a plain host name, or this machine's own name")
	errForeign  = errors.New("the command did not come from this console's page")
)

// command has a command carried out that the page gives. It is checked here, at the
// manager that served the page, whoever leads.
func (c *Console) command(w http.ResponseWriter, r *http.Request) {
	if err := c.mayCommand(r); err != nil {
		fail(w, http.StatusForbidden, err)
		return
	}
	var a Asked
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, commandBytes)).Decode(&a); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("the command is not understood: %w", err))
		return
	}
	given, ok := allowed[a.Command]
	if !ok {
		fail(w, http.StatusBadRequest, fmt.Errorf("the console does not give the command %q; kumoctl may", a.Command))
		return
	}
	body, err := json.Marshal(given)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	// What the leader gets is as if kumoctl asked: nothing of the browser goes on.
	on := r.Clone(r.Context())
	on.URL = &url.URL{Path: control.PathCommand}
	on.RequestURI = control.PathCommand
	on.Header = http.Header{"Content-Type": {"application/json"}, Expect: {strings.Join(a.Nodes, ",")}}
	on.Body, on.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	c.cfg.Command(w, on)
}

// mayCommand keeps out what other sites have a browser send, and names that
// somebody else may have pointed here (DNS rebinding).
func (c *Console) mayCommand(r *http.Request) error {
	if !c.cfg.Commands {
		return errReadOnly
	}
	if !ownHost(r.Host) {
		return errHost
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" || origin.Host != r.Host {
		return errForeign
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return errForeign
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errForeign
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(c.token)) != 1 {
		return fmt.Errorf("%w, or this manager has started again since: load the page anew", errForeign)
	}
	return nil
}

// ownHost: a name that nobody outside can have pointed here.
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "" {
		return false
	}
	own, err := os.Hostname()
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || err == nil && host == strings.ToLower(own)
}

// Nodes are the addresses of the servers that a command would be about, in order.
func Nodes(command string, s *control.Status) []string {
	nodes := []string{}
	switch command {
	case "attach":
		for _, n := range s.NotAttached {
			if n.Reachable && n.State != "refused" {
				nodes = append(nodes, n.Addr)
			}
		}
	case "detach":
		for _, n := range s.Attached {
			if n.State == "fault" {
				nodes = append(nodes, n.Addr)
			}
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// Plan is what a command would do.
type Plan struct {
	Command string      `json:"command"`
	Nodes   []string    `json:"nodes"`
	Copies  int         `json:"copies"`
	Servers []PlanShare `json:"servers"`
}

// PlanShare is one server's share before and after, in partitions.
type PlanShare struct {
	Addr     string `json:"addr"`
	Replicas int    `json:"replicas"`
	Then     int    `json:"then"`
	Copies   int    `json:"copies"`
}

func (c *Console) plan(w http.ResponseWriter, r *http.Request) {
	command := r.URL.Query().Get("command")
	if _, ok := allowed[command]; !ok {
		fail(w, http.StatusBadRequest, fmt.Errorf("there is no plan for the command %q", command))
		return
	}
	s, err := c.cfg.State(r.Context()) // as it is now: a command follows
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	c.planMu.Lock()
	defer c.planMu.Unlock()
	answer(w, r, planOf(command, s))
}

// planOf reckons what a command would move, by the managers' own planning.
func planOf(command string, s State) Plan {
	p := Plan{Command: command, Nodes: Nodes(command, s.Status), Servers: []PlanShare{}}
	if len(s.Map.Partitions) == 0 || command == "pause" || command == "resume" || command == "cancel" {
		return p
	}
	shares := map[clustermap.ServerID]*PlanShare{}
	var servers []clustermap.Server
	for _, x := range s.Map.Servers {
		shares[x.ID] = &PlanShare{Addr: x.Addr}
		if x.State == clustermap.Active {
			servers = append(servers, x)
		}
	}
	if command == "attach" {
		for _, n := range s.Status.NotAttached {
			id, err := strconv.ParseUint(n.ID, 16, 64)
			if err != nil || !slices.Contains(p.Nodes, n.Addr) {
				continue
			}
			x := clustermap.Server{ID: clustermap.ServerID(id), Addr: n.Addr, Zone: n.Zone}
			servers = append(servers, x)
			if shares[x.ID] == nil {
				shares[x.ID] = &PlanShare{Addr: x.Addr}
			}
		}
	}
	slices.SortFunc(servers, func(a, b clustermap.Server) int { return cmp.Compare(a.ID, b.ID) })
	for i := range s.Map.Partitions {
		for _, id := range s.Map.Partitions[i].Replicas {
			shares[id].Replicas++
		}
	}
	for i, ids := range clustermap.Assign(s.Map, servers, clustermap.PlanOptions{}) {
		for _, id := range ids {
			shares[id].Then++
			if !clustermap.Contains(s.Map.Partitions[i].Replicas, id) {
				shares[id].Copies++
				p.Copies++
			}
		}
	}
	for _, x := range shares {
		p.Servers = append(p.Servers, *x)
	}
	slices.SortFunc(p.Servers, func(a, b PlanShare) int { return compareAddr(a.Addr, b.Addr) })
	return p
}

// compareAddr orders addresses by IP, then port.
func compareAddr(a, b string) int {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return cmp.Compare(a, b)
	}
	return x.Compare(y)
}
