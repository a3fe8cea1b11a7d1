package consensus

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// scene writes an electorate in short: members as "a+ b w1+ w2", where + is a
// voter, ! one that is silent and ~ one that is behind; hosts as "1 2- 3", where
// - is one that is not linked, ? one whose witness is not known, * one whose
// witness was begun, and ! one that has the witness of other managers.
func scene(members, hosts string, attached int, asks ...string) *Electorate {
	e := &Electorate{Self: "a", Alive: map[string]bool{}, Follows: map[string]bool{}, Attached: attached}
	running := map[string]bool{}
	for _, f := range strings.Fields(members) {
		name := strings.TrimRight(f, "+!~")
		m := Member{ID: name, Addr: name, Voter: strings.Contains(f, "+")}
		if n, ok := strings.CutPrefix(name, "w"); ok {
			m.ID, m.Addr = witnessID(n), "s"+n
			running[n] = true
		}
		e.Members = append(e.Members, m)
		e.Alive[m.ID] = !strings.Contains(f, "!")
		e.Follows[m.ID] = e.Alive[m.ID] && !strings.Contains(f, "~")
	}
	for _, f := range strings.Fields(hosts) {
		name := strings.TrimRight(f, "-?*!")
		h := Host{ID: hostID(name), Addr: "s" + name, Able: !strings.Contains(f, "-")}
		if running[name] && !strings.Contains(f, "?") || strings.ContainsAny(f, "*!") {
			h.Witness = witnessID(name)
			h.Begun = strings.Contains(f, "*")
		}
		e.Hosts = append(e.Hosts, h)
	}
	for _, a := range asks {
		id, addr, _ := strings.Cut(a, "@")
		e.Asks = append(e.Asks, Member{ID: id, Addr: addr})
	}
	return e
}

func hostID(n string) (id clustermap.ServerID) {
	fmt.Sscan(n, &id)
	return id
}

func witnessID(n string) string { return fmt.Sprintf("w-%s-00000000", hostID(n)) }

func (s Step) short() string {
	if s.Kind == None {
		return "none"
	}
	if s.Server != 0 {
		return fmt.Sprintf("%v %d", s.Kind, s.Server)
	}
	if w, ok := WitnessOf(s.ID); ok {
		return fmt.Sprintf("%v w%d", s.Kind, w)
	}
	return fmt.Sprintf("%v %s@%s", s.Kind, s.ID, s.Addr)
}

func TestNextStep(t *testing.T) {
	for _, test := range []struct {
		name, members, hosts string
		attached             int
		asks                 []string
		want                 string
	}{
		{"one manager votes alone", "a+", "1 2 3", 3, nil, "none"},
		{"one that asks is added", "a+", "1 2 3", 3, []string{"b@b"}, "add b@b"},
		{"one that asks and is a member needs nothing", "a+ b", "", 0, []string{"b@b"}, "none"},
		{"an old ID at its address goes first", "a+ x!", "", 0, []string{"b@x"}, "remove x@x"},
		{"an old voter too", "a+ x+! c+", "", 0, []string{"b@x"}, "remove x@x"},
		{"not where the live would be no majority", "a+ x+! c+!", "", 0, []string{"b@x"}, "none"},
		{"never the leader's own", "a+ c+ d+", "", 0, []string{"b@a"}, "none"},
		{"a manager that moved", "a+ b+ c+", "", 0, []string{"b@z"}, "move b@z"},
		{"not more than five", "a+ b+ c+ d+ e+", "", 0, []string{"f@f"}, "none"},
		{"a second without servers waits", "a+ b", "", 0, nil, "none"},
		{"a second with servers gets witnesses", "a+ b", "1 2 3", 3, nil, "begin 1"},
		{"a second that is behind waits", "a+ b~", "1 2 3", 3, nil, "none"},
		{"a witness that has begun is added", "a+ b", "1* 2 3", 3, nil, "add w1"},
		{"one of other managers is begun anew", "a+ b", "1! 2 3", 3, nil, "begin 1"},
		{"or ended", "a+", "1! 2 3", 3, nil, "end 1"},
		{"a witness that is behind waits", "a+ b w1~ w2~ w3~", "1 2 3", 3, nil, "none"},
		{"with a witness that follows the second votes", "a+ b w1 w2~ w3~", "1 2 3", 3, nil, "promote b@b"},
		{"and then the witness", "a+ b+ w1 w2~ w3~", "1 2 3", 3, nil, "promote w1"},
		{"one more witness is not enough", "a+ b+ w1+ w2 w3~", "1 2 3", 3, nil, "none"},
		{"two are", "a+ b+ w1+ w2 w3", "1 2 3", 3, nil, "promote w2"},
		{"five voters are all", "a+ b+ w1+ w2+ w3+", "1 2 3 4", 4, nil, "none"},
		{"of two servers one is a witness", "a+ b w1", "1 2", 2, nil, "promote b@b"},
		{"and no more", "a+ b+ w1+", "1 2", 2, nil, "none"},
		{"a silent witness whose server is active stays", "a+ b+ w1+! w2+ w3+", "1- 2 3 4", 4, nil, "none"},
		{"one whose server is not: another begins", "a+ b+ w1+! w2+ w3+", "2 3 4", 4, nil, "begin 4"},
		{"it goes when the other follows", "a+ b+ w1+! w2+ w3+ w4", "2 3 4", 4, nil, "remove w1"},
		{"and the other votes", "a+ b+ w2+ w3+ w4", "2 3 4", 4, nil, "promote w4"},
		{"also while a manager is down", "a+ b+! w1+! w2+ w3+ w4", "2 3 4", 4, nil, "remove w1"},
		{"without another: an odd number", "a+ b+ w1+! w2+ w3+", "2 3", 3, nil, "remove w1"},
		{"down to three", "a+ b+ w2+ w3+", "2 3", 3, nil, "remove w3"},
		{"the last one is kept", "a+ b+ w1+!", "", 1, nil, "none"},
		{"a wiped witness is begun again", "a+ b+ w1+! w2+ w3+", "1? 2 3", 3, nil, "begin 1"},
		{"three managers need none", "a+ b+ c+", "1 2 3", 3, nil, "none"},
		{"a third takes the witnesses' place", "a+ b+ c w1+ w2+ w3+", "1 2 3", 3, nil, "promote c@c"},
		{"which go one by one", "a+ b+ c+ w1+ w2+ w3+", "1 2 3", 3, nil, "remove w1"},
		{"and end", "a+ b+ c+", "1* 2 3", 3, nil, "end 1"},
		{"a third in the place of a dead one: the witnesses bear it", "a+ b+! c+ w2+ w3+", "1 2 3", 3, nil, "none"},
		{"they go when it is back", "a+ b+ c+ w2+ w3+", "1 2 3", 3, nil, "remove w2"},
		{"a detached server's goes all the same", "a+ b+! c+ w2+ w3+", "1 2", 2, nil, "remove w3"},
		{"three dead managers stay", "a+ b+! c+", "1 2 3", 3, nil, "none"},
		{"a third that was never there does not count", "a+ b c!", "1 2 3", 3, nil, "begin 1"},
		{"two new ones vote together", "a+ b c", "", 0, nil, "promote b@b"},
		{"even for a moment", "a+ b+ c", "", 0, nil, "promote c@c"},
		{"four need one witness", "a+ b+ c+ d", "1 2 3", 3, nil, "begin 1"},
		{"and get it", "a+ b+ c+ d w1", "1 2 3", 3, nil, "promote d@d"},
		{"a fifth takes its place", "a+ b+ c+ d+ e w1+", "1 2 3", 3, nil, "promote e@e"},
		{"and it goes", "a+ b+ c+ d+ e+ w1+", "1 2 3", 3, nil, "remove w1"},
	} {
		if got := scene(test.members, test.hosts, test.attached, test.asks...).Next().short(); got != test.want {
			t.Errorf("%s: %s | %s: %s, want %s", test.name, test.members, test.hosts, got, test.want)
		}
	}
}

// world is what a random walk does to managers and servers, and what steps do.
type world struct {
	t        *testing.T
	rnd      *rand.Rand
	e        Electorate
	up       map[string]bool // by address
	managers int
	servers  int
	runs     map[clustermap.ServerID]string // witnesses
	begun    map[string]bool
	made     int
	log      []string
}

func (w *world) say(format string, a ...any) { w.log = append(w.log, fmt.Sprintf(format, a...)) }

func (w *world) see() {
	w.e.Alive, w.e.Follows = map[string]bool{}, map[string]bool{}
	for _, m := range w.e.Members {
		s, witness := WitnessOf(m.ID)
		up := w.up[m.Addr] && (!witness || w.runs[s] == m.ID)
		w.e.Alive[m.ID] = up || m.ID == w.e.Self
		w.e.Follows[m.ID] = w.e.Alive[m.ID] && w.rnd.IntN(4) > 0
	}
	for i := range w.e.Hosts {
		h := &w.e.Hosts[i]
		h.Able, h.Witness, h.Begun = w.up[h.Addr], w.runs[h.ID], w.begun[w.runs[h.ID]]
	}
}

func (w *world) majority() bool {
	voters, live := 0, 0
	for _, m := range w.e.Members {
		if m.Voter {
			voters++
			if w.e.Alive[m.ID] {
				live++
			}
		}
	}
	return live > voters/2
}

func (w *world) apply(s Step) {
	e := &w.e
	i := slices.IndexFunc(e.Members, func(m Member) bool { return m.ID == s.ID })
	w.say("%s", s.short())
	switch s.Kind {
	case Add:
		if i >= 0 {
			e.Members[i].Addr = s.Addr
		} else {
			e.Members = append(e.Members, Member{ID: s.ID, Addr: s.Addr})
		}
	case Promote:
		if !e.Follows[s.ID] {
			w.fail("%s gets a vote, but does not follow", s.ID)
		}
		e.Members[i].Voter = true
	case Move:
		e.Members[i].Addr = s.Addr
	case Remove:
		if s.ID == e.Self {
			w.fail("the leader removes itself")
		}
		e.Members = slices.Delete(e.Members, i, i+1)
	case Begin:
		if e.member(w.runs[s.Server]) == nil {
			w.made++
			w.runs[s.Server] = fmt.Sprintf("w-%s-%08d", s.Server, w.made)
		}
		w.begun[w.runs[s.Server]] = true
	case End:
		if e.member(w.runs[s.Server]) != nil {
			w.fail("a member ends")
		}
		delete(w.runs, s.Server)
	}
	addrs := map[string]bool{}
	voters := 0
	for _, m := range e.Members {
		if addrs[m.Addr] {
			w.fail("two members at %s", m.Addr)
		}
		addrs[m.Addr] = true
		if m.Voter {
			voters++
		}
	}
	if voters > votersMost+3 {
		w.fail("%d voters", voters)
	}
}

func (w *world) fail(format string, a ...any) {
	w.t.Fatalf("%s\n%s\nmembers %+v\nhosts %+v", fmt.Sprintf(format, a...), strings.Join(w.log, "\n"), w.e.Members, w.e.Hosts)
}

// disturb lets something happen.
func (w *world) disturb() {
	switch w.rnd.IntN(7) {
	case 0: // a manager or server dies or comes back
		addrs := []string{"b", "c"}
		for _, h := range w.e.Hosts {
			addrs = append(addrs, h.Addr)
		}
		a := addrs[w.rnd.IntN(len(addrs))]
		w.up[a] = !w.up[a]
		w.say("%s up: %v", a, w.up[a])
	case 1: // a manager comes, perhaps with a new directory
		if w.managers < 3 {
			w.managers++
			addr := string(rune('a' + w.managers - 1))
			w.up[addr] = true
			w.e.Asks = append(w.e.Asks, Member{ID: addr + "-1", Addr: addr})
			w.say("%s comes", addr)
		} else if w.rnd.IntN(3) == 0 {
			w.made++
			w.up["b"] = true
			w.e.Asks = slices.DeleteFunc(w.e.Asks, func(m Member) bool { return m.Addr == "b" })
			w.e.Asks = append(w.e.Asks, Member{ID: fmt.Sprintf("b-%d", w.made), Addr: "b"})
			w.say("b is new")
		}
	case 2: // a server is attached
		if w.servers < 6 {
			w.servers++
			h := Host{ID: clustermap.ServerID(w.servers), Addr: fmt.Sprint("s", w.servers)}
			w.up[h.Addr] = true
			w.e.Hosts = append(w.e.Hosts, h)
			w.e.Attached++
			w.say("%s is attached", h.Addr)
		}
	case 3: // a server is fault
		if len(w.e.Hosts) > 0 {
			i := w.rnd.IntN(len(w.e.Hosts))
			w.say("%s is fault", w.e.Hosts[i].Addr)
			w.up[w.e.Hosts[i].Addr] = false
			w.e.Hosts = slices.Delete(w.e.Hosts, i, i+1)
		}
	case 4: // a witness's directory is lost
		if len(w.e.Hosts) > 0 {
			id := w.e.Hosts[w.rnd.IntN(len(w.e.Hosts))].ID
			delete(w.runs, id)
			w.say("the witness of %d is wiped", id)
		}
	case 5: // another leader does not know who has begun
		clear(w.begun)
	}
}

// TestRandomWalk: whatever happens meanwhile, no step takes the majority from
// the live voters, and when nothing happens any more and all that is attached
// lives, the voters are what they should be.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(400) {
		w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), up: map[string]bool{"a": true}, managers: 1, runs: map[clustermap.ServerID]string{}, begun: map[string]bool{},
			e: Electorate{Self: "a", Members: []Member{{ID: "a", Addr: "a", Voter: true}}}}
		w.say("seed %d", seed)
		for range 200 {
			w.disturb()
			w.see()
			if s := w.e.Next(); s.Kind != None {
				had := w.majority()
				w.apply(s)
				w.see()
				if had && !w.majority() {
					w.fail("%s takes the majority away", s.short())
				}
			}
		}
		for a := range w.up {
			w.up[a] = true
		}
		quiet := 0
		for n := 0; quiet < 30; n++ {
			w.see()
			s := w.e.Next()
			if s.Kind == None {
				quiet++
				continue
			}
			quiet = 0
			w.apply(s)
			if n > 2000 {
				w.fail("it does not come to rest")
			}
		}
		w.rested()
	}
}

// rested checks the voters at rest.
func (w *world) rested() {
	managers, witnesses := 0, 0
	for _, m := range w.e.Members {
		_, witness := WitnessOf(m.ID)
		switch {
		case witness && !m.Voter:
			w.fail("%s is left without a vote", m.ID)
		case witness:
			witnesses++
		case m.Voter:
			managers++
		}
	}
	want := 0
	if w.managers == 2 {
		want = odd(min(w.e.witnessesMost(2), len(w.e.Hosts)))
	}
	switch {
	case w.managers == 2 && want == 0:
		// Nobody is there to be a witness: whoever voted still does.
	case managers != w.managers || witnesses != want:
		w.fail("at rest %d managers and %d witnesses vote, not %d and %d", managers, witnesses, w.managers, want)
	}
}
