package sim

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/item"
)

// A script tells one thing that happens to a small cluster, line by line, and
// what must come of it (testdata/README.md says what the lines mean). Nothing
// happens in it by chance but the delays of the managers' elections.
type script struct {
	w    *World
	line int
	vars map[string]*asked
	// uploads are the values that lie in chunks, by key and value.
	uploads map[string]*upload
	breaks  []string
}

// asked is a command that a script gave to a gateway.
type asked struct {
	c    *call
	res  item.Result
	how  outcome
	done bool
}

// scriptPatience is how long an answer or a condition is waited for.
const scriptPatience = 15 * second

// RunScript runs a script and returns what failed, if anything did.
func RunScript(text string, trace io.Writer) Result {
	sc := &script{vars: map[string]*asked{}, uploads: map[string]*upload{}}
	for n, line := range strings.Split(text, "\n") {
		sc.line = n + 1
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := sc.run(words, trace); err != nil {
			return Result{Failures: []string{fmt.Sprintf("line %d: %s: %v", n+1, strings.TrimSpace(line), err)}}
		}
		if sc.w != nil && len(sc.w.failures) > 0 {
			return sc.w.result()
		}
	}
	w := sc.w
	if w == nil {
		return Result{Failures: []string{"the script has no cluster"}}
	}
	w.operate()
	w.settle()
	w.judge()
	return w.result()
}

// breaksOf are the planted bugs that a script says it shows.
func breaksOf(text string) []string {
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "breaks:"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

func (sc *script) run(words []string, trace io.Writer) error {
	w := sc.w
	if w == nil && words[0] != "cluster" && words[0] != "breaks:" {
		return fmt.Errorf("the first line makes the cluster")
	}
	if w != nil {
		w.tracef("> %s", strings.Join(words, " "))
	}
	switch words[0] {
	case "breaks:":
		return nil
	case "cluster":
		return sc.cluster(words[1:], trace)
	case "wait":
		d, err := time.ParseDuration(words[1])
		w.runUntil(w.now + int64(d))
		return err
	case "until", "expect":
		return sc.condition(words[0] == "until", words[1:])
	case "cut", "heal":
		return sc.cut(words[0] == "cut", words[1:])
	case "operator":
		w.leader().command(words[1], words[2:]...)
		return nil
	case "crash", "unplug", "start", "pause", "resume", "sweep", "break":
		return sc.process(words[0], words[1:])
	case "lead":
		return sc.lead(words[1:])
	case "copies":
		w.slowCopy = 0
		if words[1] == "slow" {
			w.slowCopy = second
		}
		return nil
	case "clock":
		n, err := strconv.ParseInt(words[2], 10, 64)
		if s := sc.server(words[1]); s != nil && err == nil {
			s.skew += n
			return nil
		}
		return fmt.Errorf("clock SERVER SECONDS")
	case "disk":
		return sc.disk(words[1:])
	}
	if strings.HasSuffix(words[0], ":") {
		return sc.command("", words)
	}
	if len(words) > 2 && words[1] == "=" {
		return sc.command(words[0], words[2:])
	}
	if a := sc.vars[words[0]]; a != nil && len(words) > 2 && words[1] == "->" {
		return sc.answer(a, words[2:])
	}
	return fmt.Errorf("unknown line")
}

// cluster makes a cluster at rest. A is the primary of the first partition, B
// and C are its backups, the others are D, E ...
func (sc *script) cluster(words []string, trace io.Writer) error {
	opt := Options{Seed: 1, Trace: trace, Servers: 3, Managers: 1, Gateways: 1, Partitions: 1, Still: true, Fsync: true, Jumps: true, Hasty: true}
	for _, s := range words {
		name, v, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(v)
		field := map[string]*int{"servers": &opt.Servers, "managers": &opt.Managers, "witnesses": &opt.Witnesses, "gateways": &opt.Gateways, "partitions": &opt.Partitions}[name]
		switch {
		case s == "no-fsync":
			opt.Fsync = false
		case field == nil || err != nil:
			return fmt.Errorf("%q is no part of a cluster", s)
		default:
			*field = n
		}
	}
	w := newWorld(opt)
	sc.w = w
	w.runWhile(func() bool { return !w.linked() }, 10*second)
	w.managers[0].command("attach")
	if !w.runWhile(func() bool { return !w.atRest() }, 20*second) {
		return fmt.Errorf("the cluster does not serve")
	}
	p := w.agreed.m.Partitions[0]
	next := len(p.Replicas)
	for _, s := range w.servers {
		n := slices.Index(p.Replicas, s.id)
		if n < 0 {
			n = next
			next++
		}
		s.name = string(rune('A' + n))
	}
	return nil
}

func (sc *script) server(name string) *Server {
	for _, s := range sc.w.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}

// procs are the processes that a name means.
func (sc *script) procs(name string) (list []*proc) {
	w := sc.w
	for _, s := range w.servers {
		if s.name == name || name == "servers" || name == "all" {
			list = append(list, &s.proc)
		}
	}
	for _, m := range w.managers {
		if m.name == name || name == "managers" || name == "all" || name == "leader" && m == w.leader() {
			list = append(list, &m.proc)
		}
	}
	for _, g := range w.gates {
		if g.name == name || name == "gateways" || name == "all" {
			list = append(list, &g.proc)
		}
	}
	return list
}

// cut: "A B" cuts both ways, "A > B" what A sends to B; heal is the same, or "all".
func (sc *script) cut(cut bool, words []string) error {
	w := sc.w
	if !cut && words[0] == "all" {
		w.healCuts()
		return nil
	}
	oneWay := len(words) == 3 && words[1] == ">"
	a, b := sc.procs(words[0]), sc.procs(words[len(words)-1])
	if len(words) != 2 && !oneWay || len(a) == 0 || len(b) == 0 {
		return fmt.Errorf("cut A B, or cut A > B")
	}
	for _, x := range a {
		for _, y := range b {
			if x == y {
				continue
			}
			w.setCut(x.place, y.place, cut)
			if !oneWay {
				w.setCut(y.place, x.place, cut)
			}
		}
	}
	return nil
}

func (sc *script) process(what string, words []string) error {
	w := sc.w
	for _, name := range words {
		list := sc.procs(name)
		if len(list) == 0 {
			return fmt.Errorf("there is no %s", name)
		}
		for _, p := range list {
			switch {
			case what == "pause":
				p.pause(hour * second)
				continue
			case what == "resume":
				p.pausedUntil = w.now
				p.wake()
				continue
			case what == "break":
				w.snapAll(func(c *conn) bool { return c.there.src == p || c.there.dst == p })
				continue
			}
			if p.place >= placeManager {
				m := w.managers[p.place-placeManager]
				if what == "start" {
					m.start()
				} else {
					m.crash(what == "unplug")
				}
				continue
			}
			s := w.servers[p.place]
			switch what {
			case "sweep":
				s.look(0)
			case "start":
				s.start()
			case "crash":
				s.crash(false)
			case "unplug":
				s.crash(true)
				s.disk.losePower(w, w.rng)
			}
		}
	}
	return nil
}

func (sc *script) disk(words []string) error {
	s := sc.server(words[0])
	if s == nil || len(words) != 2 {
		return fmt.Errorf("disk SERVER stalled|full|fails|works")
	}
	d, long := s.disk, sc.w.now+hour*second
	switch words[1] {
	case "stalled":
		d.stalledUntil = long
	case "full":
		d.fullUntil = long
	case "fails":
		d.failsUntil = long
	case "works":
		d.stalledUntil, d.fullUntil, d.failsUntil = 0, 0, 0
		d.move(sc.w)
	default:
		return fmt.Errorf("a disk is stalled, full, fails or works")
	}
	return nil
}

// lead has the managers record other replicas, the first of which leads.
func (sc *script) lead(names []string) error {
	m := sc.w.leader()
	p := m.v.m.Partitions[0]
	var list []clustermap.ServerID
	for _, n := range names {
		s := sc.server(n)
		if s == nil || !clustermap.Contains(p.Replicas, s.id) || m.inflight != 0 {
			return fmt.Errorf("%s cannot be a replica", n)
		}
		list = append(list, s.id)
	}
	p.Epoch, p.Replicas, p.Joining, p.Active, p.Assigned = p.Epoch+1, list, nil, false, list
	m.propose(&clustermap.Delta{Base: m.v.m.Version, Partitions: []clustermap.PartitionChange{{OldEpoch: p.Epoch - 1, New: p}}}, false)
	return nil
}
