package sim

import (
	"bytes"
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
)

// Times of the managers' consensus, as hashicorp/raft is used.
const (
	raftHeartbeat = 150 * millisecond
	raftElection  = 500 * millisecond // and up to twice that
	raftLease     = 300 * millisecond // a leader not heard by a majority for so long steps down
)

// voter is one member of the managers' consensus: Raft with a log that is never
// shortened. It lives in a manager, or as a witness in a server.
type voter struct {
	w     *World
	index int
	on    *proc
	mgr   *Manager // nil: a witness
	// What survives a crash: it is really synced.
	term  uint64
	voted int // whom in this term; -1: nobody
	log   []entry
	// What does not.
	leader    int // -1: not known
	leads     bool
	stands    bool
	votes     int
	commit    int
	applied   int
	m         *clustermap.Map
	timer     uint64 // counts resets of the election timer
	next      []int
	match     []int
	contacted []int64 // when each voter was last heard, as leader
	barrier   int     // a leader decides when this is applied
}

// entry is one of the log: a delta, or nothing, with which a leader begins.
type entry struct {
	term  uint64
	delta []byte
}

// agreed is what any voter has applied: all must apply the same.
type agreed struct {
	log []entry
	m   *clustermap.Map // after all of them
}

func (w *World) newVoter(on *proc, mgr *Manager) *voter {
	v := &voter{w: w, index: len(w.voters), on: on, mgr: mgr, voted: -1}
	w.voters = append(w.voters, v)
	return v
}

// start begins a run with what was durable: what is committed is learned anew.
func (v *voter) start() {
	n := len(v.w.voters)
	v.leader, v.leads, v.stands, v.commit, v.applied, v.m = -1, false, false, 0, 0, &clustermap.Map{}
	v.next, v.match, v.contacted = make([]int, n), make([]int, n), make([]int64, n)
	v.rest()
}

func (v *voter) majority() int { return len(v.w.voters)/2 + 1 }

// rest starts the election timer again.
func (v *voter) rest() {
	v.timer++
	timer := v.timer
	d := between(v.w.rng, raftElection, 2*raftElection)
	if v.mgr == nil {
		d *= 4 // a witness leads only when no manager can
	}
	v.on.after(d, func() {
		if v.timer == timer && !v.leads {
			v.stand()
		}
	})
}

// stand asks to be elected.
func (v *voter) stand() {
	v.term++
	v.voted, v.leader, v.votes, v.stands = v.index, -1, 1, true
	v.rest()
	term, last := v.term, len(v.log)
	lastTerm := v.termAt(last)
	for _, o := range v.w.voters {
		if o == v {
			continue
		}
		v.w.send(v.on.place, o.on, func() { o.asked(v, term, last, lastTerm) })
	}
	v.elected()
}

func (v *voter) termAt(i int) uint64 {
	if i == 0 {
		return 0
	}
	return v.log[i-1].term
}

// asked for its vote: it votes once in a term, for a log that has at least what its own has.
func (v *voter) asked(by *voter, term uint64, last int, lastTerm uint64) {
	if v.leads && term > v.term && v.leased() {
		return // hashicorp/raft: a live leader's voters refuse too
	}
	v.see(term)
	own := len(v.log)
	if term < v.term || v.voted >= 0 && v.voted != by.index ||
		lastTerm < v.termAt(own) || lastTerm == v.termAt(own) && last < own {
		return
	}
	v.voted = by.index
	v.rest()
	v.w.send(v.on.place, by.on, func() {
		if by.term == term && by.stands {
			by.votes++
			by.elected()
		}
	})
}

// see follows a newer term.
func (v *voter) see(term uint64) {
	if term > v.term {
		v.term, v.voted, v.leader, v.stands = term, -1, -1, false
		v.stepDown()
	}
}

func (v *voter) elected() {
	if !v.stands || v.votes < v.majority() {
		return
	}
	v.leads, v.stands, v.leader = true, false, v.index
	v.w.stats["elections"]++
	v.w.tracef("%s leads in term %d, its log has %d", v.on.name, v.term, len(v.log))
	for i := range v.w.voters {
		v.next[i], v.match[i], v.contacted[i] = len(v.log)+1, 0, v.w.now
	}
	v.log = append(v.log, entry{term: v.term})
	v.barrier = len(v.log)
	v.replicate()
	if v.mgr == nil {
		v.on.after(v.w.between(50*millisecond, 500*millisecond), v.handOn)
	}
}

// handOn has a manager that has the whole log stand at once.
func (v *voter) handOn() {
	if !v.leads {
		return
	}
	for _, o := range v.w.voters {
		if o.mgr != nil && v.match[o.index] == len(v.log) && v.w.now-v.contacted[o.index] < raftLease {
			v.w.send(v.on.place, o.on, func() {
				if !o.leads {
					o.stand()
				}
			})
			break
		}
	}
	v.on.after(v.w.between(200*millisecond, 500*millisecond), v.handOn)
}

func (v *voter) stepDown() {
	if !v.leads {
		return
	}
	v.leads = false
	v.w.tracef("%s leads no more", v.on.name)
	v.rest()
	if v.mgr != nil {
		v.mgr.leadership()
	}
}

// leased tells whether a majority was heard lately.
func (v *voter) leased() bool {
	n := 0
	for i, t := range v.contacted {
		if i == v.index || v.w.now-t < raftLease {
			n++
		}
	}
	return n >= v.majority()
}

// replicate sends every other voter what it lacks, or a sign of life.
func (v *voter) replicate() {
	if !v.leads {
		return
	}
	if !v.leased() {
		v.w.stats["leaders cut off"]++
		v.leader = -1
		v.stepDown()
		return
	}
	for _, o := range v.w.voters {
		if o != v {
			v.appendTo(o)
		}
	}
	v.advance()
	term := v.term
	v.on.after(raftHeartbeat, func() {
		if v.term == term {
			v.replicate()
		}
	})
}

func (v *voter) appendTo(o *voter) {
	prev := v.next[o.index] - 1
	prevTerm, list := v.termAt(prev), slices.Clone(v.log[prev:])
	term, commit := v.term, v.commit
	v.w.send(v.on.place, o.on, func() { o.take(v, term, prev, prevTerm, list, commit) })
}

// take is AppendEntries.
func (v *voter) take(from *voter, term uint64, prev int, prevTerm uint64, list []entry, commit int) {
	v.see(term)
	ok := false
	if term == v.term {
		v.leader, v.stands = from.index, false
		v.rest()
		if prev <= len(v.log) && v.termAt(prev) == prevTerm {
			ok = true
			for i, e := range list {
				if at := prev + i; at >= len(v.log) || v.log[at].term != e.term {
					v.log = append(v.log[:at:at], list[i:]...)
					break
				}
			}
			v.commitTo(min(commit, prev+len(list)))
		}
	}
	has, mine := prev+len(list), v.term
	hint := min(prev, len(v.log)+1)
	v.w.send(v.on.place, from.on, func() {
		from.see(mine)
		if !from.leads || from.term != term {
			return
		}
		from.contacted[v.index] = from.w.now
		if ok {
			from.match[v.index] = max(from.match[v.index], has)
			from.next[v.index] = from.match[v.index] + 1
			from.advance()
			return
		}
		from.next[v.index] = max(1, min(hint, from.next[v.index]-1))
		from.appendTo(v)
	})
}

// advance commits what a majority has, if it is of this term.
func (v *voter) advance() {
	v.match[v.index] = len(v.log)
	sorted := slices.Clone(v.match)
	slices.Sort(sorted)
	n := sorted[len(sorted)-v.majority()]
	if n > v.commit && v.termAt(n) == v.term {
		v.commitTo(n)
	}
}

func (v *voter) commitTo(n int) {
	v.commit = max(v.commit, n)
	for v.applied < v.commit {
		e := v.log[v.applied]
		v.applied++
		v.apply(v.applied, e)
	}
}

// apply takes the next agreed entry into this voter's map.
func (v *voter) apply(i int, e entry) {
	w := v.w
	first := i > len(w.agreed.log)
	if first {
		w.agreed.log = append(w.agreed.log, e)
	} else if a := w.agreed.log[i-1]; a.term != e.term || !bytes.Equal(a.delta, e.delta) {
		w.fail(managersAgree, "%s applies another entry %d than others did", v.on.name, i)
		return
	}
	if e.delta != nil {
		d, err := clustermap.DecodeDelta(e.delta)
		if err != nil {
			w.fail(validSteps, "a delta does not decode: %v", err)
			return
		}
		next, err := v.m.Apply(d)
		if err != nil {
			w.fail(validSteps, "the managers proposed a step that is refused: %v", err)
			return
		}
		if first {
			if err := next.Validate(); err != nil {
				w.fail(validSteps, "after a step: %v", err)
				return
			}
			w.traceDelta(v.m, d)
			w.agreed.m = next
		}
		v.m = next
	}
	if v.mgr != nil {
		v.mgr.applied(i, e.delta != nil)
	}
}

// propose puts a delta into the leader's log.
func (v *voter) propose(d *clustermap.Delta) int {
	v.log = append(v.log, entry{v.term, clustermap.AppendDelta(nil, d)})
	for _, o := range v.w.voters {
		if o != v {
			v.appendTo(o)
		}
	}
	v.advance()
	return len(v.log)
}
