// Package council is the manager's decisions: (map, who is alive) -> next delta
// (docs/protocol.md). It is a value without I/O, clock, goroutine or
// randomness; the same code runs in the daemon and in the simulator. Time comes
// in as milliseconds of one monotonic clock.
//
// Every call of Next looks at the whole map and at who is alive now, and
// proposes at most one delta with all that is to be done. Nothing but timers,
// registrations and what primaries asked for is remembered between calls, so a
// new leader goes on where the map stands.
package council

import (
	"slices"

	"github.com/kumofs/kumofs/internal/clustermap"
	"github.com/kumofs/kumofs/internal/control"
)

// Short names for what this package is about.
type (
	// ID is a server's.
	ID = clustermap.ServerID
	// Partition is one partition's configuration.
	Partition = clustermap.Partition
)

// Config is what a council is told once. Times are in milliseconds.
type Config struct {
	// Silence: a server not heard for so long is held dead.
	Silence int64
	// Fault: a server away for so long is marked fault.
	Fault int64
	// FaultAfterElection is the same for one not heard since the election.
	FaultAfterElection int64
	// ResumeWait is how long members of LastKnown are waited for (R9).
	ResumeWait int64
	// AttachSettle and AttachMax bound the first attach's wait for servers.
	AttachSettle, AttachMax int64
	// ReplaceDelay is how long auto-replace waits before it acts (-Rs). DetachDelay is how long a fault
	// lasts before it gives the server up (--detach-delay); 0: as ReplaceDelay.
	ReplaceDelay int64
	DetachDelay  int64
	// DeadRepeat is how often a notice about dead servers is repeated.
	DeadRepeat int64
	// MaxMoving bounds the partitions that a plan has in transition at once.
	MaxMoving int
	// MaxVerify bounds the partitions that full-replace has a copy less of at once.
	MaxVerify int

	// For the cluster that the first attach creates.
	ClusterID   clustermap.ClusterID
	Partitions  int
	Replication int
	// AutoReplace switches auto-replace on (manager's -a).
	AutoReplace bool
}

// Defaults fills what is zero.
func (c Config) Defaults() Config {
	def := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Silence, 2000)
	def(&c.Fault, 2000)
	def(&c.FaultAfterElection, 10000)
	def(&c.ResumeWait, 2000)
	def(&c.AttachSettle, control.AttachSettle.Milliseconds())
	def(&c.AttachMax, 5000)
	def(&c.ReplaceDelay, 4000)
	def(&c.DetachDelay, c.ReplaceDelay)
	def(&c.DeadRepeat, 300)
	if c.MaxMoving == 0 {
		c.MaxMoving = 128
	}
	if c.MaxVerify == 0 {
		c.MaxVerify = 32
	}
	if c.Partitions == 0 {
		c.Partitions = clustermap.DefaultPartitions
	}
	if c.Replication == 0 {
		c.Replication = clustermap.DefaultReplication
	}
	return c
}

// Council is the state of one manager's decisions.
type Council struct {
	cfg      Config
	m        *clustermap.Map
	leading  bool
	leadAt   int64
	inflight bool

	members map[ID]*member
	refused map[ID]refusal
	asked   requests
	// outage is when each unavailable partition became so (R9).
	outage map[uint16]*outage
	looked bool // outage was filled in this term
	verify verification
	// holders are, of each partition, all members that may have it in their whole.
	holders map[uint16][]ID
	// outdated says which server had a newer map than this manager when the term
	// began: its state then is an old copy, and what it would decide is about members
	// of long ago, so it decides nothing more in this term, unless most servers follow
	// it nevertheless. Empty: none had. (One that comes later is refused alone: it may
	// follow managers of its own.)
	outdated string

	lessons []*lesson // what servers knew before a recovery
	// worn are partitions without a further epoch, which was said.
	worn map[uint16]bool

	commands []*command
	proposed *command // the command whose delta is in flight
	yield    bool     // the last delta was not a command's: a command may go first
	autoOn   bool     // auto-replace is still to be recorded (-a)
	autoPlan bool     // an auto-replace command is queued
	// faultSince is when each attached server was first seen fault in this term.
	faultSince map[ID]int64

	// resting is the map of which all partitions were at rest while all was calm: they
	// still are as long as nothing else comes.
	resting *clustermap.Map
	// promotedAt is when joiners were last made replicas (pace).
	promotedAt int64

	progress progress

	lastDead map[ID]deadNotice
	replies  []Reply
	events   []Event
}

// Reply answers a Command.
type Reply struct {
	Ticket   uint64
	Response control.CommandResponse
	Err      string // empty: done
}

// Event is something for the log, in the original's words.
type Event struct {
	Text string // "new node", "lost node", ...
	Addr string
	ID   ID
	Note string
}

// Out is what Next wants done: the delta first, all else after.
type Out struct {
	// Delta is to be committed; Applied or Refused answers it.
	Delta *clustermap.Delta
	// Dead names to each primary whom the manager holds dead (R3): the whole
	// list, repeated while it lasts, and once empty when it ends.
	Dead map[ID][]ID
	// Released are leaving servers that have nothing more to wait for.
	Released map[ID]control.Leaving
	Replies  []Reply
	Events   []Event
}

type deadNotice struct {
	at  int64
	ids []ID
}

// New makes a council that does not lead.
func New(cfg Config) *Council {
	c := &Council{cfg: cfg.Defaults(), m: &clustermap.Map{}}
	c.autoOn = c.cfg.AutoReplace
	c.forget()
	return c
}

// forget drops all that belongs to one term of leadership.
func (c *Council) forget() {
	c.members = map[ID]*member{}
	c.refused = map[ID]refusal{}
	c.asked = newRequests()
	c.outage = map[uint16]*outage{}
	c.verify = newVerification()
	c.holders = map[uint16][]ID{}
	c.lessons, c.worn = nil, map[uint16]bool{}
	c.lastDead = map[ID]deadNotice{}
	c.faultSince = map[ID]int64{}
	c.inflight, c.looked, c.proposed, c.autoPlan = false, false, nil, false
	c.outdated = ""
	c.progress = progress{}
	c.resting, c.promotedAt = nil, 0
}

// Lead begins a term with the map as committed. Nobody has been heard in it:
// silence counts from now (§5).
func (c *Council) Lead(now int64, m *clustermap.Map) {
	c.forget()
	c.m, c.leading, c.leadAt = m, true, now
}

// Follow ends the term; commands that wait are answered by an error.
func (c *Council) Follow() {
	if c.proposed != nil {
		c.fail(c.proposed, "this manager ceased to lead while the change was being recorded: whether it was made is unknown; "+
			"look at kumoctl status, then ask again")
	}
	for _, q := range c.commands {
		c.fail(q, "this manager does not lead any more; ask again")
	}
	c.commands = nil
	c.forget()
	c.leading = false
}

// Leading tells whether this council decides.
func (c *Council) Leading() bool { return c.leading }

// Map is the map that the council acts on.
func (c *Council) Map() *clustermap.Map { return c.m }

// Applied tells that the proposal was committed and made m.
func (c *Council) Applied(now int64, m *clustermap.Map) {
	if c.m.ClusterID == 0 && m.Recovered != 0 {
		c.recovered(now)
	}
	c.recorded(m)
	c.m, c.inflight = m, false
	c.autoOn = c.autoOn && !m.AutoReplace
	c.asked.expire(m)
	if q := c.proposed; q != nil {
		c.proposed = nil
		if q.ticket == 0 {
			c.autoPlan = false
		}
		q.response.Clock = m.Version
		c.replies = append(c.replies, Reply{Ticket: q.ticket, Response: q.response})
	}
}

// recorded notes who has the whole of the partitions that m newly shows active.
func (c *Council) recorded(m *clustermap.Map) {
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if !p.Active || i < len(c.m.Partitions) && c.m.Partitions[i].Epoch == p.Epoch && c.m.Partitions[i].Active {
			continue
		}
		n := uint16(i)
		for _, id := range c.holders[n] {
			if s := c.members[id]; s != nil {
				delete(s.whole, n)
			}
		}
		for _, id := range p.LastKnown {
			if srv, s := m.Server(id), c.members[id]; srv != nil && s != nil && s.reg.Incarnation == srv.Incarnation {
				s.whole[n] = true
			}
		}
		c.holders[n] = p.LastKnown
	}
	for i := range m.Servers {
		if s := c.members[m.Servers[i].ID]; s != nil {
			s.reg.ClusterID = m.ClusterID // from now on
		}
	}
}

// Refused tells that the proposal was not committed.
func (c *Council) Refused(now int64, m *clustermap.Map, reason string) {
	c.inflight = false
	if m != nil {
		c.recorded(m)
		c.m = m
	}
	if q := c.proposed; q != nil {
		c.proposed = nil
		c.fail(q, reason)
	}
}

// Next is what is to be done now. It is called after anything happened and a
// few times a second.
func (c *Council) Next(now int64) Out {
	var out Out
	if c.leading {
		c.prune(now)
		switch {
		case c.outdated != "" && !c.followed():
			for _, q := range c.commands {
				c.fail(q, "refused: "+c.outdated+"; start the manager that the other servers follow, or rebuild the managers with: kumoctl ADDR recover, with empty state directories")
			}
			c.commands = nil
		case !c.inflight:
			c.auto(now)
			if c.yield {
				out.Delta = c.runCommands(now)
			}
			if out.Delta == nil {
				out.Delta, out.Dead, out.Released = c.step(now)
				c.yield = true
			} else {
				c.yield = false
			}
			if out.Delta == nil {
				out.Delta = c.runCommands(now)
			}
			c.inflight = out.Delta != nil
		}
	}
	out.Replies, c.replies = c.replies, nil
	out.Events, c.events = c.events, nil
	return out
}

// AtRest tells that nothing is under way: all partitions were last found as planned, and
// nobody has asked for anything since. Only time can bring something to do.
func (c *Council) AtRest() bool {
	return !c.leading || c.resting == c.m && !c.inflight && len(c.commands) == 0 && c.asked.none() && c.verify.left() == 0
}

// followed: most of the attached servers have registered in this term, with maps
// that this manager knows.
func (c *Council) followed() bool {
	n := 0
	for i := range c.m.Servers {
		if c.members[c.m.Servers[i].ID] != nil {
			n++
		}
	}
	return 2*n > len(c.m.Servers)
}

// step is one look at every server and every partition.
func (c *Council) step(now int64) (*clustermap.Delta, map[ID][]ID, map[ID]control.Leaving) {
	if c.m.ClusterID == 0 {
		return nil, nil, nil
	}
	t := c.newTurn(now)
	t.markFaults()
	if !t.still() {
		t.look()
	}
	t.settleFailures()
	t.settleLessons()
	t.settleWorn()
	if t.promoted {
		c.promotedAt = now
	}
	return t.delta(), c.deadNotices(now, t.dead), t.released()
}

// still: all partitions are at rest, as they were when they were last looked through.
func (t *turn) still() bool {
	return t.calm && t.c.resting == t.m && t.c.asked.none() && t.c.verify.left() == 0
}

// look goes through all partitions.
func (t *turn) look() {
	c := t.c
	t.watchOutages()
	c.looked = true
	t.raiseRestarted()
	rest := t.calm
	for i := range c.m.Partitions {
		p := &c.m.Partitions[i]
		if t.atRest(uint16(i), p) {
			continue
		}
		rest = false
		if np, ok := t.decide(uint16(i), *p); ok {
			t.change(uint16(i), p.Epoch, np)
		}
	}
	c.resting = nil
	if rest {
		c.resting = c.m
	}
}

// deadNotices are those of t that are new or due again.
func (c *Council) deadNotices(now int64, dead map[ID]map[ID]bool) map[ID][]ID {
	out := map[ID][]ID{}
	for to, set := range dead {
		ids := make([]ID, 0, len(set))
		for id := range set {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		last, ok := c.lastDead[to]
		if ok && slices.Equal(last.ids, ids) && now-last.at < c.cfg.DeadRepeat {
			continue
		}
		c.lastDead[to] = deadNotice{at: now, ids: ids}
		out[to] = ids
	}
	for to := range c.lastDead {
		if dead[to] == nil {
			delete(c.lastDead, to)
			out[to] = nil // nobody any more
		}
	}
	return out
}

func (c *Council) event(text, addr string, id ID, note string) {
	c.events = append(c.events, Event{Text: text, Addr: addr, ID: id, Note: note})
}
