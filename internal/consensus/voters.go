package consensus

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// managersMost bounds the managers of a cluster, votersMost its voters: beyond
// that each change of the map costs more and survives no more.
const managersMost, votersMost = 5, 5

// Kind of a Step.
type Kind int

// The kinds. Change makes the first four; Begin and End are asked of a server.
const (
	None    Kind = iota
	Add          // a node follows, without a vote (or is reached at another address)
	Promote      // it gets a vote
	Move         // a voter is reached at another address
	Remove
	Begin // a server is to begin a witness
	End   // a server is to end its witness
)

// String is for logs.
func (k Kind) String() string {
	return [...]string{"none", "add", "promote", "move", "remove", "begin", "end"}[k]
}

// Step is one change on the way to the voters that there should be.
type Step struct {
	Kind   Kind
	ID     string // of the node; Begin: not known yet
	Addr   string
	Server clustermap.ServerID // Begin, End
}

// Host is an attached active server, which can have a witness.
type Host struct {
	ID   clustermap.ServerID
	Addr string
	// Witness is the ID of the one that it runs; "": none, or not known. Begun:
	// this leader had it begun. Another that is no member may have the log of
	// managers that are lost (recover), and is begun anew before it is added.
	Witness string
	Begun   bool
	// Told: it was told to begin or end a witness just now.
	Told bool
	// Able: it is linked to the leader and its witness works, if it has one.
	Able bool
}

// Electorate is what a leader knows when it considers who should vote. It is a
// value: Next reads no clock and does nothing.
type Electorate struct {
	Self    string // the leader
	Members []Member
	// Alive was heard lately; Follows has all of the log, or nearly.
	Alive, Follows map[string]bool
	// Asks are managers that ask to be added.
	Asks []Member
	// Hosts are the attached active servers, those first that should have witnesses first.
	Hosts []Host
	// Attached servers, whatever their state.
	Attached int
}

// Next is the next step, if any (§5). Managers vote. Where their number is even
// witnesses make it odd, with two managers three of them, so that a manager and
// a server can be lost together. One step at a time is made, none that leaves
// the live voters without a majority, and votes are given only to who follows:
// a single voter stays alone until a second manager and a witness do.
func (e *Electorate) Next() Step {
	if s := e.asked(); s.Kind != None {
		return s
	}
	if s := e.moved(); s.Kind != None {
		return s
	}
	managers, ready := e.managers()
	most := e.witnessesMost(len(managers) + len(ready))
	voting, following, chosen := e.witnesses(most)
	w := odd(min(len(chosen), len(voting)+len(following)))
	if s := e.votes(managers, ready, voting, following, w, odd(len(chosen))); s.Kind != None {
		return s
	}
	return e.staff(chosen)
}

// odd is n, or the odd number below it; 0 for 0.
func odd(n int) int {
	if n > 0 && n%2 == 0 {
		n--
	}
	return n
}

// witnessesMost are as many as k managers that vote could use.
func (e *Electorate) witnessesMost(k int) int {
	switch {
	case k%2 == 1 || k >= votersMost:
		return 0
	case e.Attached < 3:
		return 1
	}
	return votersMost - k
}

// asked sees to managers that ask. An old ID at the address of a new one is a
// manager whose directory is gone: it is removed first.
func (e *Electorate) asked() Step {
	for _, a := range e.Asks {
		have := e.member(a.ID)
		if have != nil && have.Addr == a.Addr {
			continue
		}
		if old := e.memberAt(a.Addr); old != nil {
			if e.mayRemove(old.ID) {
				return Step{Kind: Remove, ID: old.ID, Addr: old.Addr}
			}
			continue
		}
		switch {
		case have != nil && have.Voter:
			return Step{Kind: Move, ID: a.ID, Addr: a.Addr}
		case have != nil || e.countManagers() < managersMost:
			return Step{Kind: Add, ID: a.ID, Addr: a.Addr}
		}
	}
	return Step{}
}

// moved sees to witnesses whose servers have another address now.
func (e *Electorate) moved() Step {
	for _, h := range e.Hosts {
		m := e.member(h.Witness)
		if m == nil || m.Addr == h.Addr || e.memberAt(h.Addr) != nil {
			continue
		}
		if m.Voter {
			return Step{Kind: Move, ID: m.ID, Addr: h.Addr}
		}
		return Step{Kind: Add, ID: m.ID, Addr: h.Addr}
	}
	return Step{}
}

// managers are those that vote and those that could.
func (e *Electorate) managers() (voting, ready []Member) {
	for _, m := range e.Members {
		if _, witness := WitnessOf(m.ID); witness {
			continue
		}
		if m.Voter {
			voting = append(voting, m)
		} else if e.Alive[m.ID] && e.Follows[m.ID] {
			ready = append(ready, m)
		}
	}
	return voting, ready
}

// witnesses are those that vote and whose servers are attached and active, those
// that could vote, and the servers that should have one: at most most, and an
// odd number. Who votes already comes first.
func (e *Electorate) witnesses(most int) (voting, following []Member, chosen []Host) {
	var others, idle []Host
	for _, alive := range []bool{true, false} {
		for _, m := range e.Members {
			if h := e.hostOf(m.ID); h != nil && m.Voter && e.Alive[m.ID] == alive {
				voting, chosen = append(voting, m), append(chosen, *h)
			}
		}
	}
	for _, h := range e.Hosts {
		switch m := e.member(h.Witness); {
		case !h.Able || slices.ContainsFunc(chosen, func(c Host) bool { return c.ID == h.ID }):
		case m == nil:
			idle = append(idle, h)
		default:
			others = append(others, h)
			if e.Alive[m.ID] && e.Follows[m.ID] {
				following = append(following, *m)
			}
		}
	}
	chosen = slices.Concat(chosen, others, idle)
	return voting, following, chosen[:odd(min(most, len(chosen)))]
}

// votes is the next change of who votes, towards w witnesses; want is how many
// there will be when those that are chosen follow.
func (e *Electorate) votes(managers, ready, voting, following []Member, w, want int) Step {
	if len(voting) > w && w < want {
		return Step{} // another is about to follow: it takes the free place
	}
	target := slices.Concat(managers, ready)
	if len(target)%2 == 0 && w == 0 {
		if len(ready) == 0 {
			return Step{} // no witness is to be had: better a dead one than an even number
		}
		target = target[:len(target)-1]
	} else {
		n := min(w, len(voting))
		target = slices.Concat(target, voting[:n], following[:w-n])
	}
	in := func(list []Member, id string) bool {
		return slices.ContainsFunc(list, func(m Member) bool { return m.ID == id })
	}
	var gain, lose []Member
	for _, m := range target {
		if !m.Voter {
			gain = append(gain, m)
		}
	}
	voters, detached := 0, false
	for _, m := range e.Members {
		if !m.Voter {
			continue
		}
		voters++
		if !in(target, m.ID) && e.mayRemove(m.ID) {
			if !e.Alive[m.ID] {
				return Step{Kind: Remove, ID: m.ID, Addr: m.Addr}
			}
			// A witness that is no more than superfluous stays while without it the
			// rest could not bear the loss of one more: a manager may be away for good.
			// One whose server cannot be its host any more (detached, fault) goes all the same.
			switch {
			case e.hostOf(m.ID) == nil:
				lose, detached = slices.Insert(lose, 0, m), true
			case e.bears(m.ID, 1):
				lose = append(lose, m)
			}
		}
	}
	switch {
	case len(gain) > 0 && (voters%2 == 0 || len(gain)+len(lose) > 1):
		return Step{Kind: Promote, ID: gain[0].ID, Addr: gain[0].Addr}
	case len(lose) > 0 && (voters%2 == 0 || len(lose) > 1 || detached):
		return Step{Kind: Remove, ID: lose[0].ID, Addr: lose[0].Addr}
	}
	return Step{}
}

// staff begins and ends witnesses.
func (e *Electorate) staff(chosen []Host) Step {
	is := func(id clustermap.ServerID) bool {
		return slices.ContainsFunc(chosen, func(h Host) bool { return h.ID == id })
	}
	for _, m := range e.Members {
		if _, witness := WitnessOf(m.ID); witness && !m.Voter {
			if h := e.hostOf(m.ID); h == nil || !is(h.ID) {
				return Step{Kind: Remove, ID: m.ID, Addr: m.Addr}
			}
		}
	}
	for _, h := range e.Hosts {
		wanted := is(h.ID)
		switch {
		case !h.Able || h.Told:
		case wanted && (h.Witness == "" || e.member(h.Witness) == nil && !h.Begun):
			return Step{Kind: Begin, Addr: h.Addr, Server: h.ID}
		case wanted && e.member(h.Witness) == nil:
			if old := e.memberAt(h.Addr); old != nil {
				if e.mayRemove(old.ID) {
					return Step{Kind: Remove, ID: old.ID, Addr: old.Addr} // its directory is gone
				}
				continue
			}
			return Step{Kind: Add, ID: h.Witness, Addr: h.Addr}
		case !wanted && h.Witness != "" && e.member(h.Witness) == nil:
			return Step{Kind: End, ID: h.Witness, Addr: h.Addr, Server: h.ID}
		}
	}
	return Step{}
}

// hostOf is the server of a witness; nil: it is a manager's ID, the server is
// not attached and active any more, or runs another witness.
func (e *Electorate) hostOf(id string) *Host {
	server, witness := WitnessOf(id)
	if !witness {
		return nil
	}
	for i := range e.Hosts {
		if h := &e.Hosts[i]; h.ID == server && (h.Witness == "" || h.Witness == id) {
			return h
		}
	}
	return nil
}

// mayRemove: without it the live voters still are a majority.
func (e *Electorate) mayRemove(id string) bool { return id != e.Self && e.bears(id, 0) }

// bears: without voter id, and after so many live ones more were lost, the live
// voters still are a majority.
func (e *Electorate) bears(id string, losses int) bool {
	voters, live := 0, 0
	for _, m := range e.Members {
		if m.Voter && m.ID != id {
			voters++
			if e.Alive[m.ID] {
				live++
			}
		}
	}
	return live-losses > voters/2
}

func (e *Electorate) member(id string) *Member {
	return e.find(func(m Member) bool { return m.ID == id })
}

func (e *Electorate) memberAt(addr string) *Member {
	return e.find(func(m Member) bool { return m.Addr == addr })
}

func (e *Electorate) find(ok func(Member) bool) *Member {
	if i := slices.IndexFunc(e.Members, ok); i >= 0 {
		return &e.Members[i]
	}
	return nil
}

func (e *Electorate) countManagers() (n int) {
	for _, m := range e.Members {
		if _, witness := WitnessOf(m.ID); !witness {
			n++
		}
	}
	return n
}
