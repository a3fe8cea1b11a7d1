package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// What scripts say to gateways, and what they look at.

// command gives a command to a gateway: "G1: set k v -> stored" waits for the
// answer; "x = G1: set k v" goes on, and "x -> stored" waits later.
func (sc *script) command(name string, words []string) error {
	want := []string(nil)
	if n := slices.Index(words, "->"); n >= 0 {
		words, want = words[:n], words[n+1:]
	}
	g := (*gateway)(nil)
	for _, x := range sc.w.gates {
		if x.name+":" == words[0] {
			g = x
		}
	}
	if g == nil || len(words) < 2 {
		return fmt.Errorf("there is no gateway %s", words[0])
	}
	if words[1] == "upload" && len(words) == 4 {
		return sc.upload(g, words[2], words[3])
	}
	req, err := parseCommand(g, words[1:])
	if err != nil {
		return err
	}
	a := &asked{c: g.newCall(len(sc.vars), req)}
	a.c.ended = func(res item.Result, how outcome) { a.res, a.how, a.done = res, how, true }
	a.c.done = func() {}
	if v, ok := bytes.CutPrefix(req.Value, []byte("@")); ok {
		up := sc.uploads[string(req.Key)+" "+string(v)]
		if up == nil {
			return fmt.Errorf("%s was not uploaded", v)
		}
		a.c.req.Value, a.c.up = v, &up.seg
	}
	a.c.send()
	if name != "" {
		sc.vars[name] = a
		return nil
	}
	if want == nil {
		return fmt.Errorf("what is the answer to be?")
	}
	return sc.answer(a, want)
}

// upload stores a value in chunks, and waits for that.
func (sc *script) upload(g *gateway, key, value string) error {
	done := false
	u := g.newUpload(0, item.Request{Op: item.OpSet, Key: []byte(key), Value: []byte(value)}, func() { done = true })
	u.stop = u.seg.Chunks() + 1 // the command is another line
	sc.uploads[key+" "+value] = u
	u.step(0)
	if !sc.w.runWhile(func() bool { return !done }, sc.w.now+scriptPatience) {
		return fmt.Errorf("it is not stored")
	}
	return nil
}

var scriptOps = map[string]item.Op{"get": item.OpGet, "set": item.OpSet, "add": item.OpAdd, "replace": item.OpReplace, "append": item.OpAppend,
	"cas": item.OpCAS, "incr": item.OpIncr, "decr": item.OpDecr, "touch": item.OpTouch, "gat": item.OpGetAndTouch, "delete": item.OpDelete, "flush_all": item.OpFlush}

// parseCommand reads "set k v [exptime]", "incr k n", "touch k exptime", "flush_all [delay]" ...
func parseCommand(g *gateway, words []string) (item.Request, error) {
	op, ok := scriptOps[words[0]]
	if !ok {
		return item.Request{}, fmt.Errorf("there is no command %q", words[0])
	}
	req := item.Request{Op: op}
	args := words[1:]
	if op != item.OpFlush && len(args) > 0 {
		req.Key, args = []byte(args[0]), args[1:]
	}
	switch op {
	case item.OpSet, item.OpAdd, item.OpReplace, item.OpAppend, item.OpCAS:
		if len(args) == 0 {
			return req, fmt.Errorf("a value is missing")
		}
		req.Value, args = []byte(args[0]), args[1:]
	case item.OpIncr, item.OpDecr:
		req.Delta = 1
	}
	if op == item.OpCAS {
		req.CAS = g.uniques[string(req.Key)]
	}
	if len(args) > 0 {
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return req, err
		}
		req.Exptime = n
		if req.Delta > 0 {
			req.Delta, req.Exptime = uint64(n), 0
		}
	}
	return req, nil
}

// answer waits for an answer and compares it.
func (sc *script) answer(a *asked, want []string) error {
	w := sc.w
	if want[0] == "pending" {
		if a.done {
			return fmt.Errorf("it was answered: %s", a.said())
		}
		return nil
	}
	if !w.runWhile(func() bool { return !a.done }, w.now+scriptPatience) {
		return fmt.Errorf("no answer for %v", time.Duration(scriptPatience))
	}
	if got := a.said(); got != strings.Join(want, " ") {
		return fmt.Errorf("the answer is %q", got)
	}
	return nil
}

// said is an answer in the words of scripts.
func (a *asked) said() string {
	op := a.c.req.Op
	switch {
	case a.how == unknown:
		return "unknown"
	case a.how == notDone:
		return "not done"
	}
	switch a.res.Status {
	case item.NotFound:
		return "nothing"
	case item.NotStored:
		return "not stored"
	case item.Exists:
		return "exists"
	case item.OK:
	default:
		return fmt.Sprintf("status %d", a.res.Status)
	}
	switch op {
	case item.OpGet, item.OpGetAndTouch:
		return string(a.res.Item.Value)
	case item.OpIncr, item.OpDecr:
		return itoa(a.res.Number)
	case item.OpDelete:
		return "deleted"
	case item.OpTouch:
		return "touched"
	case item.OpFlush:
		return "flushed"
	}
	return "stored"
}

// condition looks at the cluster, or waits until it is so. "not" turns it round.
func (sc *script) condition(wait bool, words []string) error {
	w := sc.w
	limit := scriptPatience
	if n := len(words); n > 2 && words[n-2] == "within" {
		d, err := time.ParseDuration(words[n-1])
		if err != nil {
			return err
		}
		limit, words = int64(d), words[:n-2]
	}
	want := true
	if words[0] == "not" {
		want, words = false, words[1:]
	}
	if len(words) > 2 && words[1] == "holds" {
		words[0], words[1] = words[1], words[0]
	}
	holds, err := sc.holds(words)
	if err != nil {
		return err
	}
	if !wait {
		if holds() != want {
			return fmt.Errorf("it is not so: %s", sc.state())
		}
		return nil
	}
	if !w.runWhile(func() bool { return holds() != want }, w.now+limit) {
		return fmt.Errorf("not so after %v: %s", time.Duration(limit), sc.state())
	}
	return nil
}

func (sc *script) state() string {
	p := &sc.w.agreed.m.Partitions[0]
	return fmt.Sprintf("the map says epoch %d, replicas %s, joining %s, active %v", p.Epoch, sc.w.names(p.Replicas), sc.w.names(p.Joining), p.Active)
}

// holds is a condition on the first partition and on servers.
func (sc *script) holds(words []string) (func() bool, error) {
	w := sc.w
	part := func() *clustermap.Partition { return &w.agreed.m.Partitions[0] }
	ids := func() (list []clustermap.ServerID) {
		for _, n := range words[1:] {
			if s := sc.server(n); s != nil {
				list = append(list, s.id)
			}
		}
		return list
	}
	var s *Server
	if len(words) > 1 {
		s = sc.server(words[1])
	}
	switch words[0] {
	case "rest":
		return w.atRest, nil
	case "available":
		return w.serves, nil
	case "replicas": // the first is the primary
		return func() bool {
			r, l := part().Replicas, ids()
			return len(r) == len(l) && r[0] == l[0] && clustermap.SameSet(r, l)
		}, nil
	case "joining":
		return func() bool { return clustermap.SameSet(part().Joining, ids()) }, nil
	case "epoch":
		n, err := strconv.Atoi(words[1])
		return func() bool { return int(part().Epoch) == n }, err
	case "active":
		return func() bool { return part().Active }, nil
	case "leader":
		return func() bool { return w.leader() != nil && (len(words) == 1 || w.leader().name == words[1]) }, nil
	}
	if s == nil {
		return nil, fmt.Errorf("there is no condition %q, or no such server", words[0])
	}
	switch words[0] {
	case "serving": // it is the primary, and says so
		return func() bool { return s.up && s.replicas != nil && s.replicas[0].Serving() }, nil
	case "fault", "attached":
		return func() bool {
			in := w.agreed.m.Server(s.id)
			return in != nil && (words[0] == "attached" || in.State == clustermap.Fault)
		}, nil
	case "copying": // a join into its store is under way
		return func() bool { return s.up && s.replicas != nil && s.replicas[0].Unfinished() }, nil
	case "up":
		return func() bool { return s.up }, nil
	case "holds": // "B holds k v": in its store
		return func() bool {
			it := s.disk.part(clustermap.PartitionOf([]byte(words[2]), len(w.served))).item(words[2])
			return it != nil && (len(words) < 4 || string(it.Value) == words[3])
		}, nil
	}
	return nil, fmt.Errorf("there is no condition %q", words[0])
}
